//! Replicas 1, 2, 3 … with logs of one epoch a record, and fetches between them.

use ottla_types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionEpoch};

use crate::partition::{
    Assignment, Change, FetchAnswer, FetchRefusal, FetchVerdict, FollowerFetch, FollowerStep, IsrProposal,
    LogFacts, Peer, Replica,
};

/// A log: the epoch of each record, and how many are synced.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub start: i64,
    pub epochs: Vec<i32>,
    pub synced: usize,
}

impl Log {
    pub fn facts(&self) -> LogFacts {
        let at = |count: usize| Offset(self.start + count as i64);
        LogFacts { start: Offset(self.start), end: at(self.epochs.len()), synced: at(self.synced) }
    }

    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last().copied().map(LeaderEpoch)
    }

    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let count = self.epochs.iter().take_while(|of| **of <= epoch.0).count();
        let found = *self.epochs[..count].last()?;
        Some((LeaderEpoch(found), Offset(self.start + count as i64)))
    }

    fn cut(&mut self, offset: Offset) {
        self.epochs.truncate((offset.0 - self.start) as usize);
        self.synced = self.epochs.len();
    }
}

/// A replica with its log.
pub struct Node {
    pub id: i32,
    pub replica: Replica,
    pub log: Log,
}

/// Broker `id` registered with epoch 10 × id, and has a disk of its own.
pub fn peer(id: i32) -> Peer {
    Peer {
        broker: BrokerId(id),
        directory: directory(id),
        broker_epoch: Some(BrokerEpoch(i64::from(id) * 10)),
        may_join: true,
    }
}

pub fn directory(id: i32) -> DirectoryId {
    DirectoryId([id as u8; 16])
}

/// How long a member may lag.
pub const LAG_MAX_MS: u64 = 100;

/// Replicas 1 to 3, a minimum of two.
pub fn assignment(leader: i32, leader_epoch: i32, partition_epoch: i32, isr: &[i32]) -> Assignment {
    Assignment {
        leader: Some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: (1..=3).map(peer).collect(),
        isr: isr.iter().copied().map(BrokerId).collect(),
        elr: Vec::new(),
        min_insync_replicas: 2,
    }
}

impl Node {
    pub fn new(id: i32) -> Self {
        Self::with(id, &[])
    }

    /// With synced records of these epochs.
    pub fn with(id: i32, epochs: &[i32]) -> Self {
        let log = Log { start: 0, epochs: epochs.to_vec(), synced: epochs.len() };
        Self { id, replica: Replica::new(BrokerId(id), Offset(0), log.facts(), LAG_MAX_MS), log }
    }

    /// The process starts again with this saved high watermark.
    pub fn begin_again(&mut self, high_watermark: i64) {
        self.replica = Replica::new(BrokerId(self.id), Offset(high_watermark), self.log.facts(), LAG_MAX_MS);
    }

    pub fn follow(&mut self, assignment: &Assignment) -> Change {
        self.replica.on_image(assignment.clone(), self.log.facts(), 0)
    }

    /// Appends a record of the present epoch, not synced.
    pub fn append(&mut self) -> Offset {
        self.append_at(0)
    }

    pub fn append_at(&mut self, now_ms: u64) -> Offset {
        let epoch = self.replica.check_append(true).unwrap();
        self.log.epochs.push(epoch.0);
        let end = self.log.facts().end;
        self.replica.on_append(end, now_ms);
        Offset(end.0 - 1)
    }

    pub fn sync(&mut self) -> Change {
        self.log.synced = self.log.epochs.len();
        self.replica.on_synced(self.log.facts())
    }

    pub fn high_watermark(&self) -> i64 {
        self.replica.high_watermark().0
    }

    /// What this follower asks, as the leader hears it.
    pub fn question(&self) -> FollowerFetch {
        let spec = self.replica.fetch_spec(self.log.facts(), self.log.last_epoch()).unwrap();
        FollowerFetch {
            broker: BrokerId(self.id),
            broker_epoch: peer(self.id).broker_epoch.unwrap(),
            directory: directory(self.id),
            leader_epoch: spec.leader_epoch,
            fetch_offset: spec.fetch_offset,
            last_epoch: spec.last_epoch,
        }
    }

    /// This leader hears a question.
    pub fn hear(
        &mut self,
        question: &FollowerFetch,
        now_ms: u64,
    ) -> Result<(FetchVerdict, Change), FetchRefusal> {
        let log = &self.log;
        self.replica.on_fetch(question, log.facts(), |epoch| log.end_offset_for(epoch), now_ms)
    }

    /// What this leader answers to `follower`'s question of now.
    pub fn answer(&mut self, follower: &Node) -> Result<(FetchAnswer, Change), FetchRefusal> {
        let asked = follower.replica.fetch_spec(follower.log.facts(), follower.log.last_epoch()).unwrap();
        let (verdict, change) = self.hear(&follower.question(), 0)?;
        let (high_watermark, log_start) = (self.replica.high_watermark(), self.log.facts().start);
        Ok((FetchAnswer { asked, verdict, high_watermark, log_start }, change))
    }

    /// This follower carries out the answer, with the records that `leader` has from its end on.
    pub fn carry_out(&mut self, answer: &FetchAnswer, leader: &Node) -> FollowerStep {
        let log = &self.log;
        let step = self.replica.on_answer(answer, log.facts(), |epoch| log.end_offset_for(epoch));
        match step {
            FollowerStep::Ignore => {}
            FollowerStep::Append(up_to) => {
                let from = (self.log.facts().end.0 - leader.log.start) as usize;
                let records = leader.log.epochs[from..].iter().take_while(|epoch| **epoch <= up_to.0);
                self.log.epochs.extend(records);
                self.log.synced = self.log.epochs.len();
                let _ = self.replica.on_appended(answer, self.log.facts());
            }
            FollowerStep::Truncate(offset) => {
                self.log.cut(offset);
                assert!(!self.replica.on_truncated(self.log.facts()), "acknowledged records were cut");
            }
            FollowerStep::Reset(offset) => {
                self.log = Log { start: offset.0, ..Log::default() };
                let _ = self.replica.on_truncated(self.log.facts());
            }
        }
        step
    }

    /// One fetch of `follower` from this leader.
    pub fn feed(&mut self, follower: &mut Node) -> Option<IsrProposal> {
        let (answer, change) = self.answer(follower).unwrap();
        follower.carry_out(&answer, self);
        change.proposal
    }
}

/// Who a proposal names.
pub fn members(proposal: Option<&IsrProposal>) -> Vec<i32> {
    proposal.iter().flat_map(|proposal| &proposal.isr).map(|member| member.0.0).collect()
}
