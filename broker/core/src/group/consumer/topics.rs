//! The topics that there are, as far as consumer groups look at them.

use std::collections::{BTreeMap, BTreeSet};

use ottla_types::{TopicId, TopicName};

use super::assign::TopicSpec;

/// Topics at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// Another one for each moment in which something is different.
    pub version: u64,
    /// The ids of their names.
    pub ids: BTreeMap<TopicName, TopicId>,
    /// What they are like.
    pub specs: BTreeMap<TopicId, TopicSpec>,
}

impl Topics {
    /// The ids of those names that there are.
    pub(super) fn ids_of(&self, names: &BTreeSet<TopicName>) -> BTreeSet<TopicId> {
        names.iter().filter_map(|name| self.ids.get(name)).copied().collect()
    }

    /// A hash of topics, as they are: ids, partitions, racks. It tells whether members have to be assigned anew,
    /// and is the same on all brokers. Never 0, which is none. FNV-1a, of 64 bits.
    pub(super) fn hash_of<'a>(&self, names: impl Iterator<Item = &'a TopicName>) -> i64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            // A length first, so that what follows isn't taken for the end of what was before.
            let length = bytes.len().to_be_bytes();
            for byte in length.iter().chain(bytes) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        let sorted: BTreeSet<&TopicName> = names.collect();
        let present = sorted.into_iter().filter_map(|name| self.ids.get(name));
        for (id, topic) in present.filter_map(|id| Some((id, self.specs.get(id)?))) {
            add(&id.0);
            add(&topic.partition_count.to_be_bytes());
            for racks in &topic.racks {
                add(&racks.len().to_be_bytes());
                racks.iter().for_each(|rack| add(rack.as_bytes()));
            }
        }
        i64::from_be_bytes(hash.to_be_bytes()) | 1
    }
}
