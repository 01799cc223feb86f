//! Walking the batches of a segment over any source of bytes: with CRCs after a crash, by headers alone
//! otherwise.

use ottla_types::Offset;

use crate::header::{BatchHeader, CRC_START, HEADER_BYTES};
use crate::validate::{BatchError, check_header};

/// Bytes that can be read at any position, such as a file.
pub trait ByteSource {
    /// Why a read fails.
    type Error;

    /// Reads into `buffer` from `position` on; fewer bytes than fit mean that the source ends there.
    ///
    /// # Errors
    /// When the bytes can't be read.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Self::Error>;
}

impl ByteSource for [u8] {
    type Error = std::convert::Infallible;

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let rest = usize::try_from(position).ok().and_then(|at| self.get(at..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// A batch that a scan came by.
#[derive(Clone, Copy, Debug)]
pub struct ScannedBatch {
    /// Its first byte in the source.
    pub position: u64,
    header: [u8; HEADER_BYTES],
}

impl ScannedBatch {
    /// Its header.
    pub fn header(&self) -> BatchHeader<'_> {
        BatchHeader::from(&self.header)
    }

    /// The position after its last byte.
    pub fn end(&self) -> u64 {
        self.position + self.header().batch_bytes() as u64
    }
}

/// Where a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanEnd {
    /// The position after the last good batch.
    pub position: u64,
    /// The offset after the last good batch, or the one that was asked for when there was none.
    pub next_offset: Offset,
    /// Why it ended before the source did.
    pub stopped_by: Option<BatchError>,
}

/// Whether a scan reads the records too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Reads every byte and checks the CRCs.
    Crc,
    /// Reads the headers only.
    Headers,
}

/// A part of the source in memory.
struct Window<'s, S: ByteSource + ?Sized> {
    source: &'s S,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    capacity: usize,
}

impl<S: ByteSource + ?Sized> Window<'_, S> {
    /// Up to `count` bytes from `position`, fewer only at the end.
    fn get(&mut self, position: u64, count: usize) -> Result<&[u8], S::Error> {
        assert!(position <= self.end, "{position} lies past what is walked, up to {}", self.end);
        let count = count.min(self.capacity).min(usize::try_from(self.end - position).unwrap_or(usize::MAX));
        let held = position >= self.start && position + count as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let wanted = self.capacity.min(usize::try_from(self.end - position).unwrap_or(usize::MAX));
            self.bytes.resize(wanted, 0);
            let read = self.source.read_at(position, &mut self.bytes)?;
            assert!(self.bytes.len() <= self.capacity, "memory is bounded");
            self.bytes.truncate(read);
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(&self.bytes[from..(from + count).min(self.bytes.len())])
    }

    fn crc(&mut self, mut position: u64, end: u64) -> Result<u32, S::Error> {
        assert!(end <= self.end, "{end} lies past what is walked, up to {}", self.end);
        let mut crc = 0;
        while position < end {
            let wanted = usize::try_from(end - position).unwrap_or(usize::MAX);
            let bytes = self.get(position, wanted)?;
            if bytes.is_empty() {
                break;
            }
            crc = crc32c::crc32c_append(crc, bytes);
            position += bytes.len() as u64;
        }
        Ok(crc)
    }
}

const WINDOW_BYTES_CRC: usize = 256 << 10;
const WINDOW_BYTES_HEADERS: usize = 4 << 10;

/// Walks the batches in `positions` of the source and shows each good one to `visit`, which says whether to
/// go on.
///
/// Stops at the first batch that is torn, corrupt, or doesn't follow on the one before; the first one has to
/// begin at `first_offset`. The base offset isn't covered by the CRC, so this is what finds it changed.
/// Memory is bounded, whatever the length fields say.
///
/// # Errors
/// Those of the source.
pub fn scan<S: ByteSource + ?Sized>(
    source: &S,
    positions: std::ops::Range<u64>,
    first_offset: Offset,
    depth: Depth,
    mut visit: impl FnMut(&ScannedBatch) -> bool,
) -> Result<ScanEnd, S::Error> {
    let capacity = if depth == Depth::Crc { WINDOW_BYTES_CRC } else { WINDOW_BYTES_HEADERS };
    let mut window = Window { source, end: positions.end, start: 0, bytes: Vec::new(), capacity };
    let mut end = ScanEnd { position: positions.start, next_offset: first_offset, stopped_by: None };
    while end.position < positions.end {
        match next_batch(&mut window, &end, depth)? {
            Ok(batch) => {
                assert!(batch.end() > end.position, "each batch takes bytes, so that a scan ends");
                end.position = batch.end();
                end.next_offset = batch.header().next_offset();
                if !visit(&batch) {
                    break;
                }
            }
            Err(error) => {
                end.stopped_by = Some(error);
                break;
            }
        }
    }
    assert!(end.position <= positions.end && end.next_offset >= first_offset);
    Ok(end)
}

fn next_batch<S: ByteSource + ?Sized>(
    window: &mut Window<'_, S>,
    at: &ScanEnd,
    depth: Depth,
) -> Result<Result<ScannedBatch, BatchError>, S::Error> {
    let present = usize::try_from(window.end - at.position).unwrap_or(usize::MAX);
    let Some(&header) = window.get(at.position, HEADER_BYTES)?.first_chunk() else {
        return Ok(Err(BatchError::Truncated { needed: HEADER_BYTES, present }));
    };
    let batch = ScannedBatch { position: at.position, header };
    let view = batch.header();
    if let Err(error) = check_header(view) {
        return Ok(Err(error));
    }
    if view.base_offset() != at.next_offset {
        let (base_offset, last_offset_delta) = (view.base_offset().0, view.last_offset_delta());
        let records_count = view.records_count();
        return Ok(Err(BatchError::Offsets { base_offset, last_offset_delta, records_count }));
    }
    if batch.end() > window.end {
        return Ok(Err(BatchError::Truncated { needed: view.batch_bytes(), present }));
    }
    if depth == Depth::Crc {
        let computed = window.crc(at.position + CRC_START as u64, batch.end())?;
        if computed != view.crc() {
            return Ok(Err(BatchError::Crc { stated: view.crc(), computed }));
        }
    }
    Ok(Ok(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchBuilder;
    use ottla_types::LeaderEpoch;
    use proptest::prelude::*;

    fn log(sizes: &[usize]) -> (Vec<u8>, Vec<u64>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for (index, &size) in sizes.iter().enumerate() {
            let value = vec![index as u8; size];
            let base = Offset(index as i64 * 2);
            let builder =
                BatchBuilder::new(base, LeaderEpoch(0)).record(1, None, Some(&value)).record(2, None, None);
            bytes.extend(builder.build());
            ends.push(bytes.len() as u64);
        }
        (bytes, ends)
    }

    fn scan_all(bytes: &[u8], depth: Depth) -> (ScanEnd, Vec<u64>) {
        let mut seen = vec![0];
        let end = scan(bytes, 0..bytes.len() as u64, Offset(0), depth, |batch| {
            seen.push(batch.end());
            true
        });
        (end.unwrap(), seen)
    }

    #[test]
    fn a_whole_log_is_walked_to_its_end() {
        let (bytes, ends) = log(&[10, 5_000, 300_000, 0]);
        for depth in [Depth::Crc, Depth::Headers] {
            let (end, seen) = scan_all(&bytes, depth);
            assert_eq!(seen, ends);
            assert_eq!(
                end,
                ScanEnd { position: bytes.len() as u64, next_offset: Offset(8), stopped_by: None }
            );
        }
    }

    #[test]
    fn offsets_that_go_back_end_the_scan() {
        let (bytes, ends) = log(&[10, 10]);
        let doubled = [&bytes[..], &bytes[..]].concat();
        let (end, _) = scan_all(&doubled, Depth::Crc);
        assert_eq!((end.position, end.next_offset), (ends[2], Offset(4)));
        assert!(matches!(end.stopped_by, Some(BatchError::Offsets { base_offset: 0, .. })));
    }

    proptest! {
        #[test]
        fn a_cut_log_keeps_exactly_its_whole_batches(sizes in prop::collection::vec(0usize..600, 1..8), cut in 0.0..1.0f64) {
            let (bytes, ends) = log(&sizes);
            let cut = (bytes.len() as f64 * cut) as usize;
            let (end, _) = scan_all(&bytes[..cut], Depth::Crc);
            let whole = ends.iter().rposition(|&end| end <= cut as u64).unwrap();
            prop_assert_eq!(end.position, ends[whole]);
            prop_assert_eq!(end.next_offset, Offset(whole as i64 * 2));
        }

        #[test]
        fn a_flipped_bit_ends_the_scan_at_its_batch(sizes in prop::collection::vec(0usize..600, 1..8), at in 0.0..1.0f64, bit in 0u8..8) {
            let (mut bytes, ends) = log(&sizes);
            let at = (bytes.len() as f64 * at) as usize;
            bytes[at] ^= 1 << bit;
            let hit = ends.iter().rposition(|&end| end <= at as u64).unwrap();
            let (end, _) = scan_all(&bytes, Depth::Crc);
            // Only the leader epoch stands outside the CRC and isn't implied by its neighbours.
            let outside = (12..16).contains(&(at as u64 - ends[hit]));
            prop_assert!(outside || end.position == ends[hit], "{:?}", end);
        }
    }
}
