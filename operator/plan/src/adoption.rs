//! A Topic meets a topic: which settings are whose, and what would change.
//!
//! What the manifest doesn't name stays as it is. What this Topic has set, and its manifest names no more, returns to the
//! broker's default; so it is on record which settings these are.

use std::collections::{BTreeMap, BTreeSet};

use ottla_api::{ADOPT_ANNOTATION, Topic};

use crate::view::TopicView;

/// The settings that the manifest names, as text.
pub(crate) fn named(topic: &Topic) -> BTreeMap<String, String> {
    topic.spec.config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
}

/// All settings that the topic should have; `managed` are those that this Topic has set before.
pub(crate) fn wanted(
    topic: &Topic,
    found: Option<&TopicView>,
    managed: &[String],
) -> BTreeMap<String, String> {
    let mut config = found.map(|found| found.config.clone()).unwrap_or_default();
    config.retain(|key, _| !managed.contains(key));
    config.extend(named(topic));
    config
}

/// The settings that are this Topic's own once the topic is as asked: those that were, and those that it changes.
pub(crate) fn managed(topic: &Topic, found: Option<&TopicView>, before: &[String]) -> Vec<String> {
    let has = |key: &String| found.and_then(|found| found.config.get(key));
    let named = named(topic);
    let set = named.iter().filter(|(key, value)| has(key) != Some(value)).map(|(key, _)| key);
    // What is to be taken back stays on record until it is.
    let kept = before.iter().filter(|key| named.contains_key(*key) || has(key).is_some());
    set.chain(kept).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The settings that the topic has and the manifest doesn't name, but for those that are taken back.
pub(crate) fn unmanaged(topic: &Topic, found: &TopicView, managed: &[String]) -> BTreeMap<String, String> {
    let stays = |key: &String| !topic.spec.config.contains_key(key) && !managed.contains(key);
    found.config.iter().filter(|(key, _)| stays(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// What a topic that was there before its Topic would have otherwise, in words; empty: it is as the manifest asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Each, as in "retention.ms from -1 to 1000".
    pub all: Vec<String>,
    /// Those by which the topic would keep fewer records.
    pub deletes_records: Vec<String>,
}

/// How a topic that was there before its Topic differs from what the manifest names; `factor` is how many replicas its
/// partitions should have.
pub(crate) fn differences(topic: &Topic, found: &TopicView, factor: usize) -> Differences {
    let mut differences = Differences::default();
    for (key, wanted) in named(topic) {
        let had = found.config.get(&key).map(String::as_str);
        if had == Some(wanted.as_str()) {
            continue;
        }
        let text = format!("{key} from {} to {wanted}", had.unwrap_or("its default"));
        if keeps_less(&key, had, &wanted) {
            differences.deletes_records.push(text.clone());
        }
        differences.all.push(text);
    }
    let present = found.partitions.len();
    let partitions = topic.spec.partitions.and_then(|n| usize::try_from(n).ok()).unwrap_or(present);
    if partitions != present {
        differences.all.push(format!("partitions from {present} to {partitions}"));
    }
    let others = found.partitions.iter().map(|p| p.target().len()).find(|had| *had != factor);
    if let Some(had) = others {
        differences.all.push(format!("replicas from {had} to {factor}"));
    }
    differences
}

/// Whether a person has said that it may keep fewer records.
pub(crate) fn is_agreed(topic: &Topic) -> bool {
    let annotations = topic.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(ADOPT_ANNOTATION)).is_some_and(|value| value == "true")
}

// What isn't set has a default that isn't known here: any limit may be narrower.
fn keeps_less(key: &str, had: Option<&str>, wanted: &str) -> bool {
    match key {
        "retention.ms" | "retention.bytes" => {
            let limit = |text: &str| text.trim().parse::<i64>().ok();
            let wanted = limit(wanted);
            match had.map(limit) {
                _ if wanted == Some(-1) => false,
                Some(Some(had)) if had >= 0 => wanted.is_none_or(|wanted| wanted < had),
                _ => true,
            }
        }
        "cleanup.policy" => {
            let policies = |text: &str| -> BTreeSet<String> {
                text.split(',').map(|policy| policy.trim().to_owned()).filter(|p| !p.is_empty()).collect()
            };
            !policies(wanted).is_subset(&policies(had.unwrap_or("delete")))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_fewer_records_is_told_from_what_does_not() {
        for (key, had, wanted, expected) in [
            ("retention.ms", Some("-1"), "604800000", true),
            ("retention.ms", Some("604800000"), "-1", false),
            ("retention.ms", Some("1000"), "999", true),
            ("retention.ms", Some("1000"), "1000000", false),
            ("retention.ms", None, "604800000", true),
            ("retention.ms", None, "-1", false),
            ("retention.ms", Some("-1"), "nonsense", true),
            ("retention.bytes", Some("-1"), "1", true),
            ("cleanup.policy", Some("compact"), "delete", true),
            ("cleanup.policy", Some("compact"), "compact,delete", true),
            ("cleanup.policy", Some("compact, delete"), "delete", false),
            ("cleanup.policy", None, "delete", false),
            ("cleanup.policy", None, "compact", true),
            ("segment.bytes", None, "1048576", false),
        ] {
            assert_eq!(keeps_less(key, had, wanted), expected, "{key} {had:?} {wanted}");
        }
    }
}
