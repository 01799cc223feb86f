//! The journal's format: groups of small writes to many partitions, in one sequential file.
//!
//! It is our own, as Kafka has no such file. A group begins at a multiple of [`BLOCK_BYTES`] with a header
//! (big-endian: magic, CRC-32C of all that follows, generation u64, number of the first entry u64, entries
//! u32, bytes of the entries u32) and is padded with zeros. An entry is a head (kind u8, topic id, partition
//! i32, next offset i64, segment i64, position u64, length u32) and as many bytes. Entries are numbered
//! without a gap within a group.
//!
//! A file that is used again still holds groups of its old generation: a group counts only in a file of its
//! own generation, and only if its numbers rise.

use std::ops::Range;

use ottla_types::{Offset, PartitionIndex, TopicId};

/// Groups are padded to it, so that a write never has to read a page first.
pub const BLOCK_BYTES: usize = 4096;

const MAGIC: u32 = u32::from_be_bytes(*b"OTJ1");
const GROUP_HEAD_BYTES: usize = 32;
const CRC_FROM: usize = 8;
const ENTRY_HEAD_BYTES: usize = 1 + 16 + 4 + 8 + 8 + 8 + 4;

const _: () = assert!(GROUP_HEAD_BYTES + ENTRY_HEAD_BYTES <= BLOCK_BYTES, "a mark fits into one block");

/// Whose entry it is.
pub type JournalKey = (TopicId, PartitionIndex);

/// Bytes that were written to a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalWrite {
    /// The segment's base offset.
    pub segment: Offset,
    /// Where in the segment.
    pub position: u64,
    /// Where in the journal's file the bytes stand.
    pub bytes: Range<usize>,
}

/// What a group says of one partition: everything below `next_offset` is durable, by this write or by earlier
/// ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its number; numbers rise over all files.
    pub number: u64,
    /// The partition.
    pub key: JournalKey,
    /// The offset after the last record.
    pub next_offset: Offset,
    /// What was written; `None` when the segments themselves were synced up to here.
    pub write: Option<JournalWrite>,
}

/// A group that is being filled.
#[derive(Debug)]
pub struct JournalGroup {
    bytes: Vec<u8>,
    entries: u32,
}

impl Default for JournalGroup {
    fn default() -> Self {
        Self { bytes: vec![0; GROUP_HEAD_BYTES], entries: 0 }
    }
}

impl JournalGroup {
    /// The bytes that the group takes in the file.
    pub fn padded_bytes(&self) -> usize {
        self.bytes.len().next_multiple_of(BLOCK_BYTES)
    }

    /// How many entries there are.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Adds a write of `parts` at `position` of a segment.
    pub fn push_write(
        &mut self,
        key: JournalKey,
        segment: Offset,
        position: u64,
        next_offset: Offset,
        parts: &[&[u8]],
    ) {
        assert!(segment < next_offset, "a write to segment {segment} ends at {next_offset}");
        let length = parts.iter().map(|part| part.len()).sum();
        self.push_head(1, key, next_offset, segment, position, length);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Adds that a partition's segments are synced up to `next_offset`.
    pub fn push_mark(&mut self, key: JournalKey, next_offset: Offset) {
        self.push_head(2, key, next_offset, Offset(0), 0, 0);
    }

    fn push_head(
        &mut self,
        kind: u8,
        key: JournalKey,
        next_offset: Offset,
        segment: Offset,
        position: u64,
        length: usize,
    ) {
        let length = u32::try_from(length).expect("an entry is smaller than a batch may be");
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&key.0.0);
        self.bytes.extend_from_slice(&key.1.0.to_be_bytes());
        self.bytes.extend_from_slice(&next_offset.0.to_be_bytes());
        self.bytes.extend_from_slice(&segment.0.to_be_bytes());
        self.bytes.extend_from_slice(&position.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.entries += 1;
    }

    /// Completes the group: pads it and fills in its header. Only [`Self::clear`] may follow.
    pub fn seal(&mut self, generation: u64, first_number: u64) -> &[u8] {
        let entries_bytes =
            u32::try_from(self.bytes.len() - GROUP_HEAD_BYTES).expect("a group has some MiB at the most");
        assert!(self.entries > 0, "a group without entries isn't written: numbers have to rise");
        self.bytes.resize(self.padded_bytes(), 0);
        self.bytes[8..16].copy_from_slice(&generation.to_be_bytes());
        self.bytes[16..24].copy_from_slice(&first_number.to_be_bytes());
        self.bytes[24..28].copy_from_slice(&self.entries.to_be_bytes());
        self.bytes[28..32].copy_from_slice(&entries_bytes.to_be_bytes());
        let crc = crc32c::crc32c(&self.bytes[CRC_FROM..]);
        self.bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
        self.bytes[4..8].copy_from_slice(&crc.to_be_bytes());
        &self.bytes
    }

    /// Empties the group; its memory is used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(GROUP_HEAD_BYTES, 0);
        self.entries = 0;
    }
}

/// What a journal's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalContent {
    /// The entries, by rising number.
    pub entries: Vec<JournalEntry>,
    /// Bytes between whole groups that are no group: damage, as a group is written after the one before was
    /// synced.
    pub damaged: Vec<Range<usize>>,
}

/// Reads the groups of `generation`; any other one, when none is given, which is a bug that tests plant.
///
/// What follows the last whole group was never acknowledged, or is damaged: that can't be told apart here.
pub fn read_journal(bytes: &[u8], generation: Option<u64>) -> JournalContent {
    let (mut content, mut at, mut whole_to, mut next_number) = (JournalContent::default(), 0, 0, 0);
    while at < bytes.len() {
        let Some(group) = read_group(&bytes[at..], generation, next_number) else {
            at += BLOCK_BYTES;
            continue;
        };
        if at > whole_to {
            content.damaged.push(whole_to..at);
        }
        assert!(group.padded_bytes.is_multiple_of(BLOCK_BYTES), "groups begin with a block");
        next_number = group.first_number + u64::from(group.entries);
        read_entries(at + GROUP_HEAD_BYTES, bytes, &group, &mut content.entries);
        at += group.padded_bytes;
        whole_to = at;
    }
    content
}

struct GroupHead {
    first_number: u64,
    entries: u32,
    padded_bytes: usize,
}

fn read_group(bytes: &[u8], generation: Option<u64>, number_min: u64) -> Option<GroupHead> {
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let (entries, entries_bytes) = (word(24)?, word(28)? as usize);
    let padded_bytes = (GROUP_HEAD_BYTES + entries_bytes).next_multiple_of(BLOCK_BYTES);
    let first_number = long(16)?;
    let fits = word(0)? == MAGIC
        && generation.is_none_or(|generation| long(8) == Some(generation))
        && (first_number >= number_min || generation.is_none())
        && padded_bytes <= bytes.len();
    let sound = fits && crc32c::crc32c(&bytes[CRC_FROM..padded_bytes]) == word(4)?;
    sound.then_some(GroupHead { first_number, entries, padded_bytes })
}

/// The checksum was right, so what doesn't fit is a bug of the writer: it ends the group.
fn read_entries(mut at: usize, bytes: &[u8], group: &GroupHead, entries: &mut Vec<JournalEntry>) {
    for index in 0..group.entries {
        let Some(head) = bytes.get(at..at + ENTRY_HEAD_BYTES) else { return };
        let long = |from: usize| u64::from_be_bytes(field(head, from));
        let word = |from: usize| u32::from_be_bytes(field(head, from));
        let topic_id = TopicId(field(head, 1));
        let start = at + ENTRY_HEAD_BYTES;
        let end = start + word(45) as usize;
        let write = (head[0] == 1).then(|| JournalWrite {
            segment: Offset(long(29) as i64),
            position: long(37),
            bytes: start..end,
        });
        entries.push(JournalEntry {
            number: group.first_number + u64::from(index),
            key: (topic_id, PartitionIndex(word(17) as i32)),
            next_offset: Offset(long(21) as i64),
            write,
        });
        at = end;
    }
}

/// A field of an entry's head, which holds all of them.
fn field<const N: usize>(head: &[u8], from: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[from..from + N]);
    field
}

/// What is known of a log that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalCut {
    /// Its entries count from this number on: what came before was cut off.
    pub number: u64,
    /// Everything below is durable, as entries that count no more may have said.
    pub durable_to: Offset,
}

/// What is known of a log of which closed segments got other files in their place. Entries speak of positions
/// in the files from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettled {
    /// Entries from this number on are written as they say.
    pub number: u64,
    /// Older ones are, too, if they go on behind this offset.
    pub below: Offset,
}

/// What is void of a log's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalVoid {
    /// By the newest cut that is known.
    pub cut: Option<JournalCut>,
    /// By segments that were replaced since.
    pub settled: Option<JournalSettled>,
}

/// What is void, of each log that anything is known of.
pub type JournalCuts = std::collections::BTreeMap<JournalKey, JournalVoid>;

impl From<JournalCut> for JournalVoid {
    fn from(cut: JournalCut) -> Self {
        Self { cut: Some(cut), settled: None }
    }
}

impl From<JournalSettled> for JournalVoid {
    fn from(settled: JournalSettled) -> Self {
        Self { cut: None, settled: Some(settled) }
    }
}

impl JournalVoid {
    /// What is known once something more is said. What was said before may be said again, in its order.
    #[must_use]
    pub fn after(self, said: Self) -> Self {
        let cut = match (self.cut, said.cut) {
            (Some(before), Some(cut)) if before.number > cut.number => Some(before),
            (before, cut) => cut.or(before),
        };
        // A cut makes void all that came before it. Without one in between a log only grows, so of two the
        // one that reaches further has all that is meant by the other.
        let is_newer = |settled: &JournalSettled| cut.is_none_or(|cut| settled.number > cut.number);
        let settled = [self.settled, said.settled].into_iter().flatten().filter(is_newer);
        Self { cut, settled: settled.max_by_key(|settled| (settled.below, settled.number)) }
    }

    /// Whether the entry of this number says anything.
    pub fn counts(&self, number: u64) -> bool {
        self.cut.is_none_or(|cut| number >= cut.number)
    }

    /// Whether an entry is in a file that was replaced: it is durable there, and is not to be written again.
    pub fn is_settled(&self, number: u64, next_offset: Offset) -> bool {
        self.settled.is_some_and(|settled| number < settled.number && next_offset <= settled.below)
    }

    /// What is left once there are no entries below `oldest` any more.
    #[must_use]
    pub fn from_entry(self, oldest: u64) -> Self {
        Self {
            cut: self.cut.filter(|cut| cut.number >= oldest),
            settled: self.settled.filter(|settled| settled.number >= oldest),
        }
    }

    /// Whether nothing is void.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The greatest number in it.
    pub fn newest(&self) -> u64 {
        let cut = self.cut.map_or(0, |cut| cut.number);
        cut.max(self.settled.map_or(0, |settled| settled.number))
    }
}

/// The text of the file of cuts: a line for each thing that is known, and a checksum, as it must not be
/// believed when it is damaged.
pub fn encode_cuts(cuts: &JournalCuts) -> String {
    let mut text = String::from("0\n");
    for (key, void) in cuts {
        let lines = [void.cut.map(JournalVoid::from), void.settled.map(JournalVoid::from)];
        for line in lines.into_iter().flatten() {
            text.push_str(&encode_void(*key, line));
            text.push('\n');
        }
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("crc {crc:08x}\n"));
    text
}

/// Reads the file of cuts; `None` when it is damaged.
pub fn decode_cuts(text: &str) -> Option<JournalCuts> {
    let (lines, crc) = text.rsplit_once("crc ")?;
    if u32::from_str_radix(crc.strip_suffix('\n')?, 16).ok()? != crc32c::crc32c(lines.as_bytes()) {
        return None;
    }
    let mut cuts = JournalCuts::new();
    for line in lines.strip_prefix("0\n")?.lines() {
        let (key, void) = decode_void(line)?;
        let known = cuts.entry(key).or_default();
        *known = known.after(void);
    }
    Some(cuts)
}

const SETTLED: &str = "settled";

/// The text of one cut, or of one settlement.
///
/// # Panics
/// When it is both or neither.
pub fn encode_void((topic_id, partition): JournalKey, void: JournalVoid) -> String {
    let id = u128::from_be_bytes(topic_id.0);
    match (void.cut, void.settled) {
        (Some(cut), None) => format!("{id:032x} {partition} {} {}", cut.number, cut.durable_to),
        (None, Some(settled)) => {
            format!("{id:032x} {partition} {} {} {SETTLED}", settled.number, settled.below)
        }
        _ => panic!("{void:?} isn't one line"),
    }
}

/// Reads a cut or a settlement; `None` when it is neither.
pub fn decode_void(text: &str) -> Option<(JournalKey, JournalVoid)> {
    let mut words = text.split(' ');
    let topic_id = TopicId(u128::from_str_radix(words.next()?, 16).ok()?.to_be_bytes());
    let partition = PartitionIndex(words.next()?.parse().ok()?);
    let number = words.next()?.parse().ok()?;
    let offset = Offset(words.next()?.parse().ok()?);
    let void = match words.next() {
        None => JournalCut { number, durable_to: offset }.into(),
        Some(SETTLED) => JournalSettled { number, below: offset }.into(),
        Some(_) => return None,
    };
    words.next().is_none().then_some(((topic_id, partition), void))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: JournalKey = (TopicId([1; 16]), PartitionIndex(0));
    const B: JournalKey = (TopicId([2; 16]), PartitionIndex(7));
    const C: JournalKey = (TopicId([3; 16]), PartitionIndex(1));

    fn group(generation: u64, first_number: u64, bytes: &[u8]) -> Vec<u8> {
        let mut group = JournalGroup::default();
        group.push_write(A, Offset(0), 100, Offset(5), &[&bytes[..1], &bytes[1..]]);
        group.push_mark(B, Offset(9));
        let sealed = group.seal(generation, first_number).to_vec();
        assert_eq!(sealed.len() % BLOCK_BYTES, 0);
        sealed
    }

    fn numbers(content: &JournalContent) -> Vec<u64> {
        content.entries.iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn groups_are_read_as_they_were_written() {
        let file = [group(3, 10, b"hello"), group(3, 12, &[9; 5_000]), vec![0; BLOCK_BYTES]].concat();
        let content = read_journal(&file, Some(3));
        assert_eq!((numbers(&content), &content.damaged[..]), (vec![10, 11, 12, 13], &[][..]));
        let write = content.entries[0].write.clone().unwrap();
        assert_eq!((write.segment, write.position, &file[write.bytes]), (Offset(0), 100, &b"hello"[..]));
        assert_eq!((content.entries[0].key, content.entries[0].next_offset), (A, Offset(5)));
        let mark = &content.entries[3];
        assert_eq!((mark.key, mark.next_offset, &mark.write), (B, Offset(9), &None));
    }

    #[test]
    fn groups_of_another_generation_and_older_numbers_are_none() {
        let file = [group(4, 20, b"new"), group(3, 10, b"old"), group(4, 5, b"older")].concat();
        let content = read_journal(&file, Some(4));
        assert_eq!((numbers(&content), content.damaged.len()), (vec![20, 21], 0));
        assert_eq!(numbers(&read_journal(&file, Some(3))), [10, 11]);
    }

    #[test]
    fn damage_between_whole_groups_is_told_from_the_end() {
        let mut file = [group(1, 0, b"a"), group(1, 2, b"b"), group(1, 4, b"c")].concat();
        file[BLOCK_BYTES + 40] ^= 1;
        let content = read_journal(&file, Some(1));
        assert_eq!(numbers(&content), [0, 1, 4, 5]);
        assert_eq!(content.damaged, vec![BLOCK_BYTES..2 * BLOCK_BYTES]);
        file[2 * BLOCK_BYTES + 40] ^= 1;
        assert_eq!(read_journal(&file, Some(1)).damaged, [], "that is like a torn end");
    }

    #[test]
    fn cuts_are_read_as_they_were_written_or_not_at_all() {
        let settled = Some(JournalSettled { number: 1 << 41, below: Offset(98) });
        let cuts = JournalCuts::from([
            (A, JournalCut { number: 7, durable_to: Offset(0) }.into()),
            (B, JournalVoid { cut: Some(JournalCut { number: 1 << 40, durable_to: Offset(99) }), settled }),
            (C, JournalVoid { cut: None, settled }),
        ]);
        let text = encode_cuts(&cuts);
        assert_eq!(decode_cuts(&text), Some(cuts));
        assert_eq!(decode_cuts(&encode_cuts(&JournalCuts::new())), Some(JournalCuts::new()));
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            let decoded = String::from_utf8(bad).ok().and_then(|bad| decode_cuts(&bad));
            assert!(decoded.is_none(), "byte {at}");
        }
    }

    fn cut(number: u64, end: i64) -> JournalVoid {
        JournalCut { number, durable_to: Offset(end) }.into()
    }

    fn settled(number: u64, end: i64) -> JournalVoid {
        JournalSettled { number, below: Offset(end) }.into()
    }

    #[test]
    fn what_is_void_of_a_log_that_was_cut_and_of_which_segments_were_replaced() {
        let said = |lines: &[JournalVoid]| {
            let known = lines.iter().fold(JournalVoid::default(), |known, said| known.after(*said));
            // A file of changes may be older than what was written anew of all, be it with some left out.
            for kept in [known, known.from_entry(11), known.from_entry(13)] {
                let again = lines.iter().fold(kept, |known, said| known.after(*said));
                assert_eq!(again, known, "{lines:?} upon {kept:?}");
            }
            known
        };
        let both = said(&[cut(10, 30), settled(12, 50)]);
        assert!(!both.counts(9) && both.counts(10));
        assert!(both.is_settled(11, Offset(50)) && !both.is_settled(11, Offset(51)));
        assert!(!both.is_settled(12, Offset(50)), "what came later is written as it says");
        assert_eq!(said(&[settled(9, 90), cut(10, 30)]), cut(10, 30), "all of it is void");
        assert_eq!(said(&[settled(10, 90), cut(10, 30)]), cut(10, 30));
        assert_eq!(said(&[settled(9, 90), cut(10, 30), settled(12, 50)]), both, "it was cut in between");
        assert_eq!(said(&[settled(9, 40), settled(12, 50)]), settled(12, 50));
        assert_eq!(said(&[settled(9, 50), settled(12, 40)]), settled(9, 50), "nothing came in between");
        assert_eq!((both.newest(), cut(3, 9).newest(), settled(4, 9).newest()), (12, 3, 4));
        assert!(JournalVoid::default().is_empty() && !both.is_empty());
        assert_eq!(both.from_entry(11), settled(12, 50));
        assert!(both.from_entry(13).is_empty() && both.from_entry(10) == both);
        for bad in ["", "1 0 1 1 cut", "1 0 1 1 settled 1", "1 0 1", "x 0 1 1", "1 0 1 x settled"] {
            assert_eq!(decode_void(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_file_reading_ends(bytes in prop::collection::vec(any::<u8>(), 0..10_000), at in 0usize..10_000, value in any::<u8>()) {
            read_journal(&bytes, None);
            let mut file = group(1, 0, &[7; 6_000]);
            let at = at % file.len();
            if file[at] != value {
                file[at] = value;
                prop_assert_eq!(read_journal(&file, Some(1)).entries, vec![]);
            }
        }
    }
}
