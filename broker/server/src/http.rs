//! The HTTP listener: health, metrics and the log level.
//!
//! Only the log level can be changed, and only from this machine. Not here: the control API, which is gRPC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use ottla_quorum::Tasks;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::logging::LogControl;
use crate::net::{SideLimits, SideListener};

/// The longest log filter, in bytes.
const BODY_BYTES_MAX: usize = 4 << 10;

/// What is asked here comes in one packet, by few.
const LIMITS: SideLimits = SideLimits {
    connections_max: 64,
    idle_max: Duration::from_secs(60),
    life_max: Some(Duration::from_secs(600)),
};

/// Who asks.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, SideListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, SideListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// What the HTTP listener shows.
pub trait Health: Send + Sync + 'static {
    /// Why the broker isn't ready, if it isn't.
    ///
    /// # Errors
    /// The reason, for people.
    fn ready(&self) -> Result<(), String>;
    /// All metrics as text.
    fn metrics(&self) -> String;
    /// What changes the log level.
    fn log_control(&self) -> &LogControl;
}

/// Serves HTTP until `stopping` is true.
pub async fn serve<H: Health>(
    socket: TcpListener,
    health: Arc<H>,
    tasks: Tasks,
    mut stopping: watch::Receiver<bool>,
) {
    let service = router(health, tasks).into_make_service_with_connect_info::<Peer>();
    let socket = SideListener::new("http", socket, LIMITS);
    let stopped = async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    if let Err(error) = axum::serve(socket, service).with_graceful_shutdown(stopped).await {
        warn!(%error, "the http listener ended");
    }
}

fn router<H: Health>(health: Arc<H>, tasks: Tasks) -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(readyz::<H>))
        .route("/metrics", get(move |State(health): State<Arc<H>>| metrics(health, tasks)))
        .route("/loglevel", get(log_level::<H>).put(set_log_level::<H>))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(health)
}

async fn readyz<H: Health>(State(health): State<Arc<H>>) -> Response {
    match health.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

async fn metrics<H: Health>(health: Arc<H>, tasks: Tasks) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // They look at all partitions, each of which may be busy with records.
    match tasks.spawn_blocking("tell the metrics", move || health.metrics()).await {
        Ok(metrics) => ([(header::CONTENT_TYPE, TYPE)], metrics).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn log_level<H: Health>(State(health): State<Arc<H>>) -> String {
    health.log_control().filter() + "\n"
}

async fn set_log_level<H: Health>(
    State(health): State<Arc<H>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    filter: String,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return (StatusCode::FORBIDDEN, "the log level can be changed from this machine only\n")
            .into_response();
    }
    match health.log_control().set_filter(filter.trim()) {
        Ok(previous) => {
            info!(filter = filter.trim(), previous, "log filter changed");
            (StatusCode::OK, previous + "\n").into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
