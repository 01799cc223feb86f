//! The broker as its clients see it: one in this process on free ports, spoken to in Kafka's protocol.

mod client;
mod describe;
mod fetch;
mod garbage;
mod harness;
mod limits;
mod offsets;
mod produce;
mod restart;
mod topics;
