//! What an answer takes that isn't bounded by its request.

use ottla_core::metadata::{MetadataImage, TopicImage};

use super::call::{Call, CallError};

/// What an answer takes until it is sent, besides what its request accounts for.
#[derive(Debug, Clone, Copy)]
pub enum AnswerCost {
    /// Nothing.
    Nothing,
    /// So many bytes for each topic and each partition that it tells of, besides the topics' names.
    Topics {
        /// How many these are. An error if the request can't be decoded.
        count: fn(&Call) -> Result<Count, CallError>,
        /// For each topic, in bytes.
        topic_bytes: usize,
        /// For each partition, in bytes.
        partition_bytes: usize,
    },
    /// So many bytes. An error if the request can't be decoded.
    Bytes(fn(&Call) -> Result<usize, CallError>),
}

/// What an answer tells of, besides what its request accounts for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Topics.
    pub topics: usize,
    /// Partitions of all of them.
    pub partitions: usize,
    /// The length of the topics' names, in bytes.
    pub name_bytes: usize,
}

impl Count {
    /// All that there are.
    pub fn all(image: &MetadataImage) -> Self {
        let mut count = Self::default();
        image.topics.values().for_each(|topic| count.add(topic, topic.partitions.len()));
        count
    }

    /// Counts a topic of which so many partitions are told.
    pub fn add(&mut self, topic: &TopicImage, partitions: usize) {
        self.topics += 1;
        self.partitions += partitions;
        self.name_bytes += topic.name.as_str().len();
    }

    /// All that there are if these are asked for, and else none besides those that the request names.
    pub fn all_if(is_about_all: bool, call: &Call) -> Self {
        if is_about_all { Self::all(&call.broker.image()) } else { Self::default() }
    }
}

/// A buffer that grows is for a moment as long as it was besides twice as long.
const GROWTH: usize = 3;

impl AnswerCost {
    /// What the answer to this request takes, in bytes.
    ///
    /// # Errors
    /// When the request can't be decoded.
    pub fn of(self, call: &Call) -> Result<usize, CallError> {
        match self {
            Self::Nothing => Ok(0),
            Self::Topics { count, topic_bytes, partition_bytes } => {
                let Count { topics, partitions, name_bytes } = count(call)?;
                Ok(topics * topic_bytes + partitions * partition_bytes + GROWTH * name_bytes)
            }
            Self::Bytes(bytes) => bytes(call),
        }
    }
}
