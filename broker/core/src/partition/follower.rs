//! The follower's side: what a replica asks its leader for, and what it does with the answer.

use ottla_types::{LeaderEpoch, Offset, PlantedBug, planted};

use super::follower_state::{FetchAnswer, FetchSpec, FollowerStep};
use super::leader_state::FetchVerdict;
use super::log_facts::LogFacts;
use super::replica::{Change, Replica, Role};

impl Replica {
    /// What this follower asks its leader next; none if it is no follower, or while its log isn't synced.
    pub fn fetch_spec(&self, log: LogFacts, last_epoch: Option<LeaderEpoch>) -> Option<FetchSpec> {
        let (Role::Follower(follower), Some(assignment)) = (&self.role, &self.assignment) else {
            return None;
        };
        log.assert_in_order();
        assert_eq!(assignment.leader, Some(follower.leader), "a follower follows the leader of its state");
        if !is_synced_enough(log) {
            return None;
        }
        Some(FetchSpec {
            leader: follower.leader,
            leader_epoch: assignment.leader_epoch,
            fetch_offset: log.end,
            last_epoch: named_epoch(last_epoch),
            log_start: log.start,
            high_watermark: self.high_watermark,
        })
    }

    /// What to do with an answer. `end_offset_for` is the own log's answer to OffsetForLeaderEpoch.
    pub fn on_answer(
        &self,
        answer: &FetchAnswer,
        log: LogFacts,
        end_offset_for: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
    ) -> FollowerStep {
        log.assert_in_order();
        let Role::Follower(follower) = &self.role else { return FollowerStep::Ignore };
        let asked = &answer.asked;
        // The log may have been cut since and have grown to the same end again, in another epoch: what the
        // leader said of the old one would cut acknowledged records.
        let last_epoch = end_offset_for(LeaderEpoch(i32::MAX)).map(|(epoch, _)| epoch);
        let is_current = asked.leader == follower.leader
            && asked.leader_epoch == self.leader_epoch()
            && asked.fetch_offset == log.end
            && is_last_epoch(asked.last_epoch, last_epoch);
        if is_ignored(is_current) {
            return FollowerStep::Ignore;
        }
        if let Some(step) = self.planted_step(answer.verdict) {
            return step;
        }
        match answer.verdict {
            FetchVerdict::Read => FollowerStep::Append(asked.leader_epoch),
            FetchVerdict::BehindLogStart if answer.log_start > log.end => {
                FollowerStep::Reset(answer.log_start)
            }
            FetchVerdict::BehindLogStart => FollowerStep::Ignore,
            FetchVerdict::Diverging { epoch, end_offset } => {
                truncation(epoch, end_offset, log, end_offset_for)
            }
        }
    }

    /// What a planted bug does with a verdict, if one is on.
    fn planted_step(&self, verdict: FetchVerdict) -> Option<FollowerStep> {
        match verdict {
            FetchVerdict::Read if planted(PlantedBug::AcceptBatchesOfLaterEpoch) => {
                Some(FollowerStep::Append(LeaderEpoch(i32::MAX)))
            }
            FetchVerdict::Diverging { .. } if planted(PlantedBug::SkipTruncation) => {
                Some(FollowerStep::Ignore)
            }
            FetchVerdict::Diverging { .. } if planted(PlantedBug::TruncateToHighWatermark) => {
                Some(FollowerStep::Truncate(self.high_watermark))
            }
            _ => None,
        }
    }

    /// An answer's records are in the log, or there were none; `log` is the log now. The high watermark
    /// follows as far as the log is synced, now or by [`Replica::on_synced`].
    pub fn on_appended(&mut self, answer: &FetchAnswer, log: LogFacts) -> Change {
        assert!(
            answer.asked.leader_epoch <= self.leader_epoch(),
            "nothing was asked in an epoch that hasn't begun here"
        );
        let epoch = self.leader_epoch();
        match &mut self.role {
            Role::Follower(follower) if answer.asked.leader_epoch == epoch => {
                follower.leader_high_watermark = follower.leader_high_watermark.max(answer.high_watermark);
            }
            _ => return Change::default(),
        }
        self.progress(log)
    }

    /// Where the log is to begin by the leader's word, if that is later than it does: the leader has let go
    /// what is before, which all in sync have.
    pub fn start_by(&self, answer: &FetchAnswer, log: LogFacts) -> Option<Offset> {
        log.assert_in_order();
        let follows =
            matches!(&self.role, Role::Follower(follower) if follower.leader == answer.asked.leader);
        let start = answer.log_start.min(answer.high_watermark).min(log.synced);
        (follows && answer.asked.leader_epoch == self.leader_epoch() && start > log.start).then_some(start)
    }

    /// The log was cut. Returns whether something below the high watermark is gone, which only an
    /// administrator's unclean election or damage can bring about.
    pub fn on_truncated(&mut self, log: LogFacts) -> bool {
        log.assert_in_order();
        let is_lost = log.end < self.high_watermark;
        self.high_watermark = self.high_watermark.min(log.end).max(log.start);
        is_lost
    }
}

/// A follower asks once all of its log is synced, as the fetch offset acknowledges it.
fn is_synced_enough(log: LogFacts) -> bool {
    log.synced >= log.end || planted(PlantedBug::FetchBeforeSync)
}

/// What a follower says of the epoch of its last record.
fn named_epoch(last_epoch: Option<LeaderEpoch>) -> Option<LeaderEpoch> {
    if planted(PlantedBug::AskWithoutLastEpoch) { None } else { last_epoch }
}

/// Whether the log's last epoch is still the one that was named.
fn is_last_epoch(asked: Option<LeaderEpoch>, last_epoch: Option<LeaderEpoch>) -> bool {
    asked == named_epoch(last_epoch) || planted(PlantedBug::AcceptAnswerOnOlderLog)
}

/// Answers to what isn't asked any more say nothing.
fn is_ignored(is_current: bool) -> bool {
    !is_current && !planted(PlantedBug::AcceptStaleFetchAnswer)
}

/// The end of what both logs have of an epoch that each has.
fn common_end(own_end: Offset, leader_end: Offset) -> Offset {
    if planted(PlantedBug::KeepBehindOwnEpoch) { leader_end } else { own_end.min(leader_end) }
}

/// Where this log parts from the leader's, as far as this answer tells. It may take several.
fn truncation(
    epoch: LeaderEpoch,
    end_offset: Offset,
    log: LogFacts,
    end_offset_for: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
) -> FollowerStep {
    if epoch.0 < 0 {
        // The leader knows of nothing that is the same.
        return if end_offset > log.start && end_offset < log.end {
            FollowerStep::Truncate(end_offset)
        } else {
            FollowerStep::Reset(end_offset)
        };
    }
    let offset = match end_offset_for(epoch) {
        Some((found, own_end)) if found == epoch => common_end(own_end, end_offset),
        // This log has no records of the epoch that the leader named: those of later epochs are cut, and the
        // leader is asked again.
        Some((_, own_end)) => own_end,
        // All that is here is of later epochs, so nothing of it stays. To cut it where it begins would leave
        // what is known of those epochs, and the leader would say the same again, for ever.
        None => return FollowerStep::Reset(end_offset.min(log.start)),
    };
    if offset < log.start {
        // What both have ends before this log begins, so nothing of it stays; to cut it where it begins would
        // change nothing, and the leader would say the same again, for ever.
        return FollowerStep::Reset(offset);
    }
    FollowerStep::Truncate(offset.min(log.end))
}
