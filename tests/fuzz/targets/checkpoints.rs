//! The small files beside a segment: checkpoints, properties, producer snapshots.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::log::checkpoints(data));
