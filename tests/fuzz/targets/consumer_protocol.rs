//! What consumers say of themselves in JoinGroup, and what they are assigned.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::wire::consumer_protocol(data));
