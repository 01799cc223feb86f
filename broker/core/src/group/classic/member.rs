//! One member of a classic group.

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

/// Bytes of protocols with their metadata.
pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|one| one.name.len() + one.metadata.len()).sum()
}

/// No bytes.
pub(super) fn nothing() -> Arc<[u8]> {
    Arc::from(&[][..])
}
