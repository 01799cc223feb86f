//! The records of one batch that a log holds, decompressed.

use std::borrow::Cow;
use std::io::Read;

use super::transactions::Marker;
use crate::compression::{DECODER_BYTES_MAX, decoder, decoder_bytes};
use crate::header::{BatchHeader, Codec, HEADER_BYTES};
use crate::outline::NOT_COMPRESSED;
use crate::records::{Record, RecordError, Records};
use crate::validate::{BatchError, SizeLimit};

/// The bytes of a checked batch's records, decompressed to at most `bytes_max`.
pub(super) fn inflate(batch: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>, BatchError> {
    let header = BatchHeader::new(batch).expect("a checked batch has its header");
    assert_eq!(header.batch_bytes(), batch.len(), "one batch is looked at");
    let records = &batch[HEADER_BYTES..];
    let codec = header.codec().expect("the compression of a checked batch is known");
    if codec == Codec::None {
        return Ok(Cow::Borrowed(records));
    }
    let too_large = |bytes, bytes_max| BatchError::TooLarge { limit: SizeLimit::Inflated, bytes, bytes_max };
    let decoder_bytes = decoder_bytes(codec, records);
    if decoder_bytes > DECODER_BYTES_MAX {
        return Err(too_large(decoder_bytes, DECODER_BYTES_MAX));
    }
    let mut inflated = Vec::new();
    let reader = decoder(codec, records).map_err(|_| malformed(0, NOT_COMPRESSED))?;
    let read = reader.take(bytes_max as u64 + 1).read_to_end(&mut inflated);
    read.map_err(|_| malformed(0, NOT_COMPRESSED))?;
    if inflated.len() > bytes_max { Err(too_large(inflated.len(), bytes_max)) } else { Ok(inflated.into()) }
}

/// The records in a batch's decompressed bytes. Their offsets rise, and lie within those of the batch.
pub(super) fn records<'a>(
    header: BatchHeader<'_>,
    inflated: &'a [u8],
) -> impl Iterator<Item = Result<Record<'a>, BatchError>> {
    let (mut least, end, mut index) = (header.base_offset(), header.next_offset(), 0);
    Records::new(header, inflated).map(move |record| {
        let record = record.map_err(BatchError::Record)?;
        if record.offset < least || record.offset >= end {
            return Err(malformed(index, "its offset isn't after the one before, or not the batch's"));
        }
        least = record.offset;
        least.0 += 1;
        index += 1;
        Ok(record)
    })
}

/// What a checked control batch says, by its first record.
pub(super) fn read_marker(batch: &[u8], bytes_max: usize) -> Result<Marker, BatchError> {
    let header = BatchHeader::new(batch).expect("a checked batch has its header");
    let inflated = inflate(batch, bytes_max)?;
    match records(header, &inflated).next() {
        None => Ok(Marker::Other),
        Some(record) => Marker::read(&record?).map_err(|what| malformed(0, what)),
    }
}

pub(super) fn malformed(index: i32, what: &'static str) -> BatchError {
    BatchError::Record(RecordError { index, what })
}
