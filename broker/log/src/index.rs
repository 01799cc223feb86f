//! The sparse indexes beside each segment, in Kafka's formats: `.index` (8 bytes an entry) and `.timeindex`
//! (12).
//!
//! An entry names a batch by its *last* offset. Lookups are binary searches over any source of entries, so
//! that the caller may hold them in memory or read them from a file.

use ottla_types::Offset;

/// `.index`: where the batch that ends with this offset begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The batch's last offset minus the segment's base offset.
    pub relative_offset: u32,
    /// The batch's first byte in the segment.
    pub position: u32,
}

impl IndexEntry {
    /// The bytes of an entry.
    pub const BYTES: usize = 8;

    /// The entry as it stands in the file.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.relative_offset.to_be_bytes());
        bytes[4..].copy_from_slice(&self.position.to_be_bytes());
        bytes
    }

    /// Reads an entry.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { relative_offset: u32::from_be_bytes([a, b, c, d]), position: u32::from_be_bytes([e, f, g, h]) }
    }
}

/// `.timeindex`: all batches up to this offset have timestamps up to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeIndexEntry {
    /// In ms since 1970.
    pub timestamp_ms: i64,
    /// The last offset of the batch with that timestamp minus the segment's base offset.
    pub relative_offset: u32,
}

impl TimeIndexEntry {
    /// The bytes of an entry.
    pub const BYTES: usize = 12;

    /// The entry as it stands in the file.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.timestamp_ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
        bytes
    }

    /// Reads an entry.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let mut timestamp = [0; 8];
        timestamp.copy_from_slice(&bytes[..8]);
        let mut offset = [0; 4];
        offset.copy_from_slice(&bytes[8..]);
        Self { timestamp_ms: i64::from_be_bytes(timestamp), relative_offset: u32::from_be_bytes(offset) }
    }
}

/// An offset relative to a segment's base, if it fits into Kafka's 31 bits.
pub fn relative_offset(base: Offset, offset: Offset) -> Option<u32> {
    let relative = offset.0.checked_sub(base.0)?;
    i32::try_from(relative).ok().and_then(|relative| u32::try_from(relative).ok())
}

/// The number of leading entries of `0..count` for which `holds` is true, given that it never turns true
/// again.
///
/// # Errors
/// Those of `holds`.
pub fn partition_point<E>(count: usize, mut holds: impl FnMut(usize) -> Result<bool, E>) -> Result<usize, E> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    assert!(low <= count, "{low} entries of {count}");
    Ok(low)
}

/// Decides which batches of a segment get entries, exactly as Kafka does.
#[derive(Clone, Debug)]
pub struct IndexPacer {
    interval_bytes: u32,
    bytes_since_entry: u64,
    max_timestamp: Option<TimeIndexEntry>,
    last_timestamp: i64,
}

/// The entries that one batch gives rise to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// For `.index`.
    pub index: Option<IndexEntry>,
    /// For `.timeindex`.
    pub time: Option<TimeIndexEntry>,
}

impl IndexPacer {
    /// Starts at the beginning of a segment.
    pub fn new(interval_bytes: u32) -> Self {
        Self { interval_bytes, bytes_since_entry: 0, max_timestamp: None, last_timestamp: -1 }
    }

    /// Goes on after the entries that a file holds; `max_timestamp` is the greatest so far.
    pub fn resume(
        interval_bytes: u32,
        last_written: Option<TimeIndexEntry>,
        max_timestamp: Option<TimeIndexEntry>,
    ) -> Self {
        let last_timestamp = last_written.map_or(-1, |entry| entry.timestamp_ms);
        assert!(
            max_timestamp.map_or(-1, |entry| entry.timestamp_ms) >= last_timestamp,
            "the greatest timestamp is no less than that of an entry"
        );
        Self { interval_bytes, bytes_since_entry: 0, max_timestamp, last_timestamp }
    }

    /// Takes note of a batch that begins at `position`.
    pub fn on_batch(
        &mut self,
        relative_last_offset: u32,
        position: u32,
        bytes: u64,
        max_timestamp_ms: i64,
    ) -> Entries {
        if max_timestamp_ms > self.max_timestamp.map_or(-1, |entry| entry.timestamp_ms) {
            let entry =
                TimeIndexEntry { timestamp_ms: max_timestamp_ms, relative_offset: relative_last_offset };
            self.max_timestamp = Some(entry);
        }
        let mut entries = Entries::default();
        if self.bytes_since_entry > u64::from(self.interval_bytes) {
            entries.index = Some(IndexEntry { relative_offset: relative_last_offset, position });
            entries.time = self.pending_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += bytes;
        entries
    }

    /// The entry for the segment's greatest timestamp when it has none yet: written when the segment is
    /// closed.
    pub fn pending_time(&mut self) -> Option<TimeIndexEntry> {
        let entry = self.max_timestamp.filter(|entry| entry.timestamp_ms > self.last_timestamp)?;
        self.last_timestamp = entry.timestamp_ms;
        Some(entry)
    }

    /// The greatest timestamp so far and the last offset of its batch.
    pub fn max_timestamp(&self) -> Option<TimeIndexEntry> {
        self.max_timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_as_in_kafkas_files() {
        let entry = IndexEntry { relative_offset: 1, position: 0x0203 };
        assert_eq!(entry.encode(), [0, 0, 0, 1, 0, 0, 2, 3]);
        assert_eq!(IndexEntry::decode(entry.encode()), entry);
        let entry = TimeIndexEntry { timestamp_ms: 258, relative_offset: 7 };
        assert_eq!(entry.encode(), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 7]);
        assert_eq!(TimeIndexEntry::decode(entry.encode()), entry);
    }

    #[test]
    fn relative_offsets_have_31_bits() {
        assert_eq!(relative_offset(Offset(5), Offset(5)), Some(0));
        assert_eq!(relative_offset(Offset(5), Offset(5 + i64::from(i32::MAX))), Some(i32::MAX as u32));
        assert_eq!(relative_offset(Offset(5), Offset(6 + i64::from(i32::MAX))), None);
        assert_eq!(relative_offset(Offset(5), Offset(4)), None);
    }

    #[test]
    fn the_pacer_writes_an_entry_after_each_interval_and_times_only_rise() {
        let mut pacer = IndexPacer::new(100);
        let seen: Vec<Entries> = [(10, 50), (9, 51), (11, 60), (11, 60), (11, 1)]
            .iter()
            .enumerate()
            .map(|(i, &(time, bytes))| pacer.on_batch(i as u32, i as u32 * 60, bytes, time))
            .collect();
        assert_eq!(seen[0], Entries::default());
        assert_eq!(seen[1], Entries::default());
        assert_eq!(seen[2].index, Some(IndexEntry { relative_offset: 2, position: 120 }));
        assert_eq!(seen[2].time, Some(TimeIndexEntry { timestamp_ms: 11, relative_offset: 2 }));
        assert_eq!(seen[3], Entries::default());
        assert_eq!(seen[4].index, Some(IndexEntry { relative_offset: 4, position: 240 }));
        assert_eq!(seen[4].time, None);
        assert_eq!(pacer.pending_time(), None);
    }

    #[test]
    fn partition_point_agrees_with_a_linear_scan() {
        for count in 0..20 {
            for split in 0..=count {
                assert_eq!(partition_point::<()>(count, |i| Ok(i < split)), Ok(split));
            }
        }
    }
}
