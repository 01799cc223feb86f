//! What a replica that follows does: what it asks its leader, and what it does with the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_core::partition::{FetchAnswer, FetchSpec, FollowerStep};
use ottla_log::up_to_epoch;
use ottla_store::{AppendError, StoreError};
use ottla_types::Offset;
use tracing::{error, info};

use super::partition::{Partition, facts};
use crate::clock::now_ms;

/// What a follower did with an answer.
#[derive(Debug)]
pub enum Followed {
    /// The answer was to an older question.
    Ignored,
    /// The records are in the log, or there were none.
    Appended,
    /// The log has to be cut first.
    Cut(DecidedCut),
    /// The records can't be appended now.
    Failed(AppendError),
}

/// A cut that a leader's answer asks for. Until it is dropped its follower asks nothing: what the leader says
/// to the same question may differ by then, and the leader counts that the follower has what it was asked
/// from.
#[derive(Debug)]
pub struct DecidedCut {
    partition: Arc<Partition>,
    answer: FetchAnswer,
}

impl DecidedCut {
    /// Cuts the log as the leader's answer says. Blocks on the disk.
    ///
    /// # Errors
    /// When there is no room on the disk to begin, or the disk fails; the store has failed then.
    pub fn carry_out(&self) -> Result<(), StoreError> {
        let Self { partition, answer } = self;
        let _gate = partition.gate.read();
        // One after the other, each decided on the log that the one before it left.
        let _cut = partition.cut.lock();
        let (log, leader) = (&partition.log, answer.asked.leader.0);
        let (name, start, before) = (log.topic_partition(), log.log_start_offset(), log.end_offset());
        match partition.step(answer) {
            FollowerStep::Ignore | FollowerStep::Append(_) => return Ok(()),
            FollowerStep::Truncate(offset) => {
                info!(partition = %name, to = offset.0, from = before.0, leader, "cutting what the leader does not have");
                log.truncate_to(offset)?;
            }
            FollowerStep::Reset(offset) => {
                info!(partition = %name, at = offset.0, from = before.0, leader, "beginning anew where the leader's log begins");
                log.reset_to(offset)?;
            }
        }
        let is_below_high_watermark = partition.replica.lock().on_truncated(facts(log));
        // Of a log that retention emptied nothing is cut.
        if is_below_high_watermark && start < before {
            error!(partition = %name, end = log.end_offset().0, "acknowledged records were cut: a leader without them was elected");
        }
        Ok(())
    }
}

impl Drop for DecidedCut {
    fn drop(&mut self) {
        self.partition.cuts_to_do.fetch_sub(1, Ordering::AcqRel);
        // Whoever looked meanwhile found nothing to ask.
        self.partition.ask_again();
    }
}

impl Partition {
    /// What this follower asks next; none if it follows nobody, its log isn't synced yet, or is to be cut.
    pub fn fetch_spec(&self) -> Option<FetchSpec> {
        let replica = self.replica.lock();
        if self.cuts_to_do.load(Ordering::Acquire) > 0 {
            return None;
        }
        replica.fetch_spec(facts(&self.log), self.log.latest_epoch())
    }

    /// Does what an answer of the leader says, but for cutting the log.
    pub fn on_answer(self: &Arc<Self>, answer: &FetchAnswer, records: &Bytes) -> Followed {
        let _gate = self.gate.read();
        match self.step(answer) {
            FollowerStep::Ignore => Followed::Ignored,
            FollowerStep::Truncate(_) | FollowerStep::Reset(_) => {
                self.cuts_to_do.fetch_add(1, Ordering::AcqRel);
                Followed::Cut(DecidedCut { partition: Arc::clone(self), answer: *answer })
            }
            FollowerStep::Append(up_to) => {
                let here = records.slice(..up_to_epoch(records, up_to));
                if here.is_empty() && !records.is_empty() {
                    return Followed::Ignored;
                }
                if !here.is_empty()
                    && let Err(error) = self.log.append_as_is(&here, now_ms())
                {
                    return Followed::Failed(error);
                }
                let change = self.replica.lock().on_appended(answer, facts(&self.log));
                self.carry_out(change);
                Followed::Appended
            }
        }
    }

    fn step(&self, answer: &FetchAnswer) -> FollowerStep {
        self.replica.lock().on_answer(answer, facts(&self.log), |epoch| self.log.end_offset_for_epoch(epoch))
    }

    /// Where the log is to begin by the leader's word, if that is later than it does.
    pub fn start_by(&self, answer: &FetchAnswer) -> Option<Offset> {
        self.replica.lock().start_by(answer, facts(&self.log))
    }

    /// Lets go what the leader has let go. Blocks on the disk.
    pub fn keep_start(&self, answer: &FetchAnswer) {
        // What a follower lets go by its leader's word, a leader may not: the role stays until it is done.
        let _gate = self.gate.read();
        let Some(start) = self.start_by(answer) else { return };
        self.log.advance_log_start(start);
        self.on_log_start();
    }
}
