//! The high watermark, who is in sync, and what producers are told.

use ottla_types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionEpoch};

use super::world::{Node, assignment, members, peer};
use crate::partition::{AppendRefusal, Committed, FetchRefusal, LogFacts, SavedHighWatermark};

/// Replicas 1 (leading in epoch 1) to 3, all in sync and caught up with nothing.
fn cluster() -> (Node, Node, Node) {
    let (mut one, mut two, mut three) = (Node::new(1), Node::new(2), Node::new(3));
    let first = assignment(1, 1, 1, &[1, 2, 3]);
    for node in [&mut one, &mut two, &mut three] {
        assert!(node.follow(&first).role);
    }
    (one, two, three)
}

#[test]
fn a_record_is_acknowledged_once_all_in_sync_have_synced_it() {
    let (mut one, mut two, mut three) = cluster();
    let offset = one.append();
    for follower in [&mut two, &mut three] {
        one.feed(follower);
        one.feed(follower);
    }
    assert_eq!(one.replica.committed(offset, LeaderEpoch(1)), Committed::Waiting, "the leader hasn't synced");
    assert!(one.sync().high_watermark);
    assert_eq!(one.replica.committed(offset, LeaderEpoch(1)), Committed::Yes);
    one.feed(&mut two);
    assert_eq!(two.high_watermark(), 1);
}

#[test]
fn one_member_that_lacks_it_holds_it_up() {
    let (mut one, mut two, _three) = cluster();
    let offset = one.append();
    let _ = one.sync();
    one.feed(&mut two);
    one.feed(&mut two);
    assert_eq!(
        (one.high_watermark(), one.replica.committed(offset, LeaderEpoch(1))),
        (0, Committed::Waiting)
    );
}

#[test]
fn a_follower_asks_only_from_what_it_has_synced() {
    let mut two = Node::new(2);
    let _ = two.follow(&assignment(1, 1, 1, &[1, 2, 3]));
    let facts = LogFacts { start: Offset(0), end: Offset(2), synced: Offset(1) };
    assert_eq!(two.replica.fetch_spec(facts, Some(LeaderEpoch(1))), None);
}

#[test]
fn below_the_minimum_nothing_moves_and_nothing_is_taken() {
    let (mut one, ..) = cluster();
    let offset = one.append();
    let _ = one.follow(&assignment(1, 1, 2, &[1]));
    let _ = one.sync();
    assert_eq!(one.high_watermark(), 0);
    assert_eq!(one.replica.committed(offset, LeaderEpoch(1)), Committed::UnderMinimum);
    let refusal = AppendRefusal::NotEnoughReplicas { in_sync: 1, minimum: 2 };
    assert_eq!(one.replica.check_append(true), Err(refusal));
    assert_eq!(one.replica.check_append(false), Ok(LeaderEpoch(1)));
}

#[test]
fn who_left_counts_no_more_once_that_is_committed_and_not_before() {
    let (mut one, mut two, _three) = cluster();
    one.append();
    let _ = one.sync();
    one.feed(&mut two);
    one.feed(&mut two);
    let leaves = one.replica.on_tick(one.log.facts(), 50);
    assert_eq!(leaves, None, "nobody lags for long");
    let _ = one.hear(&two.question(), 150);
    let leaves = one.replica.on_tick(one.log.facts(), 160);
    assert_eq!(members(leaves.as_ref()), [1, 2]);
    let _ = one.sync();
    assert_eq!(one.high_watermark(), 0, "the proposal may come to nothing");
    assert!(one.follow(&assignment(1, 1, 2, &[1, 2])).high_watermark);
    assert_eq!(one.high_watermark(), 1);
}

#[test]
fn who_joins_counts_from_the_proposal_on() {
    let (mut one, mut two, mut three) = cluster();
    let _ = one.follow(&assignment(1, 1, 2, &[1, 2]));
    let proposal = one.feed(&mut three);
    assert_eq!(members(proposal.as_ref()), [1, 2, 3]);
    one.append();
    let _ = one.sync();
    one.feed(&mut two);
    one.feed(&mut two);
    assert_eq!(one.high_watermark(), 0, "3 may be in sync already");
    assert_eq!(one.replica.pending_proposal(), proposal.as_ref());
    let refused = one.replica.on_proposal_refused(proposal.as_ref().unwrap(), one.log.facts());
    assert!(refused.high_watermark && one.high_watermark() == 1);
}

#[test]
fn an_image_settles_what_was_proposed_before_it() {
    let (mut one, _two, mut three) = cluster();
    let _ = one.follow(&assignment(1, 1, 2, &[1, 2]));
    let proposal = one.feed(&mut three).unwrap();
    assert_eq!((proposal.leader_epoch, proposal.partition_epoch), (LeaderEpoch(1), PartitionEpoch(2)));
    let _ = one.follow(&assignment(1, 1, 2, &[1, 2]));
    assert!(one.replica.pending_proposal().is_some(), "the image is of before");
    let _ = one.follow(&assignment(1, 1, 3, &[1, 2, 3]));
    assert_eq!(one.replica.pending_proposal(), None);
}

#[test]
fn joining_takes_the_high_watermark_and_the_start_of_the_epoch() {
    // 1 led in epoch 1 with 2; then it leads again in epoch 3 and 3, which was away, has only a part.
    let mut one = Node::with(1, &[1, 1, 1]);
    one.begin_again(2);
    let mut three = Node::new(3);
    for node in [&mut one, &mut three] {
        let _ = node.follow(&assignment(1, 3, 5, &[1, 2]));
    }
    let mut behind = three.question();
    for (offset, last) in [(0, None), (1, Some(1)), (2, Some(1))] {
        (behind.fetch_offset, behind.last_epoch) = (Offset(offset), last.map(LeaderEpoch));
        assert_eq!(one.hear(&behind, 0).unwrap().1.proposal, None, "{offset}");
    }
    behind.fetch_offset = Offset(3);
    assert_eq!(members(one.hear(&behind, 0).unwrap().1.proposal.as_ref()), [1, 2, 3]);
}

#[test]
fn joining_takes_the_present_registration_and_a_broker_in_service() {
    let (mut one, _two, three) = cluster();
    let join = |one: &mut Node, epoch: i64, may_join: bool| {
        let mut state = assignment(1, 1, 2, &[1, 2]);
        state.replicas[2].broker_epoch = Some(BrokerEpoch(epoch));
        state.replicas[2].may_join = may_join;
        let _ = one.follow(&state);
        one.hear(&three.question(), 0).map(|heard| members(heard.1.proposal.as_ref()))
    };
    assert_eq!(join(&mut one, 31, true), Err(FetchRefusal::StaleBrokerEpoch));
    assert_eq!(join(&mut one, 29, true), Ok(vec![]), "the image doesn't know that registration yet");
    assert_eq!(join(&mut one, 30, false), Ok(vec![]));
    assert_eq!(join(&mut one, 30, true), Ok(vec![1, 2, 3]));
}

#[test]
fn fetches_of_others_are_refused() {
    let (mut one, two, _three) = cluster();
    let refused = |one: &mut Node, change: &dyn Fn(&mut crate::partition::FollowerFetch)| {
        let mut question = two.question();
        change(&mut question);
        one.hear(&question, 0).unwrap_err()
    };
    assert_eq!(refused(&mut one, &|q| q.leader_epoch = LeaderEpoch(0)), FetchRefusal::FencedLeaderEpoch);
    assert_eq!(refused(&mut one, &|q| q.leader_epoch = LeaderEpoch(2)), FetchRefusal::UnknownLeaderEpoch);
    assert_eq!(refused(&mut one, &|q| q.broker = BrokerId(9)), FetchRefusal::NotReplica);
    assert_eq!(refused(&mut one, &|q| q.directory = DirectoryId([9; 16])), FetchRefusal::NotReplica);
    assert_eq!(refused(&mut one, &|q| q.broker_epoch = BrokerEpoch(19)), FetchRefusal::StaleBrokerEpoch);
    let mut follower = Node::new(2);
    let _ = follower.follow(&assignment(1, 1, 1, &[1, 2, 3]));
    assert_eq!(follower.hear(&two.question(), 0), Err(FetchRefusal::NotLeader));
}

#[test]
fn acknowledgements_end_with_the_epoch() {
    let (mut one, mut two, mut three) = cluster();
    one.append();
    for follower in [&mut two, &mut three] {
        one.feed(follower);
        one.feed(follower);
    }
    let _ = one.follow(&assignment(1, 2, 2, &[1, 2, 3]));
    let _ = one.sync();
    assert_eq!(one.high_watermark(), 0, "in the new epoch nobody has said anything yet");
    assert!(!one.replica.is_high_watermark_current());
    for follower in [&mut two, &mut three] {
        let _ = follower.follow(&assignment(1, 2, 2, &[1, 2, 3]));
        one.feed(follower);
    }
    assert!(one.high_watermark() == 1 && one.replica.is_high_watermark_current());
}

#[test]
fn a_deposed_leader_acknowledges_nothing() {
    let (mut one, ..) = cluster();
    let offset = one.append();
    assert!(one.follow(&assignment(2, 2, 2, &[2, 3])).role);
    let _ = one.sync();
    assert_eq!(one.replica.committed(offset, LeaderEpoch(1)), Committed::Unknown);
    assert_eq!(one.replica.check_append(true), Err(AppendRefusal::NotLeader));
    let _ = one.follow(&assignment(1, 3, 3, &[1, 2, 3]));
    assert_eq!(one.replica.committed(offset, LeaderEpoch(1)), Committed::Unknown, "another epoch");
}

#[test]
fn one_replica_alone_needs_nobody() {
    let mut one = Node::new(1);
    let mut alone = assignment(1, 1, 1, &[1]);
    (alone.replicas, alone.min_insync_replicas) = (vec![peer(1)], 1);
    let _ = one.follow(&alone);
    let offset = one.append();
    assert_eq!(one.replica.read_limit(one.log.facts()), Offset(0));
    let _ = one.sync();
    assert_eq!(one.replica.committed(offset, LeaderEpoch(1)), Committed::Yes);
    assert_eq!(one.replica.read_limit(one.log.facts()), Offset(1));
}

/// An unclean election may have made it another log since.
#[test]
fn a_saved_high_watermark_counts_only_in_the_log_of_which_it_was_said() {
    let log = |epochs: &'static [(i64, i32)]| {
        move |offset: Offset| {
            let known = epochs.iter().rev().find(|(start, _)| *start <= offset.0);
            known.map(|(_, epoch)| LeaderEpoch(*epoch))
        }
    };
    let before = log(&[(0, 0), (4, 2)]);
    let saved = SavedHighWatermark::new(Offset(5), before);
    assert_eq!(saved, SavedHighWatermark { offset: Offset(5), epoch: Some(LeaderEpoch(2)) });
    for (now, trusted) in [
        (log(&[(0, 0), (4, 2)]), 5),
        (log(&[(0, 0), (4, 2), (7, 3)]), 5),
        (log(&[(0, 7)]), 0),
        (log(&[(0, 0)]), 0),
        (log(&[]), 0),
    ] {
        assert_eq!(saved.in_log(now), Offset(trusted));
    }
    assert_eq!(SavedHighWatermark::new(Offset(0), log(&[])).in_log(log(&[])), Offset(0));
}
