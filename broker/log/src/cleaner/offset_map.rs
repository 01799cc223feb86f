//! Which offset is the last one of each key, in memory that is bounded by one setting.
//!
//! As in Kafka, a key is known by its hash of 16 bytes, so that keys of any length take the same place. The
//! hash is the first half of SHA-256, where Kafka's is MD5: two keys that share one would be taken for one
//! key, and whoever may write to a topic must not be able to make such keys.

use std::fmt;

use ottla_types::Offset;
use sha2::{Digest, Sha256};

/// Two halves of a hash, and the offset plus one; all zeroes is empty, as fresh memory is.
type Slot = [u64; 3];

/// The last offset of each key that was put in.
#[derive(Clone)]
pub struct OffsetMap {
    slots: Vec<Slot>,
    entries: usize,
    /// Invariant: less than there are slots, so that each search ends at an empty one.
    entries_max: usize,
    latest_offset: Option<Offset>,
}

/// There is no room for one more key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetMapFull;

impl OffsetMap {
    /// The bytes that one key takes.
    pub const ENTRY_BYTES: usize = size_of::<Slot>();

    /// A map of at most `bytes_max` bytes, which is full when `load_factor` of its slots are taken
    /// (`log.cleaner.io.buffer.load.factor`, above 0 and up to 1).
    ///
    /// `None` when not even two keys fit, as no cleaning would get ahead.
    pub fn new(bytes_max: usize, load_factor: f64) -> Option<Self> {
        let slots = bytes_max / Self::ENTRY_BYTES;
        let entries_max = ((slots as f64 * load_factor) as usize).min(slots.saturating_sub(1));
        (entries_max > 1).then(|| Self {
            slots: vec![[0; 3]; slots],
            entries: 0,
            entries_max,
            latest_offset: None,
        })
    }

    /// The keys in it.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is no key in it.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The share of its slots that is taken, from 0 to 1.
    pub fn utilization(&self) -> f64 {
        self.entries as f64 / self.slots.len() as f64
    }

    /// The offset up to which it is complete, that one included: of each key in the part of the log that it
    /// was made from, up to here, it knows the last offset.
    pub fn latest_offset(&self) -> Option<Offset> {
        self.latest_offset
    }

    /// Whether it says nothing of what stands at `offset`.
    pub fn is_behind(&self, offset: Offset) -> bool {
        self.latest_offset.is_none_or(|latest| offset > latest)
    }

    /// Takes note that it is complete up to `offset`; there was no more key up to there.
    ///
    /// # Panics
    /// When it was complete further than that: logs are read forwards.
    pub fn advance_to(&mut self, offset: Offset) {
        assert!(offset.0 >= 0 && self.latest_offset <= Some(offset), "{self:?} isn't taken back to {offset}");
        self.latest_offset = Some(offset);
    }

    /// Takes note of a key at `offset`, and that it is complete up to there.
    ///
    /// # Errors
    /// When it is full. Known keys find no room then either, as in Kafka.
    ///
    /// # Panics
    /// When it is complete up to `offset` already.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), OffsetMapFull> {
        assert!(offset.0 >= 0 && self.is_behind(offset), "{offset} comes after {self:?}");
        if self.entries >= self.entries_max {
            return Err(OffsetMapFull);
        }
        let [high, low] = hash(key);
        let at = self.find(high, low);
        if self.slots[at] == [0; 3] {
            self.entries += 1;
        }
        self.slots[at] = [high, low, offset.0.cast_unsigned() + 1];
        self.latest_offset = Some(offset);
        Ok(())
    }

    /// The last offset of a key, if it was put in.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let [high, low] = hash(key);
        let offset = self.slots[self.find(high, low)][2].checked_sub(1)?;
        Some(Offset(offset.cast_signed()))
    }

    /// Forgets everything; the memory is kept.
    pub fn clear(&mut self) {
        self.slots.fill([0; 3]);
        (self.entries, self.latest_offset) = (0, None);
    }

    /// The slot of a hash, or the empty one where it would stand. Neighbours are looked at one after the
    /// other, as the processor fetches them together.
    fn find(&self, high: u64, low: u64) -> usize {
        let count = self.slots.len();
        assert!(self.entries < count, "an empty slot ends each search");
        let mut at = ((u128::from(low) * count as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || (slot[0] == high && slot[1] == low) {
                return at;
            }
            at = if at + 1 == count { 0 } else { at + 1 };
        }
    }
}

impl fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latest = self.latest_offset.map_or(-1, |offset| offset.0);
        write!(f, "offset map of {} keys of {}, complete to {latest}", self.entries, self.entries_max)
    }
}

impl fmt::Display for OffsetMapFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the offset map is full; log.cleaner.dedupe.buffer.size says how many keys it takes")
    }
}

impl std::error::Error for OffsetMapFull {}

fn hash(key: &[u8]) -> [u64; 2] {
    let digest = Sha256::digest(key);
    let half = |at: usize| digest[at..at + 8].iter().fold(0, |half, byte| half << 8 | u64::from(*byte));
    [half(0), half(8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn key(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    #[test]
    fn it_holds_the_last_offset_of_each_key() {
        let mut map = OffsetMap::new(10_000 * OffsetMap::ENTRY_BYTES, 0.9).unwrap();
        let mut model = HashMap::new();
        for offset in 0..20_000_u32 {
            let number = offset.wrapping_mul(2_654_435_761) % 8_999;
            map.put(&key(number), Offset(i64::from(offset))).unwrap();
            model.insert(number, Offset(i64::from(offset)));
        }
        assert_eq!((map.len(), map.latest_offset()), (model.len(), Some(Offset(19_999))));
        for number in 0..12_000 {
            assert_eq!(map.get(&key(number)), model.get(&number).copied(), "{number}");
        }
        map.clear();
        assert_eq!((map.len(), map.latest_offset(), map.get(&key(1))), (0, None, None));
    }

    #[test]
    fn its_bytes_and_its_load_bound_its_keys() {
        for (bytes, load, keys) in
            [(2_400, 0.9, 90), (2_423, 0.9, 90), (2_400, 0.5, 50), (2_400, 1.0, 99), (72, 0.9, 2)]
        {
            let mut map = OffsetMap::new(bytes, load).unwrap();
            for number in 0..keys {
                map.put(&key(number), Offset(i64::from(number))).unwrap();
            }
            let last = Offset(i64::from(keys));
            assert_eq!(map.put(&key(keys), last), Err(OffsetMapFull), "{bytes} at {load}");
            assert_eq!(map.put(&key(0), last), Err(OffsetMapFull), "a known key, as in Kafka");
            assert_eq!(map.latest_offset(), Some(Offset(i64::from(keys) - 1)), "what didn't fit isn't in");
            assert!((0..keys).all(|number| map.get(&key(number)) == Some(Offset(i64::from(number)))));
            assert_eq!(map.get(&key(keys)), None);
            assert!(map.utilization() <= load);
        }
        for (bytes, load) in [(0, 0.9), (71, 0.9), (240, 0.1), (2_400, 0.0), (2_400, f64::NAN)] {
            assert!(OffsetMap::new(bytes, load).is_none(), "{bytes} at {load}");
        }
    }

    #[test]
    fn both_halves_of_a_hash_count() {
        let mut map = OffsetMap::new(2_400, 0.9).unwrap();
        let at = map.find(1, 2);
        map.slots[at] = [1, 2, 1];
        assert_eq!(map.find(1, 2), at);
        assert!(map.find(1, 3) != at && map.find(2, 2) != at);
    }

    #[test]
    fn what_it_is_complete_to_can_be_told() {
        let mut map = OffsetMap::new(2_400, 0.9).unwrap();
        assert!(map.is_behind(Offset(0)));
        map.put(b"", Offset(0)).unwrap();
        assert_eq!(map.get(b""), Some(Offset(0)), "a key without bytes is a key");
        map.advance_to(Offset(7));
        assert!(!map.is_behind(Offset(7)) && map.is_behind(Offset(8)));
    }

    #[test]
    #[should_panic(expected = "comes after")]
    fn offsets_rise() {
        let mut map = OffsetMap::new(2_400, 0.9).unwrap();
        map.put(b"a", Offset(5)).unwrap();
        let _ = map.put(b"b", Offset(5));
    }
}
