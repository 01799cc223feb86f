//! Record batches, segment and index formats, recovery, retention and compaction, without I/O.
//!
//! All formats are Apache Kafka's. Bytes come in as slices or through [`ByteSource`]; time is an argument.
//! Not here: files (ottla-store), who leads (ottla-core).

mod blocks;
mod changes;
mod cleaner;
mod compression;
mod config;
#[cfg(test)]
mod contents_tests;
mod epochs;
mod header;
mod index;
mod journal;
mod names;
mod outline;
mod plan;
mod producers;
mod records;
mod recovery;
mod refused;
mod snapshot;
mod swap;
mod text;
mod validate;
#[cfg(test)]
mod validate_tests;
mod varint;

pub use changes::{
    OffsetChange, SavedOffsets, decode_offset_change, encode_offset_change, seal_change, unseal_changes,
};
pub use cleaner::{
    AbortedTransaction, BatchFilter, CleanableLog, CleanableSegment, CleanedTransactions, CleanerError,
    CleanerLimits, CleanerStats, CleaningRound, Holes, LogToClean, Mapped, OffsetMap, OffsetMapBuilder,
    OffsetMapFull, SegmentLimits, SegmentPart, filthiest, group_segments, log_to_clean,
};
pub use compression::{
    CompressionError, DECODER_BYTES_MAX, compress, decoder_bytes, decompress, inflated_bytes_max,
};
pub use config::{AckDurability, CompactionConfig, LogConfig};
pub use epochs::{LeaderEpochs, up_to_epoch};
pub use header::{
    BatchHeader, CRC_START, Codec, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_TIMESTAMP, TimestampType,
    patch_header, sequence_plus, with_times,
};
pub use index::{Entries, IndexEntry, IndexPacer, TimeIndexEntry, partition_point, relative_offset};
pub use journal::{
    BLOCK_BYTES, JournalContent, JournalCut, JournalCuts, JournalEntry, JournalGroup, JournalKey,
    JournalSettled, JournalVoid, JournalWrite, decode_cuts, decode_void, encode_cuts, encode_void,
    read_journal,
};
pub use names::{
    DELETE_SUFFIX, FileKind, FolderName, METADATA_FOLDER, STRAY_SUFFIX, parse_folder, partition_folder,
    renamed_folder,
};
pub use outline::{OutlineError, RecordOutline, outline};
pub use plan::{ActiveSegment, Incoming, RetainedSegment, first_from_future, must_roll, retention};
pub use producers::{BatchMeta, LastRecord, ProducerEntry, ProducerStates, SequenceCheck, SequenceError};
pub use records::{BatchBuilder, Record, RecordError, Records};
pub use recovery::{ByteSource, Depth, ScanEnd, ScannedBatch, scan};
pub use refused::{RecordFault, RefusedRecords};
pub use snapshot::{SnapshotError, decode_snapshot, encode_snapshot};
pub use swap::{CLEANED_SUFFIX, SegmentSwap, SwappedFile, cleaned_name, parse_swap_name, swap_name};
pub use text::{
    CLEANER_OFFSET_FILE, LOG_START_FILE, MetaProperties, OffsetCheckpoint, PartitionMetadata,
    RECOVERY_POINT_FILE, SEALED_OFFSETS_FILE, SealedOffsets, TextError, decode_offsets, encode_offsets,
};
pub use validate::{
    BatchError, Batches, SizeLimit, ValidBatch, check_batch, check_fits_segment, check_header,
    validate_produce,
};
