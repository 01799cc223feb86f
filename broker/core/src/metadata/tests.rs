//! Tests of the metadata.
