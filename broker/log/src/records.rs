//! Single records of an uncompressed batch: building a batch from records and reading them back, bounded.
//!
//! Not here: compression. Who compresses does it over the bytes after the header and builds with
//! [`BatchBuilder::build_compressed`].

use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::header::{BatchHeader, CRC_START, Codec, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_TIMESTAMP};
use crate::varint;

/// One record, borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The offset in the partition.
    pub offset: Offset,
    /// In ms since 1970.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// A record, or the batch's record count or layout, is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's position in its batch, from zero.
    pub index: i32,
    /// What is wrong.
    pub what: &'static str,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {} of the batch: {}", self.index, self.what)
    }
}

impl std::error::Error for RecordError {}

/// Reads the records of one batch, one after the other; stops at the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    index: i32,
    count: i32,
}

impl<'a> Records<'a> {
    /// Reads the records that follow `header` in an uncompressed batch, or the decompressed ones.
    pub fn new(header: BatchHeader<'_>, records: &'a [u8]) -> Self {
        let append_time =
            (header.timestamp_type() == crate::TimestampType::Append).then(|| header.max_timestamp());
        Self {
            rest: records,
            base_offset: header.base_offset().0,
            base_timestamp: header.base_timestamp(),
            append_time,
            index: 0,
            count: header.records_count(),
        }
    }

    fn take_one(&mut self) -> Result<Record<'a>, &'static str> {
        let length = varint::take_i32(&mut self.rest).ok_or("no length")?;
        let length = usize::try_from(length).map_err(|_| "negative length")?;
        let (mut body, rest) = self.rest.split_at_checked(length).ok_or("longer than its batch")?;
        self.rest = rest;
        let body = &mut body;
        let (_attributes, after) = body.split_first().ok_or("no attributes")?;
        *body = after;
        let timestamp_delta = varint::take(body).ok_or("no timestamp")?;
        let offset_delta = varint::take_i32(body).ok_or("no offset")?;
        let key = take_bytes(body).ok_or("the key is longer than the record")?;
        let value = take_bytes(body).ok_or("the value is longer than the record")?;
        let headers = take_headers(body)?;
        if !body.is_empty() {
            return Err("bytes after the headers");
        }
        Ok(Record {
            offset: Offset(self.base_offset.saturating_add(i64::from(offset_delta))),
            timestamp_ms: self.append_time.unwrap_or(self.base_timestamp.saturating_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        if index >= self.count {
            if index == self.count && !self.rest.is_empty() {
                self.index = i32::MAX;
                self.count = i32::MIN;
                return Some(Err(RecordError { index, what: "bytes after the last record" }));
            }
            return None;
        }
        match self.take_one() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(what) => {
                self.index = i32::MAX;
                self.count = i32::MIN;
                Some(Err(RecordError { index, what }))
            }
        }
    }
}

fn take_bytes<'a>(body: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take_i32(body)?;
    if length < 0 {
        return Some(None);
    }
    let (bytes, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
    *body = rest;
    Some(Some(bytes))
}

type Headers<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

fn take_headers<'a>(body: &mut &'a [u8]) -> Result<Headers<'a>, &'static str> {
    let count = varint::take_i32(body).ok_or("no header count")?;
    let count = usize::try_from(count).map_err(|_| "negative header count")?;
    // A header takes two bytes or more, so this also bounds what is allocated.
    if count > body.len() / 2 {
        return Err("more headers than bytes");
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = take_bytes(body).flatten().ok_or("a header without a key")?;
        let value = take_bytes(body).ok_or("a header's value is longer than the record")?;
        headers.push((key, value));
    }
    Ok(headers)
}

/// Builds one batch, format version 2.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    producer: (ProducerId, ProducerEpoch, i32),
    attributes: i16,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// Starts a batch; producers use offset 0 and epoch −1.
    pub fn new(base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        Self {
            base_offset,
            leader_epoch,
            producer: (ProducerId(-1), ProducerEpoch(-1), -1),
            attributes: 0,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Sets the idempotent producer and the sequence number of the first record.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Sets the idempotent producer and the sequence number of the first record, in place.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) {
        self.producer = (id, epoch, base_sequence);
    }

    /// Marks it as holding control records.
    pub fn control(mut self) -> Self {
        self.attributes |= 1 << 5;
        self
    }

    /// Marks it as part of a transaction.
    pub fn transactional(mut self) -> Self {
        self.attributes |= 1 << 4;
        self
    }

    /// Adds a record without headers.
    pub fn record(self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.record_with(timestamp_ms, key, value, &[])
    }

    /// Adds a record.
    pub fn record_with(
        mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Self {
        self.push(timestamp_ms, key, value, headers);
        self
    }

    /// Adds a record in place.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        assert!(self.count < i32::MAX, "a batch counts its records with 31 bits");
        let base = *self.base_timestamp.get_or_insert(timestamp_ms);
        let deltas = (timestamp_ms.wrapping_sub(base), i64::from(self.count));
        put_record(&mut self.records, &mut self.scratch, deltas, (key, value, headers));
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.count += 1;
    }

    /// The records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The bytes that [`Self::build`] would give now.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The records' bytes so far, to compress.
    pub fn records(&self) -> &[u8] {
        &self.records
    }

    /// Finishes the batch, uncompressed.
    ///
    /// # Panics
    /// Without a record, or when it would pass 2 GiB.
    pub fn build(&self) -> Vec<u8> {
        self.build_compressed(Codec::None, &self.records)
    }

    /// Finishes the batch with [`Self::records`] compressed by the caller.
    ///
    /// # Panics
    /// Without a record, or when it would pass 2 GiB.
    pub fn build_compressed(&self, codec: Codec, compressed: &[u8]) -> Vec<u8> {
        assert!(self.count > 0, "a batch holds one record or more");
        let length = HEADER_BYTES - LENGTH_PREFIX_BYTES + compressed.len();
        let length = i32::try_from(length).expect("a batch is shorter than 2 GiB");
        let mut batch = Vec::with_capacity(HEADER_BYTES + compressed.len());
        batch.extend_from_slice(&self.base_offset.0.to_be_bytes());
        batch.extend_from_slice(&length.to_be_bytes());
        batch.extend_from_slice(&self.leader_epoch.0.to_be_bytes());
        batch.extend_from_slice(&MAGIC.to_be_bytes());
        batch.extend_from_slice(&[0; 4]);
        batch.extend_from_slice(&(self.attributes | codec.id()).to_be_bytes());
        batch.extend_from_slice(&(self.count - 1).to_be_bytes());
        batch.extend_from_slice(&self.base_timestamp.unwrap_or(NO_TIMESTAMP).to_be_bytes());
        batch.extend_from_slice(&self.max_timestamp.to_be_bytes());
        batch.extend_from_slice(&self.producer.0.0.to_be_bytes());
        batch.extend_from_slice(&self.producer.1.0.to_be_bytes());
        batch.extend_from_slice(&self.producer.2.to_be_bytes());
        batch.extend_from_slice(&self.count.to_be_bytes());
        assert_eq!(batch.len(), HEADER_BYTES, "the records follow the header");
        batch.extend_from_slice(compressed);
        let crc = crc32c::crc32c(&batch[CRC_START..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }
}

/// Key, value and headers of a record.
pub(crate) type Contents<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a [u8], Option<&'a [u8]>)]);

/// Appends a record with its timestamp and offset relative to those of its batch; `scratch` is any buffer.
pub(crate) fn put_record(
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    (timestamp_delta, offset_delta): (i64, i64),
    (key, value, headers): Contents<'_>,
) {
    scratch.clear();
    scratch.push(0);
    varint::put(scratch, timestamp_delta);
    varint::put(scratch, offset_delta);
    put_bytes(scratch, key);
    put_bytes(scratch, value);
    varint::put(scratch, headers.len() as i64);
    for (key, value) in headers {
        put_bytes(scratch, Some(key));
        put_bytes(scratch, *value);
    }
    varint::put(out, scratch.len() as i64);
    out.extend_from_slice(scratch);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
