//! How the operator runs: parsed by the binary, fixed for the life of the process.

use std::net::SocketAddr;
use std::time::Duration;

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces that it looks after; empty: all.
    pub namespaces: Vec<String>,
    /// The broker image of new clusters whose KafkaCluster names none.
    pub broker_image: String,
    /// Where /livez, /readyz and /metrics are served.
    pub listen: SocketAddr,
    /// The Lease by which one of several operators works.
    pub lease: LeaseSettings,
}

/// The Lease by which one of several operators works.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Its namespace: the operator's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this operator is: its pod's name.
    pub identity: String,
    /// How long others wait for a holder that has gone silent.
    pub duration: Duration,
    /// How often the holder renews; a third of `duration` or less.
    pub renew: Duration,
}
