//! The network: who reaches whom, how long it takes, what is lost; and what is said.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_core::metadata::{Command, Rejection, Reply};
use ottla_core::partition::{FetchAnswer, FetchSpec};
use ottla_types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch};

use super::Key;
use crate::Rng;

/// Someone who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Broker(usize),
    Client(usize),
    Quorum,
}

/// What is said.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// A follower asks.
    Fetch(Ask),
    /// Its leader answers; none: it refuses.
    Fetched { key: Key, number: u64, answer: Option<(FetchAnswer, Bytes)> },
    /// A producer sends.
    Produce(Produce),
    /// And is answered.
    Produced { number: u64, outcome: Produced },
    /// A consumer asks.
    Poll { key: Key, number: u64, offset: i64 },
    /// And is answered; none: not here, or the log begins later.
    Polled { key: Key, number: u64, bytes: Option<Bytes>, epoch: LeaderEpoch, from: usize, start: i64 },
    /// To the active controller.
    Command { number: u64, command: Box<Command> },
    /// Its word.
    Decided { number: u64, outcome: Box<Result<Reply, Rejection>> },
    /// A broker lives.
    Heartbeat { broker: BrokerId, epoch: BrokerEpoch, has_caught_up: bool },
    /// The controller knows another registration of the broker.
    Stale { epoch: BrokerEpoch },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) key: Key,
    pub(super) number: u64,
    pub(super) from: BrokerId,
    pub(super) broker_epoch: BrokerEpoch,
    pub(super) directory: DirectoryId,
    pub(super) spec: FetchSpec,
}

#[derive(Clone, Debug)]
pub(super) struct Produce {
    pub(super) key: Key,
    pub(super) number: u64,
    pub(super) acks_all: bool,
    pub(super) batch: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Produced {
    Done {
        base: i64,
    },
    /// Certainly not appended by this request; try elsewhere or later.
    Refused,
    /// Appended, perhaps; try again.
    Unknown,
    /// The sequence isn't the next one, says the leader of this epoch.
    OutOfOrder {
        epoch: LeaderEpoch,
    },
}

#[derive(Default)]
pub(super) struct Net {
    /// From, to.
    cuts: BTreeSet<(Party, Party)>,
    pub(super) lossy_percent: u64,
    pub(super) slow_percent: u64,
}

impl Net {
    pub(super) fn cut(&mut self, from: Party, to: Party) {
        self.cuts.insert((from, to));
    }

    pub(super) fn cut_both(&mut self, one: Party, other: Party) {
        self.cut(one, other);
        self.cut(other, one);
    }

    pub(super) fn heal(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_cut(&self, from: Party, to: Party) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// How long a message takes; none: it is lost.
    pub(super) fn carry(&self, from: Party, to: Party, rng: &mut Rng) -> Option<u64> {
        if self.is_cut(from, to) || rng.percent(self.lossy_percent) {
            return None;
        }
        let slow = if rng.percent(self.slow_percent) { rng.below(900) } else { 0 };
        Some(1 + rng.below(4) + slow)
    }
}
