//! Reading a partition of `__consumer_offsets` into a shard, in pieces, until all of it is loaded and
//! committed.
//!
//! What can't be read is passed over and named: a coordinator starts whatever is in its log. What is damaged
//! is waited for as long as another replica may have it, as skipping it loses offsets that were acknowledged.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::coordinator::Shard;
use ottla_core::group::Groups;
use ottla_log::{
    AckDurability, BatchError, BatchHeader, Batches, HEADER_BYTES, LogConfig, Records, TimestampType,
    decompress, inflated_bytes_max,
};
use ottla_quorum::Tasks;
use ottla_store::{PartitionLog, ReadError, UpTo};
use ottla_types::{LeaderEpoch, Offset};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::codec::{Unreadable, decode};
use super::mailbox::Mailbox;
use crate::partitions::{Partition, Woken};

/// So many shards of a broker read a piece at a time; the others wait for their turn.
pub const PIECES_AT_A_TIME: usize = 2;

/// The pause before it is looked again whether what is damaged is repaired.
const REPAIR_PAUSE: Duration = Duration::from_secs(1);
/// The longest that a repair is waited for: other replicas in sync that haven't helped until then are damaged
/// themselves, and a coordinator that never starts serves nobody.
const REPAIR_TIME_MAX: Duration = Duration::from_secs(60);
/// How often it is told what a load waits for.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// So many kinds of records that were passed over are named.
const NAMED_MAX: usize = 8;

/// A topic whose batches are smaller can't take a tombstone of the longest names.
pub const DECISION_BYTES_MIN: usize = 33 << 10;

/// What a shard is loaded from.
pub struct Load {
    /// The partition.
    pub partition: Arc<Partition>,
    /// The epoch that it is led in.
    pub epoch: LeaderEpoch,
    /// The shard's mailbox: once it is closed the load ends.
    pub mailbox: Arc<Mailbox>,
    /// What work that blocks is begun by.
    pub tasks: Tasks,
    /// The places of all loads of this broker, [`PIECES_AT_A_TIME`].
    pub places: Arc<Semaphore>,
    /// How many bytes are read at once.
    pub piece_bytes: usize,
}

/// What was loaded so far.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) records: u64,
    bytes: u64,
    pub(super) skipped: Skipped,
}

/// What was passed over, by its kind: how often, and where first and why.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    pub(super) count: u64,
    kinds: BTreeMap<Kind, (u64, Offset, String)>,
}

/// What is told apart of what was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    OfType(i16),
    Malformed,
    Transactional,
}

/// Why a piece can't be read.
#[derive(Debug, thiserror::Error)]
enum PieceError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was sound when it was looked at first.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl Load {
    /// Loads all that was in the log when the epoch began; none if the shard's time is over before.
    pub async fn run(&self, mut shard: Shard<Groups>) -> Option<Shard<Groups>> {
        let (began, log) = (Instant::now(), &self.partition.log);
        warn_of_settings(log);
        // Only a coordinator of this epoch appends, which is the one that begins once this has ended.
        let (mut from, end) = (log.log_start_offset(), log.end_offset());
        let mut loaded = Loaded::default();
        let mut trouble = None;
        while from < end {
            let read = self.read_piece(shard, loaded, from..end).await?;
            let next;
            (shard, loaded, next) = read;
            from = match next {
                Ok(next) => {
                    trouble = None;
                    next
                }
                Err(error) => {
                    let since = *trouble.get_or_insert_with(Instant::now);
                    self.get_past(&error, from..end, since.elapsed()).await?
                }
            };
        }
        loaded.skipped.name(log);
        self.wait_committed(end).await?;
        let (partition, ms) = (log.topic_partition(), began.elapsed().as_millis() as u64);
        info!(
            %partition, epoch = self.epoch.0, records = loaded.records, bytes = loaded.bytes,
            skipped = loaded.skipped.count, ms, "group coordinator loaded"
        );
        Some(shard)
    }

    /// Reads the next piece, in its turn, and tells where the one after it begins. None if the shard's time
    /// is over.
    async fn read_piece(
        &self,
        mut shard: Shard<Groups>,
        mut loaded: Loaded,
        offsets: Range<Offset>,
    ) -> Option<(Shard<Groups>, Loaded, Result<Offset, PieceError>)> {
        let place = tokio::select! {
            place = Arc::clone(&self.places).acquire_owned() => place.expect("the semaphore is never closed"),
            () = self.over() => return None,
        };
        if self.is_over() {
            return None;
        }
        let (log, bytes_max) = (Arc::clone(&self.partition.log), self.piece_bytes);
        let read = move || {
            let read = read_piece(&log, &mut shard, &mut loaded, &offsets, bytes_max);
            (shard, loaded, read)
        };
        let done = self.tasks.blocking("load a coordinator", read).await;
        drop(place);
        done
    }

    /// Where to read on after an error. None if the shard's time is over.
    async fn get_past(&self, error: &PieceError, offsets: Range<Offset>, waited: Duration) -> Option<Offset> {
        let (log, from) = (&self.partition.log, offsets.start);
        let partition = log.topic_partition();
        let is_damaged = match error {
            PieceError::Read(ReadError::Deleted) => return None,
            PieceError::Read(ReadError::OutOfRange { start, .. }) if *start > from => {
                return Some((*start).min(offsets.end));
            }
            PieceError::Read(ReadError::OutOfRange { .. } | ReadError::Io { .. }) => false,
            PieceError::Read(ReadError::Corrupt { .. }) | PieceError::Batch(_) => true,
        };
        if is_damaged && (!self.others_may_repair() || waited >= REPAIR_TIME_MAX) {
            let damage = log.damage().into_iter().find(|range| range.start <= from && from < range.end);
            let next = damage.map_or(offsets.end, |range| range.end.min(offsets.end));
            error!(
                %partition, from = from.0, to = next.0, %error,
                "group coordinator loads without damaged records: offsets that were committed there may be lost"
            );
            return Some(next);
        }
        if waited.as_secs().is_multiple_of(TELL_INTERVAL.as_secs()) {
            warn!(%partition, offset = from.0, %error, "group coordinator can't read its log yet");
        }
        tokio::select! {
            () = sleep(REPAIR_PAUSE) => Some(from),
            () = self.over() => None,
        }
    }

    /// Whether another replica in sync may have what is damaged here.
    fn others_may_repair(&self) -> bool {
        self.partition
            .with_replica(|replica| replica.assignment().is_some_and(|assignment| assignment.isr.len() > 1))
    }

    /// Waits until all up to `end` is committed. None if the shard's time is over before.
    async fn wait_committed(&self, end: Offset) -> Option<()> {
        let woken = Arc::new(Woken::default());
        loop {
            // Enter first and look then, or a wake-up in between is lost.
            let _place = self.partition.purgatory.enter(Offset(end.0 - 1), &woken, 0);
            if self.is_over() {
                return None;
            }
            let standing = self.partition.standing();
            if standing.is_current && standing.offsets.high_watermark >= end {
                return Some(());
            }
            tokio::select! {
                () = woken.changed() => {}
                () = self.mailbox.changed() => {}
                () = sleep(TELL_INTERVAL) => {
                    let partition = self.partition.log.topic_partition();
                    let high_watermark = standing.offsets.high_watermark.0;
                    info!(%partition, high_watermark, end = end.0, "group coordinator waits until what it has loaded is committed");
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.mailbox.is_closed() || self.partition.is_gone() || !self.partition.leads_in(self.epoch)
    }

    /// Waits until the mailbox is closed.
    async fn over(&self) {
        while !self.mailbox.is_closed() {
            self.mailbox.changed().await;
        }
    }
}

/// Reads a piece of the log into the shard; where the next one begins.
fn read_piece(
    log: &PartitionLog,
    shard: &mut Shard<Groups>,
    loaded: &mut Loaded,
    offsets: &Range<Offset>,
    bytes_max: usize,
) -> Result<Offset, PieceError> {
    let bytes = log.read_bytes(offsets.start, bytes_max, UpTo::End)?;
    let mut next = offsets.start;
    for batch in Batches::new(&bytes) {
        let (header, batch) = batch?;
        if header.base_offset() >= offsets.end {
            break;
        }
        load_batch(header, &batch[HEADER_BYTES..], next, shard, loaded);
        loaded.bytes += batch.len() as u64;
        next = header.next_offset();
    }
    Ok(next)
}

/// Loads a batch's records from `from` on.
pub(super) fn load_batch(
    header: BatchHeader<'_>,
    records: &[u8],
    from: Offset,
    shard: &mut Shard<Groups>,
    loaded: &mut Loaded,
) {
    let at = header.base_offset();
    if header.is_control() {
        return;
    }
    if header.is_transactional() {
        let reason = "offsets that were committed by transactions, which this broker doesn't know";
        return loaded.skipped.note(Kind::Transactional, at, reason.to_owned());
    }
    let codec = header.codec().expect("batches are checked when they are read");
    let inflated = match decompress(codec, records, inflated_bytes_max(records.len())) {
        Ok(inflated) => inflated,
        Err(error) => return loaded.skipped.note(Kind::Malformed, at, error.to_string()),
    };
    for record in Records::new(header, &inflated) {
        let record = match record {
            Ok(record) => record,
            Err(error) => return loaded.skipped.note(Kind::Malformed, at, error.to_string()),
        };
        if record.offset < from {
            continue;
        }
        match decode(record.key, record.value) {
            Ok(known) => {
                shard.load(known);
                loaded.records += 1;
            }
            Err(error) => {
                let kind = match error {
                    Unreadable::Type(of_type) => Kind::OfType(of_type),
                    Unreadable::NoKey | Unreadable::Malformed(_) | Unreadable::Topic(_) => Kind::Malformed,
                };
                loaded.skipped.note(kind, record.offset, error.to_string());
            }
        }
    }
}

impl Skipped {
    fn note(&mut self, kind: Kind, offset: Offset, reason: String) {
        self.count += 1;
        if let Some((count, ..)) = self.kinds.get_mut(&kind) {
            *count += 1;
        } else if self.kinds.len() < NAMED_MAX {
            self.kinds.insert(kind, (1, offset, reason));
        }
    }

    /// Names each kind, once.
    fn name(&self, log: &PartitionLog) {
        let partition = log.topic_partition();
        for (count, offset, reason) in self.kinds.values() {
            warn!(%partition, count, first_offset = offset.0, reason, "group coordinator passes over records");
        }
    }
}

/// Warns of settings by hand under which groups or offsets are lost.
fn warn_of_settings(log: &PartitionLog) {
    let partition = log.topic_partition();
    for setting in troublesome_settings(&log.config()) {
        warn!(%partition, setting, "a setting of the topic is one under which committed offsets are refused or lost");
    }
}

/// The settings of a topic that a coordinator can't keep its promises with.
pub(super) fn troublesome_settings(config: &LogConfig) -> Vec<&'static str> {
    let mut found = Vec::new();
    if decision_bytes(config) < DECISION_BYTES_MIN {
        found.push("max.message.bytes or segment.bytes: records of long names don't fit");
    }
    if config.delete {
        found.push("cleanup.policy with delete: offsets go with their segments");
    }
    if config.ack_durability == AckDurability::Written {
        found.push("ack.durability=written: a power loss may take acknowledged offsets");
    }
    if config.timestamp_type == TimestampType::Append {
        found.push("message.timestamp.type=LogAppendTime");
    }
    found
}

/// The bytes that a batch may have in a log of these settings.
pub fn batch_bytes_max(config: &LogConfig) -> usize {
    config.max_message_bytes.min(config.segment_bytes) as usize
}

/// The bytes that a decision's records may take up in it.
pub fn decision_bytes(config: &LogConfig) -> usize {
    batch_bytes_max(config).saturating_sub(HEADER_BYTES)
}
