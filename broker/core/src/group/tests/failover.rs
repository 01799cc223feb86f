//! Another broker takes over: with what is committed, and nobody is put out.

use ottla_types::LeaderEpoch;

use super::joining::{pair, pair_with};
use super::world::{LIMITS, World};
use crate::coordinator::{Answer, CallId, Machine, Shard, Unavailable};
use crate::group::*;

#[test]
fn members_and_offsets_outlive_their_coordinator() {
    pair().run(
        "
        commit c-1 1 t-0:5 u-0:5 => committed
        tick 9000 =>
        failover =>
        # Nobody knows for how long a member was silent: its session begins anew.
        tick 9999 =>
        beat c-1 1 => alive
        sync c-3 1 => assigned b
        describe g => g Stable consumer:range [c-1=a c-3=b]
        fetch => t-0=5 u-0=5
        unoffset t-0 u-0 => GROUP_SUBSCRIBED_TO_TOPIC deleted
        join c-3 => c-3 in 1 of c-1 range []
        tick 1 =>
        beat c-1 1 => REBALANCE_IN_PROGRESS
        beat c-3 1 => UNKNOWN_MEMBER_ID
        join c-1 => c-1 in 2 of c-1 range [c-1]
        ",
    );
}

#[test]
fn who_waits_is_told_to_look_for_the_new_coordinator() {
    pair().run(
        "
        join c-1 =>
        hold =>
        commit c-3 1 t-0:5 =>
        fetch stable =>
        join - old g=h =>
        failover => #7 NOT_COORDINATOR; #8 NOT_COORDINATOR; #9 NOT_COORDINATOR; #10 NOT_COORDINATOR
        go =>
        fetch => none
        list => g:consumer:Stable:classic
        ",
    );
    World::new().run(
        "
        join - old =>
        join - old =>
        tick 6000 => #1 c-1 in 1 of c-1 range [c-1 c-2]; #2 c-2 in 1 of c-1 range []
        sync c-2 1 =>
        failover => #3 NOT_COORDINATOR
        # The generation was never stable, so there is none.
        beat c-2 1 => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn static_members_are_known_again() {
    World::new().run(
        "
        join - old i=x =>
        tick 3000 => #1 x-1 in 1 of x-1 range [x-1/x]
        sync x-1 1 i=x x-1:a => assigned a
        failover =>
        join - i=x => x-3 in 1 of x-3 range [x-3/x] skip
        failover =>
        beat x-1 1 i=x => FENCED_INSTANCE_ID
        beat x-3 1 i=x => alive
        ",
    );
}

#[test]
fn what_was_deleted_stays_deleted() {
    pair().run(
        "
        commit - -1 t-0:5 g=h => committed
        leave c-1 c-3 => left left
        failover =>
        list => g:consumer:Empty:classic h::Empty:classic
        delete g h => g deleted, h deleted
        failover =>
        list => none
        fetch g=h => none
        ",
    );
}

#[test]
fn a_group_that_is_too_large_rebalances_when_it_is_loaded() {
    let mut world = pair_with(GroupConfig::default());
    world.config.members_max = 1;
    world.run(
        "
        failover =>
        beat c-1 1 => REBALANCE_IN_PROGRESS
        join c-1 =>
        join c-3 => GROUP_MAX_SIZE_REACHED; #8 c-1 in 2 of c-1 range [c-1]
        ",
    );
}

#[test]
fn while_it_loads_members_are_not_sent_away() {
    let mut shard = Shard::new(LeaderEpoch(2), LIMITS, Groups::new(GroupConfig::default()));
    let (now, call) = (World::new().now, CallId(1));
    let heartbeat =
        Heartbeat { group: "g".into(), member: "c-1".into(), instance: None, generation: Generation(1) };
    let effects = shard.on_request(call, Request::Heartbeat(heartbeat), now);
    assert_eq!(effects.answers, [Answer { call, reply: Reply::Heartbeat(Ok(())) }]);
    let effects = shard.on_request(call, Request::ListGroups(ListGroups::default()), now);
    assert_eq!(effects.answers, [Answer { call, reply: Reply::ListGroups(Err(Unavailable::Loading)) }]);
    assert_eq!(shard.next_deadline_ms(), None);
}

#[test]
fn a_damaged_record_is_read_as_far_as_it_makes_sense() {
    let member = |id: &str, instance: Option<&str>| MemberMetadata {
        member: id.into(),
        instance: instance.map(Into::into),
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout_ms: 1,
        session_timeout_ms: 1,
        subscription: b"?".as_slice().into(),
        assignment: b"a".as_slice().into(),
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer".to_owned(),
        generation: Generation(7),
        protocol: Some("range".to_owned()),
        leader: Some("nobody".into()),
        current_state_timestamp_ms: None,
        members: vec![member("a", Some("x")), member("b", Some("x")), member("a", None), member("c", None)],
    };
    let record = |value| Record::GroupMetadata { key: GroupMetadataKey { group: "g".into() }, value };
    let mut world = World::new();
    world.log.push(record(Some(value.clone())));
    world.run("failover =>\ndescribe g => g Stable consumer:range [a/x=a c=a]");
    world.log.push(record(Some(GroupMetadataValue { protocol: None, ..value })));
    world.run("failover =>\ndescribe g => g Empty consumer: []");
}

#[test]
fn a_wrong_session_time_out_is_wrong_while_it_loads_and_where_there_is_no_coordinator() {
    let config = GroupConfig { session_timeout_max_ms: 20_000, ..GroupConfig::default() };
    let join = |session_timeout_ms| {
        Request::JoinGroup(JoinGroup {
            group: "g".into(),
            member: None,
            instance: None,
            client: Client { id: "c".into(), host: "/h".into() },
            session_timeout_ms,
            rebalance_timeout_ms: 1,
            protocol_type: "consumer".to_owned(),
            protocols: Vec::new(),
            knows_member_id_required: true,
            knows_skip_assignment: true,
            fresh_id: "1".to_owned(),
        })
    };
    let refused = |given_ms| {
        let (min_ms, max_ms) = (6_000, 20_000);
        Reply::JoinGroup(Err(JoinRefusal::InvalidSessionTimeout { given_ms, min_ms, max_ms }))
    };
    let mut shard = Shard::new(LeaderEpoch(2), LIMITS, Groups::new(config.clone()));
    let (now, call) = (World::new().now, CallId(1));
    let effects = shard.on_request(call, join(20_001), now);
    assert_eq!(effects.answers, [Answer { call, reply: refused(20_001) }]);
    let why = Unavailable::NotCoordinator;
    assert_eq!(Groups::unserved(&config, &join(5_999), why), refused(5_999));
    assert_eq!(Groups::unserved(&config, &join(6_000), why), Reply::JoinGroup(Err(why.into())));
}

#[test]
fn a_group_without_a_name_is_wrong_while_it_loads_too() {
    let mut shard = Shard::new(LeaderEpoch(2), LIMITS, Groups::new(GroupConfig::default()));
    let (now, call) = (World::new().now, CallId(1));
    let beat = Heartbeat { group: "".into(), member: "c".into(), instance: None, generation: Generation(1) };
    let leave = LeaveGroup { group: "".into(), members: Vec::new() };
    for (request, reply) in [
        (Request::Heartbeat(beat), Reply::Heartbeat(Err(MemberRefusal::InvalidGroupId))),
        (Request::LeaveGroup(leave), Reply::LeaveGroup(Err(MemberRefusal::InvalidGroupId))),
    ] {
        assert_eq!(shard.on_request(call, request, now).answers, [Answer { call, reply }]);
    }
}
