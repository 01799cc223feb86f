//! Collecting settings from file, environment and flags, later ones over earlier ones.
//!
//! Not here: what follows from the values; see [`super::Config`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::ignored::ignored;
use super::kind::Value;
use super::properties;
use super::table::{SETTINGS, setting};

/// The beginning of the environment variables that are settings.
///
/// The rest of the name is the key in upper case with `_` for `.`: `OTTLA_NODE_ID` is `node.id`. For keys
/// that begin with `ottla.` that part may be left out: `OTTLA_HTTP_LISTENER` is `ottla.http.listener`.
pub const ENVIRONMENT_PREFIX: &str = "OTTLA_";

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// In a file, on a line (from 1).
    File(PathBuf, usize),
    /// By an environment variable of this name.
    Environment(String),
    /// By `--override`.
    Flag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => f.write_str("default"),
            Place::File(path, line) => write!(f, "{}:{line}", path.display()),
            Place::Environment(name) => write!(f, "environment variable {name}"),
            Place::Flag => f.write_str("--override"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value isn't allowed.
    #[error("{place}: {key}={value} is not allowed: it must be {allowed}")]
    Value {
        /// The key.
        key: String,
        /// The value that was given.
        value: String,
        /// What is allowed, to follow "it must be".
        allowed: String,
        /// Where it was set.
        place: Place,
    },
    /// A file can't be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A line isn't in the syntax of properties files.
    #[error("{path}:{line}: \\u must be followed by the four hexadecimal digits of a character")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// A flag isn't `key=value`.
    #[error("--override {0}: it must be key=value, as in --override node.id=2")]
    Override(String),
}

/// A value that was set, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The text.
    pub text: String,
    /// Where it was set.
    pub place: Place,
}

/// All settings, by key: the given ones and the defaults.
#[derive(Debug, Clone, Default)]
pub struct Values {
    given: BTreeMap<String, Given>,
    parsed: BTreeMap<&'static str, Value>,
    without_effect: Vec<String>,
}

/// The texts from which a configuration is made; a later source goes before an earlier one.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if there is one: its path for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables; those without our prefix are passed over.
    pub environment: Vec<(String, String)>,
    /// `key=value` texts.
    pub overrides: Vec<String>,
}

impl Values {
    /// Merges the sources and checks each value against the type of its setting.
    ///
    /// # Errors
    /// When a text can't be parsed or a value isn't of its setting's type.
    pub fn collect(sources: &Sources) -> Result<Self, ConfigError> {
        let mut values = Self::default();
        if let Some((path, text)) = &sources.file {
            for entry in properties::parse(text)
                .map_err(|bad| ConfigError::Syntax { path: path.clone(), line: bad.line })?
            {
                let place = Place::File(path.clone(), entry.line);
                let value = with_variables(&entry.value, &sources.environment).map_err(|variable| {
                    let allowed = format!("made of variables that are set, which {variable} is not");
                    ConfigError::Value {
                        key: entry.key.clone(),
                        value: entry.value.clone(),
                        allowed,
                        place: place.clone(),
                    }
                })?;
                values.give(entry.key, value, place);
            }
        }
        for (name, value) in &sources.environment {
            if let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                values.give(key_of_variable(rest), value.clone(), Place::Environment(name.clone()));
            }
        }
        for flag in &sources.overrides {
            let (key, value) = flag.split_once('=').ok_or_else(|| ConfigError::Override(flag.clone()))?;
            values.give(key.trim().to_owned(), value.to_owned(), Place::Flag);
        }
        values.parse_all()?;
        Ok(values)
    }

    fn give(&mut self, key: String, text: String, place: Place) {
        let text = text.trim().to_owned();
        self.given.insert(key, Given { text, place });
    }

    fn parse_all(&mut self) -> Result<(), ConfigError> {
        for setting in SETTINGS {
            let given = self.given.get(setting.name).filter(|given| !given.text.is_empty());
            let text = given.map_or(setting.default, |given| &given.text);
            if text.is_empty() {
                continue;
            }
            let value = setting.kind.parse(text).ok_or_else(|| self.wrong(setting.name, setting.kind))?;
            self.parsed.insert(setting.name, value);
        }
        self.without_effect = self.given.keys().filter(|key| setting(key).is_none()).cloned().collect();
        Ok(())
    }

    /// The keys that were set and have no effect: Kafka's, then the unknown ones.
    pub fn without_effect(&self) -> (Vec<&str>, Vec<&str>) {
        self.without_effect.iter().map(String::as_str).partition(|key| ignored(key).is_some())
    }

    /// An error about the value of `key`, wherever it was set.
    pub fn wrong(&self, key: &str, allowed: impl fmt::Display) -> ConfigError {
        let given = self.given.get(key);
        ConfigError::Value {
            key: key.to_owned(),
            value: given.map_or_else(
                || setting(key).map_or("", |setting| setting.default).to_owned(),
                |given| given.text.clone(),
            ),
            allowed: allowed.to_string(),
            place: given.map_or(Place::Default, |given| given.place.clone()),
        }
    }

    /// Whether the key was set, to anything but nothing.
    pub fn is_given(&self, key: &str) -> bool {
        self.given.get(key).is_some_and(|given| !given.text.is_empty())
    }

    /// The text that the key was set to, if it was.
    pub fn given_text(&self, key: &str) -> Option<&str> {
        self.given.get(key).map(|given| given.text.as_str()).filter(|text| !text.is_empty())
    }

    /// Where the key was set.
    pub fn place(&self, key: &str) -> Place {
        self.given.get(key).map_or(Place::Default, |given| given.place.clone())
    }

    /// The text of the key's value, or its default; none if it is unset.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.given
            .get(key)
            .map(|given| given.text.as_str())
            .filter(|text| !text.is_empty())
            .or_else(|| setting(key).map(|setting| setting.default).filter(|default| !default.is_empty()))
    }

    /// The value of a number, if it is set.
    pub fn number(&self, key: &str) -> Option<i64> {
        match self.parsed.get(key) {
            Some(Value::Number(number)) => Some(*number),
            None => None,
            Some(other) => panic!("the setting {key} is no number: {other:?}"),
        }
    }

    /// The value of a number that has a default.
    pub fn number_set(&self, key: &str) -> i64 {
        self.number(key).expect("each setting read by number_set has a default")
    }

    /// The value of a number that has a default, in a type that has room for all that the table allows.
    pub fn number_of<T: TryFrom<i64>>(&self, key: &str) -> T {
        let number = self.number_set(key);
        T::try_from(number)
            .unwrap_or_else(|_| panic!("the table allows {number} for {key}, and its type doesn't"))
    }

    /// The value of a switch.
    pub fn switch(&self, key: &str) -> bool {
        assert!(matches!(self.parsed.get(key), Some(Value::Bool(_))), "the setting {key} is no switch");
        self.parsed.get(key) == Some(&Value::Bool(true))
    }

    /// The value of a text; empty if it is unset.
    pub fn text(&self, key: &str) -> &str {
        match self.parsed.get(key) {
            Some(Value::Text(text)) => text,
            None => "",
            Some(other) => panic!("the setting {key} is no text: {other:?}"),
        }
    }

    /// The items of a list; empty if it is unset.
    pub fn list(&self, key: &str) -> &[String] {
        match self.parsed.get(key) {
            Some(Value::List(items)) => items,
            None => &[],
            Some(other) => panic!("the setting {key} is no list: {other:?}"),
        }
    }
}

/// Puts the value of each `${env:NAME}` in its place, as Kafka's EnvVarConfigProvider does; that is how one
/// file can speak of the address of whichever machine it is read on.
///
/// # Errors
/// The name of a variable that isn't set.
fn with_variables(text: &str, environment: &[(String, String)]) -> Result<String, String> {
    const OPEN: &str = "${env:";
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, after)) = rest
        .split_once(OPEN)
        .and_then(|(before, tail)| tail.split_once('}').map(|(name, after)| (before, name, after)))
    {
        let value = environment.iter().find(|(known, value)| known == name && !value.is_empty());
        let (_, value) = value.ok_or_else(|| name.to_owned())?;
        whole.push_str(before);
        whole.push_str(value);
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole)
}

/// The key that an environment variable stands for, its prefix taken off.
fn key_of_variable(rest: &str) -> String {
    let key = rest.to_lowercase().replace('_', ".");
    let own = format!("ottla.{key}");
    if setting(&key).is_none() && setting(&own).is_some() { own } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: &str, environment: &[(&str, &str)], overrides: &[&str]) -> Sources {
        Sources {
            file: Some((PathBuf::from("s.properties"), file.to_owned())),
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            overrides: overrides.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    #[test]
    fn flags_go_before_the_environment_before_the_file() {
        let file = "node.id=1\nnum.partitions=2\nlog.dir=/a";
        let environment = [("OTTLA_NODE_ID", "3"), ("OTTLA_LOG_DIR", "/b"), ("HOME", "/x")];
        let values = Values::collect(&sources(file, &environment, &["node.id=4"])).unwrap();
        assert_eq!((values.number("node.id"), values.number("num.partitions")), (Some(4), Some(2)));
        assert_eq!(values.text("log.dir"), "/b");
        assert_eq!(values.place("log.dir").to_string(), "environment variable OTTLA_LOG_DIR");
    }

    #[test]
    fn a_file_may_speak_of_environment_variables() {
        let environment = [("HOST_IP", "10.0.0.7"), ("EMPTY", "")];
        let file = "advertised.listeners=A://${env:HOST_IP}:1,B://b:2\nbroker.rack=${other:x}";
        let values = Values::collect(&sources(file, &environment, &[])).unwrap();
        assert_eq!(values.list("advertised.listeners"), ["A://10.0.0.7:1", "B://b:2"]);
        assert_eq!(values.text("broker.rack"), "${other:x}");
        for name in ["EMPTY", "ABSENT"] {
            let error = Values::collect(&sources(&format!("log.dir=/${{env:{name}}}"), &environment, &[]));
            let message = error.unwrap_err().to_string();
            assert!(message.contains(&format!("variables that are set, which {name} is not")), "{message}");
        }
    }

    #[test]
    fn our_own_settings_have_short_variables() {
        let environment = [("OTTLA_HTTP_LISTENER", "none"), ("OTTLA_OTTLA_LOG_FORMAT", "json")];
        let values = Values::collect(&sources("", &environment, &[])).unwrap();
        assert_eq!((values.text("ottla.http.listener"), values.text("ottla.log.format")), ("none", "json"));
    }

    #[test]
    fn a_wrong_value_names_key_value_rule_and_place() {
        let error = Values::collect(&sources("\nnum.partitions=many", &[], &[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "s.properties:2: num.partitions=many is not allowed: it must be a whole number of at least 1"
        );
        let error = Values::collect(&sources("", &[], &["node.id"])).unwrap_err();
        assert_eq!(error.to_string(), "--override node.id: it must be key=value, as in --override node.id=2");
    }

    #[test]
    fn settings_without_effect_are_told_from_unknown_ones() {
        let values = Values::collect(&sources("num.io.threads=8\nno.such=1\nnode.id=1", &[], &[])).unwrap();
        assert_eq!(values.without_effect(), (vec!["num.io.threads"], vec!["no.such"]));
    }
}
