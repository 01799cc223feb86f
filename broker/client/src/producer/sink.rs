//! Where the records of one partition are gathered until its task takes them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ottla_log::BatchBuilder;
use ottla_types::{LeaderEpoch, Offset};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Delivery, delivery::Outcome};

/// A record to be sent.
pub(super) struct NewRecord<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl NewRecord<'_> {
    /// The bytes of key, value and headers.
    pub(super) fn bytes(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        // Two lengths for each header, of five bytes at most.
        let headers = self.headers.iter().map(|(key, value)| 10 + key.len() + length(*value));
        length(self.key) + length(self.value) + headers.sum::<usize>()
    }
}

/// Records gathered for one batch.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) builder: BatchBuilder,
    pub(super) outcome: Arc<Outcome>,
    pub(super) since: Instant,
    /// The room that it takes in the producer's buffer.
    pub(super) room_bytes: usize,
}

#[derive(Debug, Default)]
struct Gathering {
    open: Option<Gathered>,
    full: VecDeque<Gathered>,
    /// Batches that have no outcome yet.
    unfinished: usize,
    is_closed: bool,
}

/// One partition's records.
#[derive(Debug)]
pub(super) struct Sink {
    partition: i32,
    gathering: Mutex<Gathering>,
    wake: Notify,
    idle: Notify,
}

impl Sink {
    pub(super) fn new(partition: i32) -> Self {
        Self { partition, gathering: Mutex::default(), wake: Notify::new(), idle: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record, whose room of `bytes` has been taken. Says whether its batch is full now.
    pub(super) fn push(&self, record: &NewRecord<'_>, bytes: usize, batch_bytes: usize) -> (Delivery, bool) {
        let mut gathering = self.lock();
        let is_too_much =
            gathering.open.as_ref().is_some_and(|open| open.builder.bytes() + bytes > batch_bytes);
        let mut is_news = is_too_much;
        if is_too_much {
            let full = gathering.open.take();
            gathering.full.extend(full);
        }
        if gathering.open.is_none() {
            gathering.unfinished += 1;
            is_news = true;
        }
        let open = gathering.open.get_or_insert_with(|| Gathered {
            builder: BatchBuilder::new(Offset(0), LeaderEpoch(-1)),
            outcome: Arc::default(),
            since: Instant::now(),
            room_bytes: 0,
        });
        let index = open.builder.count();
        open.builder.push(record.timestamp_ms, record.key, record.value, record.headers);
        open.room_bytes += bytes;
        let is_full = open.builder.bytes() >= batch_bytes;
        let delivery = Delivery { outcome: open.outcome.clone(), partition: self.partition, index };
        if is_full {
            let full = gathering.open.take();
            gathering.full.extend(full);
        }
        drop(gathering);
        if is_news || is_full {
            self.wake.notify_one();
        }
        (delivery, is_too_much || is_full)
    }

    /// The next batch to send: a full one, or the open one once `linger` is over; none when the sink is
    /// closed and empty. Losing the race against another future loses no batch.
    pub(super) async fn next(&self, linger: Duration) -> Option<Gathered> {
        loop {
            let deadline = {
                let mut gathering = self.lock();
                if let Some(full) = gathering.full.pop_front() {
                    return Some(full);
                }
                let is_closed = gathering.is_closed;
                let due = gathering.open.as_ref().map(|open| open.since + linger);
                match due {
                    Some(due) if is_closed || due <= Instant::now() => return gathering.open.take(),
                    None if is_closed => return None,
                    due => due,
                }
            };
            match deadline {
                Some(due) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// Notes that `count` batches have their outcome.
    pub(super) fn finished(&self, count: usize) {
        let mut gathering = self.lock();
        assert!(gathering.unfinished >= count, "a batch finishes once");
        gathering.unfinished -= count;
        if gathering.unfinished == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Ends the open batch, however long it has waited.
    pub(super) fn close_batch(&self) {
        let mut gathering = self.lock();
        let open = gathering.open.take();
        gathering.full.extend(open);
        drop(gathering);
        self.wake.notify_one();
    }

    /// Waits until every batch has its outcome.
    pub(super) async fn wait_idle(&self) {
        loop {
            // Made before the look, so that no notice is missed.
            let idle = self.idle.notified();
            if self.lock().unfinished == 0 {
                return;
            }
            idle.await;
        }
    }

    /// No record follows: the task sends what there is and ends.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_one();
    }
}
