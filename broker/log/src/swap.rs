//! The swap file: which segments are replaced by which files. Once it is there, durably, the replacement is
//! done or will be; before, it never was.
//!
//! It has no name of Kafka's, and Kafka passes it over. Its lines are sealed as changes are: numbered, with a
//! checksum, each twice, so that one damaged line is still known. The first one says how many there are.

use std::ops::Range;

use ottla_types::Offset;

use crate::changes::{seal_change, unseal_changes};
use crate::names::FileKind;

/// The ending of a file that is to take the place of one without it. Without a swap file that names it, it is
/// half made.
pub const CLEANED_SUFFIX: &str = ".cleaned";

const SWAP_SUFFIX: &str = ".swap";
const VERSION: &str = "ottla swap 1";

/// The segments from one offset to another are replaced by these files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSwap {
    /// The files, by their base offsets: the first begins where the first of the old segments does, and each
    /// goes on to where the next one begins.
    pub files: Vec<SwappedFile>,
    /// Where the last one ends, as the last of the old segments does.
    pub end: Offset,
}

/// A segment's new log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwappedFile {
    /// Its first offset, which names it.
    pub base: Offset,
    /// Its size.
    pub bytes: u64,
    /// CRC-32C of all its bytes.
    pub crc: u32,
}

/// The name that a file has while it is made, or until it takes its place.
pub fn cleaned_name(kind: FileKind, base: Offset) -> String {
    format!("{}{CLEANED_SUFFIX}", kind.file_name(base))
}

/// The name of the swap file of the segments from `base` on.
pub fn swap_name(base: Offset) -> String {
    assert!(base.0 >= 0, "a name has no sign: {base}");
    format!("{:020}{SWAP_SUFFIX}", base.0)
}

/// The base offset in the name of a swap file; `None` when it is none.
pub fn parse_swap_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(SWAP_SUFFIX)?;
    let is_one = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some(Offset(is_one.then(|| digits.parse().ok())??))
}

impl SegmentSwap {
    /// The offsets of the segments that are replaced.
    pub fn offsets(&self) -> Range<Offset> {
        let first = self.files.first().expect("a swap has a file, as `assert_valid` and `decode` see to");
        first.base..self.end
    }

    /// Whether a segment with that base offset goes, as no new one has it.
    pub fn removes(&self, base: Offset) -> bool {
        self.offsets().contains(&base) && self.files.iter().all(|file| file.base != base)
    }

    fn is_valid(&self) -> bool {
        let bases = self.files.iter().map(|file| file.base);
        let bounds = bases.chain([self.end]);
        !self.files.is_empty() && self.files[0].base.0 >= 0 && bounds.is_sorted_by(|a, b| a < b)
    }

    /// The file's text.
    ///
    /// # Panics
    /// When it has no file, or the files don't follow each other.
    pub fn encode(&self) -> String {
        assert!(self.is_valid(), "{self:?} replaces segments by files that follow each other");
        let mut text = seal_change(0, &format!("{VERSION} {} {}", self.files.len(), self.end));
        for (number, SwappedFile { base, bytes, crc }) in (1..).zip(&self.files) {
            text.push_str(&seal_change(number, &format!("{base} {bytes} {crc:08x}")));
        }
        text
    }

    /// Reads the file; `None` when a line of it is damaged, or missing.
    pub fn decode(file: &[u8]) -> Option<Self> {
        let lines = unseal_changes(file)?;
        let (first, files) = lines.split_first()?;
        let mut words = first.strip_prefix(VERSION)?.strip_prefix(' ')?.split(' ');
        let count: usize = words.next()?.parse().ok()?;
        let end = Offset(words.next()?.parse().ok()?);
        if words.next().is_some() || files.len() != count {
            return None;
        }
        let read = |line: &&str| {
            let mut words = line.split(' ');
            let (base, bytes) = (Offset(words.next()?.parse().ok()?), words.next()?.parse().ok()?);
            let crc = u32::from_str_radix(words.next()?, 16).ok()?;
            words.next().is_none().then_some(SwappedFile { base, bytes, crc })
        };
        let swap = Self { files: files.iter().map(read).collect::<Option<_>>()?, end };
        swap.is_valid().then_some(swap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(files: &[(i64, u64, u32)], end: i64) -> SegmentSwap {
        let file = |&(base, bytes, crc)| SwappedFile { base: Offset(base), bytes, crc };
        SegmentSwap { files: files.iter().map(file).collect(), end: Offset(end) }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let one = swap(&[(0, 0, 0)], 1);
        let two = swap(&[(5, 1 << 30, u32::MAX), (1 << 40, 7, 0xab)], i64::MAX);
        for swap in [&one, &two] {
            assert_eq!(SegmentSwap::decode(swap.encode().as_bytes()).as_ref(), Some(swap));
        }
        assert_eq!(two.offsets(), Offset(5)..Offset(i64::MAX));
        let removed = [4, 5, 6, 1 << 40, (1 << 40) + 1, i64::MAX].map(|base| two.removes(Offset(base)));
        assert_eq!(removed, [false, false, true, false, true, false]);
    }

    #[test]
    fn it_is_known_with_one_flipped_bit_and_not_at_all_when_some_is_missing() {
        let swap = swap(&[(5, 100, 9), (10, 7, 8)], 20);
        let text = swap.encode();
        for at in 0..text.len() * 8 {
            let mut flipped = text.clone().into_bytes();
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(SegmentSwap::decode(&flipped).as_ref(), Some(&swap), "bit {at}");
        }
        let whole = text.trim_end().len() - text.trim_end().lines().last().unwrap().len() - 2;
        for to in 0..whole {
            assert_eq!(SegmentSwap::decode(&text.as_bytes()[..to]), None, "to {to}");
        }
        assert_eq!(
            SegmentSwap::decode(&text.as_bytes()[..whole]),
            Some(swap),
            "the second copy isn't needed"
        );
    }

    #[test]
    fn what_makes_no_sense_is_none() {
        let sealed = |lines: &[&str]| -> Vec<u8> {
            (0..).zip(lines).flat_map(|(number, line)| seal_change(number, line).into_bytes()).collect()
        };
        assert!(SegmentSwap::decode(&sealed(&["ottla swap 1 1 9", "5 1 0"])).is_some());
        for bad in [
            &["ottla swap 1 0 9"][..],
            &["ottla swap 2 1 9", "5 1 0"],
            &["ottla swap 1 1 5", "5 1 0"],
            &["ottla swap 1 2 9", "5 1 0"],
            &["ottla swap 1 1 9", "5 1 0", "6 1 0"],
            &["ottla swap 1 2 9", "5 1 0", "5 1 0"],
            &["ottla swap 1 1 9 9", "5 1 0"],
            &["ottla swap 1 1 9", "5 1 0 0"],
            &["ottla swap 1 1 9", "-5 1 0"],
            &["ottla swap 1 1 9", "5 1"],
            &[],
        ] {
            assert_eq!(SegmentSwap::decode(&sealed(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(cleaned_name(FileKind::Log, Offset(42)), "00000000000000000042.log.cleaned");
        assert_eq!(parse_swap_name(&swap_name(Offset(42))), Some(Offset(42)));
        for other in ["42.swap", "00000000000000000042.log.swap", "99999999999999999999.swap", ".swap"] {
            assert_eq!(parse_swap_name(other), None, "{other}");
        }
    }
}
