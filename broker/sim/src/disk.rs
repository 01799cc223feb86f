//! A simulated disk: what isn't synced may be lost, torn by the sector or reordered in a crash, names in
//! folders too.
//!
//! A crash comes at any operation ([`SimDisk::crash_after`]); from there on all operations fail until
//! [`SimDisk::restart`] decides, by the seed, what of the unsynced has reached the platter. Beside that: a
//! full disk, a sync that fails (the kernel then forgets the pages, as Linux does), flipped bits, and the
//! planted bugs that prove that the schedule finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};

use ottla_store::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, StoreBug};

use crate::Rng;
use crate::disk_ops::{DirOp, FileOp, NodeId, apply_dir, survive_file, write_into};

/// A bug that the store could have, played by the disk: what the store asks for is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Segments are acknowledged without a sync.
    SkipSyncOfSegments,
    /// Folders are never synced.
    SkipSyncOfFolders,
    /// `partition.metadata` is never synced.
    SkipSyncOfIdentity,
    /// A sync's error is taken for success.
    SwallowSyncErrors,
    /// The mark of a clean shutdown is never removed.
    KeepCleanMark,
    /// Recovery reads from the page cache after a failed sync, where all seems well.
    KeepCacheAfterCrash,
    /// The journal is acknowledged without a sync.
    SkipSyncOfJournal,
    /// One in the store itself.
    InStore(StoreBug),
}

const ROOT: NodeId = 0;

#[derive(Clone, Debug)]
enum Node {
    File { durable: Vec<u8>, current: Vec<u8>, unsynced: Vec<FileOp> },
    Dir { durable: BTreeMap<String, NodeId>, current: BTreeMap<String, NodeId>, unsynced: Vec<DirOp> },
}

impl Node {
    fn file() -> Self {
        Self::File { durable: Vec::new(), current: Vec::new(), unsynced: Vec::new() }
    }

    fn dir() -> Self {
        Self::Dir { durable: BTreeMap::new(), current: BTreeMap::new(), unsynced: Vec::new() }
    }
}

struct World {
    nodes: BTreeMap<NodeId, Node>,
    /// How much is allocated for files, where that is more than their size.
    allocated: BTreeMap<NodeId, u64>,
    now_ms: i64,
    /// When files were last written to.
    modified_ms: BTreeMap<NodeId, i64>,
    next_node: NodeId,
    rng: Rng,
    generation: u64,
    crash_after: Option<u64>,
    crashed: bool,
    bytes_max: Option<u64>,
    sync_fails_after: Option<u64>,
    locked: BTreeSet<NodeId>,
    bug: Option<PlantedBug>,
    operations: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

fn crashed() -> io::Error {
    io::Error::other("the machine has crashed")
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl SimDisk {
    /// An empty disk whose accidents come from `seed`.
    pub fn new(seed: u64, bug: Option<PlantedBug>) -> Self {
        let world = World {
            nodes: BTreeMap::from([(ROOT, Node::dir())]),
            allocated: BTreeMap::new(),
            now_ms: 0,
            modified_ms: BTreeMap::new(),
            next_node: 1,
            rng: Rng::new(seed),
            generation: 0,
            crash_after: None,
            crashed: false,
            bytes_max: None,
            sync_fails_after: None,
            locked: BTreeSet::new(),
            bug,
            operations: 0,
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no holder of the lock panics")
    }

    /// Sets the time that files are written at from now on.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.world().now_ms = now_ms;
    }

    /// Crashes after so many further operations.
    pub fn crash_after(&self, operations: u64) {
        self.world().crash_after = Some(operations);
    }

    /// Whether it has crashed and waits for [`Self::restart`].
    pub fn has_crashed(&self) -> bool {
        self.world().crashed
    }

    /// Limits the bytes that files may take in all; `None` is without limit.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) {
        self.world().bytes_max = bytes_max;
    }

    /// The bytes that all files take.
    pub fn bytes(&self) -> u64 {
        self.world().bytes()
    }

    /// Lets the sync after so many others fail; its pages never reach the platter.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.world().sync_fails_after = Some(syncs);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Ends the process, with the machine (`power_loss`) or alone: then the kernel keeps all that was
    /// written.
    pub fn restart(&self, power_loss: bool) {
        let mut world = self.world();
        world.crash_after = None;
        world.crashed = false;
        world.sync_fails_after = None;
        world.generation += 1;
        world.locked.clear();
        if power_loss {
            world.lose_unsynced();
        }
    }

    /// Flips a bit of a file on the platter and in the cache. Returns whether there is such a byte.
    pub fn flip_bit(&self, path: &Path, at: u64, bit: u8) -> bool {
        let mut world = self.world();
        let Some(Node::File { durable, current, .. }) =
            world.resolve(path).ok().and_then(|id| world.nodes.get_mut(&id))
        else {
            return false;
        };
        let mut flipped = false;
        for content in [durable, current] {
            if let Some(byte) = content.get_mut(at as usize) {
                *byte ^= 1 << (bit % 8);
                flipped = true;
            }
        }
        flipped
    }

    /// All names and bytes as the process sees them, for comparing runs.
    pub fn digest(&self) -> u32 {
        let world = self.world();
        let mut digest = 0;
        for (id, node) in &world.nodes {
            digest = crc32c::crc32c_append(digest, &id.to_be_bytes());
            match node {
                Node::File { current, durable, .. } => {
                    digest = crc32c::crc32c_append(digest, current);
                    digest = crc32c::crc32c_append(digest, durable);
                }
                Node::Dir { current, .. } => {
                    digest = crc32c::crc32c_append(digest, format!("{current:?}").as_bytes());
                }
            }
        }
        digest
    }
}

impl World {
    /// Counts an operation and crashes when its time has come.
    fn begin(&mut self) -> io::Result<()> {
        if self.crashed {
            return Err(crashed());
        }
        self.operations += 1;
        match &mut self.crash_after {
            Some(0) => {
                self.crashed = true;
                Err(crashed())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn bytes(&self) -> u64 {
        self.nodes
            .iter()
            .map(|(id, node)| match node {
                Node::File { current, .. } => self.taken(*id, current),
                Node::Dir { .. } => 0,
            })
            .sum()
    }

    /// The bytes that a file takes.
    fn taken(&self, id: NodeId, content: &[u8]) -> u64 {
        self.allocated.get(&id).copied().unwrap_or(0).max(content.len() as u64)
    }

    /// The bytes that a file of this content may take at most. It isn't among the nodes meanwhile.
    fn space_for(&self, id: NodeId, content: &[u8]) -> u64 {
        let others = self.bytes();
        let free = self.bytes_max.map_or(u64::MAX, |bytes_max| bytes_max.saturating_sub(others));
        free.max(self.taken(id, content))
    }

    fn entries(&self, id: NodeId) -> io::Result<&BTreeMap<String, NodeId>> {
        match self.nodes.get(&id) {
            Some(Node::Dir { current, .. }) => Ok(current),
            _ => Err(io::Error::from(io::ErrorKind::NotADirectory)),
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                at = *self.entries(at)?.get(&*name.to_string_lossy()).ok_or_else(not_found)?;
            }
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().ok_or_else(not_found)?.to_string_lossy().into_owned();
        Ok((self.resolve(path.parent().ok_or_else(not_found)?)?, name))
    }

    fn change_dir(&mut self, id: NodeId, op: DirOp) {
        let Some(Node::Dir { current, unsynced, .. }) = self.nodes.get_mut(&id) else { return };
        apply_dir(current, &op);
        unsynced.push(op);
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (parent, name) = self.parent(path)?;
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        self.change_dir(parent, DirOp::Add(name, id));
        Ok(id)
    }

    /// What a power loss leaves: each unsynced change has happened or not, each sector of a write for itself.
    fn lose_unsynced(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        // Some power losses take nearly all, some nearly nothing.
        let survival = [0, 20, 50, 80, 100][self.rng.below(5) as usize];
        for id in ids {
            let rng = &mut self.rng;
            match self.nodes.get_mut(&id) {
                Some(Node::File { durable, current, unsynced }) => {
                    for op in std::mem::take(unsynced) {
                        survive_file(durable, &op, survival, rng);
                    }
                    current.clone_from(durable);
                }
                Some(Node::Dir { durable, current, unsynced }) => {
                    for op in std::mem::take(unsynced) {
                        if rng.percent(survival) {
                            apply_dir(durable, &op);
                        }
                    }
                    current.clone_from(durable);
                }
                None => {}
            }
        }
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        let mut at = std::path::PathBuf::new();
        for part in path.components() {
            at.push(part);
            if matches!(part, Component::Normal(_)) && world.resolve(&at).is_err() {
                world.create(&at, Node::dir())?;
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut world = self.world();
        world.begin()?;
        let id = world.resolve(path)?;
        let entries = world.entries(id)?.iter().map(|(name, id)| {
            let (is_dir, bytes) = match &world.nodes[id] {
                Node::Dir { .. } => (true, 0),
                Node::File { current, .. } => (false, current.len() as u64),
            };
            let modified_ms = world.modified_ms.get(id).copied().unwrap_or(0);
            DirEntry { name: name.clone(), is_dir, bytes, modified_ms }
        });
        Ok(entries.collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.begin()?;
        let id = match (world.resolve(path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            (Ok(id), _) => id,
            (Err(error), OpenMode::Existing) => return Err(error),
            (Err(_), _) if world.bytes_max.is_some_and(|bytes_max| world.bytes() >= bytes_max) => {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            (Err(_), _) => world.create(path, Node::file())?,
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Arc::new(SimFile { disk: self.clone(), id, generation: world.generation, name }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        let id = world.resolve(from)?;
        let ((old_parent, old), (new_parent, new)) = (world.parent(from)?, world.parent(to)?);
        assert_eq!(old_parent, new_parent, "the store renames within a folder only");
        world.change_dir(old_parent, DirOp::Rename(old, new, id));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        world.resolve(path)?;
        let (parent, name) = world.parent(path)?;
        if world.bug == Some(PlantedBug::KeepCleanMark) && name == ".kafka_cleanshutdown" {
            return Ok(());
        }
        world.change_dir(parent, DirOp::Remove(name));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        let id = world.resolve(path)?;
        if !world.entries(id)?.is_empty() {
            return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
        }
        let (parent, name) = world.parent(path)?;
        world.change_dir(parent, DirOp::Remove(name));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        let id = world.resolve(path)?;
        if world.bug == Some(PlantedBug::SkipSyncOfFolders) {
            return Ok(());
        }
        if let Some(Node::Dir { durable, current, unsynced }) = world.nodes.get_mut(&id) {
            unsynced.clear();
            durable.clone_from(current);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.open(path, OpenMode::CreateIfMissing)?;
        let mut world = self.world();
        let id = world.resolve(path)?;
        if !world.locked.insert(id) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        Ok(Box::new(SimLock { disk: self.clone(), id, generation: world.generation }))
    }

    fn random_id(&self) -> io::Result<[u8; 16]> {
        let mut world = self.world();
        let (high, low) = (world.rng.number(), world.rng.number());
        Ok(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }
}

struct SimLock {
    disk: SimDisk,
    id: NodeId,
    generation: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.generation == self.generation {
            world.locked.remove(&self.id);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    id: NodeId,
    generation: u64,
    name: String,
}

impl SimFile {
    fn with<T>(
        &self,
        act: impl FnOnce(&mut World, &mut Vec<u8>, &mut Vec<u8>, &mut Vec<FileOp>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut world = self.disk.world();
        if world.generation != self.generation {
            return Err(crashed());
        }
        world.begin()?;
        let Some(Node::File { mut durable, mut current, mut unsynced }) = world.nodes.remove(&self.id) else {
            return Err(not_found());
        };
        let result = act(&mut world, &mut durable, &mut current, &mut unsynced);
        world.nodes.insert(self.id, Node::File { durable, current, unsynced });
        result
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|_, _, current, _| {
            let rest = current.get(position as usize..).unwrap_or(&[]);
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()> {
        self.with(|world, _, current, unsynced| {
            let mut bytes = buffers.concat();
            let fits = world.space_for(self.id, current).saturating_sub(position);
            let full = bytes.len() as u64 > fits;
            if full {
                // What fits is written before the disk says so.
                bytes.truncate(fits as usize);
            }
            write_into(current, position as usize, &bytes);
            unsynced.push(FileOp::Write(position, bytes));
            world.modified_ms.insert(self.id, world.now_ms);
            if full { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        self.with(|_, _, current, _| Ok(current.len() as u64))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.with(|world, _, current, unsynced| {
            world.allocated.remove(&self.id);
            current.resize(bytes as usize, 0);
            unsynced.push(FileOp::Truncate(bytes));
            Ok(())
        })
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.with(|world, _, current, _| {
            if bytes > world.space_for(self.id, current) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            world.allocated.insert(self.id, bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|world, durable, current, unsynced| {
            let skipped = match world.bug {
                Some(PlantedBug::SkipSyncOfSegments) => self.name.ends_with(".log"),
                Some(PlantedBug::SkipSyncOfJournal) => self.name.ends_with(".journal"),
                Some(PlantedBug::SkipSyncOfIdentity) => self.name == "partition.metadata",
                _ => false,
            };
            if skipped {
                return Ok(());
            }
            match &mut world.sync_fails_after {
                Some(0) => {
                    // The kernel marks the pages clean: they can be read until they are dropped, and are
                    // never written. Sizes are in the file system's journal, which tries again.
                    unsynced.retain(|op| matches!(op, FileOp::Truncate(_)));
                    let swallowed = world.bug == Some(PlantedBug::SwallowSyncErrors);
                    world.sync_fails_after = None;
                    return if swallowed { Ok(()) } else { Err(io::Error::other("simulated sync error")) };
                }
                Some(left) => *left -= 1,
                None => {}
            }
            // Pages that an earlier failed sync has marked clean stay unwritten.
            for op in std::mem::take(unsynced) {
                survive_file(durable, &op, 100, &mut Rng::new(0));
            }
            let _ = current;
            Ok(())
        })
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.with(|world, _, _, _| {
            world.modified_ms.insert(self.id, modified_ms);
            Ok(())
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.with(|world, durable, current, unsynced| {
            if unsynced.is_empty() && world.bug != Some(PlantedBug::KeepCacheAfterCrash) {
                current.clone_from(durable);
            }
            Ok(())
        })
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
