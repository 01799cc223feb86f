//! The high watermarks as they are saved now and then, for the next start.
//!
//! A file of our own and not Kafka's `replication-offset-checkpoint`: that one goes by names, and a topic
//! that is created again under its name must not inherit. A line is a topic's id, a partition, an offset, and
//! the epoch of the record before it, by which the log is known again; -1 if that isn't known. What is saved
//! may be too low, which only means that consumers wait until those in sync have spoken.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ottla_core::partition::SavedHighWatermark;
use ottla_store::{RealDisk, replace_file};
use ottla_types::{LeaderEpoch, Offset};

use super::ready::PartitionKey;

const FILE: &str = "high-watermarks";
/// How a line says that an epoch isn't known.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);
const HEADER: &str = "ottla high watermarks 2";

/// What was saved in the data folder; nothing if there is no such file or it can't be read.
pub fn load(folder: &Path) -> HashMap<PartitionKey, SavedHighWatermark> {
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
pub fn save(folder: &Path, offsets: &BTreeMap<PartitionKey, SavedHighWatermark>) -> std::io::Result<()> {
    replace_file(&RealDisk, folder, FILE, encode(offsets).as_bytes())
}

fn encode(offsets: &BTreeMap<PartitionKey, SavedHighWatermark>) -> String {
    let mut lines = String::new();
    for ((topic, index), saved) in offsets {
        let epoch = saved.epoch.unwrap_or(NO_EPOCH);
        lines.push_str(&format!("{topic} {index} {} {epoch}\n", saved.offset));
    }
    // The number of lines tells a file that is not whole.
    format!("{HEADER} {}\n{lines}", offsets.len())
}

fn decode(text: &str) -> Option<HashMap<PartitionKey, SavedHighWatermark>> {
    let (header, lines) = text.split_once('\n')?;
    let count: usize = header.strip_prefix(HEADER)?.trim().parse().ok()?;
    let entries: HashMap<_, _> = lines
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let topic = words.next()?.parse().ok()?;
            let index = ottla_types::PartitionIndex(words.next()?.parse().ok()?);
            let offset = Offset(words.next()?.parse().ok()?);
            let epoch = Some(LeaderEpoch(words.next()?.parse().ok()?)).filter(|epoch| *epoch != NO_EPOCH);
            let is_whole = offset >= Offset(0) && words.next().is_none();
            is_whole.then_some(((topic, index), SavedHighWatermark { offset, epoch }))
        })
        .collect::<Option<_>>()?;
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
        let known = |offset, epoch: Option<i32>| SavedHighWatermark {
            offset: Offset(offset),
            epoch: epoch.map(LeaderEpoch),
        };
        let offsets: BTreeMap<_, _> = [
            ([1; 16], 0, known(7, Some(3))),
            ([1; 16], 1, known(0, None)),
            ([2; 16], 0, known(1 << 40, Some(0))),
        ]
        .map(|(topic, index, saved)| ((TopicId(topic), PartitionIndex(index)), saved))
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
