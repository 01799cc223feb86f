//! The journal: small appends of all partitions in one sequential file, with one sync for all that came
//! meanwhile.
//!
//! Syncing each dirty segment doesn't scale past some dozens of active partitions, and each such sync waits
//! for the file system's own journal, as a segment grows. So a small append is written to its segment through
//! the page cache and, a second time, to this journal, whose blocks were written before: its sync is one
//! write to the disk and is cheaper than that of a segment even for a single partition. Segments are synced
//! later, before the journal's file is used again. A large append is not worth writing twice: its segment is
//! synced in place.
//!
//! The order that makes it safe:
//! 1. An append goes to the journal only if all before it is durable or in the journal (`State::direct`).
//! 2. The durable end advances once the group is synced.
//! 3. A file is released only when the segments that it speaks of are synced *and* how far they are durable
//!    is written down elsewhere: in the recovery points, or as marks in a newer file.
//! 4. A log is cut only after it was written down, durably, that its entries up to now are void (`cuts`, and
//!    a line in a file of changes for each since that was written). So it is with entries of closed segments
//!    before others take the place of these.
//!
//! When there is no room (the disk is full, or segments are synced slower than the journal fills), appends
//! are synced in place; nothing is refused. A write or sync that fails ends the store.

mod files;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ottla_log::{
    BLOCK_BYTES, JournalCut, JournalCuts, JournalGroup, JournalKey, JournalSettled, JournalVoid, encode_cuts,
    encode_void,
};
use ottla_types::Offset;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::changes::{Changes, Unsaved};
use crate::disk::{Disk, is_passing, replace_file};
use crate::error::{FatalError, StoreError};
use files::JournalFiles;
pub(crate) use replay::{Ignore, Replay, Replayed};

/// The journal's folder in the data folder. Kafka's tools take it for none of a partition's.
pub(crate) const JOURNAL_FOLDER: &str = "ottla-journal";

const CUTS_FILE: &str = "cuts";

/// The files of changes of that one begin with it.
const CUT_CHANGES: &str = "cuts.";

/// With so many bytes of changes the file of cuts is written anew when files are released.
const CUT_CHANGES_BYTES_MAX: u64 = 1 << 20;

/// A larger append is synced in place.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// What one partition may put into one group: with so much, one sync of its segment is as good as the
/// group's.
const MEMBER_BYTES_MAX: usize = 1 << 20;

/// What a group holds at most.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// How long marks wait for a write that takes them along.
const MARKS_DELAY: Duration = Duration::from_millis(50);

/// Where a partition's newest entry stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// The group, and its place in it.
    group: u64,
    index: usize,
    /// What it has put into that group.
    bytes: usize,
    /// The number of its newest entry; 0 when it has none.
    pub(crate) newest: u64,
}

/// What an append wrote to a segment.
pub(crate) struct Written<'a> {
    pub(crate) key: JournalKey,
    /// The log's, as in [`Member`].
    pub(crate) incarnation: u64,
    pub(crate) segment: Offset,
    /// Where in the segment it was written.
    pub(crate) position: u64,
    /// What was written.
    pub(crate) parts: &'a [&'a [u8]],
    /// How long the segment is now.
    pub(crate) bytes: u64,
    /// Where the segment ends now.
    pub(crate) end: Offset,
}

/// A log that takes part in groups. The journal knows no more of it.
pub(crate) trait GroupLog: Sized {
    /// The group that `member` was in has ended: it is durable, or won't be.
    fn group_ended(self: &Arc<Self>, member: &Member<Self>, durable: bool);
}

/// What a group makes durable of one partition.
pub(crate) struct Member<L> {
    pub(crate) log: Arc<L>,
    /// The log's then: if it was cut meanwhile, the entry says nothing any more.
    pub(crate) incarnation: u64,
    pub(crate) segment: Offset,
    pub(crate) bytes: u64,
    pub(crate) end: Offset,
}

/// The group that is being filled.
struct Open<L> {
    group: JournalGroup,
    members: Vec<Member<L>>,
    /// Counts groups, so that a slot can be recognized.
    group_number: u64,
    /// The next entry's number.
    next_number: u64,
    takes: Takes,
}

/// What there is room for, from the least on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Takes {
    /// The journal has ended.
    Nothing,
    /// The marks with which files are released: appends are refused until then.
    ReleaseMarks,
    Everything,
}

/// A group that was taken out: what became of it, and for whom.
pub(crate) struct Flushed<'a, L> {
    pub(crate) members: Vec<Member<L>>,
    /// Whether the group is durable; otherwise its members' segments have to be synced.
    pub(crate) durable: bool,
    /// Held until all members know, so that whoever flushes next finds them told.
    pub(crate) told: MutexGuard<'a, ()>,
}

struct Cuts {
    saved: JournalCuts,
    /// What was added since the file of all was written.
    changes: Changes,
}

impl Cuts {
    /// Writes down, durably, what more is void of a log.
    fn say(&mut self, key: JournalKey, void: JournalVoid) -> Result<(), Unsaved> {
        self.changes.append(&encode_void(key, void))?;
        let known = self.saved.entry(key).or_default();
        *known = known.after(void);
        Ok(())
    }
}

pub(crate) struct Journal<L> {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    open: Mutex<Open<L>>,
    wake: Condvar,
    files: Mutex<JournalFiles>,
    tells: Mutex<()>,
    /// What is void, as it is on disk: held over syncs.
    cuts: Mutex<Cuts>,
    /// Logs that are being cut: until that is synced, a start of the broker has to know of it.
    cuts_under_way: Mutex<BTreeSet<JournalKey>>,
    /// Entries below it are in no file any more.
    oldest: AtomicU64,
    /// Entries below it are durable, except those below `lost`, of which nothing is known.
    durable: AtomicU64,
    /// The last group that there was no room for ended here.
    lost: AtomicU64,
    /// Whether segments have to be synced so that a file can be used again.
    wants_release: AtomicBool,
    group_bytes_max: usize,
    /// A bug that the simulation plants.
    has_no_limit: bool,
    file_bytes: u64,
    /// Whether a spare file couldn't be filled: once is enough.
    has_no_spare: AtomicBool,
}

impl<L> Journal<L> {
    /// Opens the journal of a data folder, and reads what the last process left, unless it ended cleanly:
    /// then everything is in the segments.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        file_bytes: u64,
        clean: bool,
        ignore: Ignore,
    ) -> Result<(Self, Replay), StoreError> {
        let folder = dir.join(JOURNAL_FOLDER);
        disk.create_dir(&folder).map_err(StoreError::io("create", &folder))?;
        disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        let has_no_limit = ignore.limit;
        let found = replay::read(disk, &folder, clean, ignore)?;
        let group_bytes_max = GROUP_BYTES_MAX.min(file_bytes as usize / 2);
        // Numbers of this process are greater than all that were ever given.
        let next_number = (found.generation + 1) << 32;
        let group = JournalGroup::default();
        let open =
            Open { group, members: Vec::new(), group_number: 1, next_number, takes: Takes::Everything };
        let files =
            JournalFiles::new(Arc::clone(disk), folder.clone(), file_bytes, found.generation, found.files);
        let journal = Self {
            disk: Arc::clone(disk),
            folder,
            open: Mutex::new(open),
            wake: Condvar::new(),
            oldest: AtomicU64::new(if files.is_empty() { next_number } else { 0 }),
            files: Mutex::new(files),
            tells: Mutex::new(()),
            cuts: Mutex::new(Cuts { saved: found.cuts, changes: found.cut_changes }),
            cuts_under_way: Mutex::default(),
            durable: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            wants_release: AtomicBool::new(false),
            group_bytes_max,
            has_no_limit,
            file_bytes,
            has_no_spare: AtomicBool::new(false),
        };
        Ok((journal, found.replay))
    }

    /// Puts what was written to a segment into the group. Returns whether it was taken; otherwise the segment
    /// has to be synced.
    pub(crate) fn append(&self, log: &Arc<L>, slot: &mut Slot, written: &Written<'_>) -> bool {
        let Written { key, incarnation, segment, position, parts, bytes: segment_bytes, end } = *written;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(position + bytes as u64, segment_bytes, "what was written is the segment's end");
        let mut open = self.open.lock();
        let is_new = slot.group != open.group_number;
        let before = if is_new { 0 } else { slot.bytes };
        let half = self.group_bytes_max / 2;
        let is_small = bytes <= SMALL_BYTES_MAX.min(half);
        let is_member_full = before + bytes > MEMBER_BYTES_MAX.min(half);
        let is_full = is_member_full || open.group.padded_bytes() + bytes > self.group_bytes_max;
        if open.takes != Takes::Everything || !is_small || self.counts_limit(is_full) {
            return false;
        }
        open.group.push_write(key, segment, position, end, parts);
        if is_new {
            let index = open.members.len();
            *slot = Slot { group: open.group_number, index, ..*slot };
            let log = Arc::clone(log);
            open.members.push(Member { log, incarnation, segment, bytes: segment_bytes, end });
        } else {
            let member = &mut open.members[slot.index];
            assert!(Arc::ptr_eq(&member.log, log), "a log's slot is that of its own entry in the group");
            (member.segment, member.bytes, member.end) = (segment, segment_bytes, end);
            member.incarnation = incarnation;
        }
        slot.bytes = before + bytes;
        open.give_number(slot);
        if is_new && open.members.len() == 1 {
            self.wake.notify_all();
        }
        true
    }

    /// A group takes no more than its limit.
    fn counts_limit(&self, is_full: bool) -> bool {
        is_full && !self.has_no_limit
    }

    /// Notes that a partition's segments are synced up to `end`: recovery then knows that nothing below it is
    /// a torn tail. Returns the entry's number; `None` when there is no room.
    pub(crate) fn mark(&self, key: JournalKey, slot: &mut Slot, end: Offset) -> Option<u64> {
        self.push_mark(key, slot, end, Takes::Everything)
    }

    /// As [`Self::mark`], for files to be released, which there is more room for.
    pub(crate) fn mark_for_release(&self, key: JournalKey, slot: &mut Slot, end: Offset) -> Option<u64> {
        self.push_mark(key, slot, end, Takes::ReleaseMarks)
    }

    fn push_mark(&self, key: JournalKey, slot: &mut Slot, end: Offset, least: Takes) -> Option<u64> {
        let mut open = self.open.lock();
        if open.takes < least || open.group.padded_bytes() > self.group_bytes_max {
            return None;
        }
        open.group.push_mark(key, end);
        open.give_number(slot);
        if open.group.entries() == 1 {
            self.wake.notify_all();
        }
        Some(slot.newest)
    }

    /// Waits for something to write, or for `stop`.
    pub(crate) fn wait(&self, stop: &AtomicBool) {
        let mut open = self.open.lock();
        while open.members.is_empty() && !stop.load(Ordering::Acquire) {
            if open.group.entries() == 0 {
                self.wake.wait(&mut open);
            } else if self.wake.wait_for(&mut open, MARKS_DELAY).timed_out() {
                return;
            }
        }
    }

    /// Lets go the group that is being filled: nobody will write it.
    pub(crate) fn abandon(&self) {
        let members = {
            let mut open = self.open.lock();
            open.takes = Takes::Nothing;
            std::mem::take(&mut open.members)
        };
        // With them a log may go, which is not to happen under the lock.
        drop(members);
    }

    /// Wakes who waits, under the lock, so that no wake-up is lost.
    pub(crate) fn wake_all(&self) {
        let _open = self.open.lock();
        self.wake.notify_all();
    }

    /// Writes and syncs the group. When there is none, waits until the one before has been told of.
    ///
    /// # Errors
    /// When the write or sync fails: the store has to stop.
    pub(crate) fn flush(&self) -> Result<Flushed<'_, L>, FatalError> {
        let mut files = self.files.lock();
        let (mut group, members, first_number, has_room) = loop {
            let (bytes, is_marks) = {
                let mut open = self.open.lock();
                let (bytes, is_marks) = (open.group.padded_bytes(), open.members.is_empty());
                if open.group.entries() == 0 {
                    drop(open);
                    return Ok(Flushed { members: Vec::new(), durable: true, told: self.tells.lock() });
                }
                if files.has_room(bytes, is_marks) {
                    break open.take(&mut files.idle_group, true);
                }
                (bytes, is_marks)
            };
            if !files.make_room(bytes, is_marks)? {
                // A full disk is tried again at the next checkpoint.
                self.wants_release.fetch_or(files.is_last(), Ordering::AcqRel);
                let mut open = self.open.lock();
                open.close_to_appends();
                break open.take(&mut files.idle_group, false);
            }
            if files.is_last() {
                self.wants_release.store(true, Ordering::Release);
            }
        };
        let entries = u64::from(group.entries());
        let durable = has_room && files.write(&mut group, first_number)?;
        if durable {
            let before = self.durable.swap(first_number + entries, Ordering::AcqRel);
            assert!(
                before <= first_number,
                "groups end in the order of their numbers: {first_number} after {before}"
            );
        } else {
            let before = self.lost.swap(first_number + entries, Ordering::AcqRel);
            assert!(
                before <= first_number,
                "groups end in the order of their numbers: {first_number} after {before}"
            );
            self.open.lock().close_to_appends();
        }
        group.clear();
        files.idle_group = group;
        let told = self.tells.lock();
        drop(files);
        Ok(Flushed { members, durable, told })
    }

    /// The bytes of the group that is being filled, and their limit: that of appends, and the heads of one
    /// entry more.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.open.lock().group.padded_bytes(), self.group_bytes_max + BLOCK_BYTES)
    }

    /// Whether the entry of that number is durable.
    pub(crate) fn is_durable(&self, number: u64) -> bool {
        number < self.durable.load(Ordering::Acquire) && number >= self.lost.load(Ordering::Acquire)
    }

    /// Whether [`Self::release`] should be made possible; asking answers for good.
    pub(crate) fn take_wants_release(&self) -> bool {
        self.wants_release.swap(false, Ordering::AcqRel)
    }

    /// Whether [`Self::take_wants_release`] would say so.
    pub(crate) fn wants_release(&self) -> bool {
        self.wants_release.load(Ordering::Acquire)
    }

    /// Whether [`Self::prepare_spare`] is worth while.
    pub(crate) fn wants_spare(&self) -> bool {
        !self.has_no_spare.load(Ordering::Relaxed)
            && self.files.try_lock().is_some_and(|files| files.wants_spare())
    }

    /// Fills a file for later, so that no group has to wait for that. Without it files grow as they are
    /// written.
    pub(crate) fn prepare_spare(&self) {
        let filled = files::fill_spare(&*self.disk, &self.folder, self.file_bytes)
            .and_then(|()| self.files.lock().take_filled());
        if let Err(error) = filled {
            tracing::warn!(folder = %self.folder.display(), %error, "no spare journal file");
            self.has_no_spare.store(true, Ordering::Relaxed);
            let _ = self.disk.remove_file(&self.folder.join(files::FILLING_FILE));
        }
    }

    /// The generation before which files can be released once the segments have been synced from now on.
    pub(crate) fn boundary(&self) -> u64 {
        self.files.lock().boundary()
    }

    /// Lets the files before `boundary` go: the caller has seen to what they are kept for, and to what is
    /// known of logs that were cut before entry `seen_to`. Appends are taken again. `sync_dir` makes names
    /// durable, with patience.
    ///
    /// # Errors
    /// When the disk fails: the store has to stop.
    pub(crate) fn release(
        &self,
        boundary: u64,
        seen_to: u64,
        sync_dir: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), FatalError> {
        if let Err(error) = self.let_files_go(boundary, sync_dir) {
            if !is_passing(&error) {
                return Err(FatalError::new("release", &self.folder, &error));
            }
            // Until the names are durable, what they were kept for is kept too. The next checkpoint tries
            // again.
            tracing::warn!(%error, "journal files are not released yet");
            return Ok(());
        }
        let oldest = self.files.lock().oldest(self.open.lock().first_number());
        self.oldest.store(oldest, Ordering::Release);
        let mut cuts = self.cuts.lock();
        let mut kept = cuts.saved.clone();
        let may_go = oldest.min(seen_to);
        {
            let under_way = self.cuts_under_way.lock();
            for (key, void) in &mut kept {
                *void = if under_way.contains(key) { *void } else { void.from_entry(may_go) };
            }
            kept.retain(|_, void| !void.is_empty());
        }
        if kept != cuts.saved || cuts.changes.bytes() > CUT_CHANGES_BYTES_MAX {
            self.let_cuts_go(&mut cuts, kept)?;
        }
        drop(cuts);
        let mut open = self.open.lock();
        if open.takes == Takes::ReleaseMarks {
            open.takes = Takes::Everything;
        }
        Ok(())
    }

    /// Groups are written meanwhile, to other files: nobody waits for the folder's sync but who lets go.
    fn let_files_go(&self, boundary: u64, sync_dir: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let let_go = self.files.lock().let_go(boundary)?;
        if let Some(let_go) = let_go {
            sync_dir(&self.folder)?;
            self.files.lock().names_synced(let_go);
        }
        Ok(())
    }

    /// Writes the cuts anew. On a full disk they stay as they are: more of them than are needed do no harm.
    fn let_cuts_go(&self, cuts: &mut Cuts, kept: JournalCuts) -> Result<(), FatalError> {
        match self.save_cuts(cuts, kept) {
            Ok(()) => Ok(()),
            Err(Unsaved::NotNow(error)) if error.is_passing() => {
                tracing::warn!(%error, "more cuts are kept than are needed");
                Ok(())
            }
            Err(Unsaved::NotNow(error)) => {
                let path = self.folder.join(CUTS_FILE);
                Err(FatalError { action: "write", path, reason: error.to_string() })
            }
            Err(Unsaved::Fatal(error)) => Err(error),
        }
    }

    fn save_cuts(&self, cuts: &mut Cuts, kept: JournalCuts) -> Result<(), Unsaved> {
        replace_file(&*self.disk, &self.folder, CUTS_FILE, encode_cuts(&kept).as_bytes())
            .map_err(StoreError::io("write", self.folder.join(CUTS_FILE)))?;
        cuts.saved = kept;
        // No line has come between, as the cuts are held.
        let generation = cuts.changes.begin_generation()?;
        cuts.changes.remove_before(generation)
    }

    /// Makes the entries so far of a log void, durably, before it is cut to `durable_to`: what is replayed
    /// after a crash is what comes later. [`Self::cut_done`] has to follow once the cut is on disk.
    ///
    /// # Errors
    /// When there is no room for that, or the disk fails; nothing may be cut then.
    pub(crate) fn begin_cut(&self, key: JournalKey, durable_to: Offset) -> Result<(), Unsaved> {
        let cut = JournalCut { number: self.next_number(), durable_to };
        let mut cuts = self.cuts.lock();
        let before = cuts.saved.get(&key);
        assert!(before.is_none_or(|void| void.newest() <= cut.number), "{cut:?} comes after {before:?}");
        cuts.say(key, cut.into())?;
        // While the cuts are held, so that no release comes between.
        self.cuts_under_way.lock().insert(key);
        Ok(())
    }

    /// Makes the entries so far of a log void, durably, that end at `below` or before, as the segments that
    /// they speak of are about to be replaced: their positions are those of other files then. All of it up to
    /// there is in the segments, synced, and below the recovery point that the disk knows.
    ///
    /// # Errors
    /// When there is no room for that, or the disk fails; nothing may be replaced then.
    pub(crate) fn settle(&self, key: JournalKey, below: Offset) -> Result<(), Unsaved> {
        let settled = JournalSettled { number: self.next_number(), below };
        self.cuts.lock().say(key, settled.into())
    }

    /// The number of the next entry.
    pub(crate) fn next_number(&self) -> u64 {
        self.open.lock().next_number
    }

    /// The cut is on disk.
    pub(crate) fn cut_done(&self, key: JournalKey) {
        self.cuts_under_way.lock().remove(&key);
    }

    /// Makes the entries of a partition void that was deleted, before it is made again. `newest` is its last
    /// one.
    ///
    /// # Errors
    /// When there is no room for that, or the disk fails; it must not be made then.
    pub(crate) fn cut_gone(&self, key: JournalKey, newest: u64) -> Result<(), Unsaved> {
        let mut cuts = self.cuts.lock();
        let known = cuts.saved.get(&key).and_then(|void| void.cut).map_or(0, |cut| cut.number);
        let is_live = newest > 0 && newest >= self.oldest.load(Ordering::Acquire);
        if !is_live && known == 0 {
            return Ok(());
        }
        let cut = JournalCut { number: known.max(newest + 1), durable_to: Offset(0) };
        cuts.say(key, cut.into())
    }

    /// Removes the journal, when all is in the segments and the recovery points: before a clean shutdown is
    /// marked.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        self.open.lock().takes = Takes::Nothing;
        let _files = self.files.lock();
        replay::remove(&*self.disk, &self.folder)
    }
}

impl<L> Open<L> {
    /// The number of the group's first entry, or of the next one.
    fn first_number(&self) -> u64 {
        let entries = u64::from(self.group.entries());
        assert!(entries <= self.next_number, "each entry has a number");
        self.next_number - entries
    }

    /// Numbers the entry that was just pushed; it is its log's newest.
    fn give_number(&mut self, slot: &mut Slot) {
        assert!(slot.newest < self.next_number, "numbers rise: {} after {}", self.next_number, slot.newest);
        slot.newest = self.next_number;
        self.next_number += 1;
    }

    /// There is no room for appends until files are released.
    fn close_to_appends(&mut self) {
        self.takes = self.takes.min(Takes::ReleaseMarks);
    }

    /// Takes the group out and puts an empty one in its place: group, members, the first entry's number,
    /// `has_room`.
    fn take(&mut self, idle: &mut JournalGroup, has_room: bool) -> (JournalGroup, Vec<Member<L>>, u64, bool) {
        let first_number = self.first_number();
        let group = std::mem::replace(&mut self.group, std::mem::take(idle));
        self.group_number += 1;
        (group, std::mem::take(&mut self.members), first_number, has_room)
    }
}
