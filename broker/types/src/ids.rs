//! Names and 128-bit ids, in the forms that Kafka writes them.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError {
    /// What was expected, as in "a topic name".
    pub expected: &'static str,
    /// The text that was given.
    pub given: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}: {}", self.given, self.expected, self.rule)
    }
}

impl std::error::Error for IdError {}

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The id of all zeroes, which stands for "none".
            pub const ZERO: Self = Self([0; 16]);

            /// Whether this is the id that stands for "none".
            pub fn is_zero(&self) -> bool {
                *self == Self::ZERO
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError { expected: $what, given: text.to_owned(), rule: "22 characters of base64url" };
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
                Ok(Self(bytes.try_into().map_err(|_| wrong())?))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid! {
    /// A topic's id: assigned once, by the metadata log, and never changed or used again.
    TopicId, "a topic id"
}
uuid! {
    /// The durable identity of one data folder; a wiped disk gets another.
    DirectoryId, "a directory id"
}
uuid! {
    /// The identity of a cluster.
    ClusterId, "a cluster id"
}
uuid! {
    /// The identity of a metadata quorum: another one each time that a quorum is formed or rebuilt.
    QuorumId, "a quorum id"
}

/// A valid topic name: 1 to 249 of `a-z A-Z 0-9 . _ -`, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(std::sync::Arc<str>);

impl TopicName {
    /// The greatest length of a topic name, in bytes.
    pub const LENGTH_MAX: usize = 249;

    /// Checks `name` against Kafka's rules for topic names.
    ///
    /// # Errors
    /// When it is empty, too long, `.`, `..`, or holds another character.
    pub fn new(name: &str) -> Result<Self, IdError> {
        let wrong = |rule| Err(IdError { expected: "a topic name", given: name.to_owned(), rule });
        if name.is_empty() {
            return wrong("it is empty");
        }
        if name == "." || name == ".." {
            return wrong("'.' and '..' are folders");
        }
        if name.len() > Self::LENGTH_MAX {
            return wrong("it is longer than 249 characters");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return wrong("only ASCII letters and digits, '.', '_' and '-' are allowed");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl TryFrom<String> for TopicName {
    type Error = IdError;

    fn try_from(name: String) -> Result<Self, IdError> {
        Self::new(&name)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        let id = TopicId([0xff; 16]);
        assert_eq!(id.to_string(), "_____________________w");
        assert_eq!("_____________________w".parse(), Ok(id));
        assert!("short".parse::<TopicId>().is_err());
        assert!(TopicId::ZERO.is_zero() && !id.is_zero());
    }

    #[test]
    fn topic_names_follow_kafkas_rules() {
        for good in ["a", "orders_v1", "A.b-c", &"x".repeat(249)] {
            assert_eq!(TopicName::new(good).map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "a b", "a/b", "é", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
    }
}
