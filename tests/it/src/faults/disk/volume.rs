//! A disk in memory that knows what was synced: files, folders, and the faults that it can be given.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use rustix::io::Errno;

use super::super::random::Random;
use super::content::{Content, Loss, PAGE};

/// The number of the topmost folder.
pub const ROOT: u64 = 1;

/// A file or a folder.
#[derive(Debug, Clone)]
pub enum Node {
    /// A file.
    File(Content),
    /// A folder.
    Folder(Folder),
}

/// Names, and the changes to them that weren't synced, in order. Each is atomic, and a later one never
/// survives an earlier one of the same folder, as with any file system that keeps a journal.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    names: BTreeMap<OsString, u64>,
    unsynced: Vec<Vec<Change>>,
}

#[derive(Debug, Clone)]
struct Change {
    name: OsString,
    before: Option<u64>,
}

impl Folder {
    fn set(&mut self, changes: &[(&OsStr, Option<u64>)]) {
        let mut undo = Vec::new();
        for (name, after) in changes {
            let before = match after {
                Some(node) => self.names.insert((*name).to_owned(), *node),
                None => self.names.remove(*name),
            };
            undo.push(Change { name: (*name).to_owned(), before });
        }
        self.unsynced.push(undo);
    }

    fn lose_power(&mut self, loss: Loss, random: &mut Random) {
        let kept = match loss {
            Loss::All => 0,
            Loss::Some => random.below(self.unsynced.len() as u64 + 1) as usize,
        };
        for change in self.unsynced.split_off(kept).into_iter().rev().flat_map(|c| c.into_iter().rev()) {
            match change.before {
                Some(node) => self.names.insert(change.name, node),
                None => self.names.remove(&change.name),
            };
        }
        self.unsynced.clear();
    }
}

/// The disk.
#[derive(Debug, Clone)]
pub struct Volume {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    used: u64,
    /// The most that fits, in bytes.
    pub capacity: u64,
    /// Whether syncs fail.
    pub sync_fails: bool,
    /// Whether it has power; without, every request fails.
    pub powered: bool,
    /// Requests that were refused as it was full.
    pub refusals: u64,
}

type Outcome<T> = Result<T, Errno>;

impl Volume {
    /// An empty disk.
    pub fn new(capacity: u64) -> Volume {
        let nodes = BTreeMap::from([(ROOT, Node::Folder(Folder::default()))]);
        Volume { nodes, next: ROOT + 1, used: 0, capacity, sync_fails: false, powered: true, refusals: 0 }
    }

    /// How much it holds, in bytes.
    pub fn used(&self) -> u64 {
        self.used
    }

    fn live(&self) -> Outcome<()> {
        if self.powered { Ok(()) } else { Err(Errno::IO) }
    }

    /// A file or folder by its number.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, number: u64) -> Outcome<&Node> {
        self.live()?;
        self.nodes.get(&number).ok_or(Errno::NOENT)
    }

    fn folder(&mut self, number: u64) -> Outcome<&mut Folder> {
        self.live()?;
        match self.nodes.get_mut(&number) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn file(&mut self, number: u64) -> Outcome<&mut Content> {
        self.live()?;
        match self.nodes.get_mut(&number) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Folder(_)) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        }
    }

    /// The number behind a name.
    ///
    /// # Errors
    /// There is no such name.
    pub fn lookup(&mut self, parent: u64, name: &OsStr) -> Outcome<u64> {
        self.folder(parent)?.names.get(name).copied().ok_or(Errno::NOENT)
    }

    /// The names in a folder.
    ///
    /// # Errors
    /// It is no folder.
    pub fn list(&mut self, number: u64) -> Outcome<Vec<(OsString, u64)>> {
        Ok(self.folder(number)?.names.iter().map(|(name, node)| (name.clone(), *node)).collect())
    }

    /// Makes a file or a folder.
    ///
    /// # Errors
    /// The name is taken, or the disk is full.
    pub fn create(&mut self, parent: u64, name: &OsStr, node: Node) -> Outcome<u64> {
        // A name takes space too: a disk that is full to the last page makes no file.
        let full = self.used >= self.capacity;
        let (number, folder) = (self.next, self.folder(parent)?);
        if folder.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        if full {
            self.refusals += 1;
            return Err(Errno::NOSPC);
        }
        folder.set(&[(name, Some(number))]);
        self.nodes.insert(number, node);
        self.next += 1;
        Ok(number)
    }

    /// Removes a name. The file itself stays for those who have it open.
    ///
    /// # Errors
    /// There is none, it is of the other kind, or a folder that isn't empty.
    pub fn remove(&mut self, parent: u64, name: &OsStr, wants_folder: bool) -> Outcome<()> {
        let number = self.lookup(parent, name)?;
        match self.node(number)? {
            Node::Folder(_) if !wants_folder => return Err(Errno::ISDIR),
            Node::File(_) if wants_folder => return Err(Errno::NOTDIR),
            Node::Folder(folder) if !folder.names.is_empty() => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        self.folder(parent)?.set(&[(name, None)]);
        self.free(number);
        Ok(())
    }

    fn free(&mut self, number: u64) {
        if let Some(Node::File(content)) = self.nodes.get(&number) {
            self.used = self.used.saturating_sub(content.used());
        }
    }

    /// Gives a node another name, in place of what had it.
    ///
    /// # Errors
    /// There is none, or a folder is in the way.
    pub fn rename(&mut self, parent: u64, name: &OsStr, to: u64, to_name: &OsStr) -> Outcome<()> {
        let number = self.lookup(parent, name)?;
        if let Ok(replaced) = self.lookup(to, to_name) {
            if replaced == number {
                return Ok(());
            }
            match self.node(replaced)? {
                Node::Folder(folder) if !folder.names.is_empty() => return Err(Errno::NOTEMPTY),
                _ => self.free(replaced),
            }
        }
        if parent == to {
            self.folder(parent)?.set(&[(name, None), (to_name, Some(number))]);
        } else {
            self.folder(to)?.set(&[(to_name, Some(number))]);
            self.folder(parent)?.set(&[(name, None)]);
        }
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is no file.
    pub fn read(&mut self, number: u64, offset: u64, bytes: usize) -> Outcome<Vec<u8>> {
        Ok(self.file(number)?.read(offset, bytes))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// It is no file, or the disk is full.
    pub fn write(&mut self, number: u64, offset: u64, data: &[u8]) -> Outcome<()> {
        let (used, capacity) = (self.used, self.capacity);
        let file = self.file(number)?;
        let grows = file.grows_by(offset, data.len());
        if grows > 0 && used + grows > capacity {
            self.refusals += 1;
            return Err(Errno::NOSPC);
        }
        file.write(offset, data);
        self.used += grows;
        Ok(())
    }

    /// Sets a file's length.
    ///
    /// # Errors
    /// It is no file.
    pub fn resize(&mut self, number: u64, size: u64) -> Outcome<()> {
        let file = self.file(number)?;
        let before = file.used();
        file.resize(size);
        let freed = before - file.used();
        self.used = self.used.saturating_sub(freed);
        Ok(())
    }

    /// Makes a file or the names in a folder durable; never both.
    ///
    /// # Errors
    /// Syncs fail.
    pub fn sync(&mut self, number: u64) -> Outcome<()> {
        self.live()?;
        let fails = self.sync_fails;
        match self.nodes.get_mut(&number) {
            Some(Node::File(content)) if fails => content.fail_to_sync(),
            Some(Node::File(content)) => content.sync(),
            Some(Node::Folder(folder)) if !fails => folder.unsynced.clear(),
            Some(Node::Folder(_)) => {}
            None => return Err(Errno::NOENT),
        }
        if fails { Err(Errno::IO) } else { Ok(()) }
    }

    /// What a power loss leaves. Files that no name leads to are gone.
    pub fn lose_power(&mut self, loss: Loss, random: &mut Random) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => content.lose_power(loss, random),
                Node::Folder(folder) => folder.lose_power(loss, random),
            }
        }
        self.drop_unnamed();
        self.powered = true;
    }

    fn drop_unnamed(&mut self) {
        let (mut named, mut ahead) = (BTreeSet::new(), vec![ROOT]);
        while let Some(number) = ahead.pop() {
            if named.insert(number)
                && let Some(Node::Folder(folder)) = self.nodes.get(&number)
            {
                ahead.extend(folder.names.values());
            }
        }
        self.nodes.retain(|number, _| named.contains(number));
        let used = |node: &Node| if let Node::File(content) = node { content.used() } else { 0 };
        self.used = self.nodes.values().map(used).sum();
    }

    /// A copy of what is durable now.
    pub fn synced_copy(&self) -> Volume {
        let mut copy = self.clone();
        copy.lose_power(Loss::All, &mut Random::new(0));
        copy
    }

    /// Forgets everything, as a new disk in the place of the old one.
    pub fn wipe(&mut self) {
        *self = Volume::new(self.capacity);
    }

    /// Files below a folder whose path satisfies `wanted`, with their sizes.
    pub fn find(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, u64, u64)> {
        let (mut found, mut ahead) = (Vec::new(), vec![(String::new(), ROOT)]);
        while let Some((path, number)) = ahead.pop() {
            match self.nodes.get(&number) {
                Some(Node::Folder(folder)) => {
                    let below = folder.names.iter();
                    ahead.extend(below.map(|(name, n)| (format!("{path}/{}", name.to_string_lossy()), *n)));
                }
                Some(Node::File(content)) if wanted(&path) => found.push((path, number, content.size())),
                _ => {}
            }
        }
        found.sort();
        found
    }

    /// Flips a bit of a file.
    pub fn flip(&mut self, number: u64, bit: u64) {
        if let Some(Node::File(content)) = self.nodes.get_mut(&number) {
            content.flip(bit);
        }
    }

    /// A file's bytes; none if there is no such file, or it is a folder.
    pub fn content(&self, number: u64) -> Vec<u8> {
        match self.nodes.get(&number) {
            Some(Node::File(content)) => content.read(0, content.size() as usize),
            _ => Vec::new(),
        }
    }

    /// How many pages and names were changed since they were synced.
    pub fn unsynced(&self) -> u64 {
        let of = |node: &Node| match node {
            Node::File(content) => content.unsynced(),
            Node::Folder(folder) => folder.unsynced.len() as u64,
        };
        self.nodes.values().map(of).sum()
    }

    /// Free space, in pages.
    pub fn free_pages(&self) -> u64 {
        self.capacity.saturating_sub(self.used) / PAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume {
        Volume::new(1 << 20)
    }

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn file(volume: &mut Volume, text: &str) -> u64 {
        volume.create(ROOT, name(text), Node::File(Content::default())).unwrap()
    }

    fn names(volume: &mut Volume) -> Vec<String> {
        volume.list(ROOT).unwrap().into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_that_was_synced_is_lost_with_its_name() {
        let mut volume = volume();
        let kept = file(&mut volume, "kept");
        volume.sync(ROOT).unwrap();
        let other = file(&mut volume, "lost");
        for number in [kept, other] {
            volume.write(number, 0, b"bytes").unwrap();
            volume.sync(number).unwrap();
        }
        volume.lose_power(Loss::All, &mut Random::new(1));
        assert_eq!(names(&mut volume), ["kept"]);
        assert_eq!(volume.read(kept, 0, 9).unwrap(), b"bytes");
        assert_eq!(volume.read(other, 0, 9), Err(Errno::NOENT));
        assert_eq!(volume.used(), PAGE);
    }

    #[test]
    fn a_rename_that_was_not_synced_is_undone_as_a_whole() {
        for seed in 0..20 {
            let mut volume = volume();
            let (old, new) = (file(&mut volume, "checkpoint"), file(&mut volume, "new"));
            volume.write(old, 0, b"old").unwrap();
            volume.write(new, 0, b"new").unwrap();
            volume.sync(old).unwrap();
            volume.sync(new).unwrap();
            volume.sync(ROOT).unwrap();
            volume.rename(ROOT, name("new"), ROOT, name("checkpoint")).unwrap();
            assert_eq!(names(&mut volume), ["checkpoint"]);
            volume.lose_power(Loss::Some, &mut Random::new(seed));
            let number = volume.lookup(ROOT, name("checkpoint")).unwrap();
            let content = volume.read(number, 0, 9).unwrap();
            match names(&mut volume).len() {
                1 => assert_eq!(content, b"new"),
                _ => assert_eq!(content, b"old"),
            }
        }
    }

    #[test]
    fn a_removal_that_was_not_synced_is_undone() {
        let mut volume = volume();
        let number = file(&mut volume, "a");
        volume.write(number, 0, b"bytes").unwrap();
        volume.sync(number).unwrap();
        volume.sync(ROOT).unwrap();
        volume.remove(ROOT, name("a"), false).unwrap();
        assert_eq!(volume.used(), 0);
        volume.lose_power(Loss::All, &mut Random::new(1));
        assert_eq!(volume.read(number, 0, 9).unwrap(), b"bytes");
        assert_eq!(volume.used(), PAGE);
    }

    #[test]
    fn a_full_disk_refuses_what_needs_space_and_serves_the_rest() {
        let mut volume = volume();
        let number = file(&mut volume, "a");
        volume.write(number, 0, b"a").unwrap();
        volume.capacity = volume.used();
        volume.write(number, 1, b"b").unwrap();
        assert_eq!(volume.write(number, 4096, b"c"), Err(Errno::NOSPC));
        assert_eq!(volume.create(ROOT, name("b"), Node::File(Content::default())), Err(Errno::NOSPC));
        assert_eq!(volume.read(number, 0, 9).unwrap(), b"ab");
        volume.capacity = 1 << 20;
        volume.write(number, 4096, b"c").unwrap();
    }

    #[test]
    fn syncs_fail_when_told_and_nothing_works_without_power() {
        let mut volume = volume();
        let number = file(&mut volume, "a");
        volume.sync_fails = true;
        assert_eq!(volume.sync(number), Err(Errno::IO));
        assert_eq!(volume.sync(ROOT), Err(Errno::IO));
        volume.powered = false;
        assert_eq!(volume.read(number, 0, 1), Err(Errno::IO));
        assert_eq!(volume.lookup(ROOT, name("a")), Err(Errno::IO));
        volume.lose_power(Loss::All, &mut Random::new(1));
        assert!(names(&mut volume).is_empty(), "the folder's sync had failed");
    }
}
