//! A seeded life of one store: appends, reads, crashes, full disks, failing syncs, flipped bits; checked at
//! every step.
//!
//! The promises: what was shown as durable is there with the same bytes after any crash; an offset never has
//! two values; what isn't durable isn't shown; what is damaged isn't served.

mod damage;

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{BatchBuilder, HEADER_BYTES, LogConfig, patch_header};
use ottla_store::{
    AppendError, Committer, PartitionLog, ReadSlice, Store, StoreBug, StoreConfig, StoreError, UpTo,
};
use ottla_types::{
    BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicName,
};

use crate::disk::{PlantedBug, SimDisk};
use crate::rng::Rng;
use crate::shadow::{Shadow, ShadowBatch, Violation, demand};

const PARTITIONS: usize = 3;
const TOPIC: TopicId = TopicId([7; 16]);

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A line for each step.
    pub trace: String,
    /// Over all bytes on the disk at the end.
    pub digest: u32,
    /// Batches appended.
    pub appended: u64,
    /// Restarts, of any kind.
    pub restarts: u64,
    /// Reads that were answered with "corrupt", as they should be.
    pub damaged: u64,
}

struct Life {
    rng: Rng,
    disk: SimDisk,
    store: Option<Store>,
    shadows: Vec<Shadow>,
    /// Next sequence number of each partition's idempotent producer.
    sequences: Vec<i32>,
    epoch: i32,
    now_ms: i64,
    /// Whether the disk may be full, and whether it may have been since the last checkpoint.
    is_full: bool,
    was_full: bool,
    bug: Option<StoreBug>,
    journal_file_bytes: u64,
    /// Hardly anything is committed, so that much waits for it.
    is_lazy: bool,
    /// Places that were told and are still to be read, and what was there.
    told: Vec<(ReadSlice, Bytes)>,
    report: Report,
}

/// Runs `steps` steps of the life that `seed` describes.
///
/// # Errors
/// The first promise that the store broke.
pub fn run_store(seed: u64, steps: u64, bug: Option<PlantedBug>) -> Result<Report, Violation> {
    let mut life = Life {
        rng: Rng::new(seed),
        disk: SimDisk::new(seed ^ 0xd15c, bug),
        store: None,
        shadows: vec![Shadow::default(); PARTITIONS],
        sequences: vec![0; PARTITIONS],
        epoch: 0,
        now_ms: 1_000_000,
        is_full: false,
        was_full: false,
        journal_file_bytes: (8 << 10) << (seed % 2),
        is_lazy: seed % 8 == 7,
        told: Vec::new(),
        bug: if let Some(PlantedBug::InStore(bug)) = bug { Some(bug) } else { None },
        report: Report::default(),
    };
    life.open()?;
    for step in 0..steps {
        life.now_ms += life.rng.below(50) as i64;
        life.disk.set_now_ms(life.now_ms);
        let stepped = life.step().and_then(|()| life.check_memory());
        stepped.map_err(|violation| life.explain(seed, step, &violation))?;
    }
    life.disk.set_bytes_max(None);
    life.restart(true).map_err(|violation| life.explain(seed, steps, &violation))?;
    life.report.digest = life.disk.digest();
    Ok(life.report)
}

fn topic_name() -> TopicName {
    TopicName::new("t").expect("a valid name")
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 4_000, index_interval_bytes: 300, ..LogConfig::default() }
}

impl Life {
    fn note(&mut self, text: impl AsRef<str>) {
        self.report.trace.push_str(text.as_ref());
        self.report.trace.push('\n');
    }

    /// The violation with what led to it.
    fn explain(&self, seed: u64, step: u64, violation: &Violation) -> Violation {
        let lines: Vec<&str> = self.report.trace.lines().collect();
        let last = lines[lines.len().saturating_sub(40)..].join("\n  ");
        Violation(format!("seed {seed} step {step}: {violation}, after\n  {last}"))
    }

    fn step(&mut self) -> Result<(), Violation> {
        let partition = self.rng.below(PARTITIONS as u64) as usize;
        match self.rng.below(100) {
            0..41 => self.append(partition)?,
            41..42 => return self.damage_and_kill(),
            42..58 if self.is_lazy => self.note("no commit"),
            42..58 => self.commit()?,
            58..66 => self.checkpoint(),
            66..75 => self.read(partition)?,
            75..77 => self.scrub()?,
            77..79 => self.mend(partition)?,
            79..80 => self.delete_and_create(partition)?,
            80..84 => {
                let after = self.rng.below(80);
                self.disk.crash_after(after);
                self.note(format!("crash after {after}"));
            }
            84..86 => return self.restart(true),
            86..87 => return self.restart(false),
            87..88 => return self.damage_and_kill(),
            88..91 => self.close_and_reopen()?,
            91..93 => {
                let room = self.rng.below(3_000);
                self.disk.set_bytes_max(Some(self.disk.bytes() + room));
                (self.is_full, self.was_full) = (true, true);
                self.note(format!("room {room}"));
            }
            93..95 => {
                self.is_full = false;
                self.disk.set_bytes_max(None);
            }
            95..97 => self.disk.fail_sync_after(self.rng.below(6)),
            97..98 => self.let_go(partition),
            _ => self.truncate(partition)?,
        }
        self.recover_if_down()
    }

    fn check_memory(&self) -> Result<(), Violation> {
        self.store.as_ref().map_or(Ok(()), crate::memory::check_store)
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open between steps")
    }

    fn log(&self, partition: usize) -> Arc<PartitionLog> {
        self.store().partition(TOPIC, PartitionIndex(partition as i32)).expect("the partition was created")
    }

    fn batch(&mut self, partition: usize) -> Bytes {
        let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        if partition == 0 {
            builder = builder.producer(ProducerId(5), ProducerEpoch(0), self.sequences[partition]);
        }
        let bytes_max = if self.rng.percent(10) { 2_500 } else { 120 };
        for _ in 0..=self.rng.below(3) {
            let value = vec![self.rng.number() as u8; self.rng.below(bytes_max) as usize];
            let time = self.now_ms - self.rng.below(20) as i64;
            builder.push(time, None, Some(&value), &[]);
        }
        builder.build().into()
    }

    fn append(&mut self, partition: usize) -> Result<(), Violation> {
        let (log, batch) = (self.log(partition), self.batch(partition));
        let base = self.shadows[partition].end();
        match log.append(&batch, LeaderEpoch(self.epoch), self.now_ms) {
            Ok(appended) => {
                demand!(
                    appended.base_offset.0 == base,
                    "{log:?}: appended at {}, not {base}",
                    appended.base_offset
                );
                demand!(!appended.duplicate, "{log:?}: a new batch is called a duplicate");
                let mut bytes = patch_header(&batch, Offset(base), LeaderEpoch(self.epoch)).to_vec();
                bytes.extend_from_slice(&batch[HEADER_BYTES..]);
                let next = appended.last_offset.0 + 1;
                self.shadows[partition].batches.push(ShadowBatch { base, next, bytes });
                self.sequences[partition] += (next - base) as i32;
                self.report.appended += 1;
                self.note(format!("append {partition} {base}..{next}"));
                self.check_duplicate(partition, &batch, base)?;
            }
            Err(AppendError::NoSpace { .. }) => self.note("no space"),
            Err(AppendError::Failed) => self.note("append failed"),
            // What a damaged batch said of its producer may be gone, when there was no room for a snapshot
            // either.
            Err(AppendError::Sequence(_)) if !self.shadows[partition].damaged.is_empty() => {
                self.note("sequence unknown");
            }
            Err(error) => return Err(Violation(format!("{log:?}: append: {error}"))),
        }
        self.observe(partition)
    }

    /// A producer that hears nothing sends again, and gets the old offset.
    fn check_duplicate(&mut self, partition: usize, batch: &Bytes, base: i64) -> Result<(), Violation> {
        if partition != 0 || !self.rng.percent(20) {
            return Ok(());
        }
        let log = self.log(partition);
        match log.append(batch, LeaderEpoch(self.epoch), self.now_ms) {
            Ok(again) => {
                demand!(again.duplicate && again.base_offset.0 == base, "{log:?}: {base} appended again")
            }
            Err(AppendError::Failed) => {}
            Err(error) => return Err(Violation(format!("{log:?}: append again: {error}"))),
        }
        Ok(())
    }

    fn observe(&mut self, partition: usize) -> Result<(), Violation> {
        let log = self.log(partition);
        self.shadows[partition].observe(&log)
    }

    fn commit(&mut self) -> Result<(), Violation> {
        let result = self.store().commit_now();
        self.note(format!("commit {}", result.is_ok()));
        (0..PARTITIONS).try_for_each(|partition| self.observe(partition))
    }

    fn checkpoint(&mut self) {
        let result = self.store().checkpoint();
        self.was_full &= self.is_full || result.is_err();
        self.note(format!("checkpoint {}", result.is_ok()));
    }

    fn read(&mut self, partition: usize) -> Result<(), Violation> {
        let log = self.log(partition);
        let (start, end) = (log.log_start_offset().0, log.durable_end_offset().0);
        if end > start && !self.disk.has_crashed() {
            let from = start + self.rng.below((end - start) as u64) as i64;
            let max_bytes = self.rng.below(3_000) as usize;
            let next = self.shadows[partition].read_at(&log, from, max_bytes);
            if self.disk.has_crashed() {
                return Ok(());
            }
            let next = next?;
            self.note(format!("read {partition} {from}..{next}"));
            self.tell_place(&log, from, max_bytes);
        }
        self.read_told()
    }

    /// Somebody is told of a place, to be read later: as an answer that waits for its turn.
    fn tell_place(&mut self, log: &PartitionLog, from: i64, max_bytes: usize) {
        if let Ok(Some(slice)) = log.read(Offset(from), max_bytes, true, UpTo::Durable)
            && let Ok(bytes) = slice.to_bytes()
        {
            self.told.push((slice, bytes));
        }
    }

    /// What was there is still there, or nothing.
    fn read_told(&mut self) -> Result<(), Violation> {
        for (slice, expected) in &self.told {
            let is_same = slice.to_bytes().map_or(true, |bytes| bytes == *expected);
            demand!(is_same, "something else is at the place of {slice:?}");
        }
        if self.told.len() > 8 {
            self.told.clear();
        }
        Ok(())
    }

    fn let_go(&mut self, partition: usize) {
        let log = self.log(partition);
        let durable = log.durable_end_offset().0;
        let offset = self.rng.below(durable as u64 + 1) as i64;
        let deleted = log.advance_log_start(Offset(offset));
        self.shadows[partition].start = self.shadows[partition].start.max(offset);
        self.note(format!("start {partition} {offset} {deleted}"));
    }

    fn recover_if_down(&mut self) -> Result<(), Violation> {
        if self.disk.has_crashed() {
            let power_loss = self.rng.percent(60);
            return self.restart(power_loss);
        }
        if self.store.as_ref().is_some_and(Store::has_failed) {
            self.note("stopped after a disk error");
            let power_loss = self.rng.percent(30);
            return self.restart(power_loss);
        }
        Ok(())
    }

    fn close_and_reopen(&mut self) -> Result<(), Violation> {
        self.told.clear();
        let store = self.store.take().expect("the store is open between steps");
        let closed = store.close();
        for partition in 0..PARTITIONS {
            let index = PartitionIndex(partition as i32);
            if let Some(log) = store.partition(TOPIC, index) {
                self.shadows[partition].observe(&log)?;
            }
        }
        drop(store);
        self.note(format!("close {}", closed.is_ok()));
        let crashed = self.disk.has_crashed();
        let power_loss = self.rng.percent(50);
        self.disk.restart(power_loss || crashed);
        if closed.is_ok() && self.rng.percent(40) {
            self.damage(false)?;
        }
        self.open()
    }

    fn restart(&mut self, power_loss: bool) -> Result<(), Violation> {
        self.note(format!("restart {power_loss}"));
        self.told.clear();
        // The process ends first: what its threads would still do doesn't reach the disk.
        self.disk.restart(power_loss);
        self.store = None;
        self.open()
    }

    /// Opens the store, again when a crash comes meanwhile, and compares all with the shadows.
    fn open(&mut self) -> Result<(), Violation> {
        self.report.restarts += 1;
        if self.rng.percent(15) {
            self.disk.crash_after(self.rng.below(150));
        }
        loop {
            match self.try_open() {
                Ok(store) => self.store = Some(store),
                Err(_) if self.disk.has_crashed() => {
                    self.disk.restart(true);
                    continue;
                }
                Err(StoreError::Io { error, .. }) if error.kind() == std::io::ErrorKind::StorageFull => {
                    self.disk.set_bytes_max(None);
                    continue;
                }
                Err(error) => return Err(Violation(format!("open: {error}"))),
            }
            let checked = self.compare();
            if !self.disk.has_crashed() {
                return checked;
            }
            self.store = None;
            self.disk.restart(true);
        }
    }

    fn try_open(&self) -> Result<Store, StoreError> {
        let config = StoreConfig {
            cluster_id: Some(ClusterId([1; 16])),
            default_config: config(),
            open_files_max: 8,
            committer: Committer::Manual,
            // A handful of groups, so that files are used again all the time.
            journal_file_bytes: self.journal_file_bytes,
            bug: self.bug,
            ..StoreConfig::new("/data", BrokerId(1))
        };
        let store = Store::open_on(Arc::new(self.disk.clone()), config)?;
        let topic = topic_name();
        for partition in 0..PARTITIONS {
            store.create_partition(topic.clone(), TOPIC, PartitionIndex(partition as i32), self::config())?;
        }
        Ok(store)
    }

    fn compare(&mut self) -> Result<(), Violation> {
        for partition in 0..PARTITIONS {
            let log = self.log(partition);
            let shadow = &mut self.shadows[partition];
            shadow.after_restart(&log)?;
            let end = shadow.end();
            if partition == 0 {
                // The producer's next sequence is the number of its records.
                self.sequences[0] = end as i32;
            }
            self.note(format!("open {partition} {}..{end}", log.log_start_offset()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_again() {
        for seed in 0..5 {
            let (one, two) = (run_store(seed, 150, None).unwrap(), run_store(seed, 150, None).unwrap());
            assert_eq!(one.trace, two.trace);
            assert_eq!(one, two);
        }
        assert_ne!(run_store(1, 150, None).unwrap().digest, run_store(2, 150, None).unwrap().digest);
    }

    /// The seeds to run: `OTTLA_SIM_SEEDS=FIRST..LAST`, or the first few hundred.
    fn seeds() -> std::ops::Range<u64> {
        let asked = std::env::var("OTTLA_SIM_SEEDS").ok();
        let range = asked.as_deref().and_then(|asked| asked.split_once(".."));
        range.map_or(0..400, |(first, last)| first.parse().unwrap()..last.parse().unwrap())
    }

    #[test]
    fn no_seed_breaks_a_promise() {
        let mut total = Report::default();
        let seeds = seeds();
        let count = seeds.end - seeds.start;
        for seed in seeds {
            let report = run_store(seed, 120, None).unwrap_or_else(|violation| panic!("{violation}"));
            total.appended += report.appended;
            total.restarts += report.restarts;
            total.damaged += report.damaged;
        }
        let busy = total.appended > 10 * count && total.restarts > 5 * count && total.damaged > count / 4;
        assert!(busy, "{total:?}");
    }
}
