//! The scenario: stages in order, each a thing that a person does and what must come of it.

mod admission;
mod change;
mod cluster;
mod deletion;
mod faults;
mod install;
mod records;
mod restarts;
mod rights;
mod steady;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::bed::Bed;
use crate::kafka::Client;
use crate::kube::{Kube, text};
use crate::report;

/// Where the clusters and their clients live.
pub const NAMESPACE: &str = "kafka";
/// Where the operator lives.
pub const OPERATOR: &str = "ottla-system";
/// The release, and so what the operator's Deployment and ServiceAccount are called.
pub const RELEASE: &str = "ottla";
/// How long a cluster may take to get ready, on two cores that do all of it.
pub const READY: Duration = Duration::from_secs(120);
/// How long anything else may take.
pub const SOON: Duration = Duration::from_secs(60);

/// What every stage gets.
pub struct World<'a> {
    /// The cluster by its tools.
    pub kube: Kube<'a>,
    /// The folder of the image archives, if not the usual one.
    pub images: Option<PathBuf>,
}

impl<'a> World<'a> {
    /// On this bed.
    pub fn new(bed: &'a Bed, images: Option<PathBuf>) -> World<'a> {
        World { kube: Kube { bed }, images }
    }

    /// A client in a pod, with the address that the status of `demo` gives for inside.
    pub fn inside(&self) -> Result<Client<'_>> {
        let cluster = self.kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
        let bootstrap = text(&cluster, "/status/bootstrapServers")?.to_owned();
        Ok(Client::in_pod(&self.kube, NAMESPACE, bootstrap))
    }

    /// A client on this machine, with the address that the status of `demo` gives for outside.
    pub fn outside(&self) -> Result<Client<'_>> {
        let cluster = self.kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
        let bootstrap = text(&cluster, "/status/externalBootstrapServers")?.to_owned();
        Ok(Client::outside(&self.kube, bootstrap))
    }
}

struct Stage {
    name: &'static str,
    needs: &'static [&'static str],
    run: fn(&World) -> Result<()>,
}

const STAGES: &[Stage] = &[
    Stage { name: "install", needs: &[], run: install::chart },
    Stage { name: "admission", needs: &["install"], run: admission::refused_when_made },
    Stage { name: "cluster", needs: &["install"], run: cluster::three_brokers },
    Stage { name: "pods", needs: &["cluster"], run: cluster::pods_are_restricted_and_apart },
    Stage { name: "topic", needs: &["cluster"], run: cluster::topic },
    Stage { name: "columns", needs: &["topic"], run: cluster::columns },
    Stage { name: "admission-update", needs: &["topic"], run: admission::refused_when_changed },
    Stage { name: "inside", needs: &["topic"], run: records::inside },
    Stage { name: "outside", needs: &["topic"], run: records::outside },
    Stage { name: "steady", needs: &["topic"], run: steady::writes_nothing },
    Stage { name: "hands", needs: &["topic"], run: steady::mends_what_hands_change },
    Stage { name: "spec-corrected", needs: &["install"], run: restarts::corrected_spec_heals },
    Stage { name: "pod-deleted", needs: &["inside", "outside"], run: records::pod_deleted },
    Stage { name: "change", needs: &["inside", "outside"], run: change::partitions_and_a_topic },
    Stage { name: "replicas-added", needs: &["cluster"], run: faults::replicas_added },
    Stage { name: "settings-rolled", needs: &["cluster"], run: faults::settings_rolled },
    Stage { name: "fault-pod-deleted", needs: &["cluster"], run: faults::pod_deleted },
    Stage { name: "fault-broker-killed", needs: &["cluster"], run: faults::broker_killed },
    Stage { name: "fault-node-cut", needs: &["cluster"], run: faults::node_cut },
    Stage { name: "fault-node-killed", needs: &["cluster"], run: faults::node_killed },
    Stage { name: "fault-node-drained", needs: &["cluster"], run: faults::node_drained },
    Stage { name: "fault-volume-wiped", needs: &["cluster"], run: faults::volume_wiped },
    Stage { name: "eviction-refused", needs: &["cluster"], run: restarts::eviction_of_another_pod },
    Stage { name: "operator-upgraded", needs: &["cluster"], run: steady::operator_upgraded },
    Stage { name: "operator-restarted", needs: &["change"], run: steady::operator_restarted },
    Stage { name: "topics-deleted", needs: &["change"], run: deletion::topics },
    Stage { name: "cluster-deleted", needs: &["topics-deleted"], run: deletion::cluster_that_retains },
    Stage { name: "cluster-again", needs: &["cluster-deleted"], run: deletion::cluster_again },
    Stage { name: "volumes-deleted", needs: &["install"], run: deletion::cluster_that_deletes },
    Stage { name: "namespace-deleted", needs: &["install"], run: deletion::namespace },
    Stage { name: "rights", needs: &["change", "settings-rolled"], run: rights::called_is_granted },
    Stage { name: "uninstall", needs: &["install"], run: install::uninstall },
];

/// Runs the stages (`only` these, if any are named), except those that need one that failed; true if all
/// passed.
pub fn run_all(world: &World, only: &[String], fail_fast: bool) -> bool {
    let mut failed: Vec<&str> = Vec::new();
    let mut passed = 0;
    for stage in STAGES.iter().filter(|s| only.is_empty() || only.iter().any(|name| name == s.name)) {
        let began = Instant::now();
        let broken = stage.needs.iter().find(|need| failed.contains(need));
        let result = match broken {
            Some(need) => Err(anyhow!("not run: it needs {need}")),
            None if fail_fast && !failed.is_empty() => Err(anyhow!("not run: {} failed", failed[0])),
            None => (stage.run)(world),
        };
        match result {
            Ok(()) => {
                passed += 1;
                report::passed(stage.name, began.elapsed());
            }
            Err(error) => {
                report::failed(stage.name, began.elapsed(), &error);
                // One report is enough to read; what failed first is most often why the rest did.
                if failed.is_empty() {
                    report::diagnose(&world.kube);
                }
                failed.push(stage.name);
            }
        }
    }
    println!("\n{passed} passed, {} failed", failed.len());
    failed.is_empty() && passed > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_stands_before_the_stage() {
        for (at, stage) in STAGES.iter().enumerate() {
            for need in stage.needs {
                assert!(STAGES[..at].iter().any(|s| s.name == *need), "{} needs {need}", stage.name);
            }
        }
    }
}
