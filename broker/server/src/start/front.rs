//! What can be asked of a broker that is still starting: whether it lives, and why it isn't ready.

use std::sync::{Arc, OnceLock};

use ottla_control::proto;
use ottla_quorum::{BrokerControl, ControlError};

use crate::broker::Broker;
use crate::http::Health;
use crate::logging::LogControl;

/// Stands before a broker until it is there.
pub struct Front {
    log_control: Arc<LogControl>,
    broker: OnceLock<Arc<Broker>>,
}

impl Front {
    /// Without a broker yet.
    pub fn new(log_control: Arc<LogControl>) -> Self {
        Self { log_control, broker: OnceLock::new() }
    }

    /// The broker is there; a second one is ignored.
    pub fn set(&self, broker: Arc<Broker>) {
        let _ = self.broker.set(broker);
    }
}

impl Health for Front {
    fn ready(&self) -> Result<(), String> {
        match self.broker.get() {
            Some(broker) => broker.ready(),
            None => Err("it is looking for its cluster, or recovering its logs".to_owned()),
        }
    }

    fn metrics(&self) -> String {
        self.broker.get().map(|broker| Health::metrics(&**broker)).unwrap_or_default()
    }

    fn log_control(&self) -> &LogControl {
        &self.log_control
    }
}

impl BrokerControl for Front {
    fn health(&self) -> proto::BrokerHealth {
        match self.broker.get() {
            Some(broker) => broker.health(),
            None => proto::BrokerHealth {
                live: true,
                reason: self.ready().err().unwrap_or_default(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..proto::BrokerHealth::default()
            },
        }
    }

    fn set_log_level(&self, filter: &str) -> Result<String, ControlError> {
        self.log_control.set_filter(filter).map_err(|error| ControlError(error.to_string()))
    }
}
