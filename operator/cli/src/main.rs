//! The command line tool: up, apply, get, produce, consume, bench.
fn main() {}
