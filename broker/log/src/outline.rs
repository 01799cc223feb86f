//! The outline of a batch's records: where they stand and when, whether they have keys, and whether all is
//! well-formed.
//!
//! Records are read as they are decompressed, with nothing copied but a small buffer; keys and values are
//! stepped over. Uncompressed ones are walked where they lie.

use std::io::Read;

use crate::compression::decoder;
use crate::header::{BatchHeader, Codec, TimestampType};
use crate::records::RecordError;

/// Decompressed bytes that are looked at together.
const BUFFER_BYTES: usize = 16 << 10;

/// One record, without its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOutline {
    /// Its position in the batch, from zero.
    pub index: i32,
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// In ms since 1970.
    pub timestamp_ms: i64,
    /// Whether it has a key.
    pub has_key: bool,
}

/// Why the records of a batch can't be read to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlineError {
    /// A record, or what compresses it, is malformed.
    Record(RecordError),
    /// Decompressed, they have more bytes than the limit.
    TooLong {
        /// The limit in bytes.
        bytes_max: usize,
    },
}

/// Reads the records that follow `header` in a batch and shows each to `visit`, until it says no. What
/// follows the last one is malformed, too.
///
/// # Errors
/// When they aren't what the header says, or have more than `bytes_max` bytes once they are decompressed.
pub fn outline(
    header: BatchHeader<'_>,
    records: &[u8],
    bytes_max: usize,
    visit: impl FnMut(RecordOutline) -> bool,
) -> Result<(), OutlineError> {
    let codec = header.codec().ok_or(malformed(0, "the compression is unknown"))?;
    if codec == Codec::None {
        return walk(header, records, visit);
    }
    let reader = decoder(codec, records).map_err(|_| malformed(0, NOT_COMPRESSED))?;
    walk(header, Inflated::new(reader, bytes_max), visit)
}

pub(crate) const NOT_COMPRESSED: &str = "the bytes are not what the compression makes";
const CUT_OFF: &str = "longer than its batch";

fn malformed(index: i32, what: &'static str) -> OutlineError {
    OutlineError::Record(RecordError { index, what })
}

/// Why no more bytes come.
enum Stop {
    Malformed(&'static str),
    TooLong(usize),
}

impl From<&'static str> for Stop {
    fn from(what: &'static str) -> Self {
        Self::Malformed(what)
    }
}

/// Where the records' bytes come from.
trait Source {
    /// The next bytes, however many there are; none at the end.
    fn peek(&mut self) -> Result<&[u8], Stop>;
    /// Steps over so many of those that were seen.
    fn consume(&mut self, count: usize);
}

impl Source for &[u8] {
    fn peek(&mut self) -> Result<&[u8], Stop> {
        Ok(self)
    }

    fn consume(&mut self, count: usize) {
        *self = &self[count..];
    }
}

/// Bytes as they are decompressed.
struct Inflated<'a> {
    reader: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    bytes: usize,
    bytes_max: usize,
}

impl<'a> Inflated<'a> {
    fn new(reader: Box<dyn Read + 'a>, bytes_max: usize) -> Self {
        Self { reader, buffer: vec![0; BUFFER_BYTES], at: 0, end: 0, bytes: 0, bytes_max }
    }
}

impl Source for Inflated<'_> {
    fn peek(&mut self) -> Result<&[u8], Stop> {
        if self.at == self.end {
            self.at = 0;
            self.end = self.reader.read(&mut self.buffer).map_err(|_| NOT_COMPRESSED)?;
            assert!(self.end <= self.buffer.len(), "a reader fills no more than the buffer");
            self.bytes += self.end;
            if self.bytes > self.bytes_max {
                return Err(Stop::TooLong(self.bytes_max));
            }
        }
        Ok(&self.buffer[self.at..self.end])
    }

    fn consume(&mut self, count: usize) {
        assert!(count <= self.end - self.at, "only what was seen is stepped over");
        self.at += count;
    }
}

fn walk(
    header: BatchHeader<'_>,
    source: impl Source,
    mut visit: impl FnMut(RecordOutline) -> bool,
) -> Result<(), OutlineError> {
    let append_time = (header.timestamp_type() == TimestampType::Append).then(|| header.max_timestamp());
    let mut walker = Walker { source, left: 0, base_timestamp: header.base_timestamp(), append_time };
    let failed = |index, stop| match stop {
        Stop::Malformed(what) => malformed(index, what),
        Stop::TooLong(bytes_max) => OutlineError::TooLong { bytes_max },
    };
    for index in 0..header.records_count() {
        let record = walker.record(index).map_err(|stop| failed(index, stop))?;
        if !visit(record) {
            return Ok(());
        }
    }
    let count = header.records_count();
    // This also reads what the compression puts at its end.
    match walker.source.peek() {
        Ok([]) => Ok(()),
        Ok(_) => Err(malformed(count, "bytes after the last record")),
        Err(stop) => Err(failed(count, stop)),
    }
}

struct Walker<S> {
    source: S,
    /// The bytes of the current record that are still to come.
    left: usize,
    base_timestamp: i64,
    append_time: Option<i64>,
}

impl<S: Source> Walker<S> {
    fn record(&mut self, index: i32) -> Result<RecordOutline, Stop> {
        self.left = usize::MAX;
        let length = self.varint_i32("no length")?;
        self.left = usize::try_from(length).map_err(|_| "negative length")?;
        self.skip(1, "no attributes")?;
        let timestamp_delta = self.varint("no timestamp")?;
        let offset_delta = self.varint_i32("no offset")?;
        let has_key = self.skip_bytes("the key is longer than the record")?;
        self.skip_bytes("the value is longer than the record")?;
        self.skip_headers()?;
        if self.left > 0 {
            return Err("bytes after the headers".into());
        }
        let timestamp_ms = self.append_time.unwrap_or(self.base_timestamp.saturating_add(timestamp_delta));
        Ok(RecordOutline { index, offset_delta, timestamp_ms, has_key })
    }

    fn skip_headers(&mut self) -> Result<(), Stop> {
        let count = self.varint_i32("no header count")?;
        for _ in 0..u32::try_from(count).map_err(|_| "negative header count")? {
            if !self.skip_bytes("a header's key is longer than the record")? {
                return Err("a header without a key".into());
            }
            self.skip_bytes("a header's value is longer than the record")?;
        }
        Ok(())
    }

    /// Steps over bytes with their length; returns whether they are there, and not null.
    fn skip_bytes(&mut self, what: &'static str) -> Result<bool, Stop> {
        let length = self.varint_i32(what)?;
        let Ok(length) = usize::try_from(length) else { return Ok(false) };
        self.skip(length, what)?;
        Ok(true)
    }

    fn skip(&mut self, count: usize, what: &'static str) -> Result<(), Stop> {
        self.left = self.left.checked_sub(count).ok_or(what)?;
        let mut rest = count;
        while rest > 0 {
            let present = self.source.peek()?.len().min(rest);
            if present == 0 {
                return Err(CUT_OFF.into());
            }
            self.source.consume(present);
            rest -= present;
        }
        Ok(())
    }

    /// A number in zigzag code; see `varint`.
    fn varint(&mut self, what: &'static str) -> Result<i64, Stop> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.source.peek()?.first() else { return Err(CUT_OFF.into()) };
            self.source.consume(1);
            self.left = self.left.checked_sub(1).ok_or(what)?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("a number with too many bytes".into())
    }

    fn varint_i32(&mut self, what: &'static str) -> Result<i32, Stop> {
        i32::try_from(self.varint(what)?).map_err(|_| Stop::Malformed("a number that is too large"))
    }
}
