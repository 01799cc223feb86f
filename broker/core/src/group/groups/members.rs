//! Requests of members: who joins, syncs, lives and leaves.

use crate::coordinator::{CallId, Now, Unavailable};

use super::super::after::{After, Out, Then};
use super::super::classic::{ClassicGroup, Turn, check_join};
use super::super::ids::{GroupId, MemberId};
use super::super::refusal::{JoinRefusal, MemberRefusal};
use super::super::reply::{LeftMember, Reply};
use super::super::request::{Heartbeat, JoinGroup, LeaveGroup, SyncGroup};
use super::Groups;

impl Groups {
    /// A member joins. A group comes into being with its first one.
    pub(super) fn join(&mut self, call: CallId, request: JoinGroup, now: Now, out: &mut Out) {
        let session_timeout_ms = match check_join(&request, &self.config) {
            Ok(session_timeout_ms) => session_timeout_ms,
            Err(refusal) => return out.answer(call, Reply::JoinGroup(Err(refusal))),
        };
        let id = request.group.clone();
        if self.groups.get(&id).is_some_and(|held| held.is_being_deleted) {
            out.answer(call, Reply::JoinGroup(Err(Unavailable::NotAvailable.into())));
        } else if self.groups.contains_key(&id) {
            self.with_classic(&id, now, out, |group, turn| {
                group.join(call, request, session_timeout_ms, turn)
            });
        } else if let Some(member) = request.member {
            out.answer(call, Reply::JoinGroup(Err(JoinRefusal::UnknownMemberId(member))));
        } else {
            let mut group = ClassicGroup::new(id.clone(), now);
            let record = group.first_record();
            if record.log_bytes() > out.decision_bytes_max() {
                return out.answer(call, Reply::JoinGroup(Err(Unavailable::TooLarge.into())));
            }
            group.join(call, request, session_timeout_ms, &mut Turn { config: &self.config, now, out });
            // Whoever was refused leaves no group behind. In Kafka one whose protocols were refused does: an
            // empty group, until the next clean-up.
            if !group.is_deserted() {
                let ticket = out.decide(vec![record], After::of_group(&id, Then::Created));
                self.insert_created(group, ticket);
            }
        }
    }

    pub(super) fn sync(&mut self, call: CallId, request: SyncGroup, now: Now, out: &mut Out) {
        let (id, member) = (request.group.clone(), request.member.clone());
        let refusal = match check_name(&id) {
            Err(refusal) => refusal,
            Ok(()) if !self.groups.contains_key(&id) => MemberRefusal::UnknownMemberId(member),
            Ok(()) => {
                self.with_classic(&id, now, out, |group, turn| group.sync(call, request, turn));
                return;
            }
        };
        out.answer(call, Reply::SyncGroup(Err(refusal)));
    }

    pub(super) fn heartbeat(
        &mut self,
        request: &Heartbeat,
        now: Now,
        out: &mut Out,
    ) -> Result<(), MemberRefusal> {
        check_name(&request.group)?;
        let heard = self.with_classic(&request.group, now, out, |group, turn| group.heartbeat(request, turn));
        heard.unwrap_or_else(|| Err(MemberRefusal::UnknownMemberId(request.member.clone())))
    }

    /// Members leave. If the group is empty then, they are told so once that is committed, as in Kafka:
    /// whoever takes over would know them still.
    pub(super) fn leave(&mut self, call: CallId, request: LeaveGroup, now: Now, out: &mut Out) {
        let next = out.next_ticket();
        let reply = Reply::LeaveGroup(self.try_leave(request, now, out));
        match out.next_ticket() == next {
            true => out.answer(call, reply),
            false => out.answer_when_committed(call, reply),
        }
    }

    fn try_leave(
        &mut self,
        request: LeaveGroup,
        now: Now,
        out: &mut Out,
    ) -> Result<Vec<LeftMember>, MemberRefusal> {
        check_name(&request.group)?;
        let LeaveGroup { group: id, members } = request;
        if self.groups.contains_key(&id) {
            let left = self.with_classic(&id, now, out, |group, turn| group.leave(members, turn));
            return Ok(left.unwrap_or_default());
        }
        let strangers = members.into_iter().map(|one| {
            let unknown = one.member.clone().unwrap_or_else(|| MemberId::from(""));
            let outcome = Err(MemberRefusal::UnknownMemberId(unknown));
            LeftMember { member: one.member, instance: one.instance, outcome }
        });
        Ok(strangers.collect())
    }
}

fn check_name(id: &GroupId) -> Result<(), MemberRefusal> {
    if id.as_str().is_empty() { Err(MemberRefusal::InvalidGroupId) } else { Ok(()) }
}
