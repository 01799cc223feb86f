//! Brokers come, go silent and stop; leaderships follow.

use std::sync::Arc;

use ottla_types::{BrokerEpoch, BrokerId, PlantedBug, planted};

use super::super::command::{ControlledShutdown, FenceBroker, RegisterBroker, UnfenceBroker};
use super::super::image::{BrokerImage, ClusterDefaults, MIN_INSYNC_REPLICAS, MetadataImage};
use super::super::record::{BrokerChange, Record};
use super::super::replica_command::{DrainBroker, UnregisterBroker};
use super::super::reply::{Rejection, Reply};
use super::{Decided, Draft};

impl MetadataImage {
    /// A registration starts fenced: until the broker has caught up, and while its former process may still
    /// hold connections, it leads nothing.
    ///
    /// So a leader that registers again leads in a new epoch, if it does: what it had not synced may be gone.
    ///
    /// A known id with another disk is a new identity: its replicas begin anew, out of sync, wherever another
    /// one has what was acknowledged. After an unclean stop, what was only written may be gone, so topics
    /// that acknowledge that don't trust the replica, as long as there is another; topics that acknowledge
    /// what is synced do.
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
        let current = self.broker(command.id);
        let lost_writes = may_have_lost_writes(command, current.map(Arc::as_ref));
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
            draining: current.is_some_and(|current| current.draining),
        }));
        let defaults = ClusterDefaults {
            min_insync_replicas: command.min_insync_replicas.unwrap_or(MIN_INSYNC_REPLICAS).max(1),
            replication_factor: command.default_replication_factor,
            acks_written: command.acks_written,
        };
        let new_defaults = defaults != self.defaults;
        if new_defaults {
            draft.push(Record::DefaultsChanged(defaults));
        }
        let (id, image) = (command.id, draft.image.clone());
        draft.settle(
            |partition| new_defaults || partition.replicas.contains(&id),
            |topic, partition| {
                let has_another = partition.isr.iter().chain(&partition.elr).any(|other| *other != id);
                if lost_writes && image.acks_written(topic) && has_another {
                    partition.isr.retain(|other| *other != id);
                    partition.elr.retain(|other| *other != id);
                }
            },
        );
        Ok((draft.records, Reply::BrokerRegistered(epoch)))
    }

    pub(super) fn fence_broker(&self, command: &FenceBroker) -> Decided {
        let broker = self.present_broker(command.id, command.epoch)?;
        let draft = self.with_state(BrokerChange { fenced: true, ..state_of(broker) });
        Ok((draft.records, Reply::BrokerChanged))
    }

    pub(super) fn unfence_broker(&self, command: &UnfenceBroker) -> Decided {
        let broker = self.present_broker(command.id, command.epoch)?;
        if broker.in_controlled_shutdown {
            let message = format!("broker {} is stopping: it has to register again first", command.id);
            return Err(Rejection::Invalid { message });
        }
        let draft = self.with_state(BrokerChange { fenced: false, ..state_of(broker) });
        Ok((draft.records, Reply::BrokerChanged))
    }

    pub(super) fn shut_down_broker(&self, command: &ControlledShutdown) -> Decided {
        let broker = self.present_broker(command.id, command.epoch)?;
        let draft = self.with_state(BrokerChange { in_controlled_shutdown: true, ..state_of(broker) });
        let partitions = draft.image.every_partition();
        let leading = partitions.filter(|(_, _, partition)| partition.leader == Some(command.id)).count();
        Ok((draft.records, Reply::BrokerStopping { leading }))
    }

    /// Brings a broker into a state; its partitions follow.
    fn with_state(&self, change: BrokerChange) -> Draft {
        let mut draft = Draft::new(self);
        if state_of(&self.brokers[&change.id]) != change {
            let id = change.id;
            draft.push(Record::BrokerChanged(change));
            draft.settle_broker(id);
        }
        draft
    }

    /// Begins to empty a broker, or ends that. Its leaderships move away at once; its replicas move by
    /// [`Self::chores`].
    pub(super) fn drain_broker(&self, command: &DrainBroker) -> Decided {
        let DrainBroker { id, draining } = *command;
        let broker = self.broker(id).ok_or(Rejection::BrokerNotRegistered { id })?;
        if draining && !broker.draining {
            self.fits_without(id)?;
        }
        let mut draft = self.with_state(BrokerChange { draining, ..state_of(broker) });
        if broker.draining && !draining {
            draft.cancel_moves_off(id);
        }
        Ok((draft.records, Reply::BrokerChanged))
    }

    /// Refuses to empty a broker whose replicas would find no place.
    fn fits_without(&self, id: BrokerId) -> Result<(), Rejection> {
        let remaining = self.brokers.values().filter(|broker| !broker.draining && broker.id != id).count();
        let largest = self.every_partition().max_by_key(|(_, _, partition)| partition.target().len());
        let (needed, why) = match largest {
            Some((topic, index, partition)) => {
                (partition.target().len(), format!("{}-{index} has as many replicas", topic.name))
            }
            None => (1, "a cluster needs one".to_owned()),
        };
        if needed > remaining {
            let message = format!(
                "broker {id} can't be emptied: {needed} other brokers are needed, as {why}, and there are {remaining}"
            );
            return Err(Rejection::NotNow { message });
        }
        Ok(())
    }

    pub(super) fn unregister_broker(&self, command: &UnregisterBroker) -> Decided {
        let id = command.id;
        let broker = self.broker(id).ok_or(Rejection::BrokerNotRegistered { id })?;
        if !broker.fenced {
            let message = format!("broker {id} is live: stop it first");
            return Err(Rejection::NotNow { message });
        }
        let held =
            self.every_partition().filter(|(_, _, partition)| partition.replicas.contains(&id)).count();
        if held > 0 {
            let message = format!("broker {id} holds {held} replicas: drain it first");
            return Err(Rejection::NotNow { message });
        }
        Ok((vec![Record::BrokerUnregistered { id }], Reply::BrokerChanged))
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
}

/// Whether a broker that comes back may lack what it had only written: its process ended, and not cleanly.
fn may_have_lost_writes(command: &RegisterBroker, current: Option<&BrokerImage>) -> bool {
    let is_same_process = current.is_some_and(|current| current.incarnation == command.incarnation);
    !command.clean_shutdown && !is_same_process && !planted(PlantedBug::KeepAfterPowerLoss)
}

/// A broker's state as it is.
fn state_of(broker: &BrokerImage) -> BrokerChange {
    let BrokerImage { id, epoch, fenced, in_controlled_shutdown, draining, .. } = *broker;
    BrokerChange { id, epoch, fenced, in_controlled_shutdown, draining }
}
