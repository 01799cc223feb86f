//! Where each leader's epoch begins in a partition, and `leader-epoch-checkpoint`, its file in Kafka's
//! format.

use ottla_types::{LeaderEpoch, Offset};

use crate::header::BatchHeader;
use crate::text::{TextError, checkpoint_lines};
use crate::validate::check_header;

/// The start offsets of the leader epochs in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    /// Invariant: epochs rise from entry to entry, and offsets don't fall.
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// The file's name.
    pub const FILE: &'static str = "leader-epoch-checkpoint";

    /// The epochs and their start offsets, oldest first.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.0)
    }

    /// Takes note that `epoch` has a batch at `start`. Returns whether that is news.
    ///
    /// Entries that it contradicts, of later epochs or offsets, are dropped, as in Kafka.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || self.entries.last().is_some_and(|last| last.0 == epoch && start >= last.1) {
            return false;
        }
        self.entries.retain(|entry| entry.0 < epoch && entry.1 < start);
        self.entries.push((epoch, start));
        self.assert_rises_around(self.entries.len() - 1);
        true
    }

    fn assert_rises_around(&self, at: usize) {
        let around = &self.entries[at.saturating_sub(1)..self.entries.len().min(at + 2)];
        assert!(around.windows(2).all(|two| two[0].0 < two[1].0), "epochs rise: {around:?}");
        assert!(around.windows(2).all(|two| two[0].1 <= two[1].1), "their starts don't fall: {around:?}");
    }

    /// Takes note of a batch of `epoch` at `start` that comes to stand between others: later epochs stay.
    /// Returns whether that is news; an epoch that doesn't fit between its neighbours is none.
    pub fn fill_in(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        let at = self.entries.partition_point(|entry| entry.0 < epoch);
        let follows = at.checked_sub(1).is_none_or(|before| self.entries[before].1 < start);
        match self.entries.get_mut(at) {
            Some(entry) if entry.0 == epoch && start < entry.1 && follows => entry.1 = start,
            Some(entry) if entry.0 == epoch || entry.1 <= start || !follows => return false,
            None if !follows => return false,
            _ => self.entries.insert(at, (epoch, start)),
        }
        self.assert_rises_around(at);
        true
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let count = self.entries.partition_point(|entry| entry.1 <= offset);
        Some(self.entries[count.checked_sub(1)?].0)
    }

    /// The greatest epoch up to `epoch` and the offset after its last record, as OffsetForLeaderEpoch
    /// answers; `None` when no epoch that old is known.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let count = self.entries.partition_point(|entry| entry.0 <= epoch);
        let found = self.entries[count.checked_sub(1)?].0;
        Some((found, self.entries.get(count).map_or(log_end, |entry| entry.1)))
    }

    /// Forgets what lies at `end` and after. Returns whether something changed.
    pub fn truncate_to(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.1 < end);
        assert!(self.entries.last().is_none_or(|last| last.1 < end), "no epoch begins where the log ends");
        self.entries.len() != before
    }

    /// Forgets the epochs that end before `start`, or there. Returns whether something changed.
    ///
    /// The one that is left first begins where it did: so a log without records tells the epoch of its last
    /// ones from one that is yet to begin where it ends.
    pub fn advance_start(&mut self, start: Offset) -> bool {
        let passed = self.entries.partition_point(|entry| entry.1 <= start).saturating_sub(1);
        assert!(passed == 0 || passed < self.entries.len(), "the epoch of the last records stays");
        self.entries.drain(..passed);
        passed > 0
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is malformed or its epochs or offsets don't rise.
    pub fn decode(text: &str) -> Result<Self, TextError> {
        let mut epochs = Self::default();
        for (line, content) in checkpoint_lines(text)? {
            let pair = content.split_once(' ').and_then(|(epoch, start)| {
                Some((LeaderEpoch(epoch.parse().ok()?), Offset(start.parse().ok()?)))
            });
            let (epoch, start) = pair.ok_or_else(|| TextError::at(line, "not epoch and start offset"))?;
            let rises = epochs.entries.last().is_none_or(|last| last.0 < epoch && last.1 <= start);
            if !rises || epoch.0 < 0 || start.0 < 0 {
                return Err(TextError::at(line, "epochs and offsets have to rise"));
            }
            epochs.entries.push((epoch, start));
        }
        Ok(epochs)
    }
}

/// The length of the first of `records`' batches, up to the first one of a later epoch than `latest`. What is
/// malformed is of no epoch.
pub fn up_to_epoch(records: &[u8], latest: LeaderEpoch) -> usize {
    let mut at = 0;
    while let Some(header) = BatchHeader::new(&records[at..]).filter(|header| check_header(*header).is_ok()) {
        if header.leader_epoch() > latest {
            return at;
        }
        match at.checked_add(header.batch_bytes()) {
            Some(next) if next <= records.len() => at = next,
            _ => break,
        }
    }
    records.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_filled_in_between_others_only() {
        let known = epochs(&[(1, 10), (4, 40)]);
        for (epoch, start, expected) in [
            (2, 20, vec![(1, 10), (2, 20), (4, 40)]),
            (4, 30, vec![(1, 10), (4, 30)]),
            (5, 50, vec![(1, 10), (4, 40), (5, 50)]),
            (0, 5, vec![(0, 5), (1, 10), (4, 40)]),
            (1, 15, vec![(1, 10), (4, 40)]),
            (2, 40, vec![(1, 10), (4, 40)]),
            (4, 10, vec![(1, 10), (4, 40)]),
            (9, 20, vec![(1, 10), (4, 40)]),
        ] {
            let mut filled = known.clone();
            let is_news = filled.fill_in(LeaderEpoch(epoch), Offset(start));
            assert_eq!(filled, epochs(&expected), "{epoch} at {start}");
            assert_eq!(is_news, filled != known);
        }
    }

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in entries {
            epochs.assign(LeaderEpoch(epoch), Offset(start));
        }
        epochs
    }

    #[test]
    fn assigning_keeps_epochs_and_offsets_rising() {
        for (assigned, kept) in [
            (&[(0, 0), (0, 5), (2, 9)][..], &[(0, 0), (2, 9)][..]),
            (&[(0, 0), (2, 9), (1, 4)], &[(0, 0), (1, 4)]),
            (&[(0, 0), (2, 9), (3, 9)], &[(0, 0), (3, 9)]),
            (&[(-1, 0)], &[]),
        ] {
            let kept: Vec<_> =
                kept.iter().map(|&(epoch, start)| (LeaderEpoch(epoch), Offset(start))).collect();
            assert_eq!(epochs(assigned).entries(), kept);
        }
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let epochs = epochs(&[(1, 0), (3, 10), (4, 20)]);
        for (asked, answer) in [
            (0, None),
            (1, Some((1, 10))),
            (2, Some((1, 10))),
            (3, Some((3, 20))),
            (4, Some((4, 25))),
            (9, Some((4, 25))),
        ] {
            let answer = answer.map(|(epoch, end)| (LeaderEpoch(epoch), Offset(end)));
            assert_eq!(epochs.end_offset_for(LeaderEpoch(asked), Offset(25)), answer, "epoch {asked}");
        }
        assert_eq!(epochs.epoch_at(Offset(10)), Some(LeaderEpoch(3)));
        assert_eq!(epochs.epoch_at(Offset(9)), Some(LeaderEpoch(1)));
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut cut = epochs(&[(1, 0), (3, 10), (4, 20)]);
        assert!(cut.truncate_to(Offset(20)) && !cut.truncate_to(Offset(20)));
        assert!(cut.advance_start(Offset(12)) && !cut.advance_start(Offset(12)));
        assert_eq!(cut.entries(), [(LeaderEpoch(3), Offset(10))]);
        // All records are gone: what the last ones were is still known.
        assert!(!cut.advance_start(Offset(20)) && !cut.truncate_to(Offset(20)));
        assert_eq!(cut.end_offset_for(LeaderEpoch(3), Offset(20)), Some((LeaderEpoch(3), Offset(20))));
    }

    #[test]
    fn the_file_is_kafkas() {
        let epochs = epochs(&[(0, 0), (2, 9)]);
        assert_eq!(epochs.encode(), "0\n2\n0 0\n2 9\n");
        assert_eq!(LeaderEpochs::decode(&epochs.encode()), Ok(epochs));
        for bad in ["", "0\n1\n", "0\n2\n2 0\n1 9\n", "0\n2\n1 9\n2 0\n", "0\n1\nx 0\n", "1\n0\n"] {
            assert!(LeaderEpochs::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn records_end_before_a_later_epoch() {
        let batch = |offset, epoch| {
            let builder = crate::BatchBuilder::new(Offset(offset), LeaderEpoch(epoch));
            builder.record(1, None, Some(b"value")).build()
        };
        let whole = [batch(0, 3), batch(1, 3), batch(2, 5), batch(3, 4)].concat();
        let of_two = batch(0, 3).len() + batch(1, 3).len();
        for (latest, bytes) in [(2, 0), (3, of_two), (4, of_two), (5, whole.len())] {
            assert_eq!(up_to_epoch(&whole, LeaderEpoch(latest)), bytes, "epoch {latest}");
        }
        // Whoever appends it says what is wrong.
        assert_eq!(up_to_epoch(&whole[..whole.len() - 1], LeaderEpoch(5)), whole.len() - 1);
        assert_eq!(up_to_epoch(b"garbage", LeaderEpoch(5)), 7);
        assert_eq!(up_to_epoch(&[], LeaderEpoch(5)), 0);
    }
}
