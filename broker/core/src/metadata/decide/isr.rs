//! Who is in sync, as the leaders say, and who leads, as people say.

use std::collections::BTreeSet;

use ottla_types::{BrokerId, PartitionEpoch, PlantedBug, planted};

use super::super::image::{BrokerImage, MetadataImage, PartitionImage, TopicImage, UncleanElection};
use super::super::record::PartitionChange;
use super::super::replica_command::{
    AlterPartition, AlterPartitionError, AlterPartitions, ElectLeaders, Election, ElectionKind, IsrMember,
};
use super::super::reply::{ElectedLeader, ElectionError, ElectionErrorKind, Reply};
use super::{Decided, Draft};

impl MetadataImage {
    pub(super) fn alter_partitions(&self, command: &AlterPartitions) -> Decided {
        self.present_broker(command.broker, command.broker_epoch)?;
        let mut draft = Draft::new(self);
        let mut changes: Vec<PartitionChange> = Vec::new();
        let mut seen = BTreeSet::new();
        let results = command.partitions.iter().map(|asked| {
            if !seen.insert((asked.topic, asked.partition)) {
                return Err(AlterPartitionError::InvalidRequest);
            }
            let altered = self.alter_partition(command.broker, asked);
            if let Err(AlterPartitionError::IneligibleReplica(_)) = altered {
                changes.extend(self.renumbered(asked));
            }
            let (epoch, change) = altered?;
            changes.extend(change);
            Ok(epoch)
        });
        let reply = Reply::PartitionsAltered(results.collect());
        draft.change(changes);
        Ok((draft.records, reply))
    }

    /// The epoch of the state that is asked for, and the change that leads there.
    fn alter_partition(
        &self,
        leader: BrokerId,
        asked: &AlterPartition,
    ) -> Result<(PartitionEpoch, Option<PartitionChange>), AlterPartitionError> {
        use AlterPartitionError::{
            FencedLeaderEpoch, IneligibleReplica, InvalidRequest, InvalidUpdateVersion, NotController,
            UnknownPartition, UnknownTopicId,
        };
        let topic = self.topics.get(&asked.topic).ok_or(UnknownTopicId)?;
        let present = topic.partition(asked.partition).ok_or(UnknownPartition)?;
        if asked.leader_epoch > present.leader_epoch || asked.partition_epoch > present.partition_epoch {
            return Err(NotController);
        }
        // Only to tell the leader why, as Kafka does: it takes both epochs from one image, and no leader
        // epoch begins without a new partition epoch, so the check of that one below would refuse it too.
        if asked.leader_epoch < present.leader_epoch {
            return Err(FencedLeaderEpoch);
        }
        let isr: BTreeSet<BrokerId> = asked.isr.iter().map(|member| member.broker).collect();
        let is_sound = isr.len() == asked.isr.len() && isr.iter().all(|id| present.replicas.contains(id));
        if present.leader != Some(leader) || !isr.contains(&leader) || !is_sound {
            return Err(InvalidRequest);
        }
        // The same again, as the answer got lost: it is so, whatever else changed since.
        if isr == present.isr.iter().copied().collect() {
            return Ok((present.partition_epoch, None));
        }
        if !is_based_on(asked, present) {
            return Err(InvalidUpdateVersion);
        }
        if let Some(member) = asked.isr.iter().find(|member| !self.may_be_in_sync(present, member)) {
            return Err(IneligibleReplica(member.broker));
        }
        assert_eq!(asked.leader_epoch, present.leader_epoch, "an older or a newer leader was refused");
        let mut next = present.clone();
        // Whoever leaves may stay eligible; settling says so.
        next.elr.extend(&present.isr);
        next.isr = isr.into_iter().collect();
        let change = self.change_to(topic, asked.partition, next);
        let epoch = change.as_ref().map_or(present.partition_epoch, |change| change.partition_epoch);
        Ok((epoch, change))
    }

    /// The same state under a new number, with which a refusal becomes final: what the leader has sent
    /// before, and what may arrive later, is void too. Otherwise it could come true after the leader was told
    /// that it didn't.
    fn renumbered(&self, asked: &AlterPartition) -> Option<PartitionChange> {
        if planted(PlantedBug::RefuseWithoutNewEpoch) {
            return None;
        }
        let present = self.topics.get(&asked.topic)?.partition(asked.partition)?;
        Some(PartitionChange {
            topic: asked.topic,
            partition: asked.partition,
            leader: present.leader,
            isr: present.isr.clone(),
            elr: present.elr.clone(),
            last_known_leader: present.last_known_leader,
            leader_epoch: present.leader_epoch,
            partition_epoch: PartitionEpoch(present.partition_epoch.0 + 1),
            replicas: None,
            unclean: None,
        })
    }

    /// Whether a replica may be in the ISR that a leader asks for: a new member must be of its broker's
    /// present registration (KIP-903), on the recorded disk, and neither fenced nor stopping. A member that
    /// stops may stay.
    fn may_be_in_sync(&self, present: &PartitionImage, member: &IsrMember) -> bool {
        let broker = self.broker(member.broker);
        let is_welcome = broker.is_some_and(|broker| {
            is_present_registration(broker, member)
                && (!broker.in_controlled_shutdown || present.isr.contains(&member.broker))
        });
        is_welcome && self.is_replica_online(present, member.broker)
    }

    pub(super) fn elect_leaders(&self, command: &ElectLeaders) -> (Vec<super::Record>, Reply) {
        let mut draft = Draft::new(self);
        let mut changes: Vec<PartitionChange> = Vec::new();
        let mut seen = BTreeSet::new();
        let results = command.elections.iter().map(|election| {
            if !seen.insert((election.topic, election.partition)) {
                return Err(refused(
                    ElectionErrorKind::InvalidRequest,
                    "a partition is named twice".to_owned(),
                ));
            }
            let (elected, change) = self.elect_leader(election)?;
            changes.extend(change);
            Ok(elected)
        });
        let reply = Reply::LeadersElected(results.collect());
        draft.change(changes);
        (draft.records, reply)
    }

    fn elect_leader(
        &self,
        election: &Election,
    ) -> Result<(ElectedLeader, Option<PartitionChange>), ElectionError> {
        let unknown = || {
            let message = format!("there is no partition {} of topic {}", election.partition, election.topic);
            refused(ElectionErrorKind::UnknownTopicOrPartition, message)
        };
        let topic = self.topics.get(&election.topic).ok_or_else(unknown)?;
        let present = topic.partition(election.partition).ok_or_else(unknown)?;
        let (leader, next, may_lose) = match election.kind {
            ElectionKind::Preferred => (present.replicas[0], self.prefer(topic, present)?, None),
            ElectionKind::Unclean { replica } => {
                let next = self.lead_uncleanly(present, replica)?;
                let lost = next.unclean.as_ref().map(ToString::to_string);
                (replica, next, lost)
            }
        };
        assert_eq!(next.leader, Some(leader), "it leads, whichever kind of election it was");
        let change = self.change_to(topic, election.partition, next);
        let leader_epoch = change.as_ref().map_or(present.leader_epoch, |change| change.leader_epoch);
        Ok((ElectedLeader { leader, leader_epoch, may_lose }, change))
    }

    /// `present` led by its first replica.
    fn prefer(&self, topic: &TopicImage, present: &PartitionImage) -> Result<PartitionImage, ElectionError> {
        let preferred = present.replicas[0];
        if present.leader == Some(preferred) {
            let message = format!("broker {preferred} leads already");
            return Err(refused(ElectionErrorKind::ElectionNotNeeded, message));
        }
        if !self.may_be_preferred(present) {
            let message = format!(
                "broker {preferred} is not in sync with a partition of topic {}, not live, stopping or draining",
                topic.name
            );
            return Err(refused(ElectionErrorKind::PreferredLeaderNotAvailable, message));
        }
        Ok(PartitionImage { leader: Some(preferred), ..present.clone() })
    }

    /// Whether the first replica isn't the leader and may be.
    pub(super) fn may_be_preferred(&self, present: &PartitionImage) -> bool {
        let preferred = present.replicas[0];
        present.leader != Some(preferred)
            && present.isr.contains(&preferred)
            && self.is_replica_online(present, preferred)
            && self.is_steady(preferred)
    }

    /// `present` led by a replica that may lack what was acknowledged, with the record of it. Only for a
    /// partition that has no leader, so that nothing is lost that could be had.
    fn lead_uncleanly(
        &self,
        present: &PartitionImage,
        replica: BrokerId,
    ) -> Result<PartitionImage, ElectionError> {
        let Some(position) = present.replicas.iter().position(|id| *id == replica) else {
            let message =
                format!("broker {replica} holds no replica of it: name one of {:?}", present.replicas);
            return Err(refused(ElectionErrorKind::InvalidRequest, message));
        };
        if let Some(leader) = present.leader {
            let message = format!("broker {leader} leads: nothing has to be given up");
            return Err(refused(ElectionErrorKind::ElectionNotNeeded, message));
        }
        let Some(broker) = self.broker(replica).filter(|broker| broker.is_active()) else {
            let message = format!("broker {replica} is not live: wait for it or name another replica");
            return Err(refused(ElectionErrorKind::EligibleLeadersNotAvailable, message));
        };
        let mut next = present.clone();
        next.directories[position] = broker.directory_id;
        next.unclean = Some(UncleanElection {
            replica,
            leader_epoch: ottla_types::LeaderEpoch(present.leader_epoch.0 + 1),
            given_up: present.isr.iter().chain(&present.elr).copied().collect(),
            empty: present.directories[position] != broker.directory_id,
        });
        (next.leader, next.isr, next.elr) = (Some(replica), vec![replica], vec![]);
        Ok(next)
    }
}

/// Whether a leader knows the state that it wants to change.
fn is_based_on(asked: &AlterPartition, present: &PartitionImage) -> bool {
    asked.partition_epoch == present.partition_epoch || planted(PlantedBug::SkipPartitionEpochCheck)
}

fn is_present_registration(broker: &BrokerImage, member: &IsrMember) -> bool {
    broker.epoch == member.broker_epoch || planted(PlantedBug::AcceptStaleBrokerEpochInIsr)
}

fn refused(kind: ElectionErrorKind, message: String) -> ElectionError {
    ElectionError { kind, message }
}
