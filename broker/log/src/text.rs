//! The small text files of a data folder, in Kafka's formats: `meta.properties`, `partition.metadata`,
//! offset checkpoints. Leader epochs have their own module.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Display;

use ottla_types::{
    BrokerId, ClusterId, DirectoryId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition,
};

/// A text file that isn't what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// The line, from one; 0 when the file as a whole is meant.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl TextError {
    pub(crate) fn at(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.what) } else { write!(f, "line {}: {}", self.line, self.what) }
    }
}

impl std::error::Error for TextError {}

/// `meta.properties`: whose folder it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The broker.
    pub node_id: BrokerId,
    /// The disk.
    pub directory_id: DirectoryId,
}

impl MetaProperties {
    /// The file's name.
    pub const FILE: &'static str = "meta.properties";

    /// The file's text, version 1 (KRaft).
    pub fn encode(&self) -> String {
        let Self { cluster_id, node_id, directory_id } = self;
        format!("#\ncluster.id={cluster_id}\ndirectory.id={directory_id}\nnode.id={node_id}\nversion=1\n")
    }

    /// Reads the file, version 1.
    ///
    /// # Errors
    /// When a line isn't `key=value`, a key is missing or a value isn't what it should be.
    pub fn decode(text: &str) -> Result<Self, TextError> {
        let values = properties(text)?;
        let get = |key: &str| {
            values.get(key).ok_or_else(|| TextError::at(0, format!("{key} is missing"))).map(String::as_str)
        };
        let wrong = |key: &str, error: String| TextError::at(0, format!("{key}: {error}"));
        if get("version")? != "1" {
            return Err(wrong("version", format!("{:?} is not 1, the version of KRaft", get("version")?)));
        }
        let node_id: i32 = get("node.id")?.parse().map_err(|_| wrong("node.id", "not a number".into()))?;
        if node_id < 0 {
            return Err(wrong("node.id", "negative".into()));
        }
        Ok(Self {
            cluster_id: get("cluster.id")?.parse().map_err(|e| wrong("cluster.id", format!("{e}")))?,
            node_id: BrokerId(node_id),
            directory_id: get("directory.id")?.parse().map_err(|e| wrong("directory.id", format!("{e}")))?,
        })
    }
}

/// The keys and values of a Java properties file, as far as Kafka's own files use that format.
fn properties(text: &str) -> Result<BTreeMap<String, String>, TextError> {
    let mut values = BTreeMap::new();
    for (line, content) in numbered_lines(text) {
        if content.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) =
            content.split_once('=').ok_or_else(|| TextError::at(line, "not of the form key=value"))?;
        values.insert(key.trim().to_owned(), value.trim().replace('\\', ""));
    }
    Ok(values)
}

fn numbered_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty())
}

/// `partition.metadata`: which topic's folder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The topic.
    pub topic_id: TopicId,
}

impl PartitionMetadata {
    /// The file's name.
    pub const FILE: &'static str = "partition.metadata";

    /// The file's text.
    pub fn encode(&self) -> String {
        format!("version: 0\ntopic_id: {}\n", self.topic_id)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it isn't exactly version 0 and a topic id.
    pub fn decode(text: &str) -> Result<Self, TextError> {
        let mut lines = numbered_lines(text);
        let mut value = |key: &str| {
            let (line, content) =
                lines.next().ok_or_else(|| TextError::at(0, format!("{key} is missing")))?;
            let value = content.strip_prefix(key).and_then(|rest| rest.strip_prefix(": "));
            Ok((line, value.ok_or_else(|| TextError::at(line, format!("{key} is missing")))?))
        };
        let (line, version) = value("version")?;
        if version != "0" {
            return Err(TextError::at(line, format!("version {version:?} is not 0")));
        }
        let (line, id) = value("topic_id")?;
        Ok(Self { topic_id: id.parse().map_err(|error| TextError::at(line, format!("{error}")))? })
    }
}

/// `recovery-point-offset-checkpoint` and `log-start-offset-checkpoint`: an offset for each partition.
pub type OffsetCheckpoint = BTreeMap<TopicPartition, Offset>;

/// The file with the offsets below which everything is known to be on disk.
pub const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";

/// The file with the offsets below which records are gone.
pub const LOG_START_FILE: &str = "log-start-offset-checkpoint";

/// An offset checkpoint's text.
pub fn encode_offsets(offsets: &OffsetCheckpoint) -> String {
    encode_entries(offsets)
}

fn encode_entries<T: Display>(entries: &BTreeMap<TopicPartition, T>) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for (TopicPartition { topic, partition }, value) in entries {
        text.push_str(&format!("{topic} {partition} {value}\n"));
    }
    text
}

/// The file with the offsets up to which compacted logs are clean.
pub const CLEANER_OFFSET_FILE: &str = "cleaner-offset-checkpoint";

/// The file that says of all partitions what Kafka's files say, with a checksum: nothing guards those against
/// a bit that flips, and what lies below a log's start is deleted.
pub const SEALED_OFFSETS_FILE: &str = "ottla-offset-checkpoints";

const SEALED_VERSION: &str = "ottla offsets 2";

/// Without [`SealedOffsets::cleaned`].
const SEALED_VERSION_1: &str = "ottla offsets 1";

/// What [`SEALED_OFFSETS_FILE`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedOffsets {
    /// As in [`RECOVERY_POINT_FILE`].
    pub recovery_points: OffsetCheckpoint,
    /// As in [`LOG_START_FILE`].
    pub starts: OffsetCheckpoint,
    /// As in [`CLEANER_OFFSET_FILE`].
    pub cleaned: OffsetCheckpoint,
    /// As in each [`PartitionMetadata::FILE`].
    pub topic_ids: BTreeMap<TopicPartition, TopicId>,
}

impl SealedOffsets {
    /// The file's text.
    pub fn seal(&self) -> String {
        let mut text = format!("{SEALED_VERSION}\n{}", encode_offsets(&self.recovery_points));
        text.push_str(&encode_offsets(&self.starts));
        text.push_str(&encode_entries(&self.topic_ids));
        text.push_str(&encode_offsets(&self.cleaned));
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}{crc:08x}\n")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it isn't exactly what [`Self::seal`] writes, or its first version did.
    pub fn unseal(text: &str) -> Result<Self, TextError> {
        let (sealed, crc) = text
            .strip_suffix('\n')
            .and_then(|text| text.split_at_checked(text.len().checked_sub(8)?))
            .ok_or_else(|| TextError::at(0, "it has no checksum"))?;
        if crc != format!("{:08x}", crc32c::crc32c(sealed.as_bytes())) {
            return Err(TextError::at(0, "its checksum is another one"));
        }
        let (version, lines) = sealed.split_once('\n').unwrap_or_default();
        let lines: Vec<&str> = lines.lines().collect();
        let (recovery_points, lines) = split_section(&lines)?;
        let (starts, lines) = split_section(lines)?;
        let (topic_ids, cleaned) = match version {
            SEALED_VERSION => split_section(lines)?,
            SEALED_VERSION_1 => (lines, &["0", "0"][..]),
            _ => return Err(TextError::at(1, format!("not {SEALED_VERSION:?}"))),
        };
        Ok(Self {
            recovery_points: decode_offsets(&recovery_points.join("\n"))?,
            starts: decode_offsets(&starts.join("\n"))?,
            cleaned: decode_offsets(&cleaned.join("\n"))?,
            topic_ids: decode_entries(&topic_ids.join("\n"), "topic id", |word| word.parse().ok())?,
        })
    }
}

/// The lines of a checkpoint, and those that follow it.
fn split_section<'a>(lines: &'a [&'a str]) -> Result<(&'a [&'a str], &'a [&'a str]), TextError> {
    let count = lines.get(1).and_then(|count| count.parse::<usize>().ok());
    count
        .and_then(|count| lines.split_at_checked(count.checked_add(2)?))
        .ok_or_else(|| TextError::at(0, "not the count of lines that follow"))
}

/// Reads an offset checkpoint.
///
/// # Errors
/// When the version isn't 0, the count isn't the number of lines, or a line is malformed.
pub fn decode_offsets(text: &str) -> Result<OffsetCheckpoint, TextError> {
    decode_entries(text, "offset", |word| word.parse().ok().map(Offset).filter(|offset| offset.0 >= 0))
}

/// Reads a checkpoint that has a `kind` of value for each partition.
fn decode_entries<T>(
    text: &str,
    kind: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<BTreeMap<TopicPartition, T>, TextError> {
    let mut entries = BTreeMap::new();
    for (line, content) in checkpoint_lines(text)? {
        let mut words = content.split_ascii_whitespace();
        let entry = (|| {
            let topic = TopicName::new(words.next()?).ok()?;
            let partition = PartitionIndex(words.next()?.parse().ok()?);
            let value = parse(words.next()?)?;
            words.next().is_none().then_some((TopicPartition { topic, partition }, value))
        })();
        let (partition, value) =
            entry.ok_or_else(|| TextError::at(line, format!("not topic, partition and {kind}")))?;
        entries.insert(partition, value);
    }
    Ok(entries)
}

/// The entries of a checkpoint file, after its version and count were checked.
pub(crate) fn checkpoint_lines(text: &str) -> Result<Vec<(usize, &str)>, TextError> {
    let mut lines = numbered_lines(text);
    match lines.next() {
        Some((_, "0")) => {}
        Some((line, version)) => return Err(TextError::at(line, format!("version {version:?} is not 0"))),
        None => return Err(TextError::at(0, "empty")),
    }
    let (line, count) = lines.next().ok_or_else(|| TextError::at(0, "the count is missing"))?;
    let count: usize = count.parse().map_err(|_| TextError::at(line, "the count is not a number"))?;
    let entries: Vec<_> = lines.collect();
    if entries.len() != count {
        return Err(TextError::at(0, format!("{count} entries announced, {} found", entries.len())));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_offsets_are_read_again_and_no_flipped_bit_is() {
        let name = |partition| TopicPartition {
            topic: TopicName::new("t").unwrap(),
            partition: PartitionIndex(partition),
        };
        let some = SealedOffsets {
            recovery_points: OffsetCheckpoint::from([(name(0), Offset(12)), (name(1), Offset(0))]),
            starts: OffsetCheckpoint::from([(name(0), Offset(2))]),
            cleaned: OffsetCheckpoint::from([(name(1), Offset(7))]),
            topic_ids: BTreeMap::from([(name(0), TopicId([7; 16])), (name(1), TopicId([9; 16]))]),
        };
        let fewer = SealedOffsets { starts: OffsetCheckpoint::new(), ..some.clone() };
        for sealed in [some, fewer, SealedOffsets::default()] {
            let text = sealed.seal();
            assert_eq!(SealedOffsets::unseal(&text).unwrap(), sealed);
            for bit in 0..8 * text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                if let Ok(flipped) = String::from_utf8(bytes) {
                    SealedOffsets::unseal(&flipped).unwrap_err();
                }
            }
            for short in 0..text.len() {
                SealedOffsets::unseal(&text[..short]).unwrap_err();
            }
        }
    }

    #[test]
    fn sealed_offsets_of_the_first_version_know_of_no_cleaning() {
        let text = "ottla offsets 1\n0\n1\nt 0 12\n0\n1\nt 0 2\n0\n1\nt 0 BwcHBwcHBwcHBwcHBwcHBw\n";
        let sealed = format!("{text}{:08x}\n", crc32c::crc32c(text.as_bytes()));
        let name = TopicPartition { topic: TopicName::new("t").unwrap(), partition: PartitionIndex(0) };
        let expected = SealedOffsets {
            recovery_points: OffsetCheckpoint::from([(name.clone(), Offset(12))]),
            starts: OffsetCheckpoint::from([(name.clone(), Offset(2))]),
            cleaned: OffsetCheckpoint::new(),
            topic_ids: BTreeMap::from([(name, TopicId([7; 16]))]),
        };
        assert_eq!(SealedOffsets::unseal(&sealed), Ok(expected));
    }

    #[test]
    fn meta_properties_is_kafkas_file() {
        let meta = MetaProperties {
            cluster_id: ClusterId([1; 16]),
            node_id: BrokerId(4),
            directory_id: DirectoryId([2; 16]),
        };
        assert_eq!(MetaProperties::decode(&meta.encode()), Ok(meta.clone()));
        let javas = format!(
            "#\n#Sat Nov 21 10:00:00 UTC 2026\nnode.id=4\ndirectory.id={}\r\nversion=1\ncluster.id={}\n",
            meta.directory_id, meta.cluster_id
        );
        assert_eq!(MetaProperties::decode(&javas), Ok(meta));
    }

    #[test]
    fn a_wrong_meta_properties_is_refused_by_its_key() {
        let good =
            "cluster.id=AQEBAQEBAQEBAQEBAQEBAQ\nnode.id=4\ndirectory.id=AQEBAQEBAQEBAQEBAQEBAQ\nversion=1\n";
        assert!(MetaProperties::decode(good).is_ok());
        for (from, to, names) in [
            ("version=1", "version=0", "version"),
            ("node.id=4\n", "", "node.id"),
            ("node.id=4", "node.id=-4", "node.id"),
            ("cluster.id=A", "cluster.id=", "cluster.id"),
            ("directory.id", "directory", "directory.id"),
            ("node.id=4", "\0\0\0", "key=value"),
        ] {
            let error = MetaProperties::decode(&good.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(names), "{error}");
        }
    }

    #[test]
    fn partition_metadata_is_kafkas_file() {
        let metadata = PartitionMetadata { topic_id: TopicId([7; 16]) };
        assert_eq!(metadata.encode(), "version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw\n");
        assert_eq!(PartitionMetadata::decode(&metadata.encode()), Ok(metadata));
        for bad in [
            "",
            "version: 1\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw\n",
            "version: 0\n",
            "version: 0\ntopic_id: x\n",
        ] {
            assert!(PartitionMetadata::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offset_checkpoints_are_kafkas_files() {
        let text = "0\n2\na 0 5\nb-c 11 0\n";
        let offsets = decode_offsets(text).unwrap();
        assert_eq!(encode_offsets(&offsets), text);
        for bad in [
            "",
            "1\n0\n",
            "0\n2\na 0 5\n",
            "0\n1\na 0\n",
            "0\n1\na 0 -5\n",
            "0\n1\na 0 5 6\n",
            "0\n1\n/ 0 5\n",
        ] {
            assert!(decode_offsets(bad).is_err(), "{bad}");
        }
    }
}
