//! What an image keeps beside its facts, so that a question about few topics is answered without looking at
//! the others: what each broker holds, and which names are one in metrics.

use std::collections::BTreeSet;

use imbl::OrdMap;
use ottla_types::{BrokerId, TopicName};

/// What a broker holds, once the moves that are under way are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerLoad {
    /// Its replicas.
    pub replicas: usize,
    /// The partitions that prefer it as their leader.
    pub leaders: usize,
}

/// Follows from the topics of an image; clones share everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// Of brokers that hold something.
    loads: OrdMap<BrokerId, BrokerLoad>,
    /// The topics' names by the name that metrics have for them; without those for which it is the same.
    metric_names: OrdMap<String, BTreeSet<TopicName>>,
}

impl Index {
    /// What a broker holds.
    pub fn load(&self, id: BrokerId) -> BrokerLoad {
        self.loads.get(&id).copied().unwrap_or_default()
    }

    /// A topic whose name differs from `name` only in '.' and '_', which metrics don't tell apart.
    pub fn colliding(&self, name: &str) -> Option<&TopicName> {
        let others = self.metric_names.get(&metric_name(name)?)?;
        others.iter().find(|other| other.as_str() != name)
    }

    pub(super) fn add_topic(&mut self, name: &TopicName) {
        if let Some(metric_name) = metric_name(name.as_str()) {
            let is_new = self.metric_names.entry(metric_name).or_default().insert(name.clone());
            assert!(is_new, "topic {name} is added once");
        }
    }

    pub(super) fn remove_topic(&mut self, name: &TopicName) {
        let Some(metric_name) = metric_name(name.as_str()) else { return };
        if let Some(names) = self.metric_names.get_mut(&metric_name) {
            names.remove(name);
            if names.is_empty() {
                self.metric_names.remove(&metric_name);
            }
        }
    }

    /// A partition is to have these replicas, the preferred leader first.
    pub(super) fn add_partition(&mut self, target: &[BrokerId]) {
        for (position, id) in target.iter().enumerate() {
            let load = self.loads.entry(*id).or_default();
            load.replicas += 1;
            load.leaders += usize::from(position == 0);
        }
    }

    /// A partition isn't to have these replicas any more.
    pub(super) fn remove_partition(&mut self, target: &[BrokerId]) {
        for (position, id) in target.iter().enumerate() {
            let load = self
                .loads
                .get_mut(id)
                .expect("a partition is added before it is removed, so its brokers hold it");
            assert!(load.replicas > 0 && load.leaders <= load.replicas, "broker {id} has {load:?}");
            load.replicas -= 1;
            load.leaders -= usize::from(position == 0);
            if *load == BrokerLoad::default() {
                self.loads.remove(id);
            }
        }
    }
}

/// A name as metrics have it; none if it has neither a '.' nor a '_', so that no other name becomes the same.
fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn names_collide_that_differ_in_dots_and_underscores_only() {
        let mut index = Index::default();
        for topic in ["a.b_c", "plain", "x_y"] {
            index.add_topic(&name(topic));
        }
        let colliding = |index: &Index, text: &str| index.colliding(text).map(ToString::to_string);
        assert_eq!(colliding(&index, "a_b.c").as_deref(), Some("a.b_c"));
        assert_eq!(colliding(&index, "a_b_c").as_deref(), Some("a.b_c"));
        for other in ["a.b_c", "a-b_c", "plain", "x.y.z", "xy"] {
            assert_eq!(colliding(&index, other), None, "{other}");
        }
        index.remove_topic(&name("a.b_c"));
        assert_eq!(colliding(&index, "a_b_c"), None);
        index.remove_topic(&name("x_y"));
        index.remove_topic(&name("plain"));
        assert_eq!(index, Index::default());
    }

    #[test]
    fn loads_come_and_go_with_partitions() {
        let mut index = Index::default();
        let [a, b] = [1, 2].map(BrokerId);
        index.add_partition(&[a, b]);
        index.add_partition(&[a]);
        assert_eq!(index.load(a), BrokerLoad { replicas: 2, leaders: 2 });
        assert_eq!(index.load(b), BrokerLoad { replicas: 1, leaders: 0 });
        index.remove_partition(&[a, b]);
        assert_eq!(index.load(b), BrokerLoad::default());
        index.remove_partition(&[a]);
        assert_eq!(index, Index::default());
    }
}
