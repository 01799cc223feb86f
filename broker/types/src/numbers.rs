//! Numbers that must not be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::TopicName;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number! {
    /// A broker's `node.id`. Never negative.
    BrokerId(i32)
}
number! {
    /// Issued by the controller at each registration of a broker; greater than all before it.
    BrokerEpoch(i64)
}
number! {
    /// The position of a record in a partition, counted from zero.
    Offset(i64)
}
number! {
    /// Counts the leaders of a partition; −1 means unknown.
    LeaderEpoch(i32)
}
number! {
    /// Counts the changes of a partition's state in the metadata.
    PartitionEpoch(i32)
}
number! {
    /// A partition's number within its topic, from zero.
    PartitionIndex(i32)
}
number! {
    /// An idempotent producer's id; −1 means none.
    ProducerId(i64)
}
number! {
    /// The incarnation of a producer id; −1 means none.
    ProducerEpoch(i16)
}
number! {
    /// The offset in the metadata log up to which an image holds everything.
    MetadataVersion(u64)
}

/// One partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition's number within the topic.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
