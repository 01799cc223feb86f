//! One incremental fetch session (KIP-227): the partitions that a client follows, and what it was last told
//! of each.
//!
//! Not here: reading records, and which sessions are kept; see [`super::cache`].

use std::collections::HashMap;
use std::sync::Arc;

use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// What a session takes for each partition, in bytes, besides the topic's name: its entry in the order, which
/// may have been made twice as large as needed, and that in the table of positions.
const PARTITION_BYTES: usize =
    2 * (size_of::<FetchedPartition>() + size_of::<((TopicKey, PartitionIndex), usize)>());
/// What it takes itself.
const SESSION_BYTES: usize = 512;
/// The partitions that one session may hold.
pub const SESSION_PARTITIONS_MAX: usize = 100_000;

/// A topic as the client named it: by id since version 13, by name before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(TopicId),
}

impl TopicKey {
    /// What its name takes, in bytes.
    fn name_bytes(&self) -> usize {
        match self {
            // Two counts stand before the text.
            Self::Name(name) => name.len() + 2 * size_of::<usize>(),
            Self::Id(_) => 0,
        }
    }
}

/// What a client asks of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRequest {
    /// The topic.
    pub topic: TopicKey,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch that the client knows; −1: none.
    pub current_leader_epoch: LeaderEpoch,
    /// Where to read from.
    pub fetch_offset: Offset,
    /// The most bytes of records.
    pub max_bytes: usize,
}

/// What of an answer decides whether a client has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionState {
    /// The answer is an error.
    pub is_error: bool,
    /// It carries records.
    pub has_records: bool,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The first offset.
    pub log_start_offset: Offset,
}

/// A session's partitions, in the order in which they are served.
#[derive(Debug, Default)]
pub struct Session {
    order: Vec<FetchedPartition>,
    positions: HashMap<(TopicKey, PartitionIndex), usize>,
    uses_topic_ids: bool,
    /// The length of all names, in bytes.
    names: usize,
    /// Counts the changes of the order, so that an answer belongs to what was asked.
    generation: u64,
}

#[derive(Debug)]
struct FetchedPartition {
    request: PartitionRequest,
    told: Option<(Offset, Offset)>,
}

impl Session {
    /// A session without partitions; `uses_topic_ids` since version 13.
    pub fn new(uses_topic_ids: bool) -> Self {
        Self { uses_topic_ids, ..Self::default() }
    }

    /// Whether its client names topics by id.
    pub fn uses_topic_ids(&self) -> bool {
        self.uses_topic_ids
    }

    /// How many partitions it follows.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it follows none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        SESSION_BYTES + self.order.len() * PARTITION_BYTES + self.names
    }

    /// Adds partitions, or changes what is asked of them. False if they would be too many.
    pub fn update(&mut self, requests: impl IntoIterator<Item = PartitionRequest>) -> bool {
        self.generation += 1;
        for request in requests {
            let key = (request.topic.clone(), request.partition);
            match self.positions.get(&key) {
                Some(position) => self.order[*position].request = request,
                None if self.order.len() >= SESSION_PARTITIONS_MAX => return false,
                None => {
                    self.names += key.0.name_bytes();
                    self.positions.insert(key, self.order.len());
                    self.order.push(FetchedPartition { request, told: None });
                }
            }
        }
        true
    }

    /// Takes partitions out.
    pub fn forget(&mut self, partitions: impl IntoIterator<Item = (TopicKey, PartitionIndex)>) {
        self.generation += 1;
        let mut removed = false;
        for key in partitions {
            if self.positions.remove(&key).is_some() {
                self.names -= key.0.name_bytes();
                removed = true;
            }
        }
        if removed {
            let positions = &self.positions;
            self.order.retain(|f| positions.contains_key(&(f.request.topic.clone(), f.request.partition)));
            self.number_again();
        }
    }

    /// What is asked of each partition, in the order in which they are to be served, and the number by which
    /// [`Self::answer`] knows that order.
    pub fn requests(&self) -> (u64, Vec<PartitionRequest>) {
        (self.generation, self.order.iter().map(|followed| followed.request.clone()).collect())
    }

    /// Takes note of the answers, which are in the order of [`Self::requests`], and says which must be sent.
    ///
    /// Those with records go to the end of the order, so that a response full of one partition's records
    /// doesn't keep others waiting. Nothing if the session was changed since the requests of `generation`.
    pub fn answer(&mut self, generation: u64, states: &[PartitionState], is_full: bool) -> Option<Vec<bool>> {
        if generation != self.generation {
            return None;
        }
        assert_eq!(states.len(), self.order.len(), "one answer a partition");
        self.generation += 1;
        let mut send = Vec::with_capacity(states.len());
        for (followed, state) in self.order.iter_mut().zip(states) {
            let now = (state.high_watermark, state.log_start_offset);
            let changed = followed.told != Some(now);
            send.push(is_full || changed || state.has_records || state.is_error);
            // After an error everything is told again.
            followed.told = (!state.is_error).then_some(now);
        }
        let served = std::mem::take(&mut self.order).into_iter().zip(states);
        let (with, without): (Vec<_>, Vec<_>) = served.partition(|(_, state)| state.has_records);
        self.order = without.into_iter().chain(with).map(|(followed, _)| followed).collect();
        self.number_again();
        Some(send)
    }

    fn number_again(&mut self) {
        for (position, followed) in self.order.iter().enumerate() {
            let key = (followed.request.topic.clone(), followed.request.partition);
            self.positions.insert(key, position);
        }
        assert_eq!(self.positions.len(), self.order.len(), "each partition has one place");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(topic: &str, partition: i32, fetch_offset: i64) -> PartitionRequest {
        PartitionRequest {
            topic: TopicKey::Name(topic.into()),
            partition: PartitionIndex(partition),
            current_leader_epoch: LeaderEpoch(-1),
            fetch_offset: Offset(fetch_offset),
            max_bytes: 1,
        }
    }

    fn state(has_records: bool, high_watermark: i64) -> PartitionState {
        PartitionState {
            is_error: false,
            has_records,
            high_watermark: Offset(high_watermark),
            log_start_offset: Offset(0),
        }
    }

    fn partitions(session: &Session) -> Vec<(i32, i64)> {
        session.requests().1.iter().map(|r| (r.partition.0, r.fetch_offset.0)).collect()
    }

    fn answer(session: &mut Session, states: &[PartitionState], is_full: bool) -> Vec<bool> {
        let (generation, _) = session.requests();
        session.answer(generation, states, is_full).unwrap()
    }

    #[test]
    fn partitions_are_added_changed_and_forgotten() {
        let mut session = Session::new(false);
        assert!(session.update([request("a", 0, 1), request("a", 1, 1), request("a", 2, 1)]));
        assert!(session.update([request("a", 1, 9)]));
        session.forget([(TopicKey::Name("a".into()), PartitionIndex(0))]);
        session.forget([(TopicKey::Name("b".into()), PartitionIndex(1))]);
        assert_eq!(partitions(&session), [(1, 9), (2, 1)]);
        assert!(session.update([request("a", 2, 5)]));
        assert_eq!(partitions(&session), [(1, 9), (2, 5)]);
    }

    #[test]
    fn only_what_changed_is_sent() {
        let mut session = Session::new(false);
        session.update([request("a", 0, 1), request("a", 1, 1)]);
        assert_eq!(answer(&mut session, &[state(false, 1), state(false, 1)], true), [true, true]);
        assert_eq!(answer(&mut session, &[state(false, 1), state(false, 1)], false), [false, false]);
        assert_eq!(answer(&mut session, &[state(false, 2), state(false, 1)], false), [true, false]);
        let error = PartitionState { is_error: true, ..state(false, 2) };
        assert_eq!(answer(&mut session, &[error, state(false, 1)], false), [true, false]);
        assert_eq!(answer(&mut session, &[state(false, 2), state(false, 1)], false), [true, false]);
    }

    #[test]
    fn who_got_records_is_served_last_next_time() {
        let mut session = Session::new(false);
        session.update([request("a", 0, 0), request("a", 1, 0), request("a", 2, 0)]);
        answer(&mut session, &[state(true, 1), state(false, 1), state(true, 1)], false);
        assert_eq!(partitions(&session), [(1, 0), (0, 0), (2, 0)]);
    }

    #[test]
    fn an_answer_to_what_was_asked_before_a_change_is_refused() {
        let mut session = Session::new(false);
        session.update([request("a", 0, 0)]);
        let (generation, _) = session.requests();
        session.update([request("a", 1, 0)]);
        assert_eq!(session.answer(generation, &[state(false, 1)], false), None);
    }

    #[test]
    fn its_memory_follows_its_partitions() {
        let mut session = Session::new(false);
        let empty = session.bytes();
        session.update((0..1_000).map(|partition| request("a", partition, 0)));
        let full = session.bytes();
        assert!(
            (130..400).contains(&((full - empty) / 1_000)),
            "{} bytes a partition",
            (full - empty) / 1_000
        );
        session.update([request("a", 7, 5)]);
        assert_eq!(session.bytes(), full);
        session.forget((0..1_000).map(|partition| (TopicKey::Name("a".into()), PartitionIndex(partition))));
        assert_eq!(session.bytes(), empty);
    }
}
