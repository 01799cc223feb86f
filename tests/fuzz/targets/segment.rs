//! A segment after a crash: batches that are torn, corrupt or out of order.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::log::segment(data));
