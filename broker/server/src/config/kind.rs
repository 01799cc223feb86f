//! The types that settings have, and how a text becomes a value of one.

use std::fmt;

/// What a setting may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A 32-bit number from `.0` to `.1`.
    Int(i64, i64),
    /// A 16-bit number from `.0` to `.1`.
    Short(i64, i64),
    /// A 64-bit number from `.0` to `.1`.
    Long(i64, i64),
    /// Any text.
    Text,
    /// Texts, separated by commas.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The value of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`], [`Kind::Short`] and [`Kind::Long`].
    Number(i64),
    /// Of [`Kind::Text`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::List`]; without empty items.
    List(Vec<String>),
}

impl Kind {
    /// Reads `text`, or returns nothing if it isn't allowed; [`Kind`]'s text says what is.
    pub fn parse(self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self {
            Kind::Bool if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
            Kind::Bool => None,
            Kind::Int(min, max) | Kind::Short(min, max) | Kind::Long(min, max) => {
                text.parse().ok().filter(|n| (min..=max).contains(n)).map(Value::Number)
            }
            Kind::Text => Some(Value::Text(text.to_owned())),
            Kind::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Kind::List => Some(Value::List(split_list(text))),
        }
    }

    /// Kafka's name of the type, as its reference pages write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "boolean",
            Kind::Int(..) => "int",
            Kind::Short(..) => "short",
            Kind::Long(..) => "long",
            Kind::Text | Kind::Choice(_) => "string",
            Kind::List => "list",
        }
    }
}

impl fmt::Display for Kind {
    /// What is allowed, for an error message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Int(min, max) => number_range(f, min, max, i64::from(i32::MAX)),
            Kind::Short(min, max) => number_range(f, min, max, i64::from(i16::MAX)),
            Kind::Long(min, max) => number_range(f, min, max, i64::MAX),
            Kind::Text => f.write_str("a text"),
            Kind::List => f.write_str("texts separated by commas"),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

fn number_range(f: &mut fmt::Formatter<'_>, min: i64, max: i64, unlimited: i64) -> fmt::Result {
    if max == unlimited {
        write!(f, "a whole number of at least {min}")
    } else {
        write!(f, "a whole number from {min} to {max}")
    }
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_values() {
        assert_eq!(Kind::Bool.parse(" TRUE"), Some(Value::Bool(true)));
        assert_eq!(Kind::Bool.parse("yes"), None);
        assert_eq!(Kind::Int(-1, 10).parse("-1"), Some(Value::Number(-1)));
        assert_eq!(Kind::Int(-1, 10).parse("11"), None);
        assert_eq!(Kind::Long(0, i64::MAX).parse("1.5"), None);
        assert_eq!(Kind::List.parse("a, b,,"), Some(Value::List(vec!["a".into(), "b".into()])));
        assert_eq!(Kind::Choice(&["x"]).parse("y"), None);
    }

    #[test]
    fn what_is_allowed_is_said_in_words() {
        assert_eq!(Kind::Int(1, i64::from(i32::MAX)).to_string(), "a whole number of at least 1");
        assert_eq!(Kind::Int(1, 9).to_string(), "a whole number from 1 to 9");
        assert_eq!(Kind::Choice(&["a", "b"]).to_string(), "one of a, b");
    }
}
