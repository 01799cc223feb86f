//! The value of a setting under Kafka's name, as people write it in YAML.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

/// The value of a setting: text, or a number of any size.
///
/// Admission takes integers and text. What is read here is more, so that a definition of another version,
/// which takes truth values or fractions, doesn't keep anybody from reading the resource.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    /// Text, as it is.
    Text(String),
    /// A number.
    Number(Number),
    /// A truth value.
    Flag(bool),
}

impl fmt::Display for SettingValue {
    /// The value as `server.properties` has it: numbers in decimal, without an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => number.fmt(f),
                (_, Some(number), _) => number.fmt(f),
                (_, _, Some(number)) => number.fmt(f),
                _ => number.fmt(f),
            },
        }
    }
}

impl From<i64> for SettingValue {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for SettingValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for SettingValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => number.serialize(serializer),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

impl<'de> Deserialize<'de> for SettingValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar)
    }
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = SettingValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a number")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<SettingValue, E> {
        Ok(SettingValue::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<SettingValue, E> {
        Ok(SettingValue::Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<SettingValue, E> {
        Ok(SettingValue::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<SettingValue, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("a setting must be finite"))?;
        Ok(SettingValue::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SettingValue, E> {
        Ok(SettingValue::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size_and_type_are_read_and_written_as_they_were() {
        for (written, text) in [
            ("2592000000", "2592000000"),
            ("-1", "-1"),
            ("9223372036854775807", "9223372036854775807"),
            ("18446744073709551615", "18446744073709551615"),
            ("1e20", "100000000000000000000"),
            ("0.5", "0.5"),
            ("true", "true"),
            ("\"604800000\"", "604800000"),
            ("\"\"", ""),
        ] {
            let value: SettingValue = serde_json::from_str(written).expect(written);
            assert_eq!(value.to_string(), text, "{written}");
            let again: SettingValue =
                serde_json::from_str(&serde_json::to_string(&value).expect("it is JSON"))
                    .expect("it is read again");
            assert_eq!(again, value);
        }
        assert!(serde_json::from_str::<SettingValue>("[1]").is_err());
    }
}
