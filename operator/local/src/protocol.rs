//! What is said over the socket of a running cluster: one line of JSON each way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question or an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// Create or change resources: all of them, or none where one is refused.
    Apply {
        /// The objects, defaults not filled in.
        objects: Vec<Value>,
        /// Only check.
        dry_run: bool,
    },
    /// The resources of a kind, with their status.
    Get {
        /// KafkaCluster or Topic.
        kind: String,
        /// Only this one.
        name: Option<String>,
    },
    /// Brokers, partitions, addresses.
    Cluster,
    /// Delete a resource.
    Delete {
        /// KafkaCluster or Topic.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reply {
    /// Each object, in the order of the request.
    Applied {
        /// What became of it.
        results: Vec<Applied>,
    },
    /// The resources that were asked for.
    Objects {
        /// With status, in order of their names.
        objects: Vec<Value>,
    },
    /// The cluster as it is.
    Cluster {
        /// Brokers, partitions, addresses.
        cluster: Box<ClusterSnapshot>,
    },
    /// The resource is gone.
    Deleted {
        /// What became of the records, in a sentence.
        records: String,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One line for each thing that is wrong.
    pub reasons: Vec<String>,
    /// What to do about it.
    pub remedy: String,
    /// Whether a manifest is at fault, not the state of the cluster.
    pub invalid: bool,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// As kubectl names it, as in `topic.ottla.dev/orders`.
    pub resource: String,
    /// created, configured or unchanged.
    pub action: Action,
}

/// What `apply` did to an object, in kubectl's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It is new.
    Created,
    /// It differs from what was.
    Configured,
    /// It was so already.
    Unchanged,
}

impl Action {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A cluster as it is just now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSnapshot {
    /// The KafkaCluster's name; empty where only its address is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The id that every broker's disk carries.
    pub cluster_id: Option<String>,
    /// What to give a client as bootstrap.servers.
    pub bootstrap_servers: String,
    /// The broker that decides on metadata.
    pub active_controller: Option<i32>,
    /// In order of their ids.
    pub brokers: Vec<BrokerSnapshot>,
    /// In order of topic and index.
    pub partitions: Vec<PartitionSnapshot>,
}

/// A broker as it is just now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerSnapshot {
    /// Its `node.id`.
    pub id: i32,
    /// Where clients reach it, as `host:port`.
    pub address: String,
    /// Ready, or why not.
    pub state: String,
    /// Its rack, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// How many partitions it leads.
    pub leaders: usize,
    /// How many partitions it keeps.
    pub replicas: usize,
    /// Its process, if it runs on this machine under `up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was started again after it died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
}

/// A partition as it is just now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionSnapshot {
    /// The topic's name.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The broker that leads it, if any does.
    pub leader: Option<i32>,
    /// How many leaders it had before.
    pub leader_epoch: i32,
    /// The brokers that keep it, in order of preference.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub isr: Vec<i32>,
    /// Those that aren't and still have everything that was acknowledged, so that they may lead.
    #[serde(default)]
    pub elr: Vec<i32>,
    /// Those that come, while the partition moves.
    #[serde(default)]
    pub adding: Vec<i32>,
    /// Those that go then.
    #[serde(default)]
    pub removing: Vec<i32>,
    /// What was given up when a replica was made leader that may lack records; empty if never.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unclean_election: String,
}

impl ClusterSnapshot {
    /// Counts each broker's leaders and replicas from the partitions.
    pub fn count_replicas(&mut self) {
        for broker in &mut self.brokers {
            broker.leaders = self.partitions.iter().filter(|p| p.leader == Some(broker.id)).count();
            broker.replicas = self.partitions.iter().filter(|p| p.replicas.contains(&broker.id)).count();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_are_one_line_and_come_back() {
        let request = Request::Get { kind: "Topic".into(), name: None };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"request":"get","kind":"Topic","name":null}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        let refusal = Refusal { reasons: vec!["a\nb".into()], remedy: "c".into(), invalid: true };
        let text = serde_json::to_string(&Reply::Refused(refusal.clone())).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), Reply::Refused(refusal));
    }

    #[test]
    fn leaders_and_replicas_are_counted() {
        let partition = |leader, replicas| PartitionSnapshot { leader, replicas, ..Default::default() };
        let mut cluster = ClusterSnapshot {
            brokers: vec![
                BrokerSnapshot { id: 1, ..Default::default() },
                BrokerSnapshot { id: 2, ..Default::default() },
            ],
            partitions: vec![partition(Some(1), vec![1, 2]), partition(None, vec![2])],
            ..Default::default()
        };
        cluster.count_replicas();
        let counts: Vec<_> = cluster.brokers.iter().map(|b| (b.leaders, b.replicas)).collect();
        assert_eq!(counts, [(1, 1), (0, 2)]);
    }
}
