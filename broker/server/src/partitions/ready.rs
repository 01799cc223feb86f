//! Partitions in which something happened, each once, for the one who looks after them.
//!
//! This is why an idle partition costs nothing: nobody goes through all of them.

use std::collections::{HashSet, VecDeque};

use ottla_types::{PartitionIndex, TopicId};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A partition, by its topic's id.
pub type PartitionKey = (TopicId, PartitionIndex);

/// A queue that holds each partition once at most.
#[derive(Debug, Default)]
pub struct ReadyList {
    inner: Mutex<Inner>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<PartitionKey>,
    queued: HashSet<PartitionKey>,
}

impl ReadyList {
    /// Puts a partition in line, unless it is there.
    pub fn push(&self, key: PartitionKey) {
        {
            let mut inner = self.inner.lock();
            if inner.queued.insert(key) {
                inner.queue.push_back(key);
            }
        }
        self.notify.notify_one();
    }

    /// Takes the next one.
    pub fn pop(&self) -> Option<PartitionKey> {
        let mut inner = self.inner.lock();
        let key = inner.queue.pop_front()?;
        inner.queued.remove(&key);
        Some(key)
    }

    /// How many are in line.
    pub fn len(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until one was put in line, or [`Self::wake`] was called, since the last wait.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Wakes whoever waits, or waits next.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_partition_is_in_line_once() {
        let list = ReadyList::default();
        let key = |index| (TopicId::ZERO, PartitionIndex(index));
        for index in [1, 2, 1] {
            list.push(key(index));
        }
        list.changed().await;
        assert_eq!((list.len(), list.pop(), list.pop(), list.pop()), (2, Some(key(1)), Some(key(2)), None));
        list.push(key(1));
        assert!(!list.is_empty());
        list.changed().await;
    }
}
