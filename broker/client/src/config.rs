//! How a client connects and how long it waits.

use std::time::Duration;

/// A client's settings.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Addresses to start from, `host:port` each.
    pub bootstrap: Vec<String>,
    /// The client's name of itself, in the broker's logs and metrics.
    pub client_id: String,
    /// For how long to wait for a connection.
    pub connect_timeout: Duration,
    /// For how long to wait for a response.
    pub request_timeout: Duration,
    /// For how long to try again after retriable errors.
    pub retry_timeout: Duration,
    /// The longest response accepted, in bytes.
    pub frame_bytes_max: usize,
}

impl ClientConfig {
    /// Settings with usual limits; `bootstrap` is one or more `host:port`, separated by commas.
    pub fn new(bootstrap: &str) -> Self {
        let addresses = bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty());
        Self {
            bootstrap: addresses.map(str::to_owned).collect(),
            client_id: "ottla".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(30),
            frame_bytes_max: 256 << 20,
        }
    }
}
