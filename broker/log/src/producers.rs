//! What a partition knows of its idempotent producers: the rules that keep their records exactly once and in
//! order.
//!
//! The rules are those of Kafka since 2.5: an unknown producer may begin with any sequence, a new epoch
//! begins at 0, the last five batches are recognized when they come again. One rule is ours: what was
//! certainly appended before those is told apart from what is missing. Not here: the file format
//! (`snapshot`).

use std::collections::{HashMap, VecDeque};
use std::fmt;

use ottla_types::{Offset, ProducerEpoch, ProducerId};

use crate::header::{BatchHeader, sequence_plus};

/// The batches of a producer that are remembered; Kafka's clients have no more in flight on one connection.
const BATCHES_MAX: usize = 5;

/// A quarter of the sequence numbers: within it, older and newer ones can be told apart although they wrap.
const RUN_MAX: u32 = 1 << 29;

/// One appended batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    /// The sequence number of its first record.
    pub base_sequence: i32,
    /// The sequence number of its last record.
    pub last_sequence: i32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Its greatest timestamp, in ms.
    pub timestamp_ms: i64,
}

impl BatchMeta {
    fn of(header: BatchHeader<'_>, base_offset: Offset, timestamp_ms: i64) -> Self {
        Self {
            base_sequence: header.base_sequence(),
            last_sequence: header.last_sequence(),
            base_offset,
            last_offset: Offset(base_offset.0 + i64::from(header.last_offset_delta())),
            timestamp_ms,
        }
    }
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Its last batches in that epoch, oldest first. Invariant: five at most.
    pub batches: VecDeque<BatchMeta>,
    /// How many sequence numbers, ending with the newest, are known to be in the log without a gap; it stops
    /// at [`RUN_MAX`]. A snapshot doesn't hold it: then it is those of the remembered batches.
    pub run: u32,
    /// When something was last heard of it, in ms of this broker's clock: it is forgotten some time after
    /// that. None if it is known from files that don't say: then it counts as heard when the next sweep
    /// comes. Its records' own times say nothing of that, as what they hold may be old.
    pub heard_ms: Option<i64>,
}

impl ProducerEntry {
    /// A producer that has written nothing in that epoch.
    pub fn new(epoch: ProducerEpoch, heard_ms: Option<i64>) -> Self {
        Self { epoch, batches: VecDeque::new(), run: 0, heard_ms }
    }

    /// Takes note of its newest batch.
    pub fn push(&mut self, batch: BatchMeta) {
        if !self.batches.is_empty() && batch.base_sequence != self.next_sequence() {
            self.run = 0;
        }
        let count = sequences_between(batch.base_sequence, sequence_plus(batch.last_sequence, 1));
        self.run = self.run.saturating_add(count).min(RUN_MAX);
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
        assert!(self.batches.len() <= BATCHES_MAX, "{} batches are remembered", self.batches.len());
        assert!(
            self.run <= RUN_MAX,
            "a run of {} is too long to tell older numbers from newer ones",
            self.run
        );
    }

    fn next_sequence(&self) -> i32 {
        self.batches.back().map_or(0, |last| sequence_plus(last.last_sequence, 1))
    }

    fn last_record(&self) -> LastRecord {
        let data_offset = self.batches.back().map(|batch| batch.last_offset);
        LastRecord { data_offset, epoch: self.epoch }
    }

    /// The batch of just these sequence numbers, if it is one of the last.
    fn remembered(&self, base: i32, last: i32) -> Option<&BatchMeta> {
        self.batches.iter().find(|batch| batch.base_sequence == base && batch.last_sequence == last)
    }

    /// Below which offset all of the sequence numbers from `base` to `last` stand, if they lie within the run
    /// before the remembered batches.
    fn appended_below(&self, base: i32, last: i32) -> Option<Offset> {
        let oldest = self.batches.front()?;
        let behind = |sequence| sequences_between(sequence, self.next_sequence());
        let (remembered, from, to) = (behind(oldest.base_sequence), behind(base), behind(last));
        (remembered < to && to <= from && from <= self.run).then_some(oldest.base_offset)
    }
}

/// The steps from one sequence number to a later one.
fn sequences_between(from: i32, to: i32) -> u32 {
    // Sequence numbers have 31 bits.
    to.wrapping_sub(from).cast_unsigned() & 0x7fff_ffff
}

/// The last of a producer that a log has to keep, so that it is known again when its state is read from the
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// The offset of its last record; `None` if only markers are known of it.
    pub data_offset: Option<Offset>,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// Append it.
    Append,
    /// It was appended before; answer with what was assigned then.
    Duplicate(BatchMeta),
}

/// Why a batch of an idempotent producer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// A batch is missing before it: Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER.
    OutOfOrder {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence that would be next.
        expected: i32,
        /// The one that came.
        given: i32,
    },
    /// It was appended before the batches that are remembered: Kafka's DUPLICATE_SEQUENCE_NUMBER, which
    /// clients take for success. Kafka itself calls it out of order, and a client whose connection hung while
    /// its later batches were appended by another leader then tries until its patience ends.
    AppendedBefore {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence that came.
        given: i32,
        /// Its records lie below this offset.
        below: Offset,
    },
    /// A later incarnation of the producer has written: Kafka's INVALID_PRODUCER_EPOCH.
    Fenced {
        /// The producer.
        producer_id: ProducerId,
        /// The newest epoch.
        current: ProducerEpoch,
        /// The one that came.
        given: ProducerEpoch,
    },
}

impl fmt::Display for SequenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { producer_id, expected, given } => {
                write!(f, "producer {producer_id}: sequence {expected} is next, {given} was sent")
            }
            Self::AppendedBefore { producer_id, given, below } => {
                write!(
                    f,
                    "producer {producer_id}: sequence {given} was appended before, below offset {below}"
                )
            }
            Self::Fenced { producer_id, current, given } => {
                write!(f, "producer {producer_id}: epoch {given} is fenced by epoch {current}")
            }
        }
    }
}

impl std::error::Error for SequenceError {}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: HashMap<ProducerId, ProducerEntry>,
}

impl ProducerStates {
    /// The producers, by id.
    pub fn entries(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The state of one producer.
    pub fn get(&self, id: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&id)
    }

    /// Puts a producer's state in, as a snapshot has it.
    pub fn insert(&mut self, id: ProducerId, entry: ProducerEntry) {
        self.producers.insert(id, entry);
    }

    /// The last record of each producer.
    pub fn last_records(&self) -> HashMap<ProducerId, LastRecord> {
        let producers = self.producers.iter();
        producers.map(|(id, entry)| (*id, entry.last_record())).collect()
    }

    /// Whether a client's batch follows on what its producer has written. A batch without a producer always
    /// does.
    ///
    /// # Errors
    /// When the epoch is fenced or a sequence is missing.
    pub fn check(&self, header: BatchHeader<'_>) -> Result<SequenceCheck, SequenceError> {
        let (producer_id, given_epoch) = (header.producer_id(), header.producer_epoch());
        let entry = match self.producers.get(&producer_id) {
            Some(entry) if producer_id.0 >= 0 => entry,
            _ => return Ok(SequenceCheck::Append),
        };
        if given_epoch < entry.epoch {
            return Err(SequenceError::Fenced { producer_id, current: entry.epoch, given: given_epoch });
        }
        let given = header.base_sequence();
        let expected = if given_epoch > entry.epoch {
            0
        } else {
            if let Some(batch) = entry.remembered(given, header.last_sequence()) {
                return Ok(SequenceCheck::Duplicate(*batch));
            }
            if let Some(below) = entry.appended_below(given, header.last_sequence()) {
                return Err(SequenceError::AppendedBefore { producer_id, given, below });
            }
            entry.next_sequence()
        };
        if given != expected {
            return Err(SequenceError::OutOfOrder { producer_id, expected, given });
        }
        Ok(SequenceCheck::Append)
    }

    /// Takes note of a batch that was appended at `base_offset` at `heard_ms`, by a client or a leader; none
    /// if it is found in the log.
    pub fn on_append(
        &mut self,
        header: BatchHeader<'_>,
        base_offset: Offset,
        timestamp_ms: i64,
        heard_ms: Option<i64>,
    ) {
        let (id, epoch) = (header.producer_id(), header.producer_epoch());
        if id.0 < 0 {
            return;
        }
        let new = || ProducerEntry::new(epoch, heard_ms);
        let entry = self.producers.entry(id).or_insert_with(new);
        if epoch > entry.epoch {
            *entry = new();
        }
        entry.heard_ms = heard_ms;
        if header.is_control() || epoch < entry.epoch {
            return;
        }
        entry.push(BatchMeta::of(header, base_offset, timestamp_ms));
    }

    /// Takes note of a batch that is found in the log late, as it was damaged: what its producer wrote after
    /// it may be known already.
    pub fn fill_in(&mut self, header: BatchHeader<'_>) {
        let entry = self.producers.get_mut(&header.producer_id());
        let is_known_epoch = entry.as_ref().is_some_and(|entry| entry.epoch == header.producer_epoch());
        let (Some(entry), true) = (entry, is_known_epoch && !header.is_control()) else {
            return self.on_append(header, header.base_offset(), header.max_timestamp(), None);
        };
        let batch = BatchMeta::of(header, header.base_offset(), header.max_timestamp());
        let at = entry.batches.partition_point(|known| known.base_offset < batch.base_offset);
        let is_there = entry.batches.get(at).is_some_and(|known| known.base_offset == batch.base_offset);
        // One that is older than all five isn't remembered.
        if is_there || at == 0 && entry.batches.len() == BATCHES_MAX {
            return;
        }
        if at == entry.batches.len() {
            return entry.push(batch);
        }
        entry.batches.insert(at, batch);
        if entry.batches.len() > BATCHES_MAX {
            entry.batches.pop_front();
        }
        assert!(entry.batches.len() <= BATCHES_MAX, "{} batches are remembered", entry.batches.len());
    }

    /// Takes note that a producer has sent something again at `heard_ms`. Returns whether it is known.
    pub fn hear(&mut self, id: ProducerId, heard_ms: i64) -> bool {
        let entry = self.producers.get_mut(&id);
        entry.map(|entry| entry.heard_ms = Some(heard_ms)).is_some()
    }

    /// Takes over when producers were heard from what was known before the state was read from the files
    /// again.
    pub fn keep_heard(&mut self, before: &Self) {
        for (id, entry) in &mut self.producers {
            entry.heard_ms = before.get(*id).and_then(|before| before.heard_ms);
        }
    }

    /// What files say of when producers were heard isn't all: each counts as heard at the next sweep.
    pub fn forget_heard(&mut self) {
        self.producers.values_mut().for_each(|entry| entry.heard_ms = None);
    }

    /// Forgets the producers of which nothing was heard for `expiration_ms`. Returns how many.
    ///
    /// A time that is still to come is that of a clock that was put back since, and counts as now.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            let heard_ms = entry.heard_ms.map_or(now_ms, |heard_ms| heard_ms.min(now_ms));
            entry.heard_ms = Some(heard_ms);
            now_ms.saturating_sub(heard_ms) < expiration_ms
        });
        before - self.producers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchBuilder;
    use ottla_types::LeaderEpoch;

    fn batch(id: i64, epoch: i16, sequence: i32, count: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(0)).producer(
            ProducerId(id),
            ProducerEpoch(epoch),
            sequence,
        );
        for _ in 0..count {
            builder.push(1, None, Some(b"v"), &[]);
        }
        builder.build()
    }

    /// Runs `id epoch sequence count` lines and writes what becomes of each.
    fn check(lines: &str) -> String {
        let (mut states, mut next, mut report) = (ProducerStates::default(), 0, String::new());
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let n: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            let bytes = batch(n[0], n[1] as i16, n[2] as i32, n[3] as usize);
            let header = BatchHeader::new(&bytes).unwrap();
            let outcome = match states.check(header) {
                Ok(SequenceCheck::Append) => {
                    states.on_append(header, Offset(next), 1, None);
                    next += n[3];
                    format!("at {}", next - n[3])
                }
                Ok(SequenceCheck::Duplicate(old)) => {
                    format!("again {}..={}", old.base_offset, old.last_offset)
                }
                Err(SequenceError::OutOfOrder { expected, .. }) => format!("expected {expected}"),
                Err(SequenceError::AppendedBefore { below, .. }) => format!("known, below {below}"),
                Err(SequenceError::Fenced { current, .. }) => format!("fenced by {current}"),
            };
            report.push_str(&outcome);
            report.push('\n');
        }
        report
    }

    #[test]
    fn sequences_follow_kafkas_rules() {
        for (name, lines, expected) in [
            (
                "in order, again, a gap",
                "1 0 0 2\n1 0 2 1\n1 0 0 2\n1 0 4 1",
                "at 0\nat 2\nagain 0..=1\nexpected 3\n",
            ),
            ("another length is no duplicate", "1 0 0 2\n1 0 0 1", "at 0\nexpected 2\n"),
            ("an unknown producer begins anywhere", "1 0 77 1\n1 0 78 1", "at 0\nat 1\n"),
            (
                "a new epoch begins at 0",
                "1 0 0 1\n1 1 1 1\n1 1 0 1\n1 0 1 1",
                "at 0\nexpected 0\nat 1\nfenced by 1\n",
            ),
            ("numbers wrap", "1 0 2147483646 2\n1 0 0 1", "at 0\nat 2\n"),
            ("two producers", "1 0 0 1\n2 0 0 1\n1 0 1 1\n2 0 1 1", "at 0\nat 1\nat 2\nat 3\n"),
            ("no producer", "-1 -1 -1 1\n-1 -1 -1 1", "at 0\nat 1\n"),
            (
                "five are remembered",
                "1 0 0 1\n1 0 1 1\n1 0 2 1\n1 0 3 1\n1 0 4 1\n1 0 5 1\n1 0 1 1\n1 0 0 1",
                "at 0\nat 1\nat 2\nat 3\nat 4\nat 5\nagain 1..=1\nknown, below 1\n",
            ),
            (
                "what an unknown producer sent before is not known",
                "1 0 7 1\n1 0 8 1\n1 0 9 1\n1 0 10 1\n1 0 11 1\n1 0 12 1\n1 0 6 1\n1 0 6 2\n1 0 7 1",
                "at 0\nat 1\nat 2\nat 3\nat 4\nat 5\nexpected 13\nexpected 13\nknown, below 1\n",
            ),
            (
                "what reaches into the remembered is another batch",
                "1 0 0 2\n1 0 2 2\n1 0 4 1\n1 0 5 1\n1 0 6 1\n1 0 7 1\n1 0 1 2\n1 0 0 1\n1 0 9 1",
                "at 0\nat 2\nat 4\nat 5\nat 6\nat 7\nexpected 8\nknown, below 2\nexpected 8\n",
            ),
            (
                "numbers wrap in what was before, too",
                "1 0 2147483645 2\n1 0 2147483647 2\n1 0 1 1\n1 0 2 1\n1 0 3 1\n1 0 4 1\n1 0 2147483645 2",
                "at 0\nat 2\nat 4\nat 5\nat 6\nat 7\nknown, below 2\n",
            ),
        ] {
            assert_eq!(check(lines), expected, "{name}");
        }
    }

    #[test]
    fn batches_that_are_found_late_stand_where_they_belong() {
        let at = |offset: i64| {
            let builder = BatchBuilder::new(Offset(offset), LeaderEpoch(0));
            let producer = builder.producer(ProducerId(1), ProducerEpoch(0), offset as i32);
            producer.record(1, None, None).build()
        };
        let mut states = ProducerStates::default();
        // 2 and 3 were damaged, and so was 9; 0 is older than five batches by then.
        for offset in [1, 4, 5, 6] {
            states.on_append(BatchHeader::new(&at(offset)).unwrap(), Offset(offset), 1, None);
        }
        for offset in [2, 3, 3, 0, 9] {
            states.fill_in(BatchHeader::new(&at(offset)).unwrap());
        }
        let known = &states.get(ProducerId(1)).unwrap().batches;
        assert_eq!(known.iter().map(|batch| batch.base_offset.0).collect::<Vec<_>>(), [3, 4, 5, 6, 9]);
        states.fill_in(BatchHeader::new(&batch(2, 0, 0, 1)).unwrap());
        assert_eq!(states.len(), 2);
    }

    #[test]
    fn producers_are_forgotten_when_nothing_was_heard_for_a_while() {
        let mut states = ProducerStates::default();
        let bytes = batch(1, 0, 0, 1);
        let header = BatchHeader::new(&bytes).unwrap();
        let append = |states: &mut ProducerStates, heard_ms| states.on_append(header, Offset(0), 1, heard_ms);
        append(&mut states, Some(1_000));
        assert_eq!(states.expire(1_099, 100), 0, "the record's time, 1, is of no account");
        assert!(states.hear(ProducerId(1), 1_050) && !states.hear(ProducerId(2), 1_050));
        assert_eq!(states.expire(1_149, 100), 0, "it sent something again");
        assert_eq!(states.expire(1_150, 100), 1);
        append(&mut states, None);
        assert_eq!(states.expire(9_000, 100), 0, "nothing says when it was heard: it is as if that were now");
        assert_eq!(states.expire(9_099, 100), 0);
        let mut reread = states.clone();
        reread.forget_heard();
        assert_eq!(reread.expire(9_500, 100), 0);
        reread.keep_heard(&states);
        assert_eq!((states.expire(9_100, 100), reread.expire(9_100, 100)), (1, 1));
        append(&mut states, Some(5_000));
        assert_eq!((states.expire(2_000, 100), states.expire(2_100, 100)), (0, 1), "the clock was put back");
        assert!(states.is_empty());
    }
    #[test]
    fn the_last_record_of_each_producer_is_known() {
        let mut states = ProducerStates::default();
        let mut append = |bytes: &[u8], offset| {
            states.on_append(BatchHeader::new(bytes).unwrap(), Offset(offset), 1, None);
            states.last_records()
        };
        let last = |data_offset: Option<i64>, epoch| LastRecord {
            data_offset: data_offset.map(Offset),
            epoch: ProducerEpoch(epoch),
        };
        append(&batch(1, 0, 0, 3), 0);
        assert_eq!(append(&batch(1, 0, 3, 2), 10)[&ProducerId(1)], last(Some(11), 0));
        let marker = BatchBuilder::new(Offset(0), LeaderEpoch(0)).control();
        let marker = marker.producer(ProducerId(1), ProducerEpoch(1), -1).record(1, None, None).build();
        assert_eq!(append(&marker, 12)[&ProducerId(1)], last(None, 1), "a marker begins an epoch");
        let all = append(&batch(2, 7, 0, 1), 13);
        assert_eq!((all.len(), all[&ProducerId(2)]), (2, last(Some(13), 7)));
    }
}
