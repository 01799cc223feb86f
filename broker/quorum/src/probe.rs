//! Whether a process is gone: nobody listens where it listened.
//!
//! A refused connection comes from the machine that the process ran on (or something before it that knows no
//! better), so it is a hint that is nearly always right and comes at once. Silence, an unreachable address
//! and a connection that comes about say nothing: then only time tells.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;

/// How long a connection may take to come about or be refused.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// The pause between two tries, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Whether nobody listens at `address` (`host:port`) any more. Asks for at most so long, and not once
/// `answered` says that it isn't needed any more, as the process was heard from.
///
/// A process that dies closes its connections one after the other, in any order, and its port perhaps much
/// later: the kernel waits first for each of its threads that is busy with the disk.
pub async fn is_gone(address: &str, for_at_most: Duration, answered: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    while !answered() {
        if refuses(address).await == Some(true) {
            return true;
        }
        if began.elapsed() >= for_at_most {
            return false;
        }
        backoff.pause().await;
    }
    false
}

/// Whether a connection to `address` is refused; none if that can't be said.
pub async fn refuses(address: &str) -> Option<bool> {
    match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Some(false),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Some(true),
        Ok(Err(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_closed_port_is_gone_and_an_open_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(!is_gone(&address, LIMIT, || false).await);
        drop(listener);
        assert!(!is_gone(&address, LIMIT, || true).await, "who was heard from isn't asked");
        assert!(is_gone(&address, LIMIT, || false).await);
    }
}
