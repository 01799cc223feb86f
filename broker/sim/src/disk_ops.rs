//! Changes of a simulated disk that aren't synced, and what of them survives.

use std::collections::BTreeMap;

use crate::Rng;

/// Bytes that reach the platter together.
pub const SECTOR_BYTES: usize = 512;

/// A file or folder, for as long as the disk exists.
pub type NodeId = u64;

/// A change of a file that isn't synced.
#[derive(Clone, Debug)]
pub enum FileOp {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

/// A change of the names in a folder that isn't synced.
#[derive(Clone, Debug)]
pub enum DirOp {
    Add(String, NodeId),
    Remove(String),
    Rename(String, String, NodeId),
}

/// The names after a change.
pub fn apply_dir(names: &mut BTreeMap<String, NodeId>, op: &DirOp) {
    match op {
        DirOp::Add(name, id) => {
            names.insert(name.clone(), *id);
        }
        DirOp::Remove(name) => {
            names.remove(name);
        }
        DirOp::Rename(from, to, id) => {
            // The old name may never have reached the platter.
            names.remove(from);
            names.insert(to.clone(), *id);
        }
    }
}

/// The content after a write.
pub fn write_into(content: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[position..end].copy_from_slice(bytes);
}

/// What a power loss leaves of a change: each sector for itself, so many in a hundred.
pub fn survive_file(durable: &mut Vec<u8>, op: &FileOp, survival: u64, rng: &mut Rng) {
    match op {
        FileOp::Truncate(bytes) => {
            if rng.percent(survival) {
                durable.resize(*bytes as usize, 0);
            }
        }
        FileOp::Write(position, bytes) => {
            let (mut at, end) = (*position as usize, *position as usize + bytes.len());
            while at < end {
                let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let to = sector_end.min(end);
                if rng.percent(survival) {
                    let from = at - *position as usize;
                    write_into(durable, at, &bytes[from..from + (to - at)]);
                }
                at = to;
            }
        }
    }
}
