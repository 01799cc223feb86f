//! The placement of new partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ottla_types::BrokerId;

/// A broker that may get replicas, and what it holds already, of all topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// Its rack; brokers without one count as each in a rack of its own.
    pub rack: Option<String>,
    /// How many replicas it holds.
    pub replicas: usize,
    /// How many partitions prefer it as their leader.
    pub leaders: usize,
    /// Whether it is in service. Others get replicas only where there are too few that are, and lead nothing.
    pub live: bool,
}

/// Why partitions can't be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementError {
    /// How many replicas a partition should have.
    pub replication_factor: usize,
    /// How many brokers there are to hold them.
    pub brokers: usize,
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replication_factor, brokers } = self;
        if *replication_factor == 0 {
            return write!(f, "a partition needs at least one replica");
        }
        write!(
            f,
            "{replication_factor} replicas need as many brokers, one of them live, and there are {brokers}"
        )
    }
}

impl std::error::Error for PlacementError {}

/// Counts what each live broker holds: `brokers` with their racks, and the replicas of all partitions that
/// exist. Replicas on other brokers are left out.
pub fn loads<'a>(
    brokers: impl IntoIterator<Item = (BrokerId, Option<String>)>,
    assignments: impl IntoIterator<Item = &'a [BrokerId]>,
) -> Vec<Broker> {
    let mut by_id: BTreeMap<BrokerId, Broker> = brokers
        .into_iter()
        .map(|(id, rack)| (id, Broker { id, rack, replicas: 0, leaders: 0, live: true }))
        .collect();
    for replicas in assignments {
        for (position, id) in replicas.iter().enumerate() {
            if let Some(broker) = by_id.get_mut(id) {
                broker.replicas += 1;
                broker.leaders += usize::from(position == 0);
            }
        }
    }
    by_id.into_values().collect()
}

/// Places `count` new partitions of one topic; answers with the replicas of each, the preferred leader first.
///
/// `existing` are the replicas of the topic's partitions so far. The topic itself is spread first (so that no
/// broker gets all of a busy topic), then the whole: leaders and replicas of the topic differ by at most one
/// between brokers where that can be, and what is left goes to the broker that holds least. Replicas of a
/// partition are on distinct brokers and, if there are enough, in distinct racks. `seed` says where ties
/// start.
///
/// # Errors
/// When there are fewer brokers than replicas, none of them is live, or no replicas are asked for.
pub fn place(
    brokers: &[Broker],
    existing: &[Vec<BrokerId>],
    count: usize,
    replication_factor: usize,
    seed: u64,
) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
    let nobody = !brokers.iter().any(|broker| broker.live);
    if replication_factor == 0 || replication_factor > brokers.len() || nobody {
        return Err(PlacementError { replication_factor, brokers: brokers.len() });
    }
    let mut nodes = Node::all(brokers, existing, seed);
    let mut partitions: Vec<Vec<usize>> = (0..count).map(|_| vec![take_leader(&mut nodes)]).collect();
    for partition in &mut partitions {
        while partition.len() < replication_factor {
            let follower = take_follower(&mut nodes, partition);
            partition.push(follower);
        }
    }
    level(&mut nodes, &mut partitions);
    Ok(partitions.into_iter().map(|replicas| replicas.into_iter().map(|n| nodes[n].id).collect()).collect())
}

/// A broker while partitions are being placed; its place in the list is the last tie-break.
struct Node {
    id: BrokerId,
    rack: Rack,
    live: bool,
    /// Of this topic.
    topic_leaders: usize,
    topic_replicas: usize,
    /// Of all topics.
    leaders: usize,
    replicas: usize,
}

/// The broker that should hold the replica of `leaving` instead: not yet among `replicas`, in a rack of its
/// own if that can be, and with the least to hold. `brokers` are those that may; none, if none may.
pub fn substitute(brokers: &[Broker], replicas: &[BrokerId], leaving: BrokerId) -> Option<BrokerId> {
    let rack_of = |id: BrokerId| brokers.iter().find(|broker| broker.id == id).map(Broker::rack);
    let taken: Vec<Rack> =
        replicas.iter().filter(|id| **id != leaving).filter_map(|id| rack_of(*id)).collect();
    let leads = replicas.first() == Some(&leaving);
    brokers
        .iter()
        .filter(|broker| broker.live && broker.id != leaving && !replicas.contains(&broker.id))
        .min_by_key(|broker| {
            let leaders = if leads { broker.leaders } else { 0 };
            (taken.contains(&broker.rack()), broker.replicas, leaders, broker.id)
        })
        .map(|broker| broker.id)
}

impl Broker {
    fn rack(&self) -> Rack {
        self.rack.clone().map_or(Rack::OwnOf(self.id), Rack::Named)
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rack {
    Named(String),
    OwnOf(BrokerId),
}

impl Node {
    fn all(brokers: &[Broker], existing: &[Vec<BrokerId>], seed: u64) -> Vec<Self> {
        let mut sorted: Vec<&Broker> = brokers.iter().collect();
        sorted.sort_by_key(|broker| broker.id);
        let distinct: BTreeSet<BrokerId> = sorted.iter().map(|broker| broker.id).collect();
        assert_eq!(distinct.len(), sorted.len(), "broker ids are distinct");
        let start = (seed % sorted.len() as u64) as usize;
        sorted.rotate_left(start);
        sorted
            .iter()
            .map(|broker| Self {
                id: broker.id,
                rack: broker.rack(),
                live: broker.live,
                topic_leaders: existing
                    .iter()
                    .filter(|replicas| replicas.first() == Some(&broker.id))
                    .count(),
                topic_replicas: existing.iter().filter(|replicas| replicas.contains(&broker.id)).count(),
                leaders: broker.leaders,
                replicas: broker.replicas,
            })
            .collect()
    }
}

/// Chooses who leads the next partition.
fn take_leader(nodes: &mut [Node]) -> usize {
    let load =
        |node: &Node| (!node.live, node.topic_leaders, node.topic_replicas, node.leaders, node.replicas);
    let chosen = (0..nodes.len()).min_by_key(|&n| load(&nodes[n])).expect("there are brokers");
    let node = &mut nodes[chosen];
    node.topic_leaders += 1;
    node.leaders += 1;
    node.topic_replicas += 1;
    node.replicas += 1;
    chosen
}

/// Chooses the next follower of a partition.
fn take_follower(nodes: &mut [Node], partition: &[usize]) -> usize {
    let chosen = (0..nodes.len())
        .filter(|n| !partition.contains(n))
        .min_by_key(|&n| {
            let same_rack = partition.iter().any(|&other| nodes[other].rack == nodes[n].rack);
            (!nodes[n].live, same_rack, nodes[n].topic_replicas, nodes[n].replicas)
        })
        .expect("there are more brokers than replicas so far");
    nodes[chosen].topic_replicas += 1;
    nodes[chosen].replicas += 1;
    chosen
}

/// Moves followers from the fullest broker to the emptiest while that evens the topic out and keeps racks
/// apart.
fn level(nodes: &mut [Node], partitions: &mut [Vec<usize>]) {
    let limit = partitions.iter().map(Vec::len).sum::<usize>();
    for _ in 0..limit {
        let Some((partition, position, to)) = next_move(nodes, partitions) else { return };
        let from = std::mem::replace(&mut partitions[partition][position], to);
        nodes[from].topic_replicas -= 1;
        nodes[from].replicas -= 1;
        nodes[to].topic_replicas += 1;
        nodes[to].replicas += 1;
    }
}

/// A follower (partition, position) to move, and the broker to move it to.
fn next_move(nodes: &[Node], partitions: &[Vec<usize>]) -> Option<(usize, usize, usize)> {
    let mut by_load: Vec<usize> = (0..nodes.len()).collect();
    by_load.sort_by_key(|&n| nodes[n].topic_replicas);
    for &to in &by_load {
        for &from in by_load.iter().rev() {
            if nodes[from].topic_replicas < nodes[to].topic_replicas + 2 {
                break;
            }
            for (partition, replicas) in partitions.iter().enumerate() {
                let follower = replicas.iter().skip(1).position(|&n| n == from);
                if let Some(follower) = follower
                    && may_replace(nodes, replicas, from, to)
                {
                    return Some((partition, follower + 1, to));
                }
            }
        }
    }
    None
}

/// Whether the replica on `from` may be on `to` instead without doubling a broker or a rack, or leaving
/// service.
fn may_replace(nodes: &[Node], replicas: &[usize], from: usize, to: usize) -> bool {
    (nodes[to].live || !nodes[from].live)
        && !replicas.contains(&to)
        && !replicas.iter().any(|&other| other != from && nodes[other].rack == nodes[to].rack)
}
