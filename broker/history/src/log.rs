//! What one key's log was seen to hold: a value for each offset, in blocks, as offsets are dense.

use std::collections::BTreeMap;

/// Offsets in a block.
const BLOCK: i64 = 256;

/// The values by offset.
#[derive(Debug, Default)]
pub struct Log {
    blocks: BTreeMap<i64, Box<Block>>,
}

#[derive(Debug)]
struct Block {
    seen: [bool; BLOCK as usize],
    values: [u64; BLOCK as usize],
}

impl Log {
    /// Notes a value. If the offset has shown another one, that one stays and is returned.
    pub fn note(&mut self, offset: i64, value: u64) -> Option<u64> {
        let block = self.blocks.entry(offset.div_euclid(BLOCK)).or_insert_with(|| {
            Box::new(Block { seen: [false; BLOCK as usize], values: [0; BLOCK as usize] })
        });
        let at = offset.rem_euclid(BLOCK) as usize;
        if block.seen[at] {
            return (block.values[at] != value).then_some(block.values[at]);
        }
        block.seen[at] = true;
        block.values[at] = value;
        None
    }

    /// The first offset after `from` and before `to` that is known to hold a value.
    pub fn first_between(&self, from: i64, to: i64) -> Option<i64> {
        let (first, end) = (from.checked_add(1)?, to);
        if first >= end {
            return None;
        }
        for (number, block) in self.blocks.range(first.div_euclid(BLOCK)..=(end - 1).div_euclid(BLOCK)) {
            let base = number * BLOCK;
            let found = (0..BLOCK).map(|at| base + at).find(|offset| {
                *offset >= first && *offset < end && block.seen[offset.rem_euclid(BLOCK) as usize]
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_an_offset_stays() {
        let mut log = Log::default();
        assert_eq!(log.note(3, 7), None);
        assert_eq!(log.note(3, 7), None);
        assert_eq!(log.note(3, 8), Some(7));
        assert_eq!(log.note(3, 9), Some(7));
    }

    #[test]
    fn what_lies_between_is_found_across_blocks() {
        let mut log = Log::default();
        for offset in [-1, 0, 5, 255, 256, 5000] {
            log.note(offset, 1);
        }
        assert_eq!(log.first_between(0, 5), None);
        assert_eq!(log.first_between(0, 6), Some(5));
        assert_eq!(log.first_between(5, 256), Some(255));
        assert_eq!(log.first_between(256, 5000), None);
        assert_eq!(log.first_between(256, i64::MAX), Some(5000));
        assert_eq!(log.first_between(-2, 0), Some(-1));
        assert_eq!(log.first_between(5, 5), None);
        assert_eq!(log.first_between(i64::MAX, 5), None);
    }
}
