//! The streams from the leaders that this broker follows: one for each of them.
//!
//! Not here: what a stream does, which is [`crate::replication`]'s.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_types::BrokerId;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::ready::ReadyList;

/// What tells each stream which of its partitions are ready to be asked for. A stream is never ended: there
/// are at most as many as brokers, and one without partitions only waits.
#[derive(Debug)]
pub struct Streams {
    by_leader: Mutex<HashMap<BrokerId, Arc<ReadyList>>>,
    opened: mpsc::UnboundedSender<(BrokerId, Arc<ReadyList>)>,
}

/// The streams that were opened, each of which needs someone who carries it.
pub type Opened = mpsc::UnboundedReceiver<(BrokerId, Arc<ReadyList>)>;

impl Streams {
    /// No streams yet.
    pub fn new() -> (Self, Opened) {
        let (opened, receiver) = mpsc::unbounded_channel();
        (Self { by_leader: Mutex::default(), opened }, receiver)
    }

    /// The stream from `leader`.
    pub fn from(&self, leader: BrokerId) -> Arc<ReadyList> {
        let mut by_leader = self.by_leader.lock();
        let list = by_leader.entry(leader).or_insert_with(|| {
            let list = Arc::new(ReadyList::default());
            // Without a receiver the broker is ending.
            let _ = self.opened.send((leader, Arc::clone(&list)));
            list
        });
        Arc::clone(list)
    }
}
