//! Requests and responses of ListPartitionReassignments, in any version.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::wire::both::<ottla_wire::apis::ListPartitionReassignments>(data));
