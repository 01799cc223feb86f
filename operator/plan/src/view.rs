//! What is known of a running cluster: the control API's ClusterView, in types of our own.

use std::collections::BTreeMap;

use ottla_api::PartitionCounts;
use ottla_types::BrokerId;

/// A cluster at one metadata version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The cluster's id.
    pub cluster_id: String,
    /// The version that this is a picture of.
    pub metadata_version: u64,
    /// The broker that is the active controller, if one is known.
    pub active_controller: Option<BrokerId>,
    /// The brokers.
    pub brokers: Vec<BrokerView>,
    /// The topics, by name.
    pub topics: BTreeMap<String, TopicView>,
    /// What is wrong with the metadata quorum, with what to do, if anything is.
    pub quorum_trouble: Option<String>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerView {
    /// Its id.
    pub id: BrokerId,
    /// Whether it is out of service.
    pub fenced: bool,
    /// Whether it is being emptied: nothing new goes there.
    pub draining: bool,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// The id of its disk, as text.
    pub directory_id: String,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicView {
    /// Its id, as text.
    pub id: String,
    /// What was set on the topic itself.
    pub config: BTreeMap<String, String>,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionView>,
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionView {
    /// The brokers that keep it, in order of preference; those that a reassignment adds and removes too.
    pub replicas: Vec<BrokerId>,
    /// The one that leads it, if one does.
    pub leader: Option<BrokerId>,
    /// Those that are in sync.
    pub isr: Vec<BrokerId>,
    /// Those that aren't in sync and may lead all the same: they have everything that was acknowledged.
    pub elr: Vec<BrokerId>,
    /// Those that are out of service, or whose disk is gone.
    pub offline: Vec<BrokerId>,
    /// Those that a reassignment adds.
    pub adding: Vec<BrokerId>,
    /// Those that a reassignment removes.
    pub removing: Vec<BrokerId>,
    /// How many must be in sync for records to be acknowledged.
    pub min_insync_replicas: usize,
    /// What an administrator gave up by an unclean election, in words; empty if never.
    pub unclean_election: String,
}

impl PartitionView {
    /// Who keeps it once what is under way is done.
    pub fn target(&self) -> Vec<BrokerId> {
        self.replicas.iter().copied().filter(|id| !self.removing.contains(id)).collect()
    }

    /// Who keeps it, but for those that have yet to come.
    fn settled(&self) -> impl Iterator<Item = &BrokerId> {
        self.replicas.iter().filter(|id| !self.adding.contains(id))
    }

    /// Whether a replica is not in sync; those that a reassignment adds have yet to be.
    pub fn is_under_replicated(&self) -> bool {
        self.settled().any(|id| !self.isr.contains(id))
    }

    /// Whether a reassignment is under way.
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// As in "2 of 3 replicas in sync".
    pub fn in_sync_text(&self) -> String {
        let settled = self.settled().count();
        let in_sync = self.settled().filter(|id| self.isr.contains(id)).count();
        format!("{in_sync} of {settled} replicas in sync")
    }
}

/// The counts of some partitions.
pub(crate) fn counts<'a>(partitions: impl IntoIterator<Item = &'a PartitionView>) -> PartitionCounts {
    let mut counts = PartitionCounts::default();
    for partition in partitions {
        counts.total += 1;
        counts.offline += i32::from(partition.leader.is_none());
        counts.under_min_isr += i32::from(partition.isr.len() < partition.min_insync_replicas);
        counts.under_replicated += i32::from(partition.is_under_replicated());
        counts.reassigning += i32::from(partition.is_moving());
    }
    counts
}

/// What the counts mean, worst first.
pub(crate) fn troubles(counts: &PartitionCounts) -> Vec<Trouble> {
    let all = counts.total;
    let trouble = |count: i32, reason, heals, words: &str| Trouble {
        count,
        reason,
        heals,
        message: format!("{count} of {all} partition{} {words}", if all == 1 { "" } else { "s" }),
    };
    let mut troubles = vec![
        trouble(counts.offline, "PartitionsOffline", false, "offline: no replica may lead"),
        trouble(counts.under_min_isr, "UnderMinIsr", false, "under min.insync.replicas: no acks=all"),
        trouble(counts.under_replicated, "UnderReplicated", true, "under-replicated"),
        trouble(counts.reassigning, "Reassigning", true, "moving"),
    ];
    troubles.retain(|trouble| trouble.count > 0);
    troubles
}

/// Something that keeps partitions from being as asked.
pub(crate) struct Trouble {
    count: i32,
    /// In one word.
    pub reason: &'static str,
    /// Whether it passes by itself.
    pub heals: bool,
    /// In words.
    pub message: String,
}
