//! Offsets are committed.

use std::sync::Arc;

use ottla_types::TopicPartition;

use crate::coordinator::{CallId, Now, Unavailable};

use super::super::after::{After, Out, Then};
use super::super::classic::ClassicGroup;
use super::super::ids::{Generation, GroupId};
use super::super::record::{OffsetAndMetadata, OffsetCommitKey, Record};
use super::super::refusal::{MemberRefusal, PartitionRefusal};
use super::super::reply::Reply;
use super::super::request::{OffsetCommit, OffsetToCommit};
use super::Groups;

impl Groups {
    /// Commits offsets: all of them, but for those that say too much.
    pub(super) fn commit(&mut self, call: CallId, request: OffsetCommit, now: Now, out: &mut Out) {
        if let Err(refusal) = self.check_commit(&request, now, out) {
            return out.answer(call, Reply::OffsetCommit(Err(refusal)));
        }
        let OffsetCommit { group: id, retention_ms, offsets, .. } = request;
        let expire_ms =
            retention_ms.map(|ms| now.wall_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));
        let mut outcomes = Vec::with_capacity(offsets.len());
        let mut committed = Vec::with_capacity(offsets.len());
        for one in offsets {
            let outcome = self.check_metadata(one.metadata.as_deref());
            outcomes.push(outcome);
            if outcome.is_ok() {
                committed.push(to_record(&id, one, now, expire_ms));
            }
        }
        let to_record = |(key, value): &(OffsetCommitKey, OffsetAndMetadata)| Record::OffsetCommit {
            key: key.clone(),
            value: Some(value.clone()),
        };
        let is_new = !self.groups.contains_key(&id);
        let adds = is_new || committed.iter().any(|(key, _)| !self.offsets.has_key(key));
        if adds && !committed.is_empty() && !out.may_grow() {
            return out.answer(call, Reply::OffsetCommit(Err(Unavailable::NotAvailable.into())));
        }
        let records: Vec<Record> = committed.iter().map(to_record).collect();
        if records.iter().map(Record::log_bytes).sum::<usize>() > out.decision_bytes_max() {
            return out.answer(call, Reply::OffsetCommit(Err(Unavailable::TooLarge.into())));
        }
        if !records.is_empty() {
            let ticket = out.next_ticket();
            let committed_count = committed.len() as u64;
            let set = committed.into_iter().map(|(key, value)| {
                self.offsets.set(ticket, &key, Some(value));
                key
            });
            let keys = set.collect();
            self.counts.commits += committed_count;
            if is_new {
                self.insert_created(ClassicGroup::new(id.clone(), now), ticket);
            }
            out.decide(
                records,
                After { offsets: keys, group: is_new.then_some((id, Then::Created)), deletion: None },
            );
        }
        out.answer_when_committed(call, Reply::OffsetCommit(Ok(outcomes)));
    }

    /// Whoever is in no generation may commit to a group that isn't there: it comes into being.
    fn check_commit(&mut self, request: &OffsetCommit, now: Now, out: &mut Out) -> Result<(), MemberRefusal> {
        if self.groups.get(&request.group).is_some_and(|held| held.is_being_deleted) {
            return Err(Unavailable::NotAvailable.into());
        }
        let checked =
            self.with_classic(&request.group, now, out, |group, turn| group.check_commit(request, turn));
        match checked {
            Some(checked) => checked,
            None if request.generation < Generation(0) => Ok(()),
            None => Err(MemberRefusal::GroupIdNotFound(request.group.clone())),
        }
    }

    /// Kafka counts UTF-16 units.
    fn check_metadata(&self, metadata: Option<&str>) -> Result<(), PartitionRefusal> {
        let given_bytes = metadata.map_or(0, |text| text.encode_utf16().count());
        let max_bytes = self.config.offset_metadata_max_bytes;
        match given_bytes <= max_bytes {
            true => Ok(()),
            false => Err(PartitionRefusal::OffsetMetadataTooLarge { given_bytes, max_bytes }),
        }
    }
}

fn to_record(
    group: &GroupId,
    one: OffsetToCommit,
    now: Now,
    expire_timestamp_ms: Option<i64>,
) -> (OffsetCommitKey, OffsetAndMetadata) {
    let key = OffsetCommitKey { group: group.clone(), topic: one.topic, partition: one.partition };
    let value = OffsetAndMetadata {
        offset: one.offset,
        leader_epoch: one.leader_epoch,
        metadata: one.metadata.unwrap_or_else(|| Arc::from("")),
        commit_timestamp_ms: now.wall_ms,
        expire_timestamp_ms,
        topic_id: one.topic_id,
    };
    (key, value)
}

pub(super) fn key_of(group: &GroupId, partition: &TopicPartition) -> OffsetCommitKey {
    OffsetCommitKey { group: group.clone(), topic: partition.topic.clone(), partition: partition.partition }
}
