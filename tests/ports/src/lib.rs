//! Ports that nobody uses and nobody else is given.
//!
//! Not what the system picks for port 0: it gives those to outgoing connections too, so that such a port may
//! be taken again between being found free and being listened on.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first of the ports that are given out in blocks, and how many.
const BLOCKS_FROM: u16 = 10_000;
const BLOCKS_COUNT: u16 = 2_000;
/// Ports in one block: no test has more brokers.
const BLOCK: u16 = 10;

/// The first of the ports that are given out one by one, and how many.
const SINGLES_FROM: u16 = 13_000;
const SINGLES_COUNT: u16 = 6_500;

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Test runs at the same time begin at different places.
fn start() -> u16 {
    (std::process::id() % 97) as u16
}

/// A first port for `ottla up --port`, such that the ports of ten brokers are free. No two calls get the
/// same.
///
/// # Panics
/// When there are none left.
pub fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const BLOCKS: u16 = BLOCKS_COUNT / BLOCK;
    for _ in 0..BLOCKS {
        let block = (start() * 2 + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let first = BLOCKS_FROM + block * BLOCK;
        if (first..first + BLOCK).all(|port| [0, 10_000, 20_000].iter().all(|above| is_free(port + above))) {
            return first;
        }
    }
    panic!("no free ports between {BLOCKS_FROM} and {}", BLOCKS_FROM + BLOCKS_COUNT)
}

/// One port. No two calls get the same.
///
/// # Panics
/// When there are none left.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..SINGLES_COUNT {
        let port = SINGLES_FROM + (start() * 67 + NEXT.fetch_add(1, Ordering::Relaxed)) % SINGLES_COUNT;
        if is_free(port) {
            return port;
        }
    }
    panic!("no free port between {SINGLES_FROM} and {}", SINGLES_FROM + SINGLES_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_given_out() {
        let first = free_port();
        let _taken = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
        assert_ne!(free_port(), first + 1);
        assert_ne!(free_ports(), free_ports());
    }
}
