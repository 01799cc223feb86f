//! Each broker's settings file, by the same plan as on Kubernetes; and what a cluster decides only once.

use std::collections::BTreeMap;
use std::path::Path;

use ottla_api::{BrokerStatus, KafkaCluster, KafkaClusterStatus};
use ottla_plan::{Member, cluster_id_from_uid, loopback_place, server_properties, voters_of};
use ottla_types::{BrokerId, ClusterId};

use crate::ports::Ports;

/// The most brokers on one machine; their ports are counted in one row of a thousand.
pub(crate) const BROKERS_MAX: i32 = 100;

/// The status with what is decided once: the cluster's id and its voters. Brokers join its record.
pub(crate) fn identified(cluster: &KafkaCluster) -> KafkaClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    let ids: Vec<BrokerId> = (0..cluster.spec.replicas).map(BrokerId).collect();
    if status.cluster_id.is_none() {
        let uid = cluster.metadata.uid.as_deref().and_then(cluster_id_from_uid);
        status.cluster_id = uid.map(|id| id.to_string());
    }
    if status.voters.is_empty() {
        status.voters = voters_of(&ids).iter().map(|id| id.0).collect();
    }
    for BrokerId(id) in ids {
        if status.brokers.iter().all(|broker| broker.id != id) {
            status.brokers.push(BrokerStatus { id, pod: format!("broker-{id}"), ..Default::default() });
        }
    }
    status
}

/// The `server.properties` of each broker that should run, by id.
///
/// Empty where the status lacks the cluster's id, which [`identified`] gives.
pub(crate) fn properties(
    cluster: &KafkaCluster,
    status: &KafkaClusterStatus,
    ports: Ports,
    data: impl Fn(i32) -> std::path::PathBuf,
) -> BTreeMap<i32, String> {
    let Some(cluster_id) = status.cluster_id.as_deref().and_then(|id| id.parse::<ClusterId>().ok()) else {
        return BTreeMap::new();
    };
    let members: Vec<Member> = (0..cluster.spec.replicas)
        .map(|id| Member {
            id: BrokerId(id),
            forms: status.voters.contains(&id),
            host: "127.0.0.1".into(),
            port: ports.control(id),
        })
        .collect();
    (0..cluster.spec.replicas)
        .filter_map(|id| {
            let ordinal = u16::try_from(id).ok()?;
            let data = absolute(&data(id));
            let place = loopback_place(&cluster.spec, BrokerId(id), ordinal, ports.first(), &data)?;
            Some((id, server_properties(&cluster.spec, cluster_id, &members, &place)))
        })
        .collect()
}

/// A broker doesn't start in the folder where `up` did.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(replicas: i32) -> KafkaCluster {
        let mut cluster = KafkaCluster::new("demo", Default::default());
        cluster.spec.replicas = replicas;
        cluster.metadata.uid = Some("00000000-0000-4000-8000-000000000001".into());
        cluster
    }

    #[test]
    fn the_id_and_the_voters_stay_when_brokers_are_added() {
        let mut one = cluster(1);
        let first = identified(&one);
        assert_eq!(first.voters, [0]);
        one.status = Some(first.clone());
        one.spec.replicas = 5;
        one.metadata.uid = None;
        let then = identified(&one);
        assert_eq!((&then.cluster_id, &then.voters), (&first.cluster_id, &first.voters));
        assert_eq!(then.brokers.len(), 5);
    }

    #[test]
    fn each_broker_has_its_own_ports_and_folder() {
        let cluster = cluster(3);
        let all =
            properties(&cluster, &identified(&cluster), Ports::from(9092), |id| format!("/d/{id}").into());
        assert_eq!(all.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(
            all[&2].contains("listeners=INTERNAL://127.0.0.1:9094,CONTROLLER://127.0.0.1:19094\n"),
            "{}",
            all[&2]
        );
        assert!(all[&2].contains("log.dirs=/d/2\n") && all[&2].contains("127.0.0.1:29094"), "{}", all[&2]);
    }
}
