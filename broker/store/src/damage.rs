//! Damage in a log: what is known to be corrupt or missing, and where the log goes on behind it.

use std::io;
use std::ops::{Range, RangeInclusive};

use ottla_log::{BatchHeader, ByteSource, Depth, HEADER_BYTES, MAGIC, check_header, scan};
use ottla_types::Offset;

use crate::read::FileSource;

/// What is read at once in search of a batch.
const SEARCH_BYTES: usize = 1 << 20;

/// The position and base offset of the next whole batch after the damaged one that begins where `positions` do, if its
/// base offset is among `offsets`.
///
/// Where the damaged batch says that it ends is looked at first, as records may hold what looks like a batch; then
/// every byte is.
pub(crate) fn find_batch(
    source: &FileSource,
    positions: Range<u64>,
    offsets: RangeInclusive<Offset>,
) -> io::Result<Option<(u64, Offset)>> {
    let mut head = [0; HEADER_BYTES];
    if source.read_at(positions.start, &mut head)? == head.len()
        && let Some(header) = BatchHeader::new(&head)
        && check_header(header).is_ok()
    {
        let position = positions.start + header.batch_bytes() as u64;
        let offset = header.next_offset();
        if position < positions.end
            && offsets.contains(&offset)
            && is_whole(source, position..positions.end, offset)?
        {
            return Ok(Some((position, offset)));
        }
    }
    // Not the damaged batch's own header, whose base offset no checksum covers.
    let mut at = positions.start + 1;
    let mut window = vec![0; SEARCH_BYTES];
    while at + HEADER_BYTES as u64 <= positions.end {
        let read = source.read_at(at, &mut window)?;
        for (index, head) in window[..read].windows(HEADER_BYTES).enumerate() {
            let offset = Offset(i64::from_be_bytes(*head.first_chunk().expect("a header is longer")));
            if head[16] != MAGIC as u8 || !offsets.contains(&offset) {
                continue;
            }
            let position = at + index as u64;
            if position < positions.end && is_whole(source, position..positions.end, offset)? {
                return Ok(Some((position, offset)));
            }
        }
        at += read.saturating_sub(HEADER_BYTES - 1).max(1) as u64;
    }
    Ok(None)
}

/// Whether a batch with that base offset and a right checksum begins there.
fn is_whole(source: &FileSource, positions: Range<u64>, offset: Offset) -> io::Result<bool> {
    let start = positions.start;
    Ok(scan(source, positions, offset, Depth::Crc, |_| false)?.position > start)
}
