//! The metadata quorum: openraft over tonic, its log in segments of our own.
