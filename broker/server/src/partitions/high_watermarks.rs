//! The high watermarks as they are saved now and then, for the next start.
//!
//! A file of our own and not Kafka's `replication-offset-checkpoint`: that one goes by names, and a topic that is created
//! again under its name must not inherit. A line is a topic's id, a partition and an offset. What is saved may be too
//! low, which only means that consumers wait until those in sync have spoken.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ottla_store::{RealDisk, replace_file};
use ottla_types::Offset;

use super::ready::PartitionKey;

const FILE: &str = "high-watermarks";
const HEADER: &str = "ottla high watermarks 1";

/// What was saved in the data folder; nothing if there is no such file or it can't be read.
pub fn load(folder: &Path) -> HashMap<PartitionKey, Offset> {
    let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    decode(&text).unwrap_or_else(|| {
        if !text.is_empty() {
            tracing::warn!(folder = %folder.display(), "the saved high watermarks cannot be read: they are learnt again");
        }
        HashMap::new()
    })
}

/// Saves them. Blocks on the disk.
///
/// # Errors
/// Those of the disk; what was saved before is still there then.
pub fn save(folder: &Path, offsets: &BTreeMap<PartitionKey, Offset>) -> std::io::Result<()> {
    replace_file(&RealDisk, folder, FILE, encode(offsets).as_bytes())
}

fn encode(offsets: &BTreeMap<PartitionKey, Offset>) -> String {
    let line = |((topic, index), offset): (&PartitionKey, &Offset)| format!("{topic} {index} {offset}\n");
    let lines: String = offsets.iter().map(line).collect();
    // The number of lines tells a file that is not whole.
    format!("{HEADER} {}\n{lines}", offsets.len())
}

fn decode(text: &str) -> Option<HashMap<PartitionKey, Offset>> {
    let (header, lines) = text.split_once('\n')?;
    let count: usize = header.strip_prefix(HEADER)?.trim().parse().ok()?;
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let topic = words.next()?.parse().ok()?;
        let index = ottla_types::PartitionIndex(words.next()?.parse().ok()?);
        let offset: i64 = words.next()?.parse().ok()?;
        (offset >= 0 && words.next().is_none()).then_some(((topic, index), Offset(offset)))
    };
    let entries: HashMap<_, _> = lines.lines().map(entry).collect::<Option<_>>()?;
    (entries.len() == count).then_some(entries)
}

#[cfg(test)]
mod tests {
    use ottla_types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), HashMap::new());
        let offsets: BTreeMap<_, _> = [([1; 16], 0, 7), ([1; 16], 1, 0), ([2; 16], 0, 1 << 40)]
            .map(|(topic, index, offset)| ((TopicId(topic), PartitionIndex(index)), Offset(offset)))
            .into();
        save(folder.path(), &offsets).unwrap();
        assert_eq!(load(folder.path()), offsets.clone().into_iter().collect());
        let text = encode(&offsets);
        for damaged in
            [&text[..text.len() - 2], &text[..text.len() / 2], "", "x 1\n", &text.replace(' ', "-")]
        {
            assert!(decode(damaged) != Some(offsets.clone().into_iter().collect()), "{damaged}");
        }
    }
}
