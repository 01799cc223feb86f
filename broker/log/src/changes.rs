//! Changes of single partitions since a file of all partitions was written: a line each.
//!
//! The files of all partitions are Kafka's, or as long; to write one for each partition that changes is
//! quadratic. So a change is a line that is appended to a file of changes. Lines are numbered, and have a
//! checksum of their own. Each is written twice: so one that is torn, and was never believed, differs from
//! one that was damaged since.

use ottla_types::{Offset, PartitionIndex, TopicName, TopicPartition};

/// What the offset checkpoints say of one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedOffsets {
    /// Up to here all of it is on disk.
    pub recovery_point: Option<Offset>,
    /// Where it begins.
    pub start: Option<Offset>,
    /// Up to here it is clean.
    pub cleaned: Option<Offset>,
}

/// A change of what the offset checkpoints say of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetChange {
    /// It begins there, or later.
    Start(Offset),
    /// It was cut there: none of its offsets is past it.
    Lowered(Offset),
    /// It isn't known any more.
    Forgotten,
}

impl SavedOffsets {
    /// What is said after a change. To repeat changes upon what came of them, or of later ones, takes no
    /// recovery point past where it is.
    #[must_use]
    pub fn after(self, change: OffsetChange) -> Self {
        match change {
            OffsetChange::Start(start) => Self { start: self.start.max(Some(start)), ..self },
            OffsetChange::Lowered(to) => Self {
                recovery_point: self.recovery_point.map(|offset| offset.min(to)),
                start: self.start.map(|offset| offset.min(to)),
                cleaned: self.cleaned.map(|offset| offset.min(to)),
            },
            OffsetChange::Forgotten => Self::default(),
        }
    }
}

/// A change in words, to be sealed.
pub fn encode_offset_change(name: &TopicPartition, change: OffsetChange) -> String {
    let TopicPartition { topic, partition } = name;
    let (kind, offset) = match change {
        OffsetChange::Start(offset) => ("start", offset),
        OffsetChange::Lowered(offset) => ("lowered", offset),
        OffsetChange::Forgotten => ("forgotten", Offset(0)),
    };
    assert!(offset.0 >= 0, "{offset} would be read as no change at all");
    format!("{kind} {topic} {partition} {offset}")
}

/// Reads a change; `None` when it is none.
pub fn decode_offset_change(text: &str) -> Option<(TopicPartition, OffsetChange)> {
    let mut words = text.split(' ');
    let kind = words.next()?;
    let topic = TopicName::new(words.next()?).ok()?;
    let name = TopicPartition { topic, partition: PartitionIndex(words.next()?.parse().ok()?) };
    let offset = Offset(words.next()?.parse().ok()?);
    let change = match kind {
        _ if words.next().is_some() || offset.0 < 0 => return None,
        "start" => OffsetChange::Start(offset),
        "lowered" => OffsetChange::Lowered(offset),
        "forgotten" => OffsetChange::Forgotten,
        _ => return None,
    };
    Some((name, change))
}

/// The lines of a change, the `number`th one of its file, from 0 on.
pub fn seal_change(number: u64, change: &str) -> String {
    assert!(!change.contains('\n'), "a change is one line: {change:?}");
    let text = format!("{number} {change}");
    // Twice its end as well, so that one flipped bit doesn't make one line of both.
    let line = format!("{text} {:08x}\n\n", crc32c::crc32c(text.as_bytes()));
    line.repeat(2)
}

/// The changes in a file, in their order; `None` when one is missing that others follow. What is torn at the
/// end is none.
pub fn unseal_changes(file: &[u8]) -> Option<Vec<&str>> {
    let mut changes: Vec<&str> = Vec::new();
    for (number, change) in file.split(|byte| *byte == b'\n').filter_map(unseal) {
        match number.cmp(&changes.len()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => changes.push(change),
            std::cmp::Ordering::Greater => return None,
        }
    }
    Some(changes)
}

fn unseal(line: &[u8]) -> Option<(usize, &str)> {
    let (text, crc) = std::str::from_utf8(line).ok()?.rsplit_once(' ')?;
    let is_whole = crc.len() == 8 && u32::from_str_radix(crc, 16).ok()? == crc32c::crc32c(text.as_bytes());
    let (number, change) = text.split_once(' ').filter(|_| is_whole)?;
    Some((number.parse().ok()?, change))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<(TopicPartition, OffsetChange)> {
        let name = TopicPartition { topic: TopicName::new("a.b-c").unwrap(), partition: PartitionIndex(7) };
        let kinds =
            [OffsetChange::Start(Offset(1 << 40)), OffsetChange::Lowered(Offset(0)), OffsetChange::Forgotten];
        kinds.map(|change| (name.clone(), change)).to_vec()
    }

    fn file() -> String {
        let lines = changes().into_iter().enumerate();
        lines
            .map(|(at, (name, change))| seal_change(at as u64, &encode_offset_change(&name, change)))
            .collect()
    }

    fn read(file: &[u8]) -> Option<Vec<(TopicPartition, OffsetChange)>> {
        unseal_changes(file)?.into_iter().map(decode_offset_change).collect()
    }

    #[test]
    fn changes_are_read_as_they_were_written() {
        assert_eq!(read(file().as_bytes()), Some(changes()));
        assert_eq!(read(b""), Some(Vec::new()));
        for bad in ["start a 0", "start a 0 -1", "start a 0 1 1", "lower a 0 1", "start / 0 1", ""] {
            assert_eq!(decode_offset_change(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_torn_file_has_the_changes_before() {
        let (file, all) = (file(), changes());
        let lines: Vec<&str> = file.split_inclusive("\n\n").collect();
        let ends = lines.chunks(2).scan(0, |before, two| {
            let end = *before + two[0].trim_end().len();
            *before += two.concat().len();
            Some(end)
        });
        let ends: Vec<usize> = ends.collect();
        for to in 0..=file.len() {
            let whole = ends.iter().filter(|end| **end <= to).count();
            assert_eq!(read(&file.as_bytes()[..to]).unwrap(), all[..whole], "to {to}");
        }
    }

    #[test]
    fn one_flipped_bit_changes_nothing() {
        let (file, all) = (file(), changes());
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                assert_eq!(read(&flipped).as_ref(), Some(&all), "bit {bit} at {at}");
            }
        }
    }

    #[test]
    fn a_change_that_is_missing_between_others_is_seen() {
        let file = file();
        let lines: Vec<&str> = file.split_inclusive("\n\n").collect();
        assert_eq!(read([&lines[..2], &lines[4..]].concat().concat().as_bytes()), None);
        assert_eq!(read(lines[2..].concat().as_bytes()), None);
    }

    #[test]
    fn what_is_said_after_changes() {
        let known = SavedOffsets {
            recovery_point: Some(Offset(50)),
            start: Some(Offset(20)),
            cleaned: Some(Offset(40)),
        };
        let (unknown, none) = (SavedOffsets::default(), None);
        let check = |before: SavedOffsets, change, recovery_point: Option<i64>, start: Option<i64>| {
            let cleaned = match change {
                OffsetChange::Start(_) => before.cleaned,
                OffsetChange::Lowered(to) => before.cleaned.map(|cleaned| cleaned.min(to)),
                OffsetChange::Forgotten => None,
            };
            let (recovery_point, start) = (recovery_point.map(Offset), start.map(Offset));
            let after = SavedOffsets { recovery_point, start, cleaned };
            assert_eq!(before.after(change), after, "{change:?}");
            assert_eq!(after.after(change), after, "{change:?} again");
        };
        check(known, OffsetChange::Start(Offset(30)), Some(50), Some(30));
        check(known, OffsetChange::Start(Offset(10)), Some(50), Some(20));
        check(known, OffsetChange::Lowered(Offset(30)), Some(30), Some(20));
        check(known, OffsetChange::Lowered(Offset(0)), Some(0), Some(0));
        check(known, OffsetChange::Forgotten, none, none);
        check(unknown, OffsetChange::Start(Offset(3)), none, Some(3));
        check(unknown, OffsetChange::Lowered(Offset(3)), none, none);
    }
}
