//! Ports that nobody uses, a block for each test.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first of the ports that are given out, and how many.
const FIRST: u16 = 10_000;
const COUNT: u16 = 2_000;
/// Ports in one block: no test has more brokers.
const BLOCK: u16 = 10;

/// A first port for `ottla up --port`, such that the ports of ten brokers are free: below the range
/// from which the system takes ports for outgoing connections, and no two calls get the same.
///
/// # Panics
/// When there are none left.
pub fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test runs at the same time begin at different places.
    let start = (std::process::id() % 97) as u16 * 2;
    for _ in 0..COUNT / BLOCK {
        let block = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % (COUNT / BLOCK);
        let first = FIRST + block * BLOCK;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + BLOCK).all(|port| free(port) && free(port + 10_000) && free(port + 20_000)) {
            return first;
        }
    }
    panic!("no free ports between {FIRST} and {}", FIRST + COUNT)
}
