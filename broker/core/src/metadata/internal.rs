//! Topics that brokers keep for themselves.

/// Where group coordinators keep groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The topics in which coordinators keep their state: those of groups, of transactions and of share groups.
pub const INTERNAL_TOPICS: [&str; 3] = [OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];

/// Whether a topic of this name is internal.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kafkas_own_names_are_internal() {
        assert!(is_internal("__consumer_offsets") && is_internal("__share_group_state"));
        assert!(!is_internal("__mine") && !is_internal("__consumer_offset") && !is_internal(""));
    }
}
