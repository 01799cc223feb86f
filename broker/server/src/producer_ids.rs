//! Ids for idempotent producers: taken from the controller in blocks, given out one by one.

use ottla_core::metadata::{AllocateProducerIds, AllocatedProducerIds, Command, Reply};
use ottla_quorum::{Quorum, SubmitError};
use ottla_types::{BrokerId, ProducerId};
use tokio::sync::Mutex;

/// The ids of one block, as in Kafka.
const BLOCK: u32 = 1_000;

/// The ids that this broker may give out.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    next: i64,
    end: i64,
}

impl ProducerIds {
    /// An id that nobody had before.
    ///
    /// # Errors
    /// When a further block is needed and the controller doesn't give one.
    pub async fn next(&self, node_id: BrokerId, quorum: &Quorum) -> Result<ProducerId, SubmitError> {
        let mut block = self.block.lock().await;
        if block.next == block.end {
            let epoch = quorum.broker_epoch().ok_or(SubmitError::NotRunning)?;
            let ask = AllocateProducerIds { id: node_id, epoch, count: BLOCK };
            let reply = quorum.submit(Command::AllocateProducerIds(ask)).await?;
            let Reply::ProducerIdsAllocated(AllocatedProducerIds { first, count }) = reply else {
                panic!("the reply's variant follows the command's: {reply:?}");
            };
            *block = Block { next: first.0, end: first.0 + i64::from(count) };
        }
        let id = block.next;
        block.next += 1;
        Ok(ProducerId(id))
    }
}
