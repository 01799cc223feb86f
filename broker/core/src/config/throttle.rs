//! Which replicas a topic's `leader.` or `follower.replication.throttled.replicas` names.

use std::collections::BTreeSet;

use ottla_types::{BrokerId, PartitionIndex};

use super::validate::{list, pair};

/// The replicas whose replication is held to a broker's rate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// None of them.
    #[default]
    None,
    /// All of the topic.
    All,
    /// These.
    Some(BTreeSet<(PartitionIndex, BrokerId)>),
}

impl ThrottledReplicas {
    /// Reads a topic's list, which was checked when it was set: what isn't a pair names nobody.
    pub fn parse(value: &str) -> Self {
        if list(value).any(|item| item == "*") {
            return Self::All;
        }
        let pairs: BTreeSet<_> = list(value).filter_map(pair).collect();
        if pairs.is_empty() { Self::None } else { Self::Some(pairs) }
    }

    /// Whether the replica of partition `index` on `broker` is one of them.
    pub fn contains(&self, index: PartitionIndex, broker: BrokerId) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(pairs) => pairs.contains(&(index, broker)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_pairs_or_all() {
        let names = |value: &str, index, broker| {
            ThrottledReplicas::parse(value).contains(PartitionIndex(index), BrokerId(broker))
        };
        assert!(names("*", 7, 7) && names("0:1, *", 7, 7) && names("0:1, 2:3", 2, 3) && names("0:1", 0, 1));
        assert!(!names("", 0, 1) && !names("0:1,2:3", 0, 3) && !names("0:1", 1, 0));
        assert_eq!(ThrottledReplicas::parse("0:-1,x:1"), ThrottledReplicas::None);
    }
}
