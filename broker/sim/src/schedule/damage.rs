//! Damage in the life of a store: bits that flip, logs that are cut, scrubbed, mended and made again.

use std::ops::Range;
use std::path::PathBuf;

use ottla_log::FileKind;
use ottla_store::{Disk, RepairError, Store};
use ottla_types::{Offset, PartitionIndex};

use super::{Life, PARTITIONS, TOPIC, config, topic_name};
use crate::shadow::{Shadow, Violation, demand};

impl Life {
    /// A later leader's word: the tail goes, acknowledged or not, damaged or not.
    pub(super) fn truncate(&mut self, partition: usize) -> Result<(), Violation> {
        let log = self.log(partition);
        let (start, end) = (log.log_start_offset().0, log.end_offset().0);
        if partition == 0 || end == start || self.store.as_ref().is_some_and(Store::has_failed) {
            return Ok(());
        }
        let mut offset = end - self.rng.below((end - start).min(12) as u64) as i64;
        // From here on the old tail is no longer promised, whether it goes or not.
        let shadow = &mut self.shadows[partition];
        let boundary = shadow.index_of(offset).map_or(end, |at| shadow.batches[at].base);
        if boundary < start {
            return Ok(());
        }
        if !shadow.damaged.is_empty() {
            // In damage nothing tells where its batches begin: the leader's word does, as its own begin
            // there.
            offset = boundary;
        }
        shadow.acknowledged = shadow.acknowledged.min(boundary);
        let result = log.truncate_to(Offset(offset));
        self.note(format!("truncate {partition} {offset} {}", result.is_ok()));
        match result {
            Ok(()) => {
                let end = log.end_offset().0;
                demand!(end == boundary, "{log:?}: cut to {end}, not to {boundary}");
                let shadow = &mut self.shadows[partition];
                shadow.cut(end);
                self.epoch += 1;
                self.observe(partition)
            }
            Err(_) if self.is_down() => Ok(()),
            // No space for the checkpoint: nothing was cut.
            Err(_) => self.observe(partition),
        }
    }

    fn is_down(&self) -> bool {
        self.disk.has_crashed() || self.store.as_ref().is_some_and(Store::has_failed)
    }

    /// The whole scrub: after it all damage is named, and only damage.
    pub(super) fn scrub(&mut self) -> Result<(), Violation> {
        let mut steps = 0;
        while !self.store().scrub_step(2_000).finished {
            steps += 1;
            demand!(steps < 10_000, "the scrub doesn't end");
        }
        self.note(format!("scrub {steps}"));
        for partition in 0..PARTITIONS {
            let (log, shadow) = (self.log(partition), &self.shadows[partition]);
            let named = log.damage();
            for range in &named {
                let known = shadow.damaged.iter().any(|base| shadow.overlaps(*base, range));
                demand!(known, "{log:?}: {range:?} is called damaged, of {named:?}");
            }
            let read = shadow.read_all(&log);
            if self.is_down() {
                return Ok(());
            }
            read?;
            demand!(self.is_down() || log.damage() == named, "{log:?}: the scrub found {named:?} only");
        }
        Ok(())
    }

    /// A peer's bytes take the place of damaged ones, a piece at a time; others don't.
    pub(super) fn mend(&mut self, partition: usize) -> Result<(), Violation> {
        let log = self.log(partition);
        for mut left in log.damage() {
            let shadow = &self.shadows[partition];
            let whole = |base: i64| log.damage().iter().all(|range| !shadow.overlaps(base, range));
            let other = shadow.batches.iter().find(|batch| whole(batch.base));
            if let Some(other) = other {
                let refused = log.repair(&other.bytes.clone().into());
                demand!(refused.is_err(), "{log:?}: other bytes were taken for {left:?}");
            }
            while left.start < left.end {
                match self.mend_piece(partition, &left)? {
                    Some(to) => left.start = to,
                    None if self.is_down() => return Ok(()),
                    None => break,
                }
            }
        }
        self.observe(partition)
    }

    /// Mends the first of what is `left` of a damaged place. Returns up to where; `None` if it can't be.
    fn mend_piece(&mut self, partition: usize, left: &Range<Offset>) -> Result<Option<Offset>, Violation> {
        let log = self.log(partition);
        let shadow = &self.shadows[partition];
        let batches: Vec<_> =
            shadow.batches.iter().filter(|batch| shadow.overlaps(batch.base, left)).collect();
        // Where damage begins before the log's start, nobody knows where its pieces belong.
        let may_be_crossing = left.start <= log.log_start_offset();
        let count = if batches.len() > 1 && !may_be_crossing && self.rng.percent(50) {
            1 + self.rng.below(batches.len() as u64) as usize
        } else {
            batches.len()
        };
        let bytes: Vec<u8> = batches[..count].iter().flat_map(|batch| batch.bytes.clone()).collect();
        let mended = log.repair(&bytes.into());
        self.note(format!("mend {partition} {left:?} {mended:?}"));
        match mended {
            Ok(mended) => {
                demand!(
                    mended.start == left.start && mended.end > left.start,
                    "{log:?}: {mended:?} of {left:?}"
                );
                let shadow = &mut self.shadows[partition];
                let mended_bases: Vec<i64> =
                    shadow.damaged.iter().copied().filter(|base| shadow.overlaps(*base, &mended)).collect();
                shadow.damaged.retain(|base| !mended_bases.contains(base));
                let read = shadow.read_at(&log, left.start.0.max(log.log_start_offset().0), 100);
                demand!(read.is_ok() || self.is_down(), "{log:?}: {mended:?} mended, but {read:?}");
                Ok(Some(mended.end))
            }
            Err(_) if self.is_down() => Ok(None),
            Err(RepairError::Store(_)) if self.is_full => Ok(None),
            Err(RepairError::NotYet) => Ok(None),
            Err(error) => Err(Violation(format!("{log:?}: mend {left:?}: {error}"))),
        }
    }

    /// A partition goes and comes back: nothing of its old records does.
    pub(super) fn delete_and_create(&mut self, partition: usize) -> Result<(), Violation> {
        if partition == 0 {
            return Ok(());
        }
        let index = PartitionIndex(partition as i32);
        // From here on nothing of it is promised.
        self.shadows[partition].acknowledged = 0;
        let store = self.store();
        let deleted = store.delete_partition(TOPIC, index);
        let created = store.create_partition(topic_name(), TOPIC, index, config());
        let (ok, is_created) = (deleted.is_ok(), created.is_ok());
        self.note(format!("delete {partition} {ok} create {is_created}"));
        match created {
            _ if self.is_down() => Ok(()),
            Ok(log) if ok => {
                self.shadows[partition] = Shadow::default();
                demand!(log.end_offset() == Offset(0), "{log:?}: a new log isn't empty");
                Ok(())
            }
            // No space: the next start tells what became of it.
            _ => self.restart(false),
        }
    }

    /// Flips a bit of what is durable, and ends the process as it is: what was acknowledged must not be taken
    /// for a torn tail.
    pub(super) fn damage_and_kill(&mut self) -> Result<(), Violation> {
        self.commit()?;
        if self.was_full {
            // There was no room to write down how far the logs are durable.
            return self.recover_if_down();
        }
        if self.disk.has_crashed() || self.store.as_ref().is_some_and(Store::has_failed) {
            return self.recover_if_down();
        }
        self.disk.restart(false);
        self.damage(true)?;
        self.restart(false)
    }

    /// Flips a bit of a batch that is durable; one of the last ones, `at_end`.
    pub(super) fn damage(&mut self, at_end: bool) -> Result<(), Violation> {
        let partition = self.rng.below(PARTITIONS as u64) as usize;
        let folder = PathBuf::from(format!("/data/t-{partition}"));
        let files = self.disk.list(&folder).map_err(|error| Violation(error.to_string()))?;
        let logs: Vec<(Offset, u64)> = files
            .iter()
            .filter_map(|file| match FileKind::parse(&file.name) {
                Some((FileKind::Log, base)) if file.bytes > 0 => Some((base, file.bytes)),
                _ => None,
            })
            .collect();
        if logs.is_empty() {
            return Ok(());
        }
        let (base, bytes) =
            logs[if at_end { logs.len() - 1 } else { self.rng.below(logs.len() as u64) as usize }];
        let position =
            if at_end { bytes - 1 - self.rng.below(bytes.min(400)) } else { self.rng.below(bytes) };
        let bit = self.rng.below(8) as u8;
        let shadow = &mut self.shadows[partition];
        let mut end = 0;
        let hit = shadow.batches.iter().filter(|batch| batch.base >= base.0).find(|batch| {
            end += batch.bytes.len() as u64;
            position < end
        });
        // Behind earlier damage a torn tail stays in the file.
        let Some((hit, within)) = hit.map(|batch| (batch.base, position + batch.bytes.len() as u64 - end))
        else {
            return Ok(());
        };
        if at_end && (12..16).contains(&within) {
            // No checksum covers the leader epoch, and the table of epochs is only complete at a checkpoint.
            return Ok(());
        }
        shadow.damaged.insert(hit);
        self.disk.flip_bit(&folder.join(FileKind::Log.file_name(base)), position, bit);
        self.report.damaged += 1;
        self.note(format!("flip {partition} batch {hit} at {position}"));
        Ok(())
    }
}
