//! A disk in memory, for tests that go through every case: it counts what is asked of it, fails where it is
//! told to, and can lose what wasn't synced.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode};

/// What a test asks a disk to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk can't read or write there.
    Broken,
    /// There is no room.
    Full,
    /// Too many files are open.
    OutOfFiles,
}

pub(crate) const FAULTS: [Fault; 3] = [Fault::Broken, Fault::Full, Fault::OutOfFiles];

/// What is done to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    CreateDir,
    List,
    Open,
    Create,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    Truncate,
    Reserve,
    SetTime,
    Sync,
}

impl Fault {
    /// Whether an act can end like that.
    fn befalls(self, act: Act) -> bool {
        match self {
            Fault::Broken => act != Act::Reserve,
            Fault::Full => {
                [Act::CreateDir, Act::Create, Act::Rename, Act::Write, Act::Reserve].contains(&act)
            }
            Fault::OutOfFiles => [Act::List, Act::Open, Act::Create, Act::SyncDir].contains(&act),
        }
    }

    fn error(self) -> io::Error {
        let errno = match self {
            Fault::Broken => Errno::IO,
            Fault::Full => Errno::NOSPC,
            Fault::OutOfFiles => Errno::MFILE,
        };
        io::Error::from_raw_os_error(errno.raw_os_error())
    }
}

#[derive(Default)]
struct FileNode {
    content: Mutex<Vec<u8>>,
    synced: Mutex<Vec<u8>>,
    /// As it was set; what is written leaves it as it is.
    modified_ms: Mutex<i64>,
}

#[derive(Default)]
struct FolderNode {
    names: Mutex<BTreeMap<String, Node>>,
    synced: Mutex<BTreeMap<String, Node>>,
}

#[derive(Clone)]
enum Node {
    File(Arc<FileNode>),
    Folder(Arc<FolderNode>),
}

/// A fault, and how many of the acts that it befalls come before.
#[derive(Default)]
struct Faults {
    next: Option<(Fault, u32)>,
    /// What it befell.
    befell: Option<String>,
}

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    root: Arc<FolderNode>,
    faults: Arc<Mutex<Faults>>,
    ids: Arc<Mutex<u8>>,
}

impl MemoryDisk {
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Has one act fail: the one after so many others that could fail like that.
    pub(crate) fn fail_after(&self, fault: Fault, others: u32) {
        *self.faults.lock() = Faults { next: Some((fault, others)), befell: None };
    }

    /// Takes back a fault that hasn't come yet. Returns what it befell if it has.
    pub(crate) fn befell(&self) -> Option<String> {
        std::mem::take(&mut *self.faults.lock()).befell
    }

    /// The disk as the next process finds it when only this one ends.
    pub(crate) fn after_kill(&self) -> Self {
        self.copied(&copied(&self.root, false))
    }

    /// The disk after a power loss: what wasn't synced is gone.
    pub(crate) fn after_power_loss(&self) -> Self {
        self.copied(&copied(&self.root, true))
    }

    fn copied(&self, root: &Arc<FolderNode>) -> Self {
        Self { root: Arc::clone(root), faults: Arc::default(), ids: Arc::new(Mutex::new(*self.ids.lock())) }
    }

    /// All files, sorted.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        add_files(&self.root, Path::new("/"), &mut all);
        all
    }

    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        self.file(path).unwrap().content.lock().clone()
    }

    /// Changes what is stored, as rot does.
    pub(crate) fn change(&self, path: &Path, act: impl FnOnce(&mut Vec<u8>)) {
        let file = self.file(path).unwrap();
        let mut content = file.content.lock();
        act(&mut content);
        file.synced.lock().clone_from(&content);
    }

    fn act(&self, act: Act, path: &Path) -> io::Result<()> {
        let mut faults = self.faults.lock();
        let Some((fault, others)) = faults.next.filter(|next| next.0.befalls(act)) else { return Ok(()) };
        if others > 0 {
            faults.next = Some((fault, others - 1));
            return Ok(());
        }
        *faults = Faults { next: None, befell: Some(format!("{act:?} of {}", path.display())) };
        Err(fault.error())
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Folder(Arc::clone(&self.root));
        for name in path.strip_prefix("/").unwrap() {
            let Node::Folder(folder) = node else { return Err(io::ErrorKind::NotADirectory.into()) };
            let found = folder.names.lock().get(name.to_str().unwrap()).cloned();
            node = found.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn folder(&self, path: &Path) -> io::Result<Arc<FolderNode>> {
        match self.node(path)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<Arc<FileNode>> {
        match self.node(path)? {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The folder that a name is in, and the name.
    fn place(&self, path: &Path) -> io::Result<(Arc<FolderNode>, String)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok((self.folder(path.parent().unwrap())?, name))
    }

    fn take(&self, path: &Path) -> io::Result<Node> {
        let (folder, name) = self.place(path)?;
        let taken = folder.names.lock().remove(&name);
        taken.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A copy of a folder, all of which is synced.
fn copied(folder: &FolderNode, is_synced_only: bool) -> Arc<FolderNode> {
    let names = if is_synced_only { &folder.synced } else { &folder.names };
    let copy = |node: &Node| match node {
        Node::Folder(folder) => Node::Folder(copied(folder, is_synced_only)),
        Node::File(file) => {
            let content = if is_synced_only { &file.synced } else { &file.content }.lock().clone();
            Node::File(Arc::new(FileNode {
                content: Mutex::new(content.clone()),
                synced: Mutex::new(content),
                modified_ms: Mutex::new(*file.modified_ms.lock()),
            }))
        }
    };
    let names: BTreeMap<String, Node> =
        names.lock().iter().map(|(name, node)| (name.clone(), copy(node))).collect();
    Arc::new(FolderNode { names: Mutex::new(names.clone()), synced: Mutex::new(names) })
}

fn add_files(folder: &FolderNode, path: &Path, all: &mut Vec<PathBuf>) {
    for (name, node) in &*folder.names.lock() {
        match node {
            Node::File(_) => all.push(path.join(name)),
            Node::Folder(folder) => add_files(folder, &path.join(name), all),
        }
    }
}

struct Lock;

impl DiskLock for Lock {}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.act(Act::CreateDir, path)?;
        if path == Path::new("/") || self.folder(path).is_ok() {
            return Ok(());
        }
        let (parent, name) = self.place(path)?;
        parent.names.lock().insert(name, Node::Folder(Arc::default()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.act(Act::List, path)?;
        let folder = self.folder(path)?;
        let names = folder.names.lock();
        let entry = |(name, node): (&String, &Node)| {
            let (bytes, modified_ms) = match node {
                Node::File(file) => (file.content.lock().len() as u64, *file.modified_ms.lock()),
                Node::Folder(_) => (0, 0),
            };
            DirEntry { name: name.clone(), is_dir: matches!(node, Node::Folder(_)), bytes, modified_ms }
        };
        Ok(names.iter().map(entry).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let found = self.file(path);
        self.act(if found.is_ok() { Act::Open } else { Act::Create }, path)?;
        let file = match (found, mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Err(error), OpenMode::Existing) => return Err(error),
            (Ok(file), _) => file,
            (Err(_), _) => {
                let (folder, name) = self.place(path)?;
                let file: Arc<FileNode> = Arc::default();
                folder.names.lock().insert(name, Node::File(Arc::clone(&file)));
                file
            }
        };
        Ok(Arc::new(MemoryFile { file, path: path.to_owned(), disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(Act::Rename, from)?;
        let node = self.take(from)?;
        let (folder, name) = self.place(to)?;
        folder.names.lock().insert(name, node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.act(Act::Remove, path)?;
        self.take(path).map(drop)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.act(Act::Remove, path)?;
        assert!(self.folder(path)?.names.lock().is_empty(), "only an empty folder can be removed");
        self.take(path).map(drop)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.act(Act::SyncDir, path)?;
        let folder = self.folder(path)?;
        folder.synced.lock().clone_from(&folder.names.lock());
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DiskLock>> {
        Ok(Box::new(Lock))
    }

    fn random_id(&self) -> io::Result<[u8; 16]> {
        let mut ids = self.ids.lock();
        *ids += 1;
        Ok([*ids; 16])
    }
}

struct MemoryFile {
    file: Arc<FileNode>,
    path: PathBuf,
    disk: MemoryDisk,
}

impl DiskFile for MemoryFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.act(Act::Read, &self.path)?;
        let content = self.file.content.lock();
        let from = content.len().min(position as usize);
        let bytes = buffer.len().min(content.len() - from);
        buffer[..bytes].copy_from_slice(&content[from..from + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()> {
        let done = self.disk.act(Act::Write, &self.path);
        let mut bytes = buffers.concat();
        if done.is_err() {
            // Some of it may be there all the same.
            bytes.truncate(bytes.len() / 2);
        }
        let mut content = self.file.content.lock();
        let (from, to) = (position as usize, position as usize + bytes.len());
        if content.len() < to {
            content.resize(to, 0);
        }
        content[from..to].copy_from_slice(&bytes);
        done
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.content.lock().len() as u64)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.disk.act(Act::Truncate, &self.path)?;
        self.file.content.lock().resize(bytes as usize, 0);
        Ok(())
    }

    fn preallocate(&self, _: u64) -> io::Result<()> {
        self.disk.act(Act::Reserve, &self.path)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.act(Act::Sync, &self.path)?;
        self.file.synced.lock().clone_from(&self.file.content.lock());
        Ok(())
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.disk.act(Act::SetTime, &self.path)?;
        *self.file.modified_ms.lock() = modified_ms;
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
