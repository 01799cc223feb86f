//! Topics in which the brokers keep their own state: which they are, and how they are protected.
//!
//! Not here: their settings, and when they are created.

/// The topic in which group coordinators keep groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The topics that are the brokers' own: of groups and offsets, of transactions, of share groups. Kafka's
/// names; others that begin with two underscores are like any topic.
pub const INTERNAL_TOPICS: [&str; 3] = [OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];

/// Whether a topic of this name, if there is one, is the brokers' own: clients are told so, and write nothing
/// to it.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// The internal topic whose name differs from `name` only in '.' and '_', which metrics don't tell apart.
pub(super) fn colliding_internal(name: &str) -> Option<&'static str> {
    let is_alike = |internal: &str| {
        let alike = |(a, b): (u8, u8)| a == b || matches!((a, b), (b'.', b'_'));
        name.len() == internal.len() && name.bytes().zip(internal.bytes()).all(alike)
    };
    INTERNAL_TOPICS.into_iter().find(|internal| *internal != name && is_alike(internal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_names_are_internal_and_no_others() {
        for name in ["__consumer_offsets", "__transaction_state", "__share_group_state"] {
            assert!(is_internal(name), "{name}");
        }
        for name in ["", "__cluster_metadata", "__own", "consumer_offsets", "__consumer.offsets"] {
            assert!(!is_internal(name), "{name}");
        }
    }

    #[test]
    fn names_collide_that_differ_from_an_internal_one_in_dots() {
        assert_eq!(colliding_internal("__consumer.offsets"), Some(OFFSETS_TOPIC));
        assert_eq!(colliding_internal("..transaction.state"), Some("__transaction_state"));
        for name in ["__consumer_offsets", "__consumer-offsets", "__consumer.offsets.", "a.b", ""] {
            assert_eq!(colliding_internal(name), None, "{name}");
        }
    }
}
