//! A disk whose syncs don't come back while a log is cut, repaired or let go: everybody else goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicName};
use parking_lot::{Condvar, Mutex};

use crate::test_support::{Act, TOPIC, batch, open_watched};
use crate::{AppendError, LogConfig, PartitionLog, Store, UpTo};

const PATIENCE: Duration = Duration::from_secs(120);

/// Lets so many syncs pass, then holds one up.
#[derive(Default)]
struct Brake {
    left: Mutex<Option<u32>>,
    held: Mutex<bool>,
    changed: Condvar,
}

impl Brake {
    fn sync(&self) {
        let holds = {
            let mut left = self.left.lock();
            let holds = *left == Some(0);
            *left = left.and_then(|left| left.checked_sub(1));
            holds
        };
        if holds {
            let mut held = self.held.lock();
            *held = true;
            self.changed.notify_all();
            self.changed.wait_while(&mut held, |held| *held);
        }
    }

    /// Waits until a sync is held, or `is_over`. Returns whether one is.
    fn wait(&self, is_over: &Mutex<bool>) -> bool {
        let mut held = self.held.lock();
        while !*held && !*is_over.lock() {
            self.changed.wait_for(&mut held, Duration::from_millis(5));
        }
        *held
    }

    fn release(&self) {
        *self.held.lock() = false;
        self.changed.notify_all();
    }
}

fn create(store: &Store, index: i32) -> Arc<PartitionLog> {
    let config = LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 100,
        retention_ms: Some(1),
        ..LogConfig::default()
    };
    let topic = TopicName::new("t").unwrap();
    store.create_partition(topic, TOPIC, PartitionIndex(index), config).unwrap()
}

/// What everybody else wants of a log and of the store meanwhile.
fn look(store: &Store, log: &PartitionLog, other: &Arc<PartitionLog>) {
    let found = store.partition(TOPIC, PartitionIndex(0)).expect("it is there");
    assert_eq!(found.topic_id(), log.topic_id());
    log.latest_epoch();
    log.end_offset_for_epoch(LeaderEpoch(3));
    log.size_bytes();
    log.damage();
    assert!(store.partitions().len() >= 2);
    let start = log.log_start_offset();
    if start < log.durable_end_offset() {
        // What is damaged isn't served, which is an answer too.
        let _ = log.read(start, 100, true, UpTo::Durable);
    }
    other.append(&batch(b"other"), LeaderEpoch(3), 1_000).unwrap();
    other.read(Offset(0), 100, true, UpTo::End).unwrap();
    match found.append(&batch(b"more"), LeaderEpoch(9), 1_000) {
        Ok(_) | Err(AppendError::Busy) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Holds up each sync of `act` in turn, until there is none more, and looks around meanwhile. Returns how
/// many there were.
fn nobody_waits(prepare: impl Fn(&Path), act: impl Fn(&Store, &PartitionLog) + Send + Sync + Copy) -> u32 {
    for sync in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let brake = Arc::new(Brake::default());
        let open = || {
            let brake = Arc::clone(&brake);
            let watch = move |_: &Path, act: Act| {
                if matches!(act, Act::Sync | Act::SyncDir) {
                    brake.sync();
                }
                Ok(())
            };
            open_watched(dir.path(), watch)
        };
        let store = open();
        let (log, other) = (create(&store, 0), create(&store, 1));
        for _ in 0..12 {
            log.append(&batch(&[7; 100]), LeaderEpoch(3), 1_000).unwrap();
        }
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        drop((store, log, other));
        prepare(dir.path());
        let store = open();
        let (log, other) = (create(&store, 0), create(&store, 1));
        store.commit_now().unwrap();
        *brake.left.lock() = Some(sync);
        let is_over = Mutex::new(false);
        let was_held = std::thread::scope(|scope| {
            scope.spawn(|| {
                let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&store, &log)));
                *is_over.lock() = true;
                if let Err(panic) = acted {
                    std::panic::resume_unwind(panic);
                }
            });
            let held = brake.wait(&is_over);
            *brake.left.lock() = None;
            let (tell, told) = mpsc::channel();
            let (store, log, other) = (&store, &log, &other);
            if held {
                scope.spawn(move || {
                    look(store, log, other);
                    tell.send(()).unwrap_or_default();
                });
            }
            let answered = !held || told.recv_timeout(PATIENCE).is_ok();
            brake.release();
            assert!(answered, "someone waits for sync {sync}");
            held
        });
        if !was_held {
            return sync;
        }
    }
    unreachable!("a number is found")
}

#[test]
fn nobody_waits_while_a_log_is_cut() {
    let syncs = nobody_waits(|_| {}, |_, log| log.truncate_to(Offset(5)).unwrap());
    assert!(syncs >= 5, "{syncs}: the fence, the recovery point, the segment, the epochs, the folder");
    let syncs = nobody_waits(|_| {}, |_, log| log.reset_to(Offset(50)).unwrap());
    assert!(syncs >= 5, "{syncs}");
}

#[test]
fn nobody_waits_while_a_logs_oldest_records_go() {
    let retain = |_: &Store, log: &PartitionLog| {
        log.advance_log_start(Offset(6));
    };
    assert!(nobody_waits(|_| {}, retain) >= 1);
}

#[test]
fn nobody_waits_while_a_log_is_repaired() {
    let lost = std::sync::OnceLock::new();
    let damage = |dir: &Path| {
        let path = dir.join("t-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let batch_bytes = 12 + u32::from_be_bytes(*bytes[8..].first_chunk().unwrap()) as usize;
        lost.get_or_init(|| bytes::Bytes::copy_from_slice(&bytes[batch_bytes..2 * batch_bytes]));
        bytes[2 * batch_bytes - 1] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    let repair = |store: &Store, log: &PartitionLog| {
        while !store.scrub_step(1 << 20).finished {}
        assert_eq!(log.damage(), [Offset(1)..Offset(2)]);
        log.repair(lost.get().expect("it was damaged")).unwrap();
        assert_eq!(log.damage(), []);
    };
    assert!(nobody_waits(damage, repair) >= 2);
}

#[test]
fn nobody_waits_while_a_partition_is_made_or_removed() {
    let make = |store: &Store, _: &PartitionLog| {
        create(store, 2);
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        // Its name comes again, so that what is known of it has to be forgotten.
        store.put_aside(TOPIC, PartitionIndex(2)).unwrap();
        create(store, 2);
        store.delete_partition(TOPIC, PartitionIndex(2)).unwrap();
    };
    assert!(nobody_waits(|_| {}, make) >= 1);
}
