//! The kernel's requests, handed to a [`Volume`].

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;

use super::content::{Content, PAGE};
use super::volume::{Folder, Node, ROOT, Volume};

/// Nobody but the kernel changes the files, so it may keep what it knows.
const KEEP: Duration = Duration::from_secs(1);

/// A volume as a file system.
pub struct Files {
    volume: Arc<Mutex<Volume>>,
    mounted: SystemTime,
}

impl Files {
    /// Serves a volume.
    pub fn new(volume: Arc<Mutex<Volume>>) -> Files {
        Files { volume, mounted: SystemTime::now() }
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, volume: &Volume, number: u64) -> Result<FileAttr, Errno> {
        let (kind, size, used) = match volume.node(number)? {
            Node::File(content) => (FileType::RegularFile, content.size(), content.used()),
            Node::Folder(_) => (FileType::Directory, 0, 0),
        };
        let time = self.mounted;
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: used / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: PAGE as u32,
            flags: 0,
        })
    }

    fn make(&self, parent: INodeNo, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        let mut volume = self.volume();
        let number = volume.create(parent.0, name, node)?;
        self.attributes(&volume, number)
    }
}

fn error(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}

fn reply_empty(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(refused) => reply.error(error(refused)),
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut volume = self.volume();
        let found = volume.lookup(parent.0, name).and_then(|number| self.attributes(&volume, number));
        match found {
            Ok(attributes) => reply.entry(&KEEP, &attributes, Generation(0)),
            Err(refused) => reply.error(error(refused)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(&self.volume(), ino.0) {
            Ok(attributes) => reply.attr(&KEEP, &attributes),
            Err(refused) => reply.error(error(refused)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut volume = self.volume();
        let resized = size.map_or(Ok(()), |size| volume.resize(ino.0, size));
        match resized.and_then(|()| self.attributes(&volume, ino.0)) {
            Ok(attributes) => reply.attr(&KEEP, &attributes),
            Err(refused) => reply.error(error(refused)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        match self.make(parent, name, Node::Folder(Folder::default())) {
            Ok(attributes) => reply.entry(&KEEP, &attributes, Generation(0)),
            Err(refused) => reply.error(error(refused)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, Node::File(Content::default())) {
            Ok(attributes) => {
                reply.created(&KEEP, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(refused) => reply.error(error(refused)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(self.volume().remove(parent.0, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(self.volume().remove(parent.0, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(fuser::Errno::EINVAL);
        }
        reply_empty(self.volume().rename(parent.0, name, to.0, to_name), reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.volume().read(ino.0, offset, size as usize);
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(refused) => reply.error(error(refused)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.volume().write(ino.0, offset, data);
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(refused) => reply.error(error(refused)),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply_empty(self.volume().sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply_empty(self.volume().sync(ino.0), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut volume = self.volume();
        let names = match volume.list(ino.0) {
            Ok(names) => names,
            Err(refused) => return reply.error(error(refused)),
        };
        // A name's place is its number, so that names which come and go between two calls move no other.
        let dots = [(1, ".".into(), ino.0), (2, "..".into(), ROOT)];
        let mut entries: Vec<_> =
            names.into_iter().map(|(name, number)| (number + 2, name, number)).collect();
        entries.extend(dots);
        entries.sort_unstable();
        for (place, name, number) in entries.into_iter().filter(|(place, ..)| *place > offset) {
            let is_file = matches!(volume.node(number), Ok(Node::File(_)));
            let kind = if is_file { FileType::RegularFile } else { FileType::Directory };
            if reply.add(INodeNo(number), place, kind, &name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let volume = self.volume();
        let (all, free) = (volume.capacity / PAGE, volume.free_pages());
        reply.statfs(all, free, free, 1 << 20, 1 << 20, PAGE as u32, 255, PAGE as u32);
    }
}
