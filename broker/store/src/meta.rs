//! Whose data folder it is: lock, `meta.properties`, the mark of a clean shutdown, offset checkpoints.

use std::io;
use std::path::{Path, PathBuf};

use ottla_log::{
    MetaProperties, OffsetCheckpoint, SEALED_OFFSETS_FILE, SealedOffsets, TextError, decode_offsets,
};
use ottla_types::DirectoryId;

use crate::config::StoreConfig;
use crate::disk::{Disk, DiskLock, read_file, replace_file};
use crate::error::StoreError;
use crate::real::RealDisk;

/// The file that keeps other processes out.
pub(crate) const LOCK_FILE: &str = ".lock";

/// The file that a clean shutdown leaves, as Kafka does.
pub(crate) const CLEAN_FILE: &str = ".kafka_cleanshutdown";

/// No file of these kinds is larger, unless it is damaged.
const SMALL_BYTES_MAX: usize = 64 << 20;

/// Reads the `meta.properties` of a data folder without opening it; `None` when it has none.
///
/// # Errors
/// When the file is corrupt or can't be read.
pub fn read_meta(dir: &Path) -> Result<Option<MetaProperties>, StoreError> {
    load_meta(&RealDisk, dir)
}

pub(crate) fn load_meta(disk: &dyn Disk, dir: &Path) -> Result<Option<MetaProperties>, StoreError> {
    let path = dir.join(MetaProperties::FILE);
    let bytes = match read_file(disk, &path, SMALL_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let corrupt = |error| StoreError::CorruptMeta { path: path.clone(), error };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| corrupt(TextError { line: 0, what: "not text".to_owned() }))?;
    MetaProperties::decode(text).map(Some).map_err(corrupt)
}

pub(crate) fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, StoreError> {
    disk.lock(&dir.join(LOCK_FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::Locked { dir: dir.to_owned() },
        _ => StoreError::io("lock", dir.join(LOCK_FILE))(error),
    })
}

/// Checks that the directory is this broker's, or makes an empty one its own.
pub(crate) fn claim(disk: &dyn Disk, dir: &Path, config: &StoreConfig) -> Result<MetaProperties, StoreError> {
    let node_id = config.node_id;
    let Some(meta) = load_meta(disk, dir)? else { return format(disk, dir, config) };
    if let Some(expected) = config.cluster_id.filter(|expected| *expected != meta.cluster_id) {
        return Err(StoreError::ForeignCluster { dir: dir.to_owned(), found: meta.cluster_id, expected });
    }
    if meta.node_id != node_id {
        return Err(StoreError::ForeignNode { dir: dir.to_owned(), found: meta.node_id, expected: node_id });
    }
    Ok(meta)
}

fn format(disk: &dyn Disk, dir: &Path, config: &StoreConfig) -> Result<MetaProperties, StoreError> {
    let entries = disk.list(dir).map_err(StoreError::io("list", dir))?;
    for entry in entries {
        if !is_left_by_formatting(disk, dir, config, &entry.name)? {
            return Err(StoreError::MissingMeta { dir: dir.to_owned(), found: entry.name });
        }
    }
    let cluster_id = config.cluster_id.ok_or_else(|| StoreError::NotFormatted { dir: dir.to_owned() })?;
    sync_ancestors(disk, dir)?;
    if let Some((name, content)) = config.formatted_with {
        save(disk, dir, name, content)?;
    }
    let directory_id = DirectoryId(disk.random_id().map_err(StoreError::io("name", dir))?);
    let meta = MetaProperties { cluster_id, node_id: config.node_id, directory_id };
    save(disk, dir, MetaProperties::FILE, &meta.encode())?;
    tracing::info!(dir = %dir.display(), %cluster_id, %directory_id, "data folder formatted");
    Ok(meta)
}

/// Whether a file may be there before the directory is formatted, perhaps from an attempt that was cut short.
fn is_left_by_formatting(
    disk: &dyn Disk,
    dir: &Path,
    config: &StoreConfig,
    name: &str,
) -> Result<bool, StoreError> {
    if [LOCK_FILE, "lost+found", "meta.properties.tmp"].contains(&name) {
        return Ok(true);
    }
    let Some((first, content)) = config.formatted_with else { return Ok(false) };
    if name == first {
        let path = dir.join(name);
        let found = read_file(disk, &path, SMALL_BYTES_MAX).map_err(StoreError::io("read", path))?;
        return Ok(found == content.as_bytes());
    }
    Ok(name.strip_suffix(".tmp") == Some(first))
}

/// Makes the directory's own name durable, and those of the folders that it stands in.
fn sync_ancestors(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    for ancestor in dir.ancestors().skip(1) {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match disk.sync_dir(ancestor) {
            // A folder that this user may not open wasn't made by it either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            synced => synced.map_err(StoreError::io("sync", ancestor))?,
        }
    }
    Ok(())
}

pub(crate) fn save(disk: &dyn Disk, dir: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    replace_file(disk, dir, name, text.as_bytes()).map_err(StoreError::io("write", dir.join(name)))
}

/// Whether the last process closed the data folder `dir` in order. Opening it takes the mark away: ask
/// before.
pub fn closed_cleanly(dir: &Path) -> bool {
    dir.join(CLEAN_FILE).exists()
}

/// Whether the last process closed the directory cleanly; the mark is removed, durably, as it holds no more.
pub(crate) fn take_clean_mark(disk: &dyn Disk, dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(CLEAN_FILE);
    match disk.remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("remove", path)(error)),
    }
    disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
    Ok(true)
}

/// Reads the offset checkpoints that a checksum guards; `None` when they are missing or damaged.
pub(crate) fn load_sealed_offsets(disk: &dyn Disk, dir: &Path) -> Option<SealedOffsets> {
    let path = dir.join(SEALED_OFFSETS_FILE);
    let text = match read_file(disk, &path, SMALL_BYTES_MAX) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "unreadable: Kafka's checkpoints are taken");
            return None;
        }
    };
    let read = SealedOffsets::unseal(&text);
    if let Err(error) = &read {
        tracing::error!(path = %path.display(), %error, "corrupt: Kafka's checkpoints are taken");
    }
    read.ok()
}

/// Reads an offset checkpoint; a missing or damaged one is as good as an empty one, it only costs time.
pub(crate) fn load_offsets(disk: &dyn Disk, dir: &Path, name: &str) -> OffsetCheckpoint {
    let path: PathBuf = dir.join(name);
    let text = match read_file(disk, &path, SMALL_BYTES_MAX) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return OffsetCheckpoint::new(),
        Err(_) => String::new(),
    };
    decode_offsets(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "checkpoint unreadable, taken as empty");
        OffsetCheckpoint::new()
    })
}
