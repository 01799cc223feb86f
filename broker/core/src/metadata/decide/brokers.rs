//! Brokers come, go silent and stop; leaderships follow.

use std::sync::Arc;

use ottla_types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch};

use super::super::command::{ControlledShutdown, FenceBroker, RegisterBroker, UnfenceBroker};
use super::super::image::{BrokerImage, MetadataImage, PartitionImage};
use super::super::record::{BrokerChange, LeaderChange, Record};
use super::super::reply::{Rejection, Reply};
use super::{Decided, Draft};

impl MetadataImage {
    /// A registration starts fenced: until the broker has caught up, and while its former process may still hold
    /// connections, it leads nothing.
    ///
    /// A known id with another disk is a new identity. Partitions that were put on the old disk stay recorded
    /// there and offline (without a leader, if no other replica is in sync): their records are gone or elsewhere,
    /// and an empty log in their place would be silent loss. They come back with the old disk, or are deleted.
    pub(super) fn register_broker(&self, command: &RegisterBroker) -> Decided {
        if command.id.0 < 0 {
            let message = format!("broker id {} is negative: use 0 or more", command.id);
            return Err(Rejection::Invalid { message });
        }
        if let Some(current) = self.broker(command.id)
            && !current.fenced
            && current.directory_id != command.directory_id
        {
            return Err(Rejection::DuplicateBrokerRegistration { id: command.id });
        }
        let epoch = self.next_broker_epoch;
        let mut draft = Draft::new(self);
        draft.push(Record::BrokerRegistered(BrokerImage {
            id: command.id,
            epoch,
            incarnation: command.incarnation,
            directory_id: command.directory_id,
            listeners: command.listeners.clone(),
            control_address: command.control_address.clone(),
            rack: command.rack.clone(),
            fenced: true,
            in_controlled_shutdown: false,
        }));
        draft.elect(command.id);
        Ok((draft.records, Reply::BrokerRegistered(epoch)))
    }

    pub(super) fn fence_broker(&self, command: &FenceBroker) -> Decided {
        let broker = self.present_broker(command.id, command.epoch)?;
        self.change_broker_state(broker, true, broker.in_controlled_shutdown)
    }

    pub(super) fn unfence_broker(&self, command: &UnfenceBroker) -> Decided {
        let broker = self.present_broker(command.id, command.epoch)?;
        if broker.in_controlled_shutdown {
            let message = format!("broker {} is stopping: it has to register again first", command.id);
            return Err(Rejection::Invalid { message });
        }
        self.change_broker_state(broker, false, false)
    }

    pub(super) fn shut_down_broker(&self, command: &ControlledShutdown) -> Decided {
        let broker = self.present_broker(command.id, command.epoch)?;
        self.change_broker_state(broker, true, true)
    }

    fn change_broker_state(
        &self,
        broker: &BrokerImage,
        fenced: bool,
        in_controlled_shutdown: bool,
    ) -> Decided {
        let mut draft = Draft::new(self);
        if (broker.fenced, broker.in_controlled_shutdown) != (fenced, in_controlled_shutdown) {
            let BrokerImage { id, epoch, .. } = *broker;
            draft.push(Record::BrokerChanged(BrokerChange { id, epoch, fenced, in_controlled_shutdown }));
            draft.elect(id);
        }
        Ok((draft.records, Reply::BrokerChanged))
    }

    /// The broker, if `epoch` is that of its last registration.
    pub(super) fn present_broker(
        &self,
        id: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<&Arc<BrokerImage>, Rejection> {
        let broker = self.broker(id).ok_or(Rejection::BrokerNotRegistered { id })?;
        if broker.epoch != epoch {
            return Err(Rejection::StaleBrokerEpoch { id, given: epoch, current: broker.epoch });
        }
        Ok(broker)
    }

    /// Who leads `partition` and is in sync, as the brokers are now.
    ///
    /// The leader stays if it can; else the first replica in sync that is online leads; else nobody, and those in
    /// sync stay as they were, for one of them to come back.
    fn election(&self, partition: &PartitionImage) -> (Option<BrokerId>, Vec<BrokerId>) {
        let online: Vec<BrokerId> =
            partition.isr.iter().copied().filter(|id| self.may_lead(partition, *id)).collect();
        let stays = partition.leader.filter(|leader| online.contains(leader));
        let leader = stays.or_else(|| partition.replicas.iter().copied().find(|id| online.contains(id)));
        (leader, if leader.is_some() { online } else { partition.isr.clone() })
    }
}

impl Draft {
    /// Moves the leaderships that the state of `broker` changes, in one record.
    fn elect(&mut self, broker: BrokerId) {
        let image = &self.image;
        let mut changes = Vec::new();
        for topic in image.topics.values() {
            for (index, partition) in topic.numbered().filter(|(_, p)| p.replicas.contains(&broker)) {
                let (leader, isr) = image.election(partition);
                if leader != partition.leader || isr != partition.isr {
                    changes.push(LeaderChange {
                        topic: topic.id,
                        partition: index,
                        leader,
                        isr,
                        leader_epoch: LeaderEpoch(partition.leader_epoch.0 + 1),
                        partition_epoch: PartitionEpoch(partition.partition_epoch.0 + 1),
                    });
                }
            }
        }
        if !changes.is_empty() {
            self.push(Record::LeadersChanged(changes));
        }
    }
}
