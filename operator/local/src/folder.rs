//! The data folder of a local cluster: what lies where, and the lock that lets one `up` at a time use it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The folder that is used when nobody names one.
pub const DEFAULT_FOLDER: &str = "ottla-data";

/// The paths within a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    root: PathBuf,
}

/// Held while a local cluster runs on a folder; the system drops it with the process.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Why a data folder can't be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// Another `up` runs on it.
    #[error("{} is in use by another `ottla up`, process {pid}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it.
        pid: String,
    },
    /// The system refused.
    #[error("cannot use the data folder {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FolderError {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::InUse { pid, .. } => {
                format!(
                    "stop it (Ctrl-C, or kill {pid}), or use another folder (--data) and other ports (--port)"
                )
            }
            Self::Io { .. } => "choose a folder that this user may write to (--data)".to_owned(),
        }
    }
}

impl DataFolder {
    /// Names a folder; nothing is created.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself, as it was named.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the desired manifests are kept.
    pub fn resources(&self) -> PathBuf {
        self.root.join("resources")
    }

    /// Everything of one broker.
    pub fn broker(&self, id: i32) -> PathBuf {
        self.root.join("brokers").join(id.to_string())
    }

    /// The settings that a broker is started with; written by `up`.
    pub fn broker_properties(&self, id: i32) -> PathBuf {
        self.broker(id).join("server.properties")
    }

    /// A broker's `log.dirs`.
    pub fn broker_data(&self, id: i32) -> PathBuf {
        self.broker(id).join("data")
    }

    /// What a broker prints.
    pub fn broker_log(&self, id: i32) -> PathBuf {
        self.broker(id).join("broker.log")
    }

    /// The socket of a running cluster.
    pub fn socket(&self) -> PathBuf {
        self.root.join("up.sock")
    }

    /// The brokers that have a folder here, in order of their ids.
    ///
    /// # Errors
    /// When the folder can't be read; a missing one is empty.
    pub fn brokers(&self) -> io::Result<Vec<i32>> {
        let entries = match fs::read_dir(self.root.join("brokers")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut ids = Vec::new();
        for entry in entries {
            ids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Creates the folder if it is missing and takes its lock.
    ///
    /// # Errors
    /// [`FolderError::InUse`] with the process that holds it; [`FolderError::Io`] when the system refuses.
    pub fn lock(&self) -> Result<FolderLock, FolderError> {
        create_private(&self.root)?;
        let path = self.root.join("up.lock");
        let failed = |source| FolderError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.take(20).read_to_string(&mut pid).map_err(failed)?;
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(FolderError::InUse { folder: self.root.clone(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(FolderLock { _file: file })
    }
}

/// Creates a folder and its parents, for this user only where they are new.
pub(crate) fn create_private(path: &Path) -> Result<(), FolderError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|source| FolderError::Io { path: path.to_owned(), source })
}

/// Replaces a file by one with this content, or leaves the old one: never half of each.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), FolderError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_private(folder)?;
    replace(path, folder, content).map_err(|source| FolderError::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, folder: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_process_that_holds_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(dir.path().join("data"));
        let held = folder.lock().unwrap();
        let error = folder.lock().unwrap_err();
        let pid = std::process::id().to_string();
        assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
        assert!(error.remedy().contains("--data"), "{}", error.remedy());
        drop(held);
        folder.lock().unwrap();
    }

    #[test]
    fn brokers_are_found_in_order_and_other_names_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(dir.path());
        assert_eq!(folder.brokers().unwrap(), Vec::<i32>::new());
        for name in ["10", "2", "notes"] {
            fs::create_dir_all(dir.path().join("brokers").join(name)).unwrap();
        }
        assert_eq!(folder.brokers().unwrap(), [2, 10]);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/file");
        write_atomically(&path, b"a longer first content").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
