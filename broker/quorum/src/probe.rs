//! Whether a process is gone: nobody listens where it listened.
//!
//! A refused connection comes from the machine that the process ran on (or something before it that knows no better),
//! so it is a hint that is nearly always right and comes at once. Silence, an unreachable address and a connection that
//! comes about say nothing: then only time tells.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long a connection may take to come about or be refused.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// The pauses between tries: a process that dies closes its connections one after the other, in any order.
const PAUSES_MS: [u64; 7] = [0, 2, 5, 10, 25, 50, 100];

/// Whether nobody listens at `address` (`host:port`) any more. Asks for a fifth of a second, unless `answered` says that
/// it isn't needed any more, as the process was heard from.
pub async fn is_gone(address: &str, answered: impl Fn() -> bool) -> bool {
    for pause in PAUSES_MS {
        sleep(Duration::from_millis(pause)).await;
        if answered() {
            return false;
        }
        match refuses(address).await {
            Some(true) => return true,
            Some(false) => {}
            None => return false,
        }
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

    #[tokio::test]
    async fn a_closed_port_is_gone_and_an_open_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(!is_gone(&address, || false).await);
        drop(listener);
        assert!(!is_gone(&address, || true).await, "who was heard from isn't asked");
        assert!(is_gone(&address, || false).await);
    }
}
