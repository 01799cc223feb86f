//! A small asynchronous Kafka client over the wire crate.
