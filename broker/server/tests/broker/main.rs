//! The broker as its clients see it: one in this process on free ports, spoken to in Kafka's protocol.

mod harness;
mod client;
mod garbage;
mod limits;
mod topics;
mod produce;
mod fetch;
mod offsets;
mod describe;
mod restart;
