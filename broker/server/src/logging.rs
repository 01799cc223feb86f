//! Log lines on standard error, as text or JSON, with a filter that can be changed while the broker runs.

use std::str::FromStr;

use parking_lot::Mutex;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::LogFormat;

/// Why a filter isn't one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{filter:?} is not a log filter: {reason}; write it as in info,ottla_server=debug")]
pub struct FilterError {
    /// The text that was given.
    pub filter: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Changes what is logged.
#[derive(Debug)]
pub struct LogControl {
    handle: reload::Handle<Targets, Registry>,
    current: Mutex<String>,
}

impl LogControl {
    /// Starts logging for this process; a second call in a process (as in tests) leaves the first one's in
    /// place.
    ///
    /// # Errors
    /// When `filter` isn't a filter.
    pub fn start(filter: &str, format: LogFormat) -> Result<Self, FilterError> {
        let (layer, handle) = reload::Layer::new(parse(filter)?);
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        let lines = match format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(layer));
        // Only the first subscriber of a process can be the global one.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(Self { handle, current: Mutex::new(filter.to_owned()) })
    }

    /// The filter in force.
    pub fn filter(&self) -> String {
        self.current.lock().clone()
    }

    /// Puts another filter in force and returns the one before.
    ///
    /// # Errors
    /// When `filter` isn't a filter.
    pub fn set_filter(&self, filter: &str) -> Result<String, FilterError> {
        let targets = parse(filter)?;
        let mut current = self.current.lock();
        self.handle
            .reload(targets)
            .map_err(|error| FilterError { filter: filter.to_owned(), reason: error.to_string() })?;
        Ok(std::mem::replace(&mut current, filter.to_owned()))
    }
}

fn parse(filter: &str) -> Result<Targets, FilterError> {
    let wrong = |reason: String| FilterError { filter: filter.to_owned(), reason };
    if filter.trim().is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    // A directive of the caller for the same target takes the place of ours.
    let directives = format!("{QUIETER},{}", filter.trim());
    let targets = Targets::from_str(&directives).map_err(|error| wrong(error.to_string()))?;
    // A word that is no level counts as a target, which is hardly ever meant.
    let unknown = filter
        .split(',')
        .map(str::trim)
        .find(|word| !word.contains('=') && !word.contains("::") && !word.contains('_') && !is_level(word));
    match unknown {
        Some(word) => {
            Err(wrong(format!("{word:?} is none of the levels error, warn, info, debug, trace, off")))
        }
        None => Ok(targets),
    }
}

/// The consensus library tells its every step at `info`, and while a peer is away each try at `warn` and
/// `error`, ten times a second. Who leads, and who is fenced, is told by `ottla_quorum`.
const QUIETER: &str = "openraft=warn,openraft::core::raft_core=error,openraft::replication=off,\
                       openraft::engine::handler::replication_handler=off";

fn is_level(word: &str) -> bool {
    ["error", "warn", "info", "debug", "trace", "off"].iter().any(|level| word.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_steps_are_told_when_asked_for() {
        let tells = |filter| parse(filter).unwrap().would_enable("openraft::engine", &tracing::Level::INFO);
        assert!(!tells("info") && !tells("debug") && tells("info,openraft=info"));
    }

    #[test]
    fn filters_are_checked() {
        for good in ["info", "warn,ottla_server=debug", "OFF", "ottla_server::net=trace"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "loud", "ottla_server=loud"] {
            assert!(parse(bad).unwrap_err().to_string().contains("is not a log filter"), "{bad}");
        }
    }
}
