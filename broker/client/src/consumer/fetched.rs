//! The records of one partition in one response, checked and decompressed.

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{BatchHeader, Codec, HEADER_BYTES, Record, Records, check_batch};
use ottla_wire::ErrorCode;
use ottla_wire::messages::PartitionData;

use super::fetch::Asked;
use crate::{ClientError, decompress};

/// A batch and its records' bytes.
#[derive(Debug)]
struct Batch {
    header: [u8; HEADER_BYTES],
    records: Bytes,
}

/// Records of one partition, in order.
#[derive(Debug)]
pub struct Fetched {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: i32,
    /// The partition's high watermark when they were read.
    pub high_watermark: i64,
    /// The partition's first offset then.
    pub log_start_offset: i64,
    first_offset: i64,
    next_offset: i64,
    batches: Vec<Batch>,
}

impl Fetched {
    /// Reads a partition's part of a response, which may be an error: checks each whole batch, leaves out
    /// control batches.
    pub(super) fn read(
        asked: &Asked,
        data: &PartitionData<'_>,
        frame: &Bytes,
        batch_bytes_max: usize,
    ) -> Result<Self, ClientError> {
        let error = ErrorCode::from_wire(data.error_code);
        if !error.is_none() {
            let what = format!("{}-{} at offset {}", asked.topic, asked.partition, asked.offset);
            return Err(ClientError::broker(what, error, None));
        }
        let mut fetched = Self {
            topic: asked.topic.clone(),
            partition: asked.partition,
            high_watermark: data.high_watermark,
            log_start_offset: data.log_start_offset,
            first_offset: asked.offset,
            next_offset: asked.offset,
            batches: Vec::new(),
        };
        let mut rest = frame.slice_ref(data.records.bytes().unwrap_or_default());
        while let Some(header) = BatchHeader::new(&rest) {
            let length = header.batch_bytes().max(HEADER_BYTES);
            if length > rest.len() {
                // The response ends within a batch; the next one starts with it.
                break;
            }
            let batch = rest.split_to(length);
            fetched.push(batch, batch_bytes_max)?;
        }
        Ok(fetched)
    }

    fn push(&mut self, mut batch: Bytes, batch_bytes_max: usize) -> Result<(), ClientError> {
        let header = check_batch(&batch).map_err(|error| ClientError::Batch {
            topic: self.topic.to_string(),
            partition: self.partition,
            error,
        })?;
        let (is_control, codec) = (header.is_control(), header.codec().unwrap_or(Codec::None));
        let next_offset = header.next_offset().0;
        if next_offset <= self.first_offset {
            return Ok(());
        }
        self.next_offset = next_offset;
        if !is_control {
            let header = header.to_bytes();
            let records = batch.split_off(HEADER_BYTES);
            let records = match codec {
                Codec::None => records,
                codec => decompress(codec, &records, batch_bytes_max)?.into(),
            };
            self.batches.push(Batch { header, records });
        }
        Ok(())
    }

    /// The offset after the last one read, control records included.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether there are no batches.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The bytes of the records, decompressed.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.records.len()).sum()
    }

    /// The records, borrowed from the response. A malformed record is an error and ends its batch.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, ClientError>> {
        let all = self
            .batches
            .iter()
            .flat_map(|batch| Records::new(BatchHeader::from(&batch.header), &batch.records));
        all.filter(|record| record.as_ref().map_or(true, |record| record.offset.0 >= self.first_offset))
            .map(|record| record.map_err(ClientError::from))
    }
}
