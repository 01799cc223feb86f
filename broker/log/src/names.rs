//! The names of files and folders in a data folder, as Kafka writes them.

use ottla_types::{Offset, PartitionIndex, TopicName};

/// What a file of a partition's folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// Record batches.
    Log,
    /// The offset index.
    Index,
    /// The time index.
    TimeIndex,
    /// The producers' state up to the offset in the name.
    Snapshot,
}

impl FileKind {
    /// The file name's ending, dot included.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::Index => ".index",
            Self::TimeIndex => ".timeindex",
            Self::Snapshot => ".snapshot",
        }
    }

    /// The name of the file of this kind at `base`.
    pub fn file_name(self, base: Offset) -> String {
        assert!(base.0 >= 0, "a name has no sign: {base}");
        format!("{:020}{}", base.0, self.suffix())
    }

    /// The kind and offset of a file name, if it is one of these.
    pub fn parse(name: &str) -> Option<(Self, Offset)> {
        let (digits, suffix) = name.split_at_checked(20)?;
        let kind = [Self::Log, Self::Index, Self::TimeIndex, Self::Snapshot];
        let kind = kind.into_iter().find(|kind| kind.suffix() == suffix)?;
        let digits = digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits)?;
        Some((kind, Offset(digits.parse().ok()?)))
    }
}

/// What a folder in a data folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderName {
    /// A partition's.
    Partition(TopicName, PartitionIndex),
    /// A deleted partition's, which is to be removed.
    Deleted,
    /// Something else, which is left alone.
    Other,
}

/// The folder of a partition.
pub fn partition_folder(topic: &TopicName, partition: PartitionIndex) -> String {
    format!("{topic}-{partition}")
}

/// The name to which a partition's folder is renamed before it is removed, or put aside: unique by `unique`,
/// and not longer than a file name may be.
pub fn renamed_folder(
    topic: &TopicName,
    partition: PartitionIndex,
    unique: [u8; 16],
    suffix: &str,
) -> String {
    let unique = u128::from_be_bytes(unique);
    let end = format!("-{partition}.{unique:032x}{suffix}");
    let keep = topic.as_str().len().min(FILE_NAME_BYTES_MAX - end.len());
    let name = format!("{}{end}", &topic.as_str()[..keep]);
    assert!(name.len() <= FILE_NAME_BYTES_MAX, "file systems don't take {name}");
    name
}

/// What file systems take for a name.
const FILE_NAME_BYTES_MAX: usize = 255;

/// The ending of a folder whose partition was deleted.
pub const DELETE_SUFFIX: &str = "-delete";

/// The ending of a folder that was put aside because it could not be read.
pub const STRAY_SUFFIX: &str = "-stray";

/// The folder of the metadata log. It looks like a partition's, but belongs to the metadata quorum alone.
pub const METADATA_FOLDER: &str = "__cluster_metadata-0";

/// Reads a folder's name.
pub fn parse_folder(name: &str) -> FolderName {
    if name == METADATA_FOLDER {
        return FolderName::Other;
    }
    if name.ends_with(DELETE_SUFFIX) && name.contains('.') {
        return FolderName::Deleted;
    }
    let parts = name.rsplit_once('-').and_then(|(topic, partition)| {
        let canonical = partition.bytes().all(|b| b.is_ascii_digit())
            && (partition == "0" || !partition.starts_with('0'));
        let partition = canonical.then(|| partition.parse().ok()).flatten()?;
        Some(FolderName::Partition(TopicName::new(topic).ok()?, PartitionIndex(partition)))
    });
    parts.unwrap_or(FolderName::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_kafkas() {
        assert_eq!(FileKind::Log.file_name(Offset(42)), "00000000000000000042.log");
        assert_eq!(
            FileKind::parse("00000000000000000042.timeindex"),
            Some((FileKind::TimeIndex, Offset(42)))
        );
        for other in
            ["42.log", "00000000000000000042.txt", "+0000000000000000042.log", "99999999999999999999.log", ""]
        {
            assert_eq!(FileKind::parse(other), None, "{other}");
        }
    }

    #[test]
    fn folder_names_are_kafkas() {
        let topic = TopicName::new("a-b.c").unwrap();
        assert_eq!(partition_folder(&topic, PartitionIndex(3)), "a-b.c-3");
        assert_eq!(parse_folder("a-b.c-3"), FolderName::Partition(topic.clone(), PartitionIndex(3)));
        for other in ["a", "a-", "a-x", "-1", "a-01", "a b-1", "lost+found", METADATA_FOLDER] {
            assert_eq!(parse_folder(other), FolderName::Other, "{other}");
        }
        let deleted = renamed_folder(&topic, PartitionIndex(3), [0xab; 16], DELETE_SUFFIX);
        assert_eq!(deleted, "a-b.c-3.abababababababababababababababab-delete");
        assert_eq!(parse_folder(&deleted), FolderName::Deleted);
        let long = TopicName::new(&"x".repeat(249)).unwrap();
        assert_eq!(renamed_folder(&long, PartitionIndex(12), [0; 16], DELETE_SUFFIX).len(), 255);
    }
}
