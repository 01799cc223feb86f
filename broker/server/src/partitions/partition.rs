//! One partition that this broker holds: its log and who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_store::PartitionLog;
use ottla_types::Offset;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::waiters::Waiters;

/// One partition that this broker holds.
#[derive(Debug)]
pub struct Partition {
    /// Its log.
    pub log: Arc<PartitionLog>,
    /// Who waits for its durable end.
    pub waiters: Arc<Waiters>,
    is_gone: AtomicBool,
}

/// What became of waiting for an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The offset is durable.
    Durable,
    /// The time was over before.
    TimedOut,
    /// The partition was deleted before.
    Gone,
}

impl Partition {
    /// Takes over a log and listens for what becomes durable.
    pub fn new(log: Arc<PartitionLog>) -> Arc<Self> {
        let waiters = Arc::new(Waiters::default());
        let woken = Arc::clone(&waiters);
        log.on_durable(Arc::new(move |durable_end| woken.advance(durable_end)));
        Arc::new(Self { log, waiters, is_gone: AtomicBool::new(false) })
    }

    /// The high watermark: consumers see the records before it.
    pub fn high_watermark(&self) -> Offset {
        self.log.durable_end_offset()
    }

    /// Waits until the record at `offset` is durable.
    pub async fn wait_durable(&self, offset: Offset, deadline: Instant) -> Waited {
        let notify = Arc::new(Notify::new());
        loop {
            let place = self.waiters.enter(offset, &notify);
            if self.high_watermark() > offset {
                return Waited::Durable;
            }
            if self.is_gone() {
                return Waited::Gone;
            }
            if timeout_at(deadline, notify.notified()).await.is_err() {
                return if self.high_watermark() > offset { Waited::Durable } else { Waited::TimedOut };
            }
            drop(place);
        }
    }

    /// Whether it was deleted.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Marks it deleted and wakes everyone who waits.
    pub fn leave(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.waiters.wake_all();
    }
}
