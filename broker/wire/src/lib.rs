//! The Kafka wire protocol: messages, codecs, versions, error codes.
