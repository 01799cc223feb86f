//! The log, the vote and what is purged, for openraft: one thread writes in order and syncs in groups.
//!
//! The files are Kafka's in name and form: segments of record batches, and the vote in `quorum-state`. An
//! append is answered once it is synced; appends that wait together share a sync.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageIOError};
use ottla_store::{Disk, read_file, replace_file};
use ottla_types::BrokerId;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

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

/// The thread that writes, and the way to it. Gone with the last handle of the log, and with it, at once, the
/// thread: no write comes after that, so that the log can be opened again.
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

struct Shared {
    segments: Mutex<Segments>,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
}

/// A value of the log: what an entry holds besides its term and index.
#[derive(Serialize, Deserialize)]
struct Stored {
    leader: BrokerId,
    payload: EntryPayload,
}

enum Job {
    Append(Vec<Encoded>, oneshot::Sender<io::Result<()>>, LogFlushed<TypeConfig>),
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    Truncate(u64, oneshot::Sender<io::Result<()>>),
    Purge(LogId, oneshot::Sender<io::Result<()>>),
}

struct Encoded {
    index: u64,
    term: u64,
    value: Vec<u8>,
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
    /// Opens the log in `folder`, which exists, and starts its thread. The thread ends with the last handle.
    /// On a full disk it waits in `room`.
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
        let state = State {
            vote: read_state(disk.as_ref(), folder, VOTE_FILE)?,
            purged: read_state(disk.as_ref(), folder, PURGED_FILE)?,
        };
        let mut segments = Segments::open(disk.clone(), folder, segment_bytes)?;
        if let Some(purged) = state.purged
            && segments.indexes().end <= purged.index
        {
            segments.purge(purged.index + 1)?;
        }
        let shared = Arc::new(Shared { segments: Mutex::new(segments), state: Mutex::new(state) });
        let (jobs, waiting) = mpsc::sync_channel(JOBS_MAX);
        let writer = Writer { disk, folder: folder.to_owned(), shared: shared.clone(), room };
        let handle = Some(tasks.spawn_thread("metadata-log", move || writer.run(&waiting))?);
        Ok(Self { shared, thread: Arc::new(Thread { jobs: Some(jobs), handle }) })
    }

    async fn run(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let stopped = || io::Error::other("the metadata log's thread has stopped after an error");
        let (done, result) = oneshot::channel();
        // Waits only when very many writes are queued: then the disk is what everybody waits for.
        let jobs = self.thread.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job(done)).map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let purged = lock(&self.shared.state).purged;
        let start = purged.map_or(range.start, |purged| range.start.max(purged.index + 1));
        let located = lock(&self.shared.segments).locate(start..range.end, bytes_max);
        located.iter().map(read_entry).collect()
    }
}

fn read_entry(located: &Located) -> io::Result<Entry> {
    let (term, value) = located.read()?;
    let stored: Stored = serde_json::from_slice(&value).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("entry {}: {error}", located.index))
    })?;
    let log_id = LogId::new(openraft::CommittedLeaderId::new(term, stored.leader), located.index);
    Ok(Entry { log_id, payload: stored.payload })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panics with the lock has changed nothing halfway that readers see.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    value
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

/// The thread's side.
struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    shared: Arc<Shared>,
    room: Arc<Room>,
}

impl Writer {
    /// Does the jobs in order until all handles are gone or something fails: after a failed write or sync
    /// nobody knows what is on the disk, so nothing more is acknowledged.
    fn run(&self, jobs: &mpsc::Receiver<Job>) {
        let mut unsynced = Vec::new();
        while let Ok(job) = jobs.recv() {
            let mut next = Some(job);
            while let Some(job) = next {
                if self.start(job, &mut unsynced).is_err() {
                    return;
                }
                next = jobs.try_recv().ok();
            }
            if self.sync(&mut unsynced).is_err() {
                return;
            }
        }
    }

    fn start(&self, job: Job, unsynced: &mut Vec<LogFlushed<TypeConfig>>) -> Result<(), ()> {
        if let Job::Append(entries, written, flushed) = job {
            let result = self.write(&entries);
            match &result {
                Ok(()) => unsynced.push(flushed),
                Err(error) => flushed.log_io_completed(Err(copy(error))),
            }
            return answer(written, result);
        }
        // The rest is rare and comes after everything before it is durable.
        self.sync(unsynced)?;
        match job {
            Job::Append(..) => unreachable!("handled above"),
            Job::Vote(vote, done) => answer(done, self.save_vote(vote)),
            Job::Truncate(index, done) => answer(done, lock(&self.shared.segments).truncate(index)),
            Job::Purge(upto, done) => answer(done, self.purge(upto)),
        }
    }

    fn write(&self, entries: &[Encoded]) -> io::Result<()> {
        let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now_ms.as_millis()).unwrap_or(i64::MAX);
        // An entry that wasn't written is written again in its place, and readers go on while this waits.
        entries.iter().try_for_each(|entry| {
            self.room.wait_for("the metadata log", || {
                lock(&self.shared.segments).append(entry.index, entry.term, now_ms, &entry.value)
            })
        })
    }

    /// Syncs, then answers everybody who waits for that.
    fn sync(&self, unsynced: &mut Vec<LogFlushed<TypeConfig>>) -> Result<(), ()> {
        if unsynced.is_empty() {
            return Ok(());
        }
        // Synced without the lock, for readers to go on; only this thread writes.
        let file = lock(&self.shared.segments).unsynced();
        let result = file.map_or(Ok(()), |file| file.sync());
        if result.is_ok() {
            lock(&self.shared.segments).synced();
        }
        for flushed in unsynced.drain(..) {
            flushed.log_io_completed(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(copy(error)),
            });
        }
        result.map_err(|error| tracing::error!(%error, "syncing the metadata log failed"))
    }

    fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.replace(VOTE_FILE, &vote)?;
        lock(&self.shared.state).vote = Some(vote);
        Ok(())
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        self.replace(PURGED_FILE, &upto)?;
        lock(&self.shared.state).purged = Some(upto);
        lock(&self.shared.segments).purge(upto.index + 1)
    }

    fn replace(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let content = serde_json::to_vec(value)?;
        self.room.wait_for(name, || replace_file(self.disk.as_ref(), &self.folder, name, &content))
    }
}

fn answer(done: oneshot::Sender<io::Result<()>>, result: io::Result<()>) -> Result<(), ()> {
    let outcome = match &result {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "writing the metadata log failed");
            Err(())
        }
    };
    // Who asked may have been stopped.
    let _ = done.send(result);
    outcome
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
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
        let last_purged_log_id = lock(&self.shared.state).purged;
        let indexes = lock(&self.shared.segments).indexes();
        let last = indexes.end.checked_sub(1).filter(|_| !indexes.is_empty());
        let last_log_id = match last {
            Some(index) => self.try_get_log_entries(index..=index).await?.first().map(|entry| entry.log_id),
            None => None,
        };
        Ok(LogState { last_purged_log_id, last_log_id: last_log_id.or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.run(|done| Job::Vote(vote, done))
            .await
            .map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(lock(&self.shared.state).vote)
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
            encoded.push(Encoded { index: log_id.index, term: log_id.leader_id.term, value });
        }
        let written = self.run(|done| Job::Append(encoded, done, callback)).await;
        written.map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let index = log_id.index;
        self.run(|done| Job::Truncate(index, done))
            .await
            .map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.run(|done| Job::Purge(log_id, done))
            .await
            .map_err(|error| StorageIOError::write_logs(&error).into())
    }
}
