//! The topic that keeps groups and offsets: its settings, its creation, and which partition has which group.

use ottla_core::metadata::{NewTopic, OFFSETS_TOPIC};
use ottla_quorum::Tasks;
use ottla_types::{PartitionIndex, TopicId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::OffsetsTopic;

/// The partition that keeps a group, of a topic with `partitions`: by the hash that Java has for texts, as in
/// Kafka, whose tools compute it as well.
///
/// # Panics
/// When `partitions` is less than 1: no topic has fewer.
pub fn partition_of(group: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions >= 1, "a topic has a partition, not {partitions}");
    // The least number has no absolute value; Kafka takes 0.
    let hash = java_hash(group).checked_abs().unwrap_or(0);
    PartitionIndex(hash % partitions)
}

/// `String.hashCode` of Java: over UTF-16, of which a character may take two units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The topic as it is created on first use, with the settings that Kafka gives it.
pub fn new_offsets_topic(settings: &OffsetsTopic, id: TopicId) -> NewTopic {
    let segment_bytes = settings.segment_bytes.to_string();
    let config =
        [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", &segment_bytes)];
    NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        id,
        partitions: settings.partitions,
        // Unset: the cluster's rule, as a fixed 3 would leave one of fewer brokers without groups.
        replication_factor: settings.replication_factor.unwrap_or(-1),
        assignments: Vec::new(),
        config: config.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).to_vec(),
    }
}

/// Sees to it that a broker creates a topic once at a time, whoever asks for it.
#[derive(Debug)]
pub struct Creation {
    tasks: Tasks,
    /// The end of the one that was begun last: its sender is gone then.
    last: Mutex<Option<watch::Receiver<()>>>,
}

impl Creation {
    /// Nothing is under way.
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, last: Mutex::default() }
    }

    /// Waits for the end of what is under way; if nothing is, of `work`, which is begun as a task: it goes on
    /// if who asked doesn't wait any more. Whether it succeeded isn't told.
    pub async fn once<F>(&self, work: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut end = {
            let mut last = self.last.lock();
            match last.as_ref().filter(|end| end.has_changed().is_ok()) {
                Some(under_way) => under_way.clone(),
                None => last.insert(self.begin(work())).clone(),
            }
        };
        end.changed().await.expect_err("nothing is sent but the end");
    }

    fn begin(&self, work: impl Future<Output = ()> + Send + 'static) -> watch::Receiver<()> {
        let (sender, end) = watch::channel(());
        self.tasks.spawn("create an internal topic", async move {
            let _sender = sender;
            work.await;
        });
        end
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    /// As Java 17 and Apache Kafka 4.3.1's `Utils.abs` say: text, hash, its partition of 50 and of 7.
    const HASHES: &[(&str, i32, i32, i32)] = &[
        ("", 0, 0, 0),
        ("g", 103, 3, 5),
        ("group", 98_629_247, 47, 3),
        ("console-consumer-12345", 158_455_506, 6, 6),
        ("my-group", -1_906_497_762, 12, 1),
        ("my_group.v2", -5_667_458, 8, 6),
        ("\u{dc}n\u{ef}code", 1_055_301_514, 14, 1),
        ("\u{65e5}\u{672c}\u{8a9e}", 25_921_943, 43, 5),
        // One character, two units of UTF-16.
        ("\u{1f600}", 1_772_899, 49, 2),
        ("a\u{1f600}b", 57_849_694, 44, 0),
        ("connect-cluster", 1_440_343_063, 13, 5),
        ("\0", 0, 0, 0),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1_406_567_168, 18, 6),
        ("polygenelubricants", i32::MIN, 0, 0),
        ("DESIGNING WORKHOUSES", i32::MIN, 0, 0),
    ];

    #[test]
    fn a_group_is_in_the_partition_that_kafka_has_it_in() {
        for (group, hash, of_50, of_7) in HASHES {
            assert_eq!(java_hash(group), *hash, "{group:?}");
            assert_eq!(partition_of(group, 50), PartitionIndex(*of_50), "{group:?}");
            assert_eq!(partition_of(group, 7), PartitionIndex(*of_7), "{group:?}");
            assert_eq!(partition_of(group, 1), PartitionIndex(0), "{group:?}");
        }
    }

    #[test]
    fn the_topic_has_kafkas_settings() {
        let settings = OffsetsTopic { partitions: 50, replication_factor: None, segment_bytes: 104_857_600 };
        let topic = new_offsets_topic(&settings, TopicId([1; 16]));
        let config: Vec<String> = topic
            .config
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap()))
            .collect();
        assert_eq!(
            config,
            ["cleanup.policy=compact", "compression.type=producer", "segment.bytes=104857600"]
        );
        assert_eq!((topic.name.as_str(), topic.partitions), ("__consumer_offsets", 50));
        assert_eq!(topic.replication_factor, -1, "as many as the cluster gives any topic");
        let set = OffsetsTopic { replication_factor: Some(2), ..settings };
        assert_eq!(new_offsets_topic(&set, TopicId([1; 16])).replication_factor, 2);
    }

    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

    #[tokio::test]
    async fn who_asks_while_it_is_under_way_waits_for_its_end() {
        let creation = Arc::new(Creation::new(Tasks::default()));
        let (begun, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (creation, begun, go_on) = (Arc::clone(&creation), Arc::clone(&begun), Arc::clone(&go_on));
            tokio::spawn(async move {
                let work = || async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    go_on.notified().await;
                };
                creation.once(work).await;
            })
        };
        let asked: Vec<_> = (0..5).map(|_| ask()).collect();
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let another = ask();
        assert!(asked.iter().all(|one| !one.is_finished()));
        // Who asked and went away doesn't end it.
        asked[0].abort();
        go_on.notify_one();
        for one in asked.into_iter().skip(1).chain([another]) {
            timeout(PATIENCE, one).await.expect("one is enough for all").unwrap();
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        go_on.notify_one();
        timeout(PATIENCE, ask()).await.expect("it is begun").unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2, "the next begins anew");
    }
}
