//! Which log this node has: the disk's id and a name that the log's folder gets once, at random.
//!
//! A voter that lost its log must not go on as the one that had it: it may have promised its vote to one
//! candidate and would give it to another, and its word that an entry is on its disk would be false. So
//! members of the quorum are known by their identity, every message names its addressee's, and a node takes
//! only what is for the log that it has. What that leads to is in `membership`: the active controller takes
//! the vote from the lost one and has the new one learn first.

use std::io;
use std::path::Path;
use std::str::FromStr;

use ottla_control::proto;
use ottla_store::{Disk, read_file, replace_file};
use ottla_types::DirectoryId;

use crate::raft_types::Identity;

const FILE: &str = "folder-id";
const FILE_BYTES_MAX: usize = 1_000;

/// The identity of the log in `folder`, which gets its name if it has none.
///
/// # Errors
/// The disk's, and `InvalidData` when the name can't be read.
pub fn load(disk: &dyn Disk, folder: &Path, directory_id: DirectoryId) -> io::Result<Identity> {
    let named = match read_file(disk, &folder.join(FILE), FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = DirectoryId(disk.random_id()?);
            replace_file(disk, folder, FILE, name.to_string().as_bytes())?;
            name
        }
        content => {
            let content = content?;
            let text = String::from_utf8_lossy(&content);
            DirectoryId::from_str(text.trim()).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {error}", folder.join(FILE).display()),
                )
            })?
        }
    };
    Ok(Identity { disk: directory_id, folder: named })
}

impl From<&Identity> for proto::Identity {
    fn from(identity: &Identity) -> Self {
        Self { disk: identity.disk.to_string(), folder: identity.folder.to_string() }
    }
}

/// An identity as it came in a message; what can't be read is nobody's.
pub fn from_proto(identity: Option<proto::Identity>) -> Option<Identity> {
    let identity = identity?;
    Some(Identity { disk: identity.disk.parse().ok()?, folder: identity.folder.parse().ok()? })
}
