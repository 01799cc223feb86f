//! What a cleaning read and wrote.

/// What a cleaning read and wrote; who runs it adds the times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanerStats {
    /// Bytes that were read for the offset map.
    pub map_bytes_read: u64,
    /// Records that were read for the offset map, those of control batches included.
    pub map_records_read: u64,
    /// Bytes of the batches that were filtered.
    pub bytes_read: u64,
    /// Records of the batches that were filtered.
    pub records_read: u64,
    /// Bytes of the batches that were kept or written anew.
    pub bytes_written: u64,
    /// Records in them.
    pub records_written: u64,
    /// Records without a key, which a compacted topic drops.
    pub records_without_key: u64,
    /// Batches that were kept without a record.
    pub batches_emptied: u64,
    /// Batches without records in the place of those that went, see [`super::Holes::Filled`].
    pub fillers_written: u64,
}
