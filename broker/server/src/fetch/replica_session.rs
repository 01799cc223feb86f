//! One follower's session with this leader: what it asked of each partition, and what is to be told.
//!
//! A partition is answered once with records, an error or a divergence; then it is left alone until the
//! follower, which has synced meanwhile, asks again. A news of the high watermark alone leaves the question
//! as it is.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_core::partition::{FetchRefusal, FetchVerdict, FollowerFetch};
use ottla_store::{ReadError, ReadSlice, UpTo};
use ottla_types::{BrokerId, LeaderEpoch, Offset};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::partitions::{Partition, PartitionKey, Partitions, ReadyList};
use crate::throttle::{HeldBack, Throttle};

/// What a follower asks of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The partition.
    pub key: PartitionKey,
    /// Who asks for what.
    pub fetch: FollowerFetch,
    /// The high watermark that it knows.
    pub high_watermark: Offset,
    /// The most bytes.
    pub max_bytes: usize,
}

/// What a follower is told of one partition.
#[derive(Debug)]
pub struct ReplicaFetchData {
    /// The partition.
    pub key: PartitionKey,
    /// Why it gets nothing, if it doesn't.
    pub error: Option<ReplicaFetchError>,
    /// The high watermark; −1 with an error.
    pub high_watermark: Offset,
    /// Where the log begins; −1 with an error.
    pub log_start: Offset,
    /// Where the logs part.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The records.
    pub slice: Option<ReadSlice>,
}

/// Why a follower gets nothing of one partition.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaFetchError {
    /// This broker doesn't hold the partition any more.
    #[error("this broker does not hold the partition")]
    Gone,
    /// It may not fetch here.
    #[error("the leader refuses the fetch: {0:?}")]
    Refused(FetchRefusal),
    /// What it asks for was let go.
    #[error("the offset is before the log's start")]
    BehindLogStart,
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The followers' sessions, one for each.
#[derive(Debug, Default)]
pub struct ReplicaSessions {
    by_follower: Mutex<HashMap<BrokerId, Arc<ReplicaSession>>>,
}

impl ReplicaSessions {
    /// Begins a session in the place of the follower's last one.
    pub fn begin(&self, follower: BrokerId, id: i32) -> Arc<ReplicaSession> {
        let session = Arc::new(ReplicaSession::new(id));
        let old = self.by_follower.lock().insert(follower, Arc::clone(&session));
        if let Some(old) = old {
            old.ready.wake();
        }
        session
    }

    /// The follower's session, if it is the one of this id.
    pub fn get(&self, follower: BrokerId, id: i32) -> Option<Arc<ReplicaSession>> {
        self.by_follower.lock().get(&follower).filter(|session| session.id == id).cloned()
    }
}

/// One follower's session.
#[derive(Debug)]
pub struct ReplicaSession {
    /// Its id.
    pub id: i32,
    /// The partitions in which something happened.
    pub ready: Arc<ReadyList>,
    state: Mutex<SessionState>,
}

#[derive(Debug, Default)]
struct SessionState {
    /// The epoch of the newest request.
    epoch: i32,
    followed: HashMap<PartitionKey, FollowedPartition>,
    held: HeldBack,
}

#[derive(Debug)]
struct FollowedPartition {
    partition: Option<Arc<Partition>>,
    ask: Option<(Ask, Result<FetchVerdict, FetchRefusal>)>,
}

impl ReplicaSession {
    /// A session without partitions.
    pub fn new(id: i32) -> Self {
        Self { id, ready: Arc::default(), state: Mutex::default() }
    }

    /// Takes the next request's changes. False if it isn't the next one. Whoever waited for an answer to the
    /// request before is woken: it has to make room.
    pub fn update(
        &self,
        epoch: i32,
        partitions: &Partitions,
        asks: impl IntoIterator<Item = Ask>,
        forgotten: impl IntoIterator<Item = PartitionKey>,
    ) -> bool {
        let mut state = self.state.lock();
        if epoch != state.epoch.checked_add(1).unwrap_or(1) && epoch != 0 {
            return false;
        }
        state.epoch = epoch;
        for key in forgotten {
            if let Some(FollowedPartition { partition: Some(partition), .. }) = state.followed.remove(&key) {
                partition.unwatch(&self.ready);
            }
        }
        for ask in asks {
            let partition = partitions.get(ask.key.0, ask.key.1);
            let verdict = match &partition {
                Some(partition) => {
                    // First this, or what comes in between is missed.
                    partition.watch(&self.ready);
                    partition.on_fetch(&ask.fetch)
                }
                None => Err(FetchRefusal::NotLeader),
            };
            state.followed.insert(ask.key, FollowedPartition { partition, ask: Some((ask, verdict)) });
            self.ready.push(ask.key);
        }
        self.ready.wake();
        true
    }

    /// Takes what there is to tell: `max_bytes` of records, and what is left of the batch there, at most.
    /// None if a newer request than that of `epoch` has come, whose answer tells it.
    pub fn take(&self, epoch: i32, max_bytes: usize, throttle: &Throttle) -> Option<Vec<ReplicaFetchData>> {
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return None;
        }
        let now = Instant::now();
        state.held.release(now).for_each(|key| self.ready.push(key));
        let mut all = Vec::new();
        let mut left = max_bytes;
        while left > 0
            && let Some(key) = self.ready.pop()
        {
            let SessionState { followed, held, .. } = &mut *state;
            let Some(followed) = followed.get_mut(&key) else { continue };
            let is_throttled = followed.is_throttled();
            if is_throttled && let Some(until) = throttle.held_until(now) {
                held.hold(key, until);
                continue;
            }
            let Some(told) = followed.look(key, left) else { continue };
            let bytes = told.slice.as_ref().map_or(0, |slice| slice.len);
            if is_throttled {
                throttle.spend(bytes, now);
            }
            left = left.saturating_sub(bytes);
            all.push(told);
        }
        Some(all)
    }

    /// When to look again for what the throttle holds back; none if it holds nothing.
    pub fn held_until(&self) -> Option<Instant> {
        self.state.lock().held.until()
    }
}

impl Drop for ReplicaSession {
    fn drop(&mut self) {
        for followed in self.state.get_mut().followed.values() {
            if let Some(partition) = &followed.partition {
                partition.unwatch(&self.ready);
            }
        }
    }
}

impl FollowedPartition {
    /// Whether records are asked for by a follower that isn't in sync and is throttled.
    fn is_throttled(&self) -> bool {
        let (Some((ask, Ok(FetchVerdict::Read))), Some(partition)) = (&self.ask, &self.partition) else {
            return false;
        };
        partition.throttled().leader && !partition.is_in_sync(ask.fetch.broker)
    }

    /// What there is to tell of it now.
    fn look(&mut self, key: PartitionKey, left: usize) -> Option<ReplicaFetchData> {
        let (ask, verdict) = self.ask.as_mut()?;
        let partition = self.partition.as_ref().filter(|partition| !partition.is_gone());
        let told = match (partition, *verdict) {
            (None, _) => ReplicaFetchData::error(key, ReplicaFetchError::Gone),
            (Some(_), Err(refusal)) => ReplicaFetchData::error(key, ReplicaFetchError::Refused(refusal)),
            (Some(partition), Ok(_)) if !partition.leads_in(ask.fetch.leader_epoch) => {
                ReplicaFetchData::error(key, ReplicaFetchError::Refused(FetchRefusal::NotLeader))
            }
            (Some(partition), Ok(verdict)) => {
                let told = ReplicaFetchData::found(partition, ask, verdict, left);
                let is_answer = told.error.is_some() || told.diverging.is_some() || told.slice.is_some();
                if !is_answer {
                    let is_news = told.high_watermark > ask.high_watermark;
                    ask.high_watermark = told.high_watermark;
                    return is_news.then_some(told);
                }
                told
            }
        };
        self.ask = None;
        Some(told)
    }
}

impl ReplicaFetchData {
    fn error(key: PartitionKey, error: ReplicaFetchError) -> Self {
        let none = Offset(-1);
        Self { key, error: Some(error), high_watermark: none, log_start: none, diverging: None, slice: None }
    }

    fn found(partition: &Partition, ask: &Ask, verdict: FetchVerdict, left: usize) -> Self {
        let (log, offsets) = (&partition.log, partition.offsets());
        let told = Self {
            key: ask.key,
            error: None,
            high_watermark: offsets.high_watermark,
            log_start: offsets.log_start,
            diverging: None,
            slice: None,
        };
        match verdict {
            FetchVerdict::Diverging { epoch, end_offset } => {
                Self { diverging: Some((epoch, end_offset)), ..told }
            }
            FetchVerdict::BehindLogStart => Self { error: Some(ReplicaFetchError::BehindLogStart), ..told },
            FetchVerdict::Read => {
                let bytes = ask.max_bytes.min(left);
                match log.read(ask.fetch.fetch_offset, bytes, true, UpTo::End) {
                    Ok(slice) => Self { slice, ..told },
                    // What is out of range was let go at the log's front meanwhile.
                    Err(error) => Self { error: Some(error.into()), ..told },
                }
            }
        }
    }
}
