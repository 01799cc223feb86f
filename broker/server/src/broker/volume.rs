//! The volume that the data folder is on.

use std::io;
use std::path::Path;

/// A volume as the system describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// What this process can still use of it, in bytes.
    pub usable_bytes: u64,
}

impl Volume {
    /// That of `folder`. It may take as long as the disk does.
    ///
    /// # Errors
    /// When the system can't say.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let volume = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
        Ok(Self { total_bytes: bytes(volume.f_blocks), usable_bytes: bytes(volume.f_bavail) })
    }
}
