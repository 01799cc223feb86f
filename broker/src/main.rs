//! The broker binary: parse the configuration, start the server.
fn main() {}
