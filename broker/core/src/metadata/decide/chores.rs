//! What the active controller does unasked, now and then: it gives preferred leaders their partitions back,
//! empties brokers, and completes what is left lying.

use ottla_placement as placement;
use ottla_types::BrokerId;

use super::super::command::Command;
use super::super::image::MetadataImage;
use super::super::replica_command::{ElectLeaders, Election, ElectionKind, ReassignPartitions, Reassignment};

/// How many partitions move off brokers that are being emptied at the same time.
const DRAIN_MOVES_MAX: usize = 50;

/// How many leaders one command moves.
const ELECTIONS_MAX: usize = 1_000;

impl MetadataImage {
    /// Commands that bring the cluster nearer to how it should be; none when all is well. They look at every
    /// partition: ask for them when something changed and some time has passed, one round after the other.
    pub fn chores(&self) -> Vec<Command> {
        let mut chores = Vec::new();
        let elections = self.preferred_elections();
        if !elections.is_empty() {
            chores.push(Command::ElectLeaders(ElectLeaders { elections }));
        }
        let mut partitions = self.unsettled();
        partitions.extend(self.moves_off_draining_brokers());
        if !partitions.is_empty() {
            chores.push(Command::ReassignPartitions(ReassignPartitions { partitions }));
        }
        chores
    }

    fn preferred_elections(&self) -> Vec<Election> {
        let waiting = self.every_partition().filter(|(_, _, partition)| self.may_be_preferred(partition));
        waiting
            .take(ELECTIONS_MAX)
            .map(|(topic, partition, _)| Election {
                topic: topic.id,
                partition,
                kind: ElectionKind::Preferred,
            })
            .collect()
    }

    /// Reassignments that could be over, as after an update that knows better when they are.
    fn unsettled(&self) -> Vec<Reassignment> {
        let mut unsettled = Vec::new();
        for (topic, index, partition) in self.every_partition().filter(|(_, _, p)| p.is_reassigning()) {
            if self.change_to(topic, index, partition.clone()).is_some() {
                let replicas = Some(partition.target().to_vec());
                unsettled.push(Reassignment { topic: topic.id, partition: index, replicas });
            }
        }
        unsettled
    }

    /// The next moves off the brokers that are being emptied: each replica goes to the broker that holds
    /// least, and only so many at a time.
    fn moves_off_draining_brokers(&self) -> Vec<Reassignment> {
        let is_draining = |id: &BrokerId| self.broker(*id).is_some_and(|broker| broker.draining);
        if !self.brokers.values().any(|broker| broker.draining) {
            return Vec::new();
        }
        let partitions = self.every_partition();
        let leaving = partitions.filter(|(_, _, partition)| partition.removing.iter().any(is_draining));
        let room = DRAIN_MOVES_MAX.saturating_sub(leaving.count());
        let mut loads = self.loads();
        let mut moves = Vec::new();
        for (topic, index, partition) in self.every_partition() {
            if moves.len() >= room {
                return moves;
            }
            if let Some(replicas) = without_draining(&mut loads, partition.target(), is_draining) {
                moves.push(Reassignment { topic: topic.id, partition: index, replicas: Some(replicas) });
            }
        }
        moves
    }
}

/// `replicas` with others in the place of those on draining brokers; none if nothing has to move, or nobody
/// can take it.
fn without_draining(
    loads: &mut [placement::Broker],
    replicas: &[BrokerId],
    is_draining: impl Fn(&BrokerId) -> bool,
) -> Option<Vec<BrokerId>> {
    let mut target = replicas.to_vec();
    for position in 0..target.len() {
        if !is_draining(&target[position]) {
            continue;
        }
        let Some(to) = placement::substitute(loads, &target, target[position]) else { continue };
        target[position] = to;
        if let Some(load) = loads.iter_mut().find(|load| load.id == to) {
            load.replicas += 1;
            load.leaders += usize::from(position == 0);
        }
    }
    (target != replicas).then_some(target)
}
