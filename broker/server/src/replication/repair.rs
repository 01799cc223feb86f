//! Damage: found by reads and by a slow scrub, never served, and repaired with the bytes of a peer.
//!
//! Below the high watermark all replicas hold the same bytes, so any of them will do; they are asked as a
//! consumer asks, which shows nothing beyond. A follower's damage above the high watermark waits until that
//! has passed it: the leader counts on what this follower has acknowledged, so it must never cut that by
//! itself.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_client::{ClientConfig, ClientError, Connection};
use ottla_log::Batches;
use ottla_store::{RepairError, Store};
use ottla_types::{BrokerId, Offset};
use ottla_wire::ErrorCode;
use ottla_wire::apis::Fetch;
use ottla_wire::messages::{FetchPartition, FetchRequest, FetchTopic};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::peers::repair_client_id;
use crate::broker::Broker;
use crate::partitions::{Partition, PartitionKey};

/// How often, and how many bytes at a time, logs are looked through: 4 MB a second, 10 GB in three quarters
/// of an hour.
const SCRUB_INTERVAL: Duration = Duration::from_secs(1);
const SCRUB_BYTES: u64 = 4 << 20;
/// The pause before damage is looked at again that couldn't be repaired, the first one and the longest: after
/// a start nobody is known to be in sync for a moment.
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// The longest that a peer is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// So many bytes of a damaged place are held in memory: a larger one is repaired piece by piece, other
/// partitions' in between.
const PIECE_BYTES: usize = 8 << 20;

/// Why a damaged place stays damaged for now.
#[derive(Debug, thiserror::Error)]
enum NotRepaired {
    /// No other replica could be asked.
    #[error("no other replica is there")]
    NoPeer,
    /// The peer can't be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The peer doesn't give it.
    #[error("the peer answers {0}")]
    Refused(ErrorCode),
    /// The peer's batches don't fit.
    #[error("the peer has no batches of just these offsets")]
    OtherBatches,
    /// The log doesn't take it.
    #[error(transparent)]
    Log(#[from] RepairError),
}

/// Looks through all logs, slowly and again and again, until it is dropped.
pub async fn scrub(broker: Arc<Broker>, store: Arc<Store>) {
    let mut timer = tokio::time::interval(SCRUB_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let store = Arc::clone(&store);
        if broker
            .quorum
            .tasks()
            .spawn_blocking("read a piece of a log", move || store.scrub_step(SCRUB_BYTES))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Repairs what is damaged, until it is dropped.
pub async fn repair(broker: Arc<Broker>) {
    let damaged = Arc::clone(broker.partitions.damaged());
    let mut retries: HashMap<PartitionKey, Retries> = HashMap::new();
    let mut timers = JoinSet::new();
    loop {
        let Some(key) = damaged.pop() else {
            damaged.changed().await;
            continue;
        };
        let Some(partition) = broker.partitions.get(key.0, key.1) else {
            retries.remove(&key);
            continue;
        };
        let own = retries.entry(key).or_default();
        let has_more = repair_pieces(&broker, &partition, own).await;
        if has_more {
            damaged.push(key);
        } else if let Some(due) = own.next_due() {
            let damaged = Arc::clone(&damaged);
            let push = async move {
                tokio::time::sleep_until(due).await;
                damaged.push(key);
            };
            broker.quorum.tasks().spawn_in(&mut timers, &Handle::current(), "repair again later", push);
        } else {
            retries.remove(&key);
        }
        while timers.try_join_next().is_some() {}
    }
}

/// Repairs a piece of each damaged place of a partition, but for those that aren't due yet. Whether there is
/// more that can be repaired at once.
async fn repair_pieces(broker: &Broker, partition: &Arc<Partition>, retries: &mut Retries) -> bool {
    let damage = partition.log.damage();
    retries.keep_only(&damage);
    let mut has_more = false;
    for range in damage {
        if !retries.is_due(range.start, Instant::now()) {
            continue;
        }
        if look_again(broker, partition, &range).await {
            retries.places.remove(&range.start);
            continue;
        }
        let name = partition.log.topic_partition();
        match repair_one(broker, partition, &range).await {
            Ok(repaired) => {
                info!(partition = %name, from = range.start.0, to = repaired.0, "damaged records are repaired");
                retries.places.remove(&range.start);
                has_more |= repaired < range.end;
            }
            Err(reason) => {
                warn!(partition = %name, from = range.start.0, to = range.end.0, %reason, "damaged records are not repaired yet");
                retries.put_off(range.start, Instant::now());
            }
        }
    }
    has_more
}

/// The damaged places of a partition that couldn't be repaired, by their first offset: when each is tried
/// again, and the pause before that. Nobody waits for them: neither other places nor other partitions.
#[derive(Debug, Default)]
struct Retries {
    places: BTreeMap<Offset, (Instant, Duration)>,
}

impl Retries {
    fn keep_only(&mut self, damage: &[Range<Offset>]) {
        self.places.retain(|start, _| damage.iter().any(|range| range.start == *start));
    }

    fn is_due(&self, start: Offset, now: Instant) -> bool {
        self.places.get(&start).is_none_or(|(due, _)| *due <= now)
    }

    fn put_off(&mut self, start: Offset, now: Instant) {
        let before = self.places.get(&start).map(|(_, pause)| *pause);
        let pause = before.map_or(RETRY_PAUSE_FIRST, |pause| (2 * pause).min(RETRY_PAUSE_MAX));
        self.places.insert(start, (now + pause, pause));
    }

    fn next_due(&self) -> Option<Instant> {
        self.places.values().map(|(due, _)| *due).min()
    }
}

/// Whether the records can be read after all: then no peer need send them.
async fn look_again(broker: &Broker, partition: &Arc<Partition>, range: &Range<Offset>) -> bool {
    let (partition, range) = (Arc::clone(partition), range.clone());
    let look = move || partition.log.look_again(&range);
    broker.quorum.tasks().blocking_to_the_end("look at damage again", look).await
}

/// Repairs the first piece of a damaged place, by whoever has it. Returns how far it is repaired.
async fn repair_one(
    broker: &Broker,
    partition: &Arc<Partition>,
    range: &Range<Offset>,
) -> Result<Offset, NotRepaired> {
    let mut outcome = Err(NotRepaired::NoPeer);
    for peer in peers(broker, partition) {
        outcome = repair_from(broker, partition, range, peer).await;
        // What this log doesn't take yet it doesn't take from another one either.
        if matches!(outcome, Ok(_) | Err(NotRepaired::Log(RepairError::NotYet))) {
            break;
        }
    }
    outcome
}

/// The other replicas, the leader first, then who else is in sync.
fn peers(broker: &Broker, partition: &Partition) -> Vec<BrokerId> {
    partition.with_replica(|replica| {
        let Some(assignment) = replica.assignment() else { return Vec::new() };
        let all = assignment.replicas.iter().map(|peer| peer.broker);
        let mut others: Vec<BrokerId> = all.filter(|id| *id != broker.config.node_id).collect();
        others.sort_by_key(|id| (Some(*id) != assignment.leader, !assignment.isr.contains(id)));
        others
    })
}

async fn repair_from(
    broker: &Broker,
    partition: &Arc<Partition>,
    range: &Range<Offset>,
    peer: BrokerId,
) -> Result<Offset, NotRepaired> {
    let connection = connect(broker, peer).await?;
    let records = fetch(&connection, partition, range).await?;
    let partition = Arc::clone(partition);
    let repair = move || partition.log.repair(&records);
    Ok(broker.quorum.tasks().blocking_to_the_end("repair a log", repair).await?.end)
}

async fn connect(broker: &Broker, peer: BrokerId) -> Result<Connection, NotRepaired> {
    let image = broker.image();
    let listener = &broker.config.listeners.inter_broker;
    let address = image.broker(peer).and_then(|peer| peer.listener(listener)).ok_or(NotRepaired::NoPeer)?;
    let config = ClientConfig {
        client_id: repair_client_id(broker.config.node_id),
        connect_timeout: ANSWER_TIME_MAX,
        request_timeout: ANSWER_TIME_MAX,
        ..ClientConfig::new("")
    };
    Ok(Connection::connect(&format!("{}:{}", address.host, address.port), &config).await?)
}

/// The peer's batches of the first of these offsets, or of all.
async fn fetch(
    connection: &Connection,
    partition: &Partition,
    range: &Range<Offset>,
) -> Result<Bytes, NotRepaired> {
    let mut records = BytesMut::new();
    let mut next = range.start;
    while next < range.end && records.len() < PIECE_BYTES {
        let asked = FetchPartition {
            partition: partition.key().1.0,
            current_leader_epoch: partition.standing().leader_epoch.0,
            fetch_offset: next.0,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic =
            FetchTopic { topic_id: partition.key().0.0, partitions: vec![asked], ..Default::default() };
        let request = FetchRequest { min_bytes: 1, topics: vec![topic], ..Default::default() };
        let reply = connection.call::<Fetch>(&request).await?;
        let body = reply.body()?;
        let data = body.responses.first().and_then(|topic| topic.partitions.first());
        let data = data.ok_or(NotRepaired::OtherBatches)?;
        let error = ErrorCode::from_wire(data.error_code);
        if !error.is_none() {
            return Err(NotRepaired::Refused(error));
        }
        let before = next;
        for batch in Batches::new(data.records.bytes().unwrap_or_default()) {
            let (header, bytes) = batch.map_err(|_| NotRepaired::OtherBatches)?;
            // The first one may hold records that are let go, before the log's start.
            let fits = header.base_offset() == next || (records.is_empty() && header.base_offset() < next);
            if !fits || header.next_offset() > range.end {
                break;
            }
            records.extend_from_slice(bytes);
            next = header.next_offset();
        }
        if next == before {
            return Err(NotRepaired::OtherBatches);
        }
    }
    Ok(records.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_repaired_is_put_off_ever_longer_and_no_other_with_it() {
        let (mut retries, mut now) = (Retries::default(), Instant::now());
        let [one, other] = [Offset(4), Offset(40)];
        for pause in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
            assert!(retries.is_due(one, now) && retries.is_due(other, now));
            retries.put_off(one, now);
            let due = now + Duration::from_millis(pause);
            assert_eq!(retries.next_due(), Some(due));
            assert!(!retries.is_due(one, due - Duration::from_millis(1)) && retries.is_due(other, now));
            now = due;
        }
        // It is another place once the first part of it is repaired or let go.
        retries.keep_only(&[Offset(5)..Offset(9), other..Offset(41)]);
        assert_eq!(retries.next_due(), None);
    }
}
