//! Asks a broker over HTTP whether it is ready, as a kubelet would.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one question may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// What a broker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It takes requests.
    Ready,
    /// It lives but isn't ready, for this reason.
    NotReady(String),
    /// Nobody answers.
    Silent,
}

/// Asks for `/readyz` on this port of loopback.
pub(crate) async fn readiness(port: u16) -> Readiness {
    match timeout(PROBE_TIMEOUT, get(port, "/readyz")).await {
        Ok(Ok(answer)) => parse(&answer),
        _ => Readiness::Silent,
    }
}

async fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(answer: &str) -> Readiness {
    let status = answer.split(' ').nth(1);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    match status {
        Some("200") => Readiness::Ready,
        Some(_) => Readiness::NotReady(body.lines().next().unwrap_or("no reason given").to_owned()),
        None => Readiness::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\nx: y\r\n\r\nok"), Readiness::Ready);
        assert_eq!(
            parse("HTTP/1.1 503 Service Unavailable\r\n\r\nnot registered yet\n"),
            Readiness::NotReady("not registered yet".into())
        );
        assert_eq!(parse(""), Readiness::Silent);
    }

    #[tokio::test]
    async fn a_closed_port_is_silent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(readiness(port).await, Readiness::Silent);
    }
}
