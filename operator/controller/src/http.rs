//! /livez, /readyz and /metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::liveness::Watches;
use crate::metrics::Metrics;

/// What the answers depend on.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the operator stands by or works; false while it starts.
    pub ready: Arc<AtomicBool>,
    /// What the operator that works watches.
    pub watches: Arc<Watches>,
    /// What people have to do first.
    pub waits_for: WaitsFor,
}

/// What the operator waits for before it can work, in words.
#[derive(Clone, Debug, Default)]
pub struct WaitsFor(Arc<Mutex<Option<String>>>);

impl WaitsFor {
    /// From now on it is this, or nothing; whether that is news.
    pub fn set(&self, what: Option<String>) -> bool {
        let mut now = self.0.lock();
        let is_news = *now != what;
        *now = what;
        is_news
    }

    /// What it is, if anything.
    pub fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|State(health): State<Health>| async move { health.metrics.text() }))
        .with_state(health);
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    if let Some(what) = health.waits_for.get() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n"));
    }
    if !health.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the api server has not answered yet\n".to_owned());
    }
    match health.watches.trouble(Instant::now()) {
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
        None => (StatusCode::OK, "ok\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn ready_means_that_the_watches_live() {
        let health = Health::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(serve(listener, health.clone(), CancellationToken::new()));
        let asked = async || {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("it answers");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
            let code = head.split(' ').nth(1).expect("a status").to_owned();
            format!("{code} {}", body.trim_end())
        };
        assert_eq!(asked().await, "503 the api server has not answered yet");
        health.ready.store(true, Ordering::Relaxed);
        assert_eq!(asked().await, "200 ok", "it stands by");
        health.watches.begin("pods");
        assert_eq!(asked().await, "503 the watch of pods has not seen yet what there is");
        health.watches.synced("pods");
        assert_eq!(asked().await, "200 ok");
    }
}
