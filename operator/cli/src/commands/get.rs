//! `ottla get`: shows clusters, topics, brokers and partitions as kubectl would.

use std::io::Write;

use ottla_api::to_json;
use ottla_local::{BrokerSnapshot, ClusterSnapshot, PartitionSnapshot, Reply, Request, to_yaml};
use serde::Serialize;
use serde_json::{Value, json};

use crate::age::age;
use crate::args::{Format, GetArgs, GetKind};
use crate::failure::Failure;
use crate::table::{NONE, Table};
use crate::target::or_bootstrap;
use crate::{local, remote};

/// Shows what is asked for, of the local cluster or of the one at `--bootstrap`.
///
/// # Errors
/// When no cluster can be reached, or it has nothing of that name.
pub async fn run(args: &GetArgs) -> Result<(), Failure> {
    let data = &args.target.data.data;
    let text = match (args.kind, &args.target.bootstrap) {
        (GetKind::Clusters | GetKind::Topics, None) => {
            let kind = if args.kind == GetKind::Clusters { "KafkaCluster" } else { "Topic" };
            let request = Request::Get { kind: kind.to_owned(), name: args.name.clone() };
            let Reply::Objects { objects } = local::request(data, &request).await.map_err(or_bootstrap)?
            else {
                return Err(local::unexpected());
            };
            show(args, &objects, |wide| resources(args.kind, &objects, wide))?
        }
        (kind, bootstrap) => {
            let cluster = match bootstrap {
                None => local::cluster(data).await.map_err(or_bootstrap)?,
                Some(bootstrap) => remote::cluster(bootstrap).await?,
            };
            of_cluster(kind, args, &cluster)?
        }
    };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn of_cluster(kind: GetKind, args: &GetArgs, cluster: &ClusterSnapshot) -> Result<String, Failure> {
    let name = args.name.as_deref();
    let missing = |what: &str| Failure::new(format!("{what} {:?} was not found", name.unwrap_or_default()));
    match kind {
        GetKind::Brokers => {
            let mut found: Vec<&BrokerSnapshot> = cluster.brokers.iter().collect();
            found.retain(|b| name.is_none_or(|name| b.id.to_string() == name));
            if found.is_empty() && name.is_some() {
                return Err(missing("broker").remedy("`ottla get brokers` lists them"));
            }
            show(args, &found, |wide| brokers(&found, cluster.active_controller, wide))
        }
        GetKind::Partitions => {
            let mut found: Vec<&PartitionSnapshot> = cluster.partitions.iter().collect();
            found.retain(|p| name.is_none_or(|name| p.topic == name));
            if found.is_empty() && name.is_some() {
                return Err(missing("topic").remedy("`ottla get topics` lists them"));
            }
            show(args, &found, |wide| partitions(&found, wide))
        }
        GetKind::Topics => {
            let found: Vec<TopicRow> = topic_rows(cluster, name);
            if found.is_empty() && name.is_some() {
                return Err(missing("topic").remedy("`ottla get topics` lists them"));
            }
            show(args, &found, |_| topics(&found))
        }
        GetKind::Clusters => show(args, &[cluster], |_| clusters(cluster)),
    }
}

/// In the form that was asked for; one that was named stands alone, not in a list.
fn show<T: Serialize>(args: &GetArgs, found: &[T], table: impl Fn(bool) -> Table) -> Result<String, Failure> {
    let mut out = Vec::new();
    match args.output {
        Format::Table | Format::Wide if found.is_empty() => eprintln!("Nothing found."),
        Format::Table | Format::Wide => table(args.output == Format::Wide).write(&mut out)?,
        Format::Json | Format::Yaml => {
            let mut values: Vec<Value> = found.iter().map(to_json).collect();
            let all = match (args.name.is_some(), values.len()) {
                (true, 1) => values.remove(0),
                _ => json!({"apiVersion": "v1", "kind": "List", "items": values}),
            };
            out = match args.output {
                Format::Json => format!("{all:#}\n").into_bytes(),
                _ => to_yaml(&[all]).into_bytes(),
            };
        }
    }
    Ok(String::from_utf8(out).expect("all parts are text"))
}

/// A heading, and where its value lies in an object.
type Column = (&'static str, &'static str);

const CLUSTER_COLUMNS: [Column; 5] = [
    ("NAME", "/metadata/name"),
    ("BROKERS", "/spec/replicas"),
    ("READY BROKERS", "/status/readyReplicas"),
    ("READY", "Ready/status"),
    ("REASON", "Ready/reason"),
];
const CLUSTER_COLUMNS_WIDE: [Column; 2] = [("CLUSTER ID", "/status/clusterId"), ("MESSAGE", "Ready/message")];
const TOPIC_COLUMNS: [Column; 7] = [
    ("NAME", "/metadata/name"),
    ("CLUSTER", "/spec/clusterRef/name"),
    ("TOPIC", "/status/topicName"),
    ("PARTITIONS", "/status/partitions"),
    ("REPLICAS", "/status/replicas"),
    ("READY", "Ready/status"),
    ("REASON", "Ready/reason"),
];
const TOPIC_COLUMNS_WIDE: [Column; 2] = [("TOPIC ID", "/status/topicId"), ("MESSAGE", "Ready/message")];

fn resources(kind: GetKind, objects: &[Value], wide: bool) -> Table {
    let mut columns: Vec<Column> = match kind {
        GetKind::Clusters => CLUSTER_COLUMNS.to_vec(),
        _ => TOPIC_COLUMNS.to_vec(),
    };
    if kind == GetKind::Clusters {
        columns.push(("BOOTSTRAP", "/status/bootstrapServers"));
    }
    if wide {
        columns.extend(if kind == GetKind::Clusters { CLUSTER_COLUMNS_WIDE } else { TOPIC_COLUMNS_WIDE });
    }
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).chain(["AGE"]).collect();
    let mut table = Table::new(&headings);
    for object in objects {
        let created = object.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
        let cells = columns.iter().map(|(_, path)| cell(object, path));
        table.row(cells.chain([created.map_or_else(|| NONE.to_owned(), age)]));
    }
    table
}

fn cell(object: &Value, path: &str) -> String {
    let value = match path.strip_prefix("Ready/") {
        None => object.pointer(path),
        Some(field) => object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .and_then(|conditions| conditions.iter().find(|condition| condition["type"] == "Ready"))
            .and_then(|condition| condition.get(field)),
    };
    match value {
        None | Some(Value::Null) => NONE.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn brokers(found: &[&BrokerSnapshot], controller: Option<i32>, wide: bool) -> Table {
    let mut headings = vec!["ID", "ADDRESS", "STATE", "CONTROLLER", "LEADERS", "REPLICAS"];
    if wide {
        headings.extend(["PID", "RESTARTS", "RACK"]);
    }
    let mut table = Table::new(&headings);
    for broker in found {
        let active = if controller == Some(broker.id) { "active" } else { "" };
        let mut row = vec![
            broker.id.to_string(),
            broker.address.clone(),
            broker.state.clone(),
            active.to_owned(),
            broker.leaders.to_string(),
            broker.replicas.to_string(),
        ];
        if wide {
            row.extend([or_none(broker.pid), or_none(broker.restarts), or_none(broker.rack.as_ref())]);
        }
        table.row(row);
    }
    table
}

fn partitions(found: &[&PartitionSnapshot], wide: bool) -> Table {
    let mut headings = vec!["TOPIC", "PARTITION", "LEADER", "REPLICAS", "ISR", "ELR", "ADDING", "REMOVING"];
    if wide {
        headings.push("LEADER EPOCH");
    }
    let mut table = Table::new(&headings);
    for partition in found {
        let mut row = vec![
            partition.topic.clone(),
            partition.partition.to_string(),
            or_none(partition.leader),
            list(&partition.replicas),
            list(&partition.isr),
            list(&partition.elr),
            list(&partition.adding),
            list(&partition.removing),
        ];
        if wide {
            row.push(partition.leader_epoch.to_string());
        }
        table.row(row);
    }
    table
}

/// A topic of a cluster of which only the address is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TopicRow {
    name: String,
    partitions: usize,
    replicas: usize,
    leaderless: usize,
}

fn topic_rows(cluster: &ClusterSnapshot, name: Option<&str>) -> Vec<TopicRow> {
    let mut rows = Vec::new();
    for partitions in cluster.partitions.chunk_by(|a, b| a.topic == b.topic) {
        let topic = &partitions[0].topic;
        if name.is_some_and(|name| topic != name) {
            continue;
        }
        rows.push(TopicRow {
            name: topic.clone(),
            partitions: partitions.len(),
            replicas: partitions.iter().map(|p| p.replicas.len()).min().unwrap_or_default(),
            leaderless: partitions.iter().filter(|p| p.leader.is_none()).count(),
        });
    }
    rows
}

fn topics(found: &[TopicRow]) -> Table {
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICAS", "LEADERLESS"]);
    for topic in found {
        table.row([
            topic.name.clone(),
            topic.partitions.to_string(),
            topic.replicas.to_string(),
            topic.leaderless.to_string(),
        ]);
    }
    table
}

fn clusters(cluster: &ClusterSnapshot) -> Table {
    let mut table = Table::new(&["CLUSTER ID", "BROKERS", "CONTROLLER", "BOOTSTRAP"]);
    table.row([
        or_none(cluster.cluster_id.as_ref()),
        cluster.brokers.len().to_string(),
        or_none(cluster.active_controller),
        cluster.bootstrap_servers.clone(),
    ]);
    table
}

fn list(ids: &[i32]) -> String {
    if ids.is_empty() {
        return NONE.to_owned();
    }
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn resources_have_their_conditions_in_columns() {
        let topic = json!({
            "metadata": {"name": "orders"},
            "spec": {"clusterRef": {"name": "demo"}},
            "status": {"topicName": "orders_v1", "partitions": 3,
                "conditions": [{"type": "Ready", "status": "True", "reason": "AsAsked"}]},
        });
        assert_eq!(
            text(&resources(GetKind::Topics, &[topic], false)),
            "NAME     CLUSTER   TOPIC       PARTITIONS   REPLICAS   READY   REASON    AGE\n\
             orders   demo      orders_v1   3            <none>     True    AsAsked   <none>\n"
        );
    }

    #[test]
    fn a_leaderless_partition_shows() {
        let partition = PartitionSnapshot {
            topic: "orders".into(),
            replicas: vec![2, 0],
            isr: vec![],
            elr: vec![2],
            adding: vec![0],
            ..Default::default()
        };
        assert_eq!(
            text(&partitions(&[&partition], false)),
            "TOPIC    PARTITION   LEADER   REPLICAS   ISR      ELR   ADDING   REMOVING\n\
             orders   0           <none>   2,0        <none>   2     0        <none>\n"
        );
        let cluster = ClusterSnapshot { partitions: vec![partition], ..Default::default() };
        let row = TopicRow { name: "orders".into(), partitions: 1, replicas: 2, leaderless: 1 };
        assert_eq!(topic_rows(&cluster, None), [row]);
        assert_eq!(topic_rows(&cluster, Some("other")), []);
    }

    #[test]
    fn brokers_show_who_controls() {
        let broker = BrokerSnapshot {
            id: 4,
            address: "127.0.0.1:9092".into(),
            state: "Ready".into(),
            ..Default::default()
        };
        assert_eq!(
            text(&brokers(&[&broker], Some(4), false)),
            "ID   ADDRESS          STATE   CONTROLLER   LEADERS   REPLICAS\n\
             4    127.0.0.1:9092   Ready   active       0         0\n"
        );
    }
}
