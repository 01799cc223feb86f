//! Requests and responses of one API, in any version. The environment says of which.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::wire::message(data));
