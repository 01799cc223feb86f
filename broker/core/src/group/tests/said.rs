//! Replies and records as text, errors by Kafka's names.

use crate::coordinator::Unavailable;
use crate::group::*;

pub fn said(reply: &Reply) -> String {
    match reply {
        Reply::JoinGroup(reply) => reply.as_ref().map_or_else(join_code, joined),
        Reply::SyncGroup(reply) => {
            reply.as_ref().map_or_else(member_code, |synced| format!("assigned {}", text(&synced.assignment)))
        }
        Reply::Heartbeat(reply) => reply.as_ref().map_or_else(member_code, |()| "alive".to_owned()),
        Reply::LeaveGroup(reply) => reply.as_ref().map_or_else(member_code, |left| {
            let all =
                left.iter().map(|one| one.outcome.as_ref().map_or_else(member_code, |()| "left".to_owned()));
            all.collect::<Vec<_>>().join(" ")
        }),
        Reply::OffsetCommit(reply) => {
            reply.as_ref().map_or_else(member_code, |all| partitions(all, "committed"))
        }
        Reply::OffsetFetch(reply) => reply.as_ref().map_or_else(code, |all| {
            let all = all.iter().map(|one| {
                let offset = one.committed.as_ref().map_or(-1, |committed| committed.offset.0);
                format!("{}={offset}", one.partition)
            });
            Some(all.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty()).unwrap_or("none".into())
        }),
        Reply::OffsetDelete(reply) => {
            reply.as_ref().map_or_else(admin_code, |all| partitions(all, "deleted"))
        }
        Reply::DeleteGroups(all) => {
            let all = all.iter().map(|(id, outcome)| {
                let outcome = outcome.as_ref().map_or_else(admin_code, |()| "deleted".to_owned());
                format!("{id} {outcome}")
            });
            all.collect::<Vec<_>>().join(", ")
        }
        Reply::ListGroups(reply) => reply.as_ref().map_or_else(code, |all| {
            let all = all.iter().map(|one| {
                format!("{}:{}:{}:{}", one.group, one.protocol_type, one.state, one.group_type.name())
            });
            Some(all.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty()).unwrap_or("none".into())
        }),
        Reply::DescribeGroups(reply) => reply
            .as_ref()
            .map_or_else(code, |all| all.iter().map(|one| described(one)).collect::<Vec<_>>().join(", ")),
        Reply::Needs(bytes) => format!("needs {bytes}"),
        Reply::ForgetPartitions(reply) => reply.as_ref().map_or_else(code, |count| format!("forgot {count}")),
    }
}

fn joined(joined: &Joined) -> String {
    let members = joined.members.iter().map(|one| {
        let instance = one.instance.as_ref().map_or(String::new(), |id| format!("/{id}"));
        format!("{}{instance}", one.member)
    });
    let members = members.collect::<Vec<_>>().join(" ");
    let leader = joined.leader.as_ref().map_or("nobody", MemberId::as_str);
    let protocol = joined.protocol.as_deref().unwrap_or("?");
    let skip = if joined.skip_assignment { " skip" } else { "" };
    format!("{} in {} of {leader} {protocol} [{members}]{skip}", joined.member, joined.generation)
}

fn described(group: &DescribedGroup) -> String {
    let members = group.members.iter().map(|one| {
        let instance = one.instance.as_ref().map_or(String::new(), |id| format!("/{id}"));
        format!("{}{instance}={}", one.member, text(&one.assignment))
    });
    let members = members.collect::<Vec<_>>().join(" ");
    format!("{} {} {}:{} [{members}]", group.group, group.state, group.protocol_type, group.protocol)
}

pub fn said_record(record: &Record) -> String {
    match record {
        Record::OffsetCommit { key, value } => {
            let offset = value.as_ref().map_or("gone".to_owned(), |value| value.offset.0.to_string());
            format!("{}/{}-{}={offset}", key.group, key.topic, key.partition)
        }
        Record::GroupMetadata { key, value: None } => format!("{} gone", key.group),
        Record::GroupMetadata { key, value: Some(value) } => {
            let members = value.members.iter().map(|one| format!("{}={}", one.member, text(&one.assignment)));
            let members = members.collect::<Vec<_>>().join(" ");
            format!("{} in {} [{members}]", key.group, value.generation)
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    if bytes.is_empty() { "nothing" } else { std::str::from_utf8(bytes).unwrap() }
}

fn partitions(all: &[Result<(), PartitionRefusal>], fine: &str) -> String {
    if all.iter().all(Result::is_ok) {
        return fine.to_owned();
    }
    let all = all.iter().map(|one| match one {
        Ok(()) => fine,
        Err(PartitionRefusal::OffsetMetadataTooLarge { .. }) => "OFFSET_METADATA_TOO_LARGE",
        Err(PartitionRefusal::GroupSubscribedToTopic) => "GROUP_SUBSCRIBED_TO_TOPIC",
    });
    all.collect::<Vec<_>>().join(" ")
}

fn code(why: &Unavailable) -> String {
    let code = match why {
        Unavailable::NotCoordinator => "NOT_COORDINATOR",
        Unavailable::Loading => "COORDINATOR_LOAD_IN_PROGRESS",
        Unavailable::NotAvailable => "COORDINATOR_NOT_AVAILABLE",
        Unavailable::TooLarge => "UNKNOWN_SERVER_ERROR",
    };
    code.to_owned()
}

fn join_code(refusal: &JoinRefusal) -> String {
    assert!(!refusal.to_string().is_empty());
    match refusal {
        JoinRefusal::Unavailable(why) => code(why),
        JoinRefusal::InvalidGroupId => "INVALID_GROUP_ID".to_owned(),
        JoinRefusal::InvalidSessionTimeout { .. } => "INVALID_SESSION_TIMEOUT".to_owned(),
        JoinRefusal::MemberIdRequired(id) => format!("MEMBER_ID_REQUIRED {id}"),
        JoinRefusal::GroupMaxSizeReached { .. } => "GROUP_MAX_SIZE_REACHED".to_owned(),
        JoinRefusal::PendingJoinsReached { .. } => "GROUP_MAX_SIZE_REACHED (pending)".to_owned(),
        JoinRefusal::GroupBytesReached { .. } => "GROUP_MAX_SIZE_REACHED (bytes)".to_owned(),
        JoinRefusal::StateBytesReached => "GROUP_MAX_SIZE_REACHED (state)".to_owned(),
        JoinRefusal::InconsistentGroupProtocol => "INCONSISTENT_GROUP_PROTOCOL".to_owned(),
        JoinRefusal::UnknownMemberId(_) => "UNKNOWN_MEMBER_ID".to_owned(),
        JoinRefusal::FencedInstanceId(_) => "FENCED_INSTANCE_ID".to_owned(),
        JoinRefusal::Superseded => "REBALANCE_IN_PROGRESS".to_owned(),
    }
}

fn member_code(refusal: &MemberRefusal) -> String {
    assert!(!refusal.to_string().is_empty());
    match refusal {
        MemberRefusal::Unavailable(why) => code(why),
        MemberRefusal::InvalidGroupId => "INVALID_GROUP_ID".to_owned(),
        MemberRefusal::GroupIdNotFound(_) => "GROUP_ID_NOT_FOUND".to_owned(),
        MemberRefusal::UnknownMemberId(_) => "UNKNOWN_MEMBER_ID".to_owned(),
        MemberRefusal::FencedInstanceId(_) => "FENCED_INSTANCE_ID".to_owned(),
        MemberRefusal::IllegalGeneration { .. } => "ILLEGAL_GENERATION".to_owned(),
        MemberRefusal::InconsistentGroupProtocol => "INCONSISTENT_GROUP_PROTOCOL".to_owned(),
        MemberRefusal::RebalanceInProgress => "REBALANCE_IN_PROGRESS".to_owned(),
    }
}

fn admin_code(refusal: &AdminRefusal) -> String {
    assert!(!refusal.to_string().is_empty());
    match refusal {
        AdminRefusal::Unavailable(why) => code(why),
        AdminRefusal::InvalidGroupId => "INVALID_GROUP_ID".to_owned(),
        AdminRefusal::GroupIdNotFound(_) => "GROUP_ID_NOT_FOUND".to_owned(),
        AdminRefusal::NonEmptyGroup(_) => "NON_EMPTY_GROUP".to_owned(),
    }
}
