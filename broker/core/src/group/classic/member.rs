//! One member of a classic group.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::coordinator::CallId;

use super::super::ids::{InstanceId, MemberId};
use super::super::record::MemberMetadata;
use super::super::reply::{DescribedMember, JoinedMember};
use super::super::request::{Client, JoinGroup, Protocol};

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) instance: Option<InstanceId>,
    pub(super) client: Client,
    pub(super) session_timeout_ms: u64,
    pub(super) rebalance_timeout_ms: u64,
    /// What it likes best first.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Arc<[u8]>,
    /// It waits for the others to join.
    pub(super) awaiting_join: Option<CallId>,
    /// It waits for the leader's assignment.
    pub(super) awaiting_sync: Option<CallId>,
    /// It hasn't been told of a generation yet, so it can't send heartbeats.
    pub(super) is_new: bool,
    /// When it counts as gone, in ms. None only while it waits for an answer, which sets it again.
    pub(super) session_deadline_ms: Option<u64>,
}

impl Member {
    /// A member that joins for the first time.
    pub(super) fn joining(request: &JoinGroup, session_timeout_ms: u64) -> Self {
        Self {
            instance: request.instance.clone(),
            client: request.client.clone(),
            session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols.clone(),
            assignment: nothing(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
            session_deadline_ms: None,
        }
    }

    /// A member of a generation that was read from the log, which selected `protocol`.
    pub(super) fn loaded(metadata: MemberMetadata, protocol: &str) -> Self {
        Self {
            instance: metadata.instance,
            client: Client { id: metadata.client_id, host: metadata.client_host },
            session_timeout_ms: metadata.session_timeout_ms,
            rebalance_timeout_ms: metadata.rebalance_timeout_ms,
            protocols: vec![Protocol { name: protocol.into(), metadata: metadata.subscription }],
            assignment: metadata.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session_deadline_ms: None,
        }
    }

    /// Whether it need not send heartbeats now.
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// What it said of itself for a protocol; nothing if it doesn't support it.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Arc<[u8]> {
        let found = self.protocols.iter().find(|one| Some(&*one.name) == protocol);
        found.map_or_else(nothing, |one| Arc::clone(&one.metadata))
    }

    /// Which of `candidates` it likes best.
    pub(super) fn vote(&self, is_candidate: impl Fn(&str) -> bool) -> Option<&str> {
        self.protocols.iter().map(|one| &*one.name).find(|name| is_candidate(name))
    }

    /// Bytes of memory that it takes up with what clients chose.
    pub(super) fn bytes(&self) -> usize {
        let protocols = protocol_bytes(&self.protocols);
        let instance = self.instance.as_ref().map_or(0, |id| id.as_str().len());
        protocols + instance + self.client.id.len() + self.client.host.len()
    }

    pub(super) fn describe(&self, id: &MemberId, protocol: Option<&str>) -> DescribedMember {
        DescribedMember {
            member: id.clone(),
            instance: self.instance.clone(),
            client_id: Arc::clone(&self.client.id),
            client_host: Arc::clone(&self.client.host),
            metadata: protocol.map_or_else(nothing, |_| self.metadata(protocol)),
            assignment: Arc::clone(&self.assignment),
        }
    }

    pub(super) fn joined(&self, id: &MemberId, protocol: Option<&str>) -> JoinedMember {
        let metadata = self.metadata(protocol);
        JoinedMember { member: id.clone(), instance: self.instance.clone(), metadata }
    }

    pub(super) fn recorded(
        &self,
        id: &MemberId,
        protocol: Option<&str>,
        assignment: Arc<[u8]>,
    ) -> MemberMetadata {
        MemberMetadata {
            member: id.clone(),
            instance: self.instance.clone(),
            client_id: Arc::clone(&self.client.id),
            client_host: Arc::clone(&self.client.host),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }
}

/// What a name takes up beside its text, in bytes: about as much as the place that is kept for it.
pub(super) const NAME_BYTES: usize = 64;

/// Bytes of memory that protocols take up with their metadata.
pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|one| NAME_BYTES + one.name.len() + one.metadata.len()).sum()
}

/// Who was given a member id and hasn't joined with it, until when, in ms.
#[derive(Clone, Debug, Default)]
pub struct PendingJoins {
    until_ms: BTreeMap<MemberId, u64>,
    /// Invariant: what the ids take up.
    bytes: usize,
}

impl PendingJoins {
    pub(super) fn is_empty(&self) -> bool {
        self.until_ms.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.until_ms.len()
    }

    /// Bytes of memory that they take up.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that they would take up with one more.
    pub(super) fn bytes_with(&self, id: &MemberId) -> usize {
        self.bytes + NAME_BYTES + id.as_str().len()
    }

    pub(super) fn contains(&self, id: &MemberId) -> bool {
        self.until_ms.contains_key(id)
    }

    /// When one of them counts as gone next, in ms.
    pub(super) fn deadlines_ms(&self) -> impl Iterator<Item = u64> {
        self.until_ms.values().copied()
    }

    pub(super) fn insert(&mut self, id: MemberId, until_ms: u64) {
        self.bytes += NAME_BYTES + id.as_str().len();
        self.until_ms.insert(id, until_ms);
    }

    pub(super) fn remove(&mut self, id: &MemberId) {
        if self.until_ms.remove(id).is_some() {
            self.bytes -= NAME_BYTES + id.as_str().len();
        }
    }

    /// Removes those whose time is over by now, and tells whether there were any.
    pub(super) fn expire(&mut self, now_ms: u64) -> bool {
        let due = self.until_ms.iter().filter(|(_, until_ms)| **until_ms <= now_ms);
        let due: Vec<MemberId> = due.map(|(id, _)| id.clone()).collect();
        due.iter().for_each(|id| self.remove(id));
        !due.is_empty()
    }
}

/// No bytes.
pub(super) fn nothing() -> Arc<[u8]> {
    Arc::from(&[][..])
}
