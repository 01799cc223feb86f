//! What a seed's cluster is like: its size, its topics, and how much goes wrong.

use crate::Rng;

/// How long a broker may be silent.
pub(super) const SESSION_MS: u64 = 1_000;
/// How often a broker says that it lives.
pub(super) const HEARTBEAT_MS: u64 = 200;
/// How long a follower may lag.
pub(super) const LAG_MAX_MS: u64 = 700;
/// How long a request may take.
pub(super) const REQUEST_MS: u64 = 600;
/// How long the cluster may take to be whole again once all is healed.
pub(super) const HEALING_MS: u64 = 20_000;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) brokers: usize,
    pub(super) topics: Vec<TopicPlan>,
    pub(super) producers: usize,
    pub(super) consumers: usize,
    /// Nothing goes wrong.
    pub(super) is_calm: bool,
    /// Until then things go wrong.
    pub(super) storm_ms: u64,
    pub(super) fault_every_ms: u64,
    pub(super) admin_every_ms: u64,
    pub(super) segment_bytes: u32,
    /// Bits of files flip.
    pub(super) is_rotting: bool,
    /// Disks are wiped and administrators elect uncleanly as if nothing were to be kept.
    pub(super) is_reckless: bool,
    /// The only broker with the metadata quorum's log, if its disk may be lost.
    pub(super) sole_voter: Option<usize>,
    /// What is old is deleted.
    pub(super) retention: Option<Retention>,
}

/// What is deleted, and how old records are when they are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// How old records become.
    pub(super) after_ms: i64,
    /// So many of a hundred batches are far older than that from the start.
    pub(super) old_percent: u64,
    /// So many of a hundred ticks of a broker look for what is old.
    pub(super) sweeps_percent: u64,
}

impl Retention {
    /// From numbers of its own, so that the other seeds go on as they were.
    pub(super) fn new(aging: &mut Rng) -> Option<Self> {
        let retention = Self {
            after_ms: [300, 1_500, 6_000][aging.below(3) as usize],
            old_percent: [0, 30, 100][aging.below(3) as usize],
            sweeps_percent: [10, 30][aging.below(2) as usize],
        };
        aging.percent(35).then_some(retention)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TopicPlan {
    pub(super) partitions: i32,
    pub(super) factor: i16,
    pub(super) min_insync: usize,
}

impl Plan {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let brokers = [3, 3, 3, 4, 5][rng.below(5) as usize];
        let topic = |rng: &mut Rng| {
            let factor = if rng.percent(70) { 3 } else { 1 + rng.below(brokers as u64) as i16 };
            let min_insync = if rng.percent(60) { 2 } else { 1 + rng.below(3) as usize };
            TopicPlan { partitions: 1 + rng.below(2) as i32, factor, min_insync }
        };
        let topics = (0..1 + rng.below(2)).map(|_| topic(rng)).collect();
        Self {
            brokers,
            topics,
            producers: 1 + rng.below(2) as usize,
            consumers: 1 + rng.below(2) as usize,
            is_calm: rng.percent(25),
            storm_ms: 3_000 + rng.below(5_000),
            fault_every_ms: [150, 300, 600, 1_200][rng.below(4) as usize],
            admin_every_ms: [300, 1_000, 3_000, 100_000][rng.below(4) as usize],
            segment_bytes: [700, 2_000, 1 << 20][rng.below(3) as usize],
            is_rotting: rng.percent(20),
            is_reckless: rng.percent(15),
            retention: None,
            sole_voter: rng.percent(30).then(|| rng.below(brokers as u64) as usize),
        }
    }
}
