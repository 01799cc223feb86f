//! The desired resources: checked as admission checks them, kept in files, replaced one by one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use ottla_api::{KafkaCluster, Kind, Topic, TopicStatus, kind_of, validate};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::folder::{FolderError, write_atomically};
use crate::manifests::{parse_manifests, to_yaml};
use crate::protocol::{Action, Applied, Refusal};

/// Why the resources can't be read or written.
#[derive(Debug, Error)]
pub enum ResourcesError {
    /// A file was changed by hand to something invalid.
    #[error("{} cannot be used: {why}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl ResourcesError {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Damaged { file, .. } => {
                format!("correct {0}, or remove it and apply the manifest again", file.display())
            }
            Self::Folder(error) => error.remedy(),
        }
    }
}

type ObjectKey = (Kind, String);

/// Every object that was applied, by kind and name.
#[derive(Debug)]
pub(crate) struct Resources {
    folder: PathBuf,
    objects: BTreeMap<ObjectKey, Value>,
}

/// A checked change, not yet made.
#[derive(Debug)]
pub(crate) struct Changes {
    objects: Vec<(ObjectKey, Action, Value)>,
}

impl Resources {
    /// Reads what was applied before; a missing folder is empty.
    pub fn load(folder: PathBuf) -> Result<Self, ResourcesError> {
        let mut resources = Self { folder: folder.clone(), objects: BTreeMap::new() };
        let failed = |source| FolderError::Io { path: folder.clone(), source };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(resources),
            Err(error) => return Err(failed(error).into()),
        };
        for entry in entries {
            let file = entry.map_err(failed)?.path();
            let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if hidden || file.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let (key, object) = read(&file).map_err(|why| ResourcesError::Damaged { file, why })?;
            resources.objects.insert(key, object);
        }
        Ok(resources)
    }

    /// Whether nothing was applied yet.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The one KafkaCluster.
    pub fn cluster(&self) -> Option<KafkaCluster> {
        self.of_kind(Kind::KafkaCluster).next().map(typed)
    }

    /// All Topics, by name.
    pub fn topics(&self) -> Vec<Topic> {
        self.of_kind(Kind::Topic).map(typed).collect()
    }

    /// The objects of one kind, by name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |((k, _), _)| *k == kind).map(|(_, object)| object)
    }

    /// Checks objects as a whole against the rules and against each other; changes nothing.
    /// `now` is the time as RFC 3339.
    pub fn check(&self, objects: &[Value], now: &str) -> Result<Changes, Refusal> {
        let mut changes = Changes { objects: Vec::new() };
        let mut reasons = Vec::new();
        for object in objects {
            let old = kind_of(object).ok().and_then(|kind| self.objects.get(&(kind, name_of(object))));
            let violations = validate(object, old);
            match kind_of(object) {
                Ok(kind) if violations.is_empty() => {
                    changes.objects.push(merge((kind, name_of(object)), object, old, now));
                }
                _ => reasons
                    .extend(violations.iter().map(|violation| format!("{}: {violation}", title(object)))),
            }
        }
        if reasons.is_empty() {
            reasons = self.conflicts(&changes);
        }
        if reasons.is_empty() {
            return Ok(changes);
        }
        Err(Refusal { reasons, remedy: "correct the manifest and apply it again".into(), invalid: true })
    }

    /// What is wrong with the whole, once each object is valid in itself.
    fn conflicts(&self, changes: &Changes) -> Vec<String> {
        let mut after: BTreeMap<&ObjectKey, &Value> = self.objects.iter().collect();
        after.extend(changes.objects.iter().map(|(key, _, object)| (key, object)));
        let clusters: Vec<&str> = after
            .keys()
            .filter(|(kind, _)| *kind == Kind::KafkaCluster)
            .map(|(_, name)| name.as_str())
            .collect();
        let [cluster] = clusters[..] else {
            return vec![self.not_one(&clusters)];
        };
        let mut reasons = Vec::new();
        let mut names = BTreeMap::new();
        for ((kind, name), object) in after {
            if *kind != Kind::Topic {
                continue;
            }
            let topic: Topic = typed(object);
            if topic.spec.cluster_ref.name != cluster {
                reasons.push(format!(
                    "Topic {name}: spec.clusterRef.name: {:?} is not the cluster of this folder; allowed is {cluster:?}",
                    topic.spec.cluster_ref.name
                ));
            }
            if let Some(other) = names.insert(topic.topic_name().to_owned(), name) {
                reasons.push(format!(
                    "Topic {name}: its topic name {:?} is taken by Topic {other}",
                    topic.topic_name()
                ));
            }
        }
        reasons
    }

    /// What to say where there isn't exactly one KafkaCluster.
    fn not_one(&self, clusters: &[&str]) -> String {
        let here = self.of_kind(Kind::KafkaCluster).next().map(name_of);
        match (clusters, here) {
            ([], _) => "there is no KafkaCluster among the manifests".to_owned(),
            (_, Some(here)) => {
                let others: Vec<&str> = clusters.iter().copied().filter(|name| *name != here).collect();
                let others = others.join(" and ");
                format!(
                    "this folder holds KafkaCluster {here}, not {others}: use that name, or another folder (--data)"
                )
            }
            (_, None) => format!("a folder holds one KafkaCluster, but here are {}", clusters.join(" and ")),
        }
    }

    /// Makes checked changes, each object's file atomically.
    pub fn commit(&mut self, changes: Changes) -> Result<(), ResourcesError> {
        for (key, action, object) in changes.objects {
            if action != Action::Unchanged {
                self.put(key, object)?;
            }
        }
        Ok(())
    }

    /// Sets the status of an object and keeps it, for what was decided once and must stay.
    pub fn set_status(&mut self, kind: Kind, name: &str, status: Value) -> Result<(), ResourcesError> {
        let key = (kind, name.to_owned());
        let Some(mut object) = self.objects.get(&key).cloned() else { return Ok(()) };
        object["status"] = status;
        self.put(key, object)
    }

    /// Keeps of a Topic's status what is decided once: which topic is in its care, and which settings are its
    /// own.
    pub fn keep_record(&mut self, name: &str, status: &TopicStatus) -> Result<(), ResourcesError> {
        let kept = self.topic(name).map(|topic| topic.status.unwrap_or_default());
        let record = |status: &TopicStatus| TopicStatus {
            topic_id: status.topic_id.clone(),
            managed_config: status.managed_config.clone(),
            asked_config: status.asked_config.clone(),
            ..Default::default()
        };
        let (kept, record) = (kept.as_ref().map(record), record(status));
        if kept.is_none_or(|kept| kept == record) {
            return Ok(());
        }
        self.set_status(Kind::Topic, name, json!(record))
    }

    /// The topic of this name, for deletion.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        self.objects.get(&(Kind::Topic, name.to_owned())).map(typed)
    }

    /// Forgets a Topic.
    pub fn remove_topic(&mut self, name: &str) -> Result<(), ResourcesError> {
        let key = (Kind::Topic, name.to_owned());
        let file = self.file(&key);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FolderError::Io { path: file, source: error }.into());
            }
            _ => {}
        }
        self.objects.remove(&key);
        Ok(())
    }

    fn put(&mut self, key: ObjectKey, object: Value) -> Result<(), ResourcesError> {
        write_atomically(&self.file(&key), to_yaml(std::slice::from_ref(&object)).as_bytes())?;
        self.objects.insert(key, object);
        Ok(())
    }

    fn file(&self, (kind, name): &ObjectKey) -> PathBuf {
        // Valid names hold no separators and don't begin with a dot.
        self.folder.join(format!("{}-{name}.yaml", kind.as_str().to_lowercase()))
    }
}

impl Changes {
    /// How many brokers the KafkaCluster asks for, where it is among the changes.
    pub fn replicas(&self) -> Option<i32> {
        let cluster = self.objects.iter().find(|((kind, _), ..)| *kind == Kind::KafkaCluster);
        cluster.map(|(_, _, object)| typed::<KafkaCluster>(object).spec.replicas)
    }

    /// What becomes of each object.
    pub fn results(&self) -> Vec<Applied> {
        let resource = |(kind, name): &ObjectKey| {
            format!("{}.{}/{name}", kind.as_str().to_lowercase(), ottla_api::GROUP)
        };
        self.objects
            .iter()
            .map(|(key, action, _)| Applied { resource: resource(key), action: *action })
            .collect()
    }
}

fn read(file: &std::path::Path) -> Result<(ObjectKey, Value), String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let objects = parse_manifests(&text, "it").map_err(|error| error.to_string())?;
    let [object] = <[Value; 1]>::try_from(objects).map_err(|_| "it holds several objects".to_owned())?;
    if let Some(violation) = validate(&object, None).first() {
        return Err(violation.to_string());
    }
    let kind = kind_of(&object).map_err(|violation| violation.to_string())?;
    Ok(((kind, name_of(&object)), object))
}

/// The object as it is to be kept: the new spec with the metadata that the old one was given.
fn merge(key: ObjectKey, object: &Value, old: Option<&Value>, now: &str) -> (ObjectKey, Action, Value) {
    let mut new = object.clone();
    let fields = new.as_object_mut().expect("valid objects are maps");
    fields.remove("status");
    let spec = fields.get("spec").cloned().unwrap_or_else(|| json!({}));
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let metadata = metadata.as_object_mut().expect("valid metadata is a map");
    let Some(old) = old else {
        metadata.insert("creationTimestamp".into(), now.into());
        metadata.insert("generation".into(), 1.into());
        metadata.insert("uid".into(), new_uid().into());
        return (key, Action::Created, new);
    };
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(1);
    let respecified = spec != *old.get("spec").unwrap_or(&Value::Null);
    let given = Map::from_iter(
        ["labels", "annotations"].iter().filter_map(|k| Some(((*k).to_owned(), metadata.get(*k)?.clone()))),
    );
    let relabelled = ["labels", "annotations"].iter().any(|k| given.get(*k) != old["metadata"].get(*k));
    for kept in ["creationTimestamp", "uid"] {
        metadata.insert(kept.into(), old["metadata"][kept].clone());
    }
    metadata.insert("generation".into(), (generation + i64::from(respecified)).into());
    if let Some(status) = old.get("status") {
        fields.insert("status".into(), status.clone());
    }
    let action = if respecified || relabelled { Action::Configured } else { Action::Unchanged };
    (key, action, new)
}

/// A random uid, as the API server gives one to each object.
fn new_uid() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    // Version 4, variant 1.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn typed<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).expect("what the schema takes, the types take")
}

fn name_of(object: &Value) -> String {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn title(object: &Value) -> String {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or("object");
    match name_of(object).as_str() {
        "" => kind.to_owned(),
        name => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::BUILT_IN;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn objects(text: &str) -> Vec<Value> {
        parse_manifests(text, "test").unwrap()
    }

    fn topic(name: &str, spec: &str) -> String {
        format!(
            "---\n{{apiVersion: ottla.dev/v1alpha1, kind: Topic, metadata: {{name: {name}}}, spec: {spec}}}\n"
        )
    }

    fn applied(dir: &std::path::Path, text: &str) -> (Resources, Result<Vec<&'static str>, Vec<String>>) {
        let mut resources = Resources::load(dir.join("resources")).unwrap();
        let outcome = resources.check(&objects(text), NOW).map(|changes| {
            let actions = changes.results().iter().map(|result| result.action.as_str()).collect();
            resources.commit(changes).unwrap();
            actions
        });
        (resources, outcome.map_err(|refusal| refusal.reasons))
    }

    #[test]
    fn what_was_applied_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(applied(dir.path(), BUILT_IN).1, Ok(vec!["created", "created"]));
        let (resources, again) = applied(dir.path(), BUILT_IN);
        assert_eq!(again, Ok(vec!["unchanged", "unchanged"]));
        assert_eq!(resources.cluster().unwrap().spec.replicas, 3);
        assert_eq!(resources.topics()[0].topic_name(), "hello");
    }

    #[test]
    fn a_topics_record_outlives_a_restart_and_an_edit() {
        let dir = tempfile::tempdir().unwrap();
        let (mut resources, _) = applied(dir.path(), BUILT_IN);
        let record = TopicStatus {
            topic_id: Some("id".into()),
            managed_config: Some([("retention.ms".to_owned(), "1000".to_owned())].into()),
            asked_config: [("retention.ms".to_owned(), vec!["2000".to_owned()])].into(),
            ..Default::default()
        };
        // What is seen again at each start isn't kept.
        let status = TopicStatus { partitions: Some(3), ..record.clone() };
        resources.keep_record("hello", &status).unwrap();
        let (resources, _) = applied(dir.path(), &BUILT_IN.replace("partitions: 3", "partitions: 6"));
        assert_eq!(resources.topics()[0].status, Some(record));
        let (mut resources, _) = applied(dir.path(), BUILT_IN);
        resources.keep_record("gone", &status).unwrap();
        assert_eq!(resources.topics().len(), 1);
    }

    #[test]
    fn a_changed_spec_counts_the_generation_up() {
        let dir = tempfile::tempdir().unwrap();
        applied(dir.path(), BUILT_IN).1.unwrap();
        let more = BUILT_IN.replace("partitions: 3", "partitions: 6");
        let (resources, outcome) = applied(dir.path(), &more);
        assert_eq!(outcome, Ok(vec!["unchanged", "configured"]));
        assert_eq!(resources.topics()[0].metadata.generation, Some(2));
        assert_eq!(resources.cluster().unwrap().metadata.generation, Some(1));
        let uid = resources.cluster().unwrap().metadata.uid.unwrap();
        assert!(ottla_plan::cluster_id_from_uid(&uid).is_some(), "{uid}");
    }

    #[test]
    fn refusals_have_the_words_of_the_rules_and_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        applied(dir.path(), BUILT_IN).1.unwrap();
        let fewer = BUILT_IN.replace("partitions: 3", "partitions: 2").replace("replicas: 3", "replicas: 4");
        let (resources, outcome) = applied(dir.path(), &fewer);
        let reasons = outcome.unwrap_err();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].starts_with("Topic hello: "), "{reasons:?}");
        assert!(reasons[0].contains("spec.partitions cannot decrease"), "{reasons:?}");
        assert_eq!(resources.cluster().unwrap().spec.replicas, 3);
    }

    #[test]
    fn a_topic_of_another_cluster_and_a_name_twice_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        applied(dir.path(), BUILT_IN).1.unwrap();
        let check =
            |name: &str, spec: &str| applied(dir.path(), &topic(name, spec)).1.unwrap_err().join("\n");
        assert!(check("a", "{clusterRef: {name: other}}").contains("allowed is \"demo\""));
        assert!(check("a", "{clusterRef: {name: demo}, topicName: hello}").contains("is taken by Topic"));
    }

    #[test]
    fn manifests_without_a_cluster_or_with_two_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let alone = applied(dir.path(), &topic("a", "{clusterRef: {name: demo}}")).1.unwrap_err();
        assert!(alone[0].contains("no KafkaCluster"), "{alone:?}");
        let both = format!("{BUILT_IN}---\n{}", BUILT_IN.replace("name: demo", "name: other"));
        let two = applied(dir.path(), &both).1.unwrap_err();
        assert!(two[0].contains("demo and other"), "{two:?}");
        applied(dir.path(), BUILT_IN).1.unwrap();
        let another = BUILT_IN.replace("name: demo", "name: other").replace("name: hello", "name: fresh");
        let other = applied(dir.path(), &another).1.unwrap_err();
        assert!(other[0].contains("this folder holds KafkaCluster demo, not other"), "{other:?}");
    }

    #[test]
    fn a_status_is_kept_over_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (mut resources, _) = applied(dir.path(), BUILT_IN);
        resources.set_status(Kind::KafkaCluster, "demo", json!({"clusterId": "abc"})).unwrap();
        let (resources, outcome) = applied(dir.path(), &BUILT_IN.replace("replicas: 3", "replicas: 4"));
        assert_eq!(outcome, Ok(vec!["configured", "unchanged"]));
        assert_eq!(resources.cluster().unwrap().status.unwrap().cluster_id.as_deref(), Some("abc"));
    }

    #[test]
    fn a_file_that_was_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        applied(dir.path(), BUILT_IN).1.unwrap();
        let file = dir.path().join("resources/topic-hello.yaml");
        fs::write(&file, "kind: Topic\n").unwrap();
        let error = Resources::load(dir.path().join("resources")).unwrap_err();
        assert!(error.to_string().contains("topic-hello.yaml"), "{error}");
    }

    #[test]
    fn a_removed_topic_is_gone_from_the_folder_too() {
        let dir = tempfile::tempdir().unwrap();
        let (mut resources, _) = applied(dir.path(), BUILT_IN);
        resources.remove_topic("hello").unwrap();
        assert!(resources.topics().is_empty());
        assert!(Resources::load(dir.path().join("resources")).unwrap().topics().is_empty());
    }
}
