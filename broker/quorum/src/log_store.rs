//! The log, the vote and what is purged, for openraft: one thread writes in order and syncs in groups.
//!
//! The files are Kafka's in name and form: segments of record batches, and the vote in `quorum-state`. Only a vote is
//! waited for; what else the thread has to do is done for openraft once it is queued (see `entries`). Appends that wait
//! together share a sync.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageIOError};
use ottla_store::{Disk, read_file, replace_file};
use ottla_types::BrokerId;
use serde::{Deserialize, Serialize};

use crate::entries::{Durability, Encoded, Place, Shared, View};
use crate::raft_types::{Entry, EntryPayload, LogId, StorageError, TypeConfig, Vote};
use crate::room::Room;
use crate::segments::{Located, Segments};
use crate::tasks::Tasks;

const VOTE_FILE: &str = "quorum-state";
const PURGED_FILE: &str = "purged-log-id";
const STATE_BYTES_MAX: usize = 64 << 10;

/// How many bytes of entries are read at a time, to send to another node.
const READ_BYTES_MAX: usize = 1 << 20;

/// How many writes may wait for the disk.
const JOBS_MAX: usize = 256;

/// The log of this node. Clones are handles of the same log.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

/// The thread that writes, and the way to it. Gone with the last handle of the log, and with it, at once, the thread: no
/// write comes after that, so that the log can be opened again.
struct Thread {
    jobs: Option<mpsc::SyncSender<Job>>,
    handle: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// A value of the log: what an entry holds besides its term and index.
#[derive(Serialize, Deserialize)]
struct Stored {
    leader: BrokerId,
    payload: EntryPayload,
}

/// What the thread has to do, and its number.
struct Job {
    number: u64,
    work: Work,
}

enum Work {
    Append(Vec<Arc<Encoded>>),
    Vote(Vote),
    Truncate(u64),
    Purge(LogId),
}

/// Whether a log in `folder` was ever voted in: then a quorum was formed.
pub fn exists(folder: &Path) -> bool {
    folder.join(VOTE_FILE).exists()
}

/// What a log holds.
pub struct Contents {
    /// The last vote that was given.
    pub vote: Option<Vote>,
    /// The entries that aren't purged, and perhaps some that are.
    pub entries: Vec<Entry>,
}

/// Reads the log in `folder`, which isn't open.
///
/// # Errors
/// The disk's, and `InvalidData` when a file is damaged.
pub fn read_all(disk: Arc<dyn Disk>, folder: &Path, segment_bytes: u64) -> io::Result<Contents> {
    let vote = read_state(disk.as_ref(), folder, VOTE_FILE)?;
    let segments = Segments::open(disk, folder, segment_bytes)?;
    let entries =
        segments.locate(0..u64::MAX, usize::MAX).iter().map(read_entry).collect::<io::Result<_>>()?;
    Ok(Contents { vote, entries })
}

/// Has the log in `folder`, which isn't open, begin after `last`, which a snapshot has.
///
/// # Errors
/// The disk's.
pub fn begin_after(disk: &dyn Disk, folder: &Path, last: LogId, vote: Vote) -> io::Result<()> {
    replace_file(disk, folder, PURGED_FILE, &serde_json::to_vec(&last)?)?;
    replace_file(disk, folder, VOTE_FILE, &serde_json::to_vec(&vote)?)
}

impl LogStore {
    /// Opens the log in `folder`, which exists, and starts its thread. The thread ends with the last handle. On a full
    /// disk it waits in `room`.
    ///
    /// # Errors
    /// The disk's, and `InvalidData` when a file is damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        segment_bytes: u64,
        room: Arc<Room>,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let vote = read_state(disk.as_ref(), folder, VOTE_FILE)?;
        let purged: Option<LogId> = read_state(disk.as_ref(), folder, PURGED_FILE)?;
        let mut segments = Segments::open(disk.clone(), folder, segment_bytes)?;
        if let Some(purged) = purged
            && segments.indexes().end <= purged.index
        {
            segments.purge(purged.index + 1)?;
        }
        let entries = segments.locate(0..u64::MAX, usize::MAX);
        let mut view = View::new(vote, purged, segments.indexes().start, entries);
        view.opened_up_to(last_log_id(&view)?);
        let shared = Arc::new(Shared::new(view));
        let (jobs, waiting) = mpsc::sync_channel(JOBS_MAX);
        let writer = Writer { disk, folder: folder.to_owned(), segments, shared: shared.clone(), room };
        let handle = Some(tasks.spawn_thread("metadata-log", move || writer.run(&waiting))?);
        Ok(Self { shared, thread: Arc::new(Thread { jobs: Some(jobs), handle }) })
    }

    /// How far it is durable.
    pub fn durability(&self) -> Durability {
        Durability::new(self.shared.clone())
    }

    /// Changes the view, and has the thread do the same on the disk. The number of the job.
    fn hand_over(&self, change: impl FnOnce(&mut View, Instant) -> u64, work: Work) -> io::Result<u64> {
        let stopped = || io::Error::other("the metadata log's thread has stopped");
        let jobs = self.thread.jobs.as_ref().ok_or_else(stopped)?;
        // Only openraft's core hands anything over, so that jobs are queued in the order of their numbers.
        let number = change(&mut self.shared.view(), Instant::now());
        // Waits only when very many are queued: then the disk is what everybody waits for.
        jobs.send(Job { number, work }).map_err(|_| stopped())?;
        Ok(number)
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let places = {
            let view = self.shared.view();
            let start = view.purged.map_or(range.start, |purged| range.start.max(purged.index + 1));
            view.locate(start..range.end, bytes_max)
        };
        places.iter().map(|(_, place)| read_place(place)).collect()
    }
}

/// The last entry of a log, or the last one that was purged from it.
fn last_log_id(view: &View) -> io::Result<Option<LogId>> {
    let Some(last) = view.indexes().end.checked_sub(1) else { return Ok(view.purged) };
    let places = view.locate(last..last + 1, usize::MAX);
    let last = places.first().map(|(_, place)| read_place(place)).transpose()?;
    Ok(last.map(|entry| entry.log_id).or(view.purged))
}

fn read_place(place: &Place) -> io::Result<Entry> {
    match place {
        Place::Disk(located) => read_entry(located),
        Place::Memory(entry) => decode(entry.log_id.leader_id.term, entry.log_id.index, &entry.value),
    }
}

fn read_entry(located: &Located) -> io::Result<Entry> {
    let (term, value) = located.read()?;
    decode(term, located.index, &value)
}

fn decode(term: u64, index: u64, value: &[u8]) -> io::Result<Entry> {
    let stored: Stored = serde_json::from_slice(value)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("entry {index}: {error}")))?;
    let log_id = LogId::new(openraft::CommittedLeaderId::new(term, stored.leader), index);
    Ok(Entry { log_id, payload: stored.payload })
}

fn read_state<T: for<'de> Deserialize<'de>>(
    disk: &dyn Disk,
    folder: &Path,
    name: &str,
) -> io::Result<Option<T>> {
    let path = folder.join(name);
    let content = match read_file(disk, &path, STATE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        content => content?,
    };
    let value = serde_json::from_slice(&content);
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    value.map(Some).map_err(wrong)
}

/// The thread's side.
struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segments: Segments,
    shared: Arc<Shared>,
    room: Arc<Room>,
}

/// Jobs of which only the sync is left.
#[derive(Default)]
struct Unsynced {
    /// The last one.
    number: u64,
    /// What they wrote, and by which of them.
    entries: Vec<(u64, LogId)>,
}

impl Writer {
    /// Does the jobs in order until all handles are gone or something fails: after a failed write or sync nobody
    /// knows what is on the disk, so nothing more is acknowledged.
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let outcome = self.work_off(jobs);
        if let Err(error) = &outcome {
            tracing::error!(%error, "writing the metadata log failed");
        }
        self.shared.end(outcome);
    }

    fn work_off(&mut self, jobs: &mpsc::Receiver<Job>) -> io::Result<()> {
        let mut unsynced = Unsynced::default();
        while let Ok(job) = jobs.recv() {
            let mut next = Some(job);
            while let Some(job) = next {
                self.start(job, &mut unsynced)?;
                next = jobs.try_recv().ok();
            }
            self.sync(&mut unsynced)?;
        }
        Ok(())
    }

    fn start(&mut self, job: Job, unsynced: &mut Unsynced) -> io::Result<()> {
        if let Work::Append(entries) = &job.work {
            self.write(entries)?;
            unsynced.number = job.number;
            unsynced.entries.extend(entries.iter().map(|entry| (job.number, entry.log_id)));
            return Ok(());
        }
        // The rest is rare and comes after everything before it is durable.
        self.sync(unsynced)?;
        match job.work {
            Work::Append(_) => unreachable!("handled above"),
            Work::Vote(vote) => {
                self.replace(VOTE_FILE, &vote)?;
                self.shared.view().vote = Some(vote);
            }
            Work::Truncate(index) => self.segments.truncate(index)?,
            Work::Purge(upto) => {
                self.replace(PURGED_FILE, &upto)?;
                self.segments.purge(upto.index + 1)?;
            }
        }
        self.shared.settle(job.number, []);
        Ok(())
    }

    fn write(&mut self, entries: &[Arc<Encoded>]) -> io::Result<()> {
        let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now_ms.as_millis()).unwrap_or(i64::MAX);
        // An entry that wasn't written is written again in its place.
        for Encoded { log_id, value } in entries.iter().map(Arc::as_ref) {
            let append = || self.segments.append(log_id.index, log_id.leader_id.term, now_ms, value);
            self.room.wait_for("the metadata log", append)?;
        }
        Ok(())
    }

    /// Syncs, and says what is durable by that.
    fn sync(&mut self, unsynced: &mut Unsynced) -> io::Result<()> {
        if unsynced.entries.is_empty() {
            return Ok(());
        }
        self.segments.sync()?;
        let located = |(job, log_id): (u64, LogId)| Some((job, log_id, self.segments.located(log_id.index)?));
        self.shared.settle(unsynced.number, unsynced.entries.drain(..).filter_map(located));
        Ok(())
    }

    fn replace(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let content = serde_json::to_vec(value)?;
        self.room.wait_for(name, || replace_file(self.disk.as_ref(), &self.folder, name, &content))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start..end, usize::MAX).map_err(|error| StorageIOError::read_logs(&error).into())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.read(start..end, READ_BYTES_MAX).map_err(|error| StorageIOError::read_logs(&error).into())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let view = self.shared.view();
        let last_log_id = last_log_id(&view).map_err(|error| StorageIOError::read_logs(&error))?;
        Ok(LogState { last_purged_log_id: view.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let queued = self.hand_over(View::other, Work::Vote(*vote));
        let saved = match queued {
            Ok(job) => self.durability().job_done(job).await,
            Err(error) => Err(error),
        };
        saved.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.shared.view().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        for Entry { log_id, payload } in entries {
            let stored = Stored { leader: log_id.leader_id.node_id, payload };
            let value = serde_json::to_vec(&stored)
                .map_err(|error| StorageIOError::write_log_entry(log_id, &error))?;
            encoded.push(Arc::new(Encoded { log_id, value }));
        }
        let append = |view: &mut View, now| view.append(&encoded, now);
        let queued = self.hand_over(append, Work::Append(encoded.clone()));
        queued.map_err(|error| StorageIOError::write_logs(&error))?;
        // openraft's core would wait for it. What needs the entries on the disk waits for them by itself.
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let truncate = |view: &mut View, now| view.truncate(log_id.index, now);
        let queued = self.hand_over(truncate, Work::Truncate(log_id.index));
        queued.map(|_| ()).map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let purge = |view: &mut View, now| view.purge(log_id, now);
        let queued = self.hand_over(purge, Work::Purge(log_id));
        queued.map(|_| ()).map_err(|error| StorageIOError::write_logs(&error).into())
    }
}
