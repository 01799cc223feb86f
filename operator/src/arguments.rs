//! Flags and environment variables of the operator.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use ottla_controller::{LeaseSettings, Settings};

/// Turns KafkaCluster and Topic resources into running brokers and topics.
#[derive(Debug, Parser)]
#[command(name = "ottla-operator", version)]
pub struct Arguments {
    /// A namespace to look after; may be given several times [default: all].
    #[arg(long = "namespace", env = "OTTLA_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// The broker image of new clusters whose KafkaCluster names none; those that there are keep theirs,
    /// unless they follow.
    #[arg(long, env = "OTTLA_BROKER_IMAGE")]
    broker_image: String,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "OTTLA_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// What is logged, as in "info,ottla_controller=debug".
    #[arg(long, env = "OTTLA_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
    /// The operator's own namespace, where its Lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    lease_namespace: String,
    /// The name of the Lease by which one of several operators works.
    #[arg(long, env = "OTTLA_LEASE_NAME", default_value = "ottla-operator")]
    lease_name: String,
    /// Who this operator is: its pod's name.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// How long others wait for an operator that has gone silent, in seconds.
    #[arg(long, env = "OTTLA_LEASE_SECONDS", default_value_t = 15)]
    lease_seconds: u32,
}

impl Arguments {
    /// The settings that these are.
    ///
    /// # Errors
    /// When a value makes no sense; the error names it.
    pub fn settings(&self) -> Result<Settings> {
        ensure!(self.lease_seconds >= 3, "--lease-seconds must be at least 3");
        let duration = Duration::from_secs(self.lease_seconds.into());
        let identity = self.identity.clone().unwrap_or_else(|| format!("process-{}", std::process::id()));
        let namespaces = self.namespaces.iter().filter(|n| !n.is_empty()).cloned().collect();
        Ok(Settings {
            namespaces,
            broker_image: self.broker_image.clone(),
            listen: self.listen,
            lease: LeaseSettings {
                namespace: self.lease_namespace.clone(),
                name: self.lease_name.clone(),
                identity,
                duration,
                renew: duration / 3,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_of_namespaces_means_all() {
        let arguments =
            Arguments::parse_from(["o", "--broker-image", "b:1", "--namespace", "", "--identity", "me"]);
        let settings = arguments.settings().unwrap();
        assert!(settings.namespaces.is_empty());
        assert_eq!((settings.lease.identity.as_str(), settings.lease.renew.as_secs()), ("me", 5));
        let several = Arguments::parse_from([
            "o",
            "--broker-image",
            "b:1",
            "--namespace",
            "a,b",
            "--lease-seconds",
            "1",
        ]);
        assert!(several.settings().is_err());
        assert_eq!(several.namespaces, ["a", "b"]);
    }
}
