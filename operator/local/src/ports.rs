//! Which ports a local cluster takes: three rows of consecutive ones on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use thiserror::Error;

/// How far the control ports lie above the ports for clients.
const CONTROL_ABOVE: u16 = 10_000;
/// How far the HTTP ports lie above the ports for clients.
const HTTP_ABOVE: u16 = 20_000;

/// The first broker's port for clients; the others follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
}

/// Why the ports can't be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PortError {
    /// Some other process listens there.
    #[error("port {port} on 127.0.0.1, broker {broker}'s {purpose} port, is taken by another process")]
    Taken {
        /// The port.
        port: u16,
        /// The broker that would listen there.
        broker: i32,
        /// What for.
        purpose: &'static str,
        /// A first port where all are free, if one was found.
        free: Option<u16>,
    },
    /// This user may not listen there.
    #[error("port {port} on 127.0.0.1 cannot be used: {why}")]
    Refused {
        /// The port.
        port: u16,
        /// What the system said.
        why: String,
    },
    /// There are no ports left below 65536.
    #[error("{brokers} brokers from port {first} on need ports above 65535")]
    TooHigh {
        /// The first port for clients.
        first: u16,
        /// How many brokers.
        brokers: usize,
    },
}

impl PortError {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Taken { free: Some(free), .. } => {
                format!("stop that process, or choose other ports: --port {free} is free")
            }
            Self::Taken { .. } | Self::Refused { .. } => "choose other ports with --port".to_owned(),
            Self::TooHigh { brokers, .. } => {
                format!(
                    "choose --port {} or lower",
                    u16::MAX - HTTP_ABOVE - u16::try_from(*brokers).unwrap_or(0)
                )
            }
        }
    }
}

impl Ports {
    /// The ports of Kafka's habit: 9092 and up.
    pub const DEFAULT: u16 = 9092;

    /// Ports counted from `first`.
    pub fn from(first: u16) -> Self {
        Self { first }
    }

    /// The first broker's port for clients.
    pub(crate) fn first(self) -> u16 {
        self.first
    }

    /// A broker's port for clients.
    pub fn kafka(self, broker: i32) -> u16 {
        self.first + Self::step(broker)
    }

    /// A broker's port for the control API and the quorum.
    pub fn control(self, broker: i32) -> u16 {
        self.first + CONTROL_ABOVE + Self::step(broker)
    }

    /// A broker's port for health and metrics.
    pub fn http(self, broker: i32) -> u16 {
        self.first + HTTP_ABOVE + Self::step(broker)
    }

    fn step(broker: i32) -> u16 {
        u16::try_from(broker).expect("`check` bounds the number of brokers")
    }

    /// Makes sure that every port of these brokers is free.
    ///
    /// # Errors
    /// [`PortError`], naming the first port that can't be had.
    pub fn check(self, brokers: std::ops::Range<i32>) -> Result<(), PortError> {
        let count = usize::try_from(brokers.end).unwrap_or(usize::MAX);
        if usize::from(self.first) + usize::from(HTTP_ABOVE) + count > usize::from(u16::MAX) + 1 {
            return Err(PortError::TooHigh { first: self.first, brokers: count });
        }
        match self.first_taken(brokers.clone()) {
            None => Ok(()),
            Some((broker, port, purpose, io::ErrorKind::AddrInUse)) => {
                let free = self.next_free(brokers);
                Err(PortError::Taken { port, broker, purpose, free })
            }
            Some((_, port, _, kind)) => Err(PortError::Refused { port, why: kind.to_string() }),
        }
    }

    fn first_taken(self, brokers: std::ops::Range<i32>) -> Option<(i32, u16, &'static str, io::ErrorKind)> {
        brokers
            .flat_map(|id| {
                [
                    (id, self.kafka(id), "Kafka"),
                    (id, self.control(id), "control"),
                    (id, self.http(id), "HTTP"),
                ]
            })
            .find_map(|(id, port, purpose)| {
                let kind = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).err()?.kind();
                Some((id, port, purpose, kind))
            })
    }

    fn next_free(self, brokers: std::ops::Range<i32>) -> Option<u16> {
        (1..=10)
            .map(|n| self.first.saturating_add(n * 100))
            .filter(|first| usize::from(*first) + usize::from(HTTP_ABOVE) + 100 < usize::from(u16::MAX))
            .find(|first| Self::from(*first).first_taken(0..brokers.end).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order() {
        let ports = Ports::from(9092);
        assert_eq!((ports.kafka(2), ports.control(2), ports.http(2)), (9094, 19094, 29094));
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let (first, taken) = (11_000..12_000)
            .step_by(3)
            .find_map(|first| {
                Ports::from(first).check(0..3).ok()?;
                Some((first, TcpListener::bind((Ipv4Addr::LOCALHOST, first + 1)).ok()?))
            })
            .expect("three free ports");
        let error = Ports::from(first).check(0..3).unwrap_err();
        assert!(error.to_string().contains(&format!("port {} ", first + 1)), "{error}");
        assert!(error.to_string().contains("broker 1"), "{error}");
        assert!(error.remedy().contains("--port"), "{}", error.remedy());
        drop(taken);
    }

    #[test]
    fn ports_past_the_end_are_refused() {
        assert_eq!(
            Ports::from(45_534).check(0..3).unwrap_err(),
            PortError::TooHigh { first: 45_534, brokers: 3 }
        );
    }
}
