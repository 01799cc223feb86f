//! How groups are a coordinator's [`Machine`].

use crate::coordinator::{Answer, CallId, Machine, Now, Refused, Ticket, Unavailable};

use super::super::after::{After, Out, Then};
use super::super::classic::{ClassicGroup, check_join};
use super::super::config::GroupConfig;
use super::super::ids::GroupId;
use super::super::record::Record;
use super::super::refusal::{AdminRefusal, JoinRefusal, MemberRefusal};
use super::super::reply::Reply;
use super::super::request::Request;
use super::{Group, Groups, Held};

impl Machine for Groups {
    type Record = Record;
    type After = After;
    type Request = Request;
    type Reply = Reply;
    type Config = GroupConfig;

    fn config(&self) -> &GroupConfig {
        &self.config
    }

    fn load(&mut self, record: Record) {
        match record {
            Record::OffsetCommit { key, value } => self.offsets.load(key, value),
            Record::GroupMetadata { key, value: Some(value) } => {
                self.insert_loaded(ClassicGroup::loaded(key.group, value));
            }
            Record::GroupMetadata { key, value: None } => {
                self.take_out(&key.group);
            }
        }
    }

    fn on_loaded(&mut self, now: Now, out: &mut Out) {
        // Whoever only commits is a group without a record.
        let simple = self.offsets.groups().filter(|id| !self.groups.contains_key(*id));
        for id in simple.cloned().collect::<Vec<_>>() {
            self.insert_loaded(ClassicGroup::new(id, now));
        }
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.with_classic(&id, now, out, ClassicGroup::on_loaded);
        }
        self.next_cleanup_ms = Some(now.ms + self.config.offsets_retention_check_interval_ms);
    }

    fn on_request(&mut self, call: CallId, request: Request, now: Now, out: &mut Out) {
        let reply = match request {
            Request::JoinGroup(request) => return self.join(call, request, now, out),
            Request::SyncGroup(request) => return self.sync(call, request, now, out),
            Request::OffsetCommit(request) => return self.commit(call, request, now, out),
            Request::OffsetDelete(request) => return self.delete_offsets(call, request, now, out),
            Request::DeleteGroups(request) => return self.delete(call, request, now, out),
            Request::ForgetPartitions(request) => return self.forget(call, request, now, out),
            // What is newest is read once it is committed: so nothing large is held meanwhile.
            Request::OffsetFetch(ref fetch) if fetch.require_stable => {
                return out.read_when_committed(call, request);
            }
            Request::OffsetFetch(_) | Request::ListGroups(_) | Request::DescribeGroups(_) => {
                self.read(&request)
            }
            Request::LeaveGroup(request) => return self.leave(call, request, now, out),
            Request::Heartbeat(request) => Reply::Heartbeat(self.heartbeat(&request, now, out)),
        };
        out.answer(call, reply);
    }

    fn read(&self, request: &Request) -> Reply {
        if let Some(needs) = self.needs(request) {
            return needs;
        }
        match request {
            Request::OffsetFetch(request) => Reply::OffsetFetch(Ok(self.offsets.fetch(request))),
            Request::ListGroups(request) => Reply::ListGroups(Ok(self.list(request))),
            Request::DescribeGroups(request) => Reply::DescribeGroups(Ok(self.describe(request))),
            _ => unreachable!("other requests change something, and aren't read"),
        }
    }

    fn needs_records(request: &Request) -> bool {
        match request {
            Request::JoinGroup(_)
            | Request::SyncGroup(_)
            | Request::OffsetCommit(_)
            | Request::OffsetDelete(_)
            | Request::DeleteGroups(_)
            | Request::ForgetPartitions(_) => true,
            // Who leaves takes the last record of a group with it, but it goes in any case.
            Request::LeaveGroup(_)
            | Request::Heartbeat(_)
            | Request::OffsetFetch(_)
            | Request::ListGroups(_)
            | Request::DescribeGroups(_) => false,
        }
    }

    fn bytes_of(record: &Record) -> usize {
        record.bytes()
    }

    fn on_committed(&mut self, ticket: Ticket, after: After, now: Now, out: &mut Out) {
        for key in after.offsets {
            self.offsets.commit(ticket, key);
        }
        self.take_removed(ticket);
        if let Some(id) = after.deletion {
            self.on_deletion_settled(id, ticket, Ok(()), out);
        }
        match after.group {
            Some((id, Then::Created)) => {
                if let Some(held) = self.groups.get_mut(&id).filter(|held| held.created == Some(ticket)) {
                    held.created = None;
                }
            }
            Some((id, then)) => {
                self.with_classic(&id, now, out, |group, turn| group.on_committed(ticket, then, turn));
            }
            None => {}
        }
    }

    fn on_refused(&mut self, refused: Refused<After>, now: Now, out: &mut Out) {
        let Refused { ticket, after, why } = refused;
        for key in after.offsets {
            self.offsets.refuse(ticket, key);
        }
        for held in self.take_removed(ticket) {
            let other = self.put_in(Held { is_being_deleted: false, ..held });
            assert!(other.is_none(), "what came after was refused before");
        }
        if let Some(id) = after.deletion {
            self.on_deletion_settled(id, ticket, Err(why), out);
        }
        match after.group {
            Some((id, Then::Created)) => self.uncreate(&id, ticket, why, out),
            Some((id, then)) => {
                self.with_classic(&id, now, out, |group, turn| group.on_refused(ticket, then, why, turn));
            }
            None => {}
        }
    }

    fn on_overdue(&mut self, ticket: Ticket, after: &After, now: Now, out: &mut Out) {
        if let Some(id) = after.deletion {
            self.on_deletion_settled(id, ticket, Err(Unavailable::NotAvailable), out);
        }
        if let Some((id, then)) = &after.group {
            self.with_classic(id, now, out, |group, turn| group.on_overdue(ticket, then, turn));
        }
    }

    fn on_time(&mut self, now: Now, out: &mut Out) {
        while let Some(id) = self.deadlines.due(now.ms) {
            let woken = self.with_classic(&id, now, out, ClassicGroup::on_time);
            assert!(woken.is_some(), "who is to be woken is there");
        }
        if self.next_cleanup_ms.is_some_and(|at_ms| at_ms <= now.ms) {
            self.clean_up(now, out);
        }
        if self.deletions.next_ms().is_some_and(|at_ms| at_ms <= now.ms) {
            self.go_on_deleting(now, out);
        }
    }

    fn next_deadline_ms(&self) -> Option<u64> {
        let walks = self.next_cleanup_ms.into_iter().chain(self.deletions.next_ms());
        walks.chain(self.deadlines.next_ms()).min()
    }

    fn waiting(&self) -> Vec<Answer<Reply>> {
        let groups = self.groups.values().flat_map(|held| {
            let Group::Classic(group) = &held.group;
            group.waiting()
        });
        groups.chain(self.deletions.waiting()).collect()
    }

    /// What is wrong with a join by itself is wrong whether the group is there or not.
    fn unserved(config: &GroupConfig, request: &Request, why: Unavailable) -> Reply {
        let of_member = |group: &GroupId| match group.as_str() {
            "" => MemberRefusal::InvalidGroupId,
            _ => why.into(),
        };
        let unavailable = AdminRefusal::Unavailable(why);
        match request {
            Request::JoinGroup(request) => {
                let checked = check_join(request, config);
                Reply::JoinGroup(Err(checked.err().unwrap_or(JoinRefusal::Unavailable(why))))
            }
            Request::SyncGroup(request) => Reply::SyncGroup(Err(of_member(&request.group))),
            // A member that lives is not to look for another coordinator meanwhile.
            Request::Heartbeat(request)
                if why == Unavailable::Loading && !request.group.as_str().is_empty() =>
            {
                Reply::Heartbeat(Ok(()))
            }
            Request::Heartbeat(request) => Reply::Heartbeat(Err(of_member(&request.group))),
            Request::LeaveGroup(request) => Reply::LeaveGroup(Err(of_member(&request.group))),
            Request::OffsetCommit(_) => Reply::OffsetCommit(Err(why.into())),
            Request::OffsetFetch(_) => Reply::OffsetFetch(Err(why)),
            Request::OffsetDelete(_) => Reply::OffsetDelete(Err(unavailable)),
            Request::DeleteGroups(request) => {
                let groups = request.groups.iter().map(|id| (id.clone(), Err(unavailable.clone())));
                Reply::DeleteGroups(groups.collect())
            }
            Request::ListGroups(_) => Reply::ListGroups(Err(why)),
            Request::DescribeGroups(_) => Reply::DescribeGroups(Err(why)),
            Request::ForgetPartitions(_) => Reply::ForgetPartitions(Err(why)),
        }
    }

    fn failed(reply: Reply, why: Unavailable) -> Reply {
        reply.failed(why)
    }
}

impl Groups {
    /// A group's first record was refused: there is no such group, and all who wait in it are told.
    fn uncreate(&mut self, id: &GroupId, ticket: Ticket, why: Unavailable, out: &mut Out) {
        if self.groups.get(id).is_none_or(|held| held.created != Some(ticket)) {
            return;
        }
        if let Some(Held { group: Group::Classic(group), .. }) = self.take_out(id) {
            for answer in group.waiting() {
                out.answer(answer.call, answer.reply.failed(why));
            }
        }
    }
}
