//! Agreeing with the leader by epochs, and the schedules in which earlier designs lost records.

use ottla_types::{BrokerId, LeaderEpoch, Offset};

use super::world::{Log, Node, assignment, members};
use crate::partition::{Assignment, FetchAnswer, FetchVerdict, FollowerFetch, FollowerStep, LogFacts};

/// Feeds until the follower has all of the leader's log; at most `rounds` times.
fn catch_up(leader: &mut Node, follower: &mut Node, rounds: usize) {
    for _ in 0..rounds {
        leader.feed(follower);
    }
    assert_eq!(follower.log.epochs, leader.log.epochs, "after {rounds} rounds");
}

fn pair(leader: &[i32], follower: &[i32], epoch: i32) -> (Node, Node) {
    let (mut one, mut two) = (Node::with(1, leader), Node::with(2, follower));
    for node in [&mut one, &mut two] {
        let _ = node.follow(&assignment(1, epoch, epoch, &[1, 2]));
    }
    (one, two)
}

#[test]
fn logs_that_parted_agree_again() {
    for (leader, follower, rounds) in [
        (&[][..], &[][..], 1),
        (&[1, 1, 2], &[1, 1], 1),
        (&[1, 1, 2], &[1, 1, 1, 1], 2),
        (&[1, 1], &[1, 1, 1, 1], 2),
        (&[], &[1, 1], 2),
        (&[1, 3, 3], &[1, 2, 2, 2], 2),
        (&[1, 4, 6], &[1, 2, 2, 3, 3, 5], 4),
        (&[2, 2], &[1, 1, 1], 2),
        (&[5], &[1, 2, 3, 4], 2),
    ] {
        let (mut one, mut two) = pair(leader, follower, 9);
        catch_up(&mut one, &mut two, rounds);
    }
}

#[test]
fn a_follower_behind_the_leaders_first_offset_begins_there() {
    let (mut one, mut two) = (Node::new(1), Node::with(2, &[1]));
    one.log = Log { start: 50, epochs: vec![3, 3], synced: 2 };
    assert!(one.replica.on_log_start(one.log.facts()).high_watermark);
    for node in [&mut one, &mut two] {
        let _ = node.follow(&assignment(1, 4, 4, &[1]));
    }
    let caught_up =
        FollowerFetch { fetch_offset: Offset(52), last_epoch: Some(LeaderEpoch(3)), ..two.question() };
    assert_eq!(one.hear(&caught_up, 0).unwrap().0, FetchVerdict::Read);
    let (answer, _) = one.answer(&two).unwrap();
    assert_eq!(answer.verdict, FetchVerdict::BehindLogStart);
    assert_eq!(one.replica.followers().count(), 0, "it has acknowledged nothing any more");
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Reset(Offset(50)));
    one.feed(&mut two);
    assert_eq!((two.log.start, two.log.epochs.as_slice()), (50, &[3, 3][..]));
}

#[test]
fn a_follower_that_ends_where_the_leaders_log_begins_has_other_records() {
    // The leader has let go what it wrote in epoch 2; the follower led before and wrote the same offsets.
    let (mut one, mut two) = (Node::new(1), Node::with(2, &[1, 1]));
    one.log = Log { start: 2, epochs: vec![2], synced: 1 };
    let _ = one.replica.on_log_start(one.log.facts());
    for node in [&mut one, &mut two] {
        let _ = node.follow(&assignment(1, 4, 4, &[1]));
    }
    let (answer, _) = one.answer(&two).unwrap();
    assert_eq!(answer.verdict, FetchVerdict::Diverging { epoch: LeaderEpoch(-1), end_offset: Offset(2) });
    assert_eq!(one.replica.followers().count(), 0, "it has acknowledged nothing");
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Reset(Offset(2)));
    one.feed(&mut two);
    assert_eq!((two.log.start, two.log.epochs.as_slice()), (2, &[2][..]));
}

/// A power loss takes the last epoch of a log that retention emptied.
#[test]
fn a_follower_without_records_lacks_what_an_unclean_election_brought() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    one.log = Log { start: 1, epochs: vec![6, 6], synced: 2 };
    two.log.start = 2;
    for node in [&mut one, &mut two] {
        let _ = node.replica.on_log_start(node.log.facts());
        let _ = node.follow(&assignment(1, 6, 6, &[1]));
    }
    let (answer, change) = one.answer(&two).unwrap();
    assert_eq!(answer.verdict, FetchVerdict::Diverging { epoch: LeaderEpoch(-1), end_offset: Offset(1) });
    assert_eq!((change.proposal, one.replica.followers().count()), (None, 0), "it has acknowledged nothing");
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Reset(Offset(1)));
    catch_up(&mut one, &mut two, 1);
    assert_eq!(two.log.start, 1);
}

/// It would lack what was acknowledged, and may have to lead before it has it again.
#[test]
fn a_complete_follower_without_records_goes_on_where_it_is() {
    for (isr, elr) in [(&[1, 2][..], &[][..]), (&[1], &[2])] {
        let (mut one, mut two) = (Node::with(1, &[3, 3, 3]), Node::new(2));
        two.log.start = 2;
        let _ = two.replica.on_log_start(two.log.facts());
        let elr: Vec<_> = elr.iter().copied().map(BrokerId).collect();
        for node in [&mut one, &mut two] {
            let _ = node.follow(&Assignment { elr: elr.clone(), ..assignment(1, 4, 4, isr) });
        }
        let (answer, _) = one.answer(&two).unwrap();
        assert_eq!(answer.verdict, FetchVerdict::Read, "in sync {isr:?}, eligible {elr:?}");
        two.carry_out(&answer, &one);
        assert_eq!((two.log.start, two.log.epochs.as_slice()), (2, &[3][..]));
        // Of what it has let go, all that the leader has is the same.
        two.log = Log { start: 9, ..Log::default() };
        let _ = two.replica.on_truncated(two.log.facts());
        let (answer, _) = one.answer(&two).unwrap();
        let end_offset = one.log.facts().end;
        assert_eq!(answer.verdict, FetchVerdict::Diverging { epoch: LeaderEpoch(-1), end_offset });
    }
}

/// It was complete once, and was taken for one that has everything; then others were in sync without it.
#[test]
fn who_is_to_cut_its_log_has_acknowledged_nothing_any_more() {
    let (mut one, mut two) = (Node::with(1, &[3, 3, 3]), Node::new(2));
    two.log.start = 3;
    let _ = two.replica.on_log_start(two.log.facts());
    let eligible = Assignment { elr: vec![BrokerId(2)], ..assignment(1, 4, 4, &[1]) };
    for node in [&mut one, &mut two] {
        let _ = node.follow(&eligible);
    }
    assert_eq!(one.answer(&two).unwrap().0.verdict, FetchVerdict::Read);
    assert_eq!(one.replica.followers().count(), 1, "what it said may let it join");
    for node in [&mut one, &mut two] {
        let _ = node.follow(&assignment(1, 4, 5, &[1, 3]));
    }
    let (answer, _) = one.answer(&two).unwrap();
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Reset(Offset(0)));
    assert_eq!(one.replica.followers().count(), 0);
    assert!(!members(one.replica.on_tick(one.log.facts(), 1).as_ref()).contains(&2), "it has nothing");
}

/// It joined while both logs were empty, and the controller's word hasn't come back yet.
#[test]
fn a_follower_whose_joining_is_proposed_goes_on_where_it_is() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    for node in [&mut one, &mut two] {
        let _ = node.follow(&assignment(1, 4, 4, &[1]));
    }
    assert_eq!(members(one.feed(&mut two).as_ref()), [1, 2]);
    one.log = Log { epochs: vec![4, 4], synced: 2, ..one.log };
    two.log = Log { start: 2, ..Log::default() };
    let _ = two.replica.on_log_start(two.log.facts());
    let (answer, _) = one.answer(&two).unwrap();
    assert_eq!(answer.verdict, FetchVerdict::Read);
}

#[test]
fn a_follower_whose_log_begins_behind_where_the_logs_part_begins_anew() {
    let (mut one, mut two) = (Node::with(1, &[1, 2, 2]), Node::with(2, &[1, 1, 1]));
    two.log = Log { start: 2, epochs: vec![1], synced: 1 };
    let _ = two.replica.on_log_start(two.log.facts());
    for node in [&mut one, &mut two] {
        let _ = node.follow(&assignment(1, 9, 9, &[1, 2]));
    }
    let (answer, _) = one.answer(&two).unwrap();
    assert_eq!(
        two.carry_out(&answer, &one),
        FollowerStep::Reset(Offset(1)),
        "to cut it at 2 changes nothing"
    );
    one.feed(&mut two);
    assert_eq!((two.log.start, two.log.epochs.as_slice()), (1, &[2, 2][..]));
}

/// It may have let go all that it had, and still know of which epoch its last records were.
#[test]
fn a_follower_whose_log_is_all_of_later_epochs_than_the_leader_names_begins_anew() {
    let mut two = Node::new(2);
    let _ = two.follow(&assignment(1, 7, 7, &[1]));
    for end in [8, 12] {
        let log = LogFacts { start: Offset(8), end: Offset(end), synced: Offset(end) };
        let end_offset_for = |epoch| (epoch >= LeaderEpoch(5)).then_some((LeaderEpoch(5), Offset(end)));
        let asked = two.replica.fetch_spec(log, Some(LeaderEpoch(5))).unwrap();
        let verdict = FetchVerdict::Diverging { epoch: LeaderEpoch(3), end_offset: Offset(6) };
        let answer = FetchAnswer { asked, verdict, high_watermark: Offset(6), log_start: Offset(0) };
        assert_eq!(two.replica.on_answer(&answer, log, end_offset_for), FollowerStep::Reset(Offset(6)));
    }
}

#[test]
fn what_is_let_go_is_acknowledged_first() {
    let (mut one, mut two) = pair(&[1, 1], &[1, 1], 4);
    one.append();
    let _ = one.sync();
    assert_eq!(one.replica.retention_limit(one.log.facts()), Offset(0), "nobody has said anything");
    one.feed(&mut two);
    assert_eq!(one.replica.retention_limit(one.log.facts()), Offset(2), "the third is synced, and here only");
    one.log = Log { start: 2, epochs: vec![4], synced: 1 };
    assert!(!one.replica.on_log_start(one.log.facts()).high_watermark, "the high watermark stays");
    let (answer, _) = one.answer(&two).unwrap();
    assert_eq!((answer.verdict, answer.high_watermark), (FetchVerdict::Read, Offset(3)));
    assert_eq!(two.replica.start_by(&answer, two.log.facts()), Some(Offset(2)), "no reset");
    let newer = two.follow(&assignment(3, 5, 5, &[2, 3]));
    assert!(newer.role);
    assert_eq!(two.replica.start_by(&answer, two.log.facts()), None, "the word of an older leader");
}

#[test]
fn what_is_cleaned_away_is_acknowledged_first_and_synced_here() {
    let (mut one, mut two) = pair(&[1, 1], &[1, 1], 4);
    one.append();
    let _ = one.sync();
    assert_eq!(one.replica.cleaning_limit(one.log.facts()), Offset(0), "nobody has said anything");
    one.feed(&mut two);
    assert_eq!(one.replica.cleaning_limit(one.log.facts()), Offset(2), "the third is synced, and here only");
    one.log.synced = 1;
    assert_eq!(one.replica.cleaning_limit(one.log.facts()), Offset(1), "the second isn't synced here");
}

#[test]
#[should_panic(expected = "a leader lets go up to 1")]
fn a_leader_that_lets_go_what_is_not_acknowledged_is_a_bug() {
    let (mut one, _) = pair(&[1, 1], &[1, 1], 4);
    one.log = Log { start: 1, epochs: vec![1], synced: 1 };
    let _ = one.replica.on_log_start(one.log.facts());
}

#[test]
fn an_answer_to_another_question_is_ignored() {
    let (mut one, mut two) = pair(&[1], &[], 1);
    let (answer, _) = one.answer(&two).unwrap();
    one.feed(&mut two);
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Ignore, "it was asked from an earlier offset");
    let _ = two.follow(&assignment(3, 2, 2, &[2, 3]));
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Ignore, "another leader");
    let _ = two.follow(&assignment(1, 3, 3, &[1, 2]));
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Ignore, "another epoch of the same leader");
}

/// Found by the simulator: the question is asked twice, and the second answer comes late.
#[test]
fn a_late_word_on_an_older_log_of_the_same_end_cuts_nothing() {
    let (mut one, mut two) = pair(&[0, 0], &[0, 0, 0], 1);
    let (answer, _) = one.answer(&two).unwrap();
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Truncate(Offset(2)));
    one.log.epochs.push(1);
    one.log.synced = 3;
    catch_up(&mut one, &mut two, 1);
    assert_eq!(two.carry_out(&answer, &one), FollowerStep::Ignore, "it was said of the record of epoch 0");
    assert_eq!(two.log.epochs, [0, 0, 1]);
}

#[test]
fn the_high_watermark_follows_and_never_passes_what_is_here() {
    let (mut one, mut two) = pair(&[1, 1], &[1], 1);
    let (mut answer, _) = one.answer(&two).unwrap();
    answer.high_watermark = Offset(7);
    two.carry_out(&answer, &one);
    assert_eq!(two.high_watermark(), 2);
    answer.high_watermark = Offset(1);
    let _ = two.replica.on_appended(&answer, two.log.facts());
    assert_eq!(two.high_watermark(), 2, "it doesn't go back");
}

/// KIP-101, scenario 1: 2 has the record but not the newer high watermark, restarts, and the leader goes.
/// Cutting at the high watermark would lose an acknowledged record.
#[test]
fn kip_101_a_restart_loses_nothing_above_the_own_high_watermark() {
    let (mut one, mut two) = pair(&[1, 1], &[1, 1], 1);
    one.feed(&mut two);
    assert_eq!(one.high_watermark(), 2);
    two.begin_again(0);
    let _ = two.follow(&assignment(1, 1, 1, &[1, 2]));
    one.feed(&mut two);
    assert_eq!(two.log.epochs, [1, 1]);
    let _ = two.follow(&assignment(2, 2, 2, &[2]));
    assert_eq!(two.log.epochs, [1, 1], "what was acknowledged is there to be led with");
}

/// KIP-101, scenario 2: both lost power, 2 led alone and wrote another record at the same offset.
#[test]
fn kip_101_one_offset_has_one_value() {
    let (mut one, mut two) = (Node::with(1, &[1, 1]), Node::with(2, &[1]));
    let _ = two.follow(&assignment(2, 2, 2, &[2, 3]));
    two.append();
    let _ = two.sync();
    let _ = one.follow(&assignment(2, 2, 2, &[2, 3]));
    catch_up(&mut two, &mut one, 2);
    assert_eq!(one.log.epochs, [1, 2]);
}

/// KIP-279: two quick elections; the leader knows of no record of the follower's last epoch.
#[test]
fn kip_279_quick_elections_leave_no_foreign_record() {
    // 1 wrote in epoch 1 and 3, 2 in epochs 1 and 2 without anyone fetching; 1 leads in epoch 4.
    let (mut one, mut two) = pair(&[1, 3], &[1, 2, 2, 2], 4);
    catch_up(&mut one, &mut two, 2);
    // And the other way round.
    let (mut two, mut one) = pair(&[1, 2, 2, 2], &[1, 3], 4);
    catch_up(&mut two, &mut one, 2);
}

/// KIP-320: a fetch that was on its way when the leader changed says nothing about the new epoch.
#[test]
fn kip_320_a_late_fetch_acknowledges_nothing() {
    let (mut one, two) = pair(&[1, 1], &[1, 1], 1);
    let late = two.question();
    let _ = one.follow(&assignment(1, 3, 3, &[1, 2]));
    assert!(one.hear(&late, 0).is_err());
    assert_eq!(one.high_watermark(), 0);
}

#[test]
fn what_is_missing_below_the_high_watermark_is_told() {
    let mut two = Node::with(2, &[1, 1, 1]);
    two.begin_again(3);
    two.log = Log { start: 0, epochs: vec![1], synced: 1 };
    assert!(two.replica.on_truncated(two.log.facts()));
    assert_eq!(two.high_watermark(), 1);
    assert_eq!(two.replica.leader_epoch(), LeaderEpoch(-1));
}
