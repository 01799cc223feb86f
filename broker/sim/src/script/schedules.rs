//! The schedules. Each names the bug that it finds; without it, the schedule ends well.

use ottla_core::partition::IsrProposal;
use ottla_types::PlantedBug;

use super::{Question, Schedule, Script};
use crate::Violation;

pub(super) const ALL: &[(PlantedBug, Schedule)] = &[
    (PlantedBug::KeepAcknowledgementsOfOldEpoch, acknowledgements_of_an_old_epoch),
    (PlantedBug::SkipFetchEpochCheck, fetch_of_an_old_epoch),
    (PlantedBug::AcceptBatchesOfLaterEpoch, answer_that_waits_for_its_turn),
    (PlantedBug::AcceptAnswerOnOlderLog, word_that_comes_twice),
    (PlantedBug::AcceptStaleFetchAnswer, word_that_comes_late),
    (PlantedBug::TrustWhereLogStarts, log_that_begins_where_another_ends),
    (PlantedBug::TrustWithoutEpoch, log_without_records_of_before_an_unclean_election),
    (PlantedBug::CountBeforeCut, log_without_records_that_begins_anew),
    (PlantedBug::TruncateToHighWatermark, follower_that_knows_little),
    (PlantedBug::CompareOffsetsOnly, elections_in_quick_succession),
    (PlantedBug::IgnoreMinInsyncReplicas, last_replica_standing),
    (PlantedBug::KeepAfterPowerLoss, last_replica_without_power),
    (PlantedBug::AcceptStaleBrokerEpochInFetch, fetch_from_before_a_power_loss),
    (PlantedBug::AcceptStaleBrokerEpochInIsr, join_from_before_a_power_loss),
    (PlantedBug::AcceptForeignDirectoryInFetch, fetch_with_another_disk),
    (PlantedBug::SkipPartitionEpochCheck, join_that_comes_twice),
    (PlantedBug::RefuseWithoutNewEpoch, join_that_was_refused),
    (PlantedBug::CompleteMoveTooEarly, move_before_a_disk_dies),
];

/// Broker 1 leads, is cut off, and leads again without having heard of the leader between. Meanwhile broker 2
/// has cut what it had acknowledged to broker 1, as that leader lacked it. Returns a copy of the question
/// with which broker 2 acknowledged it.
fn until_the_leader_returns() -> (Script, Question) {
    // With a minimum of all three, whoever leaves stays eligible.
    let mut script = Script::new(&[1, 3, 2], 3);
    script.append(1);
    script.fetch(2, 1);
    script.fetch(3, 1);
    script.append(1);
    script.append(1);
    script.fetch(2, 1);
    let question = script.ask(2);
    script.fence(1);
    script.learn(&[2, 3]);
    // Broker 3 leads, with one record and one of its own.
    script.append(3);
    script.fetch(2, 3);
    script.unfence(1);
    script.fence(3);
    script.fence(2);
    (script, question)
}

/// Broker 2 was away while its leader, broker 1, appended this many records, and has them now; the leader's
/// word that it joins is on its way.
fn until_it_may_join(records: usize) -> (Script, IsrProposal) {
    let mut script = Script::new(&[1, 2], 1);
    script.fence(2);
    script.learn(&[1]);
    for _ in 0..records {
        script.append(1);
    }
    script.unfence(2);
    script.learn(&[1, 2]);
    let join = script.catch_up(2, 1);
    (script, join)
}

/// Broker 1 has heard something of broker 2; if it counts that, two records are acknowledged that broker 2
/// lacks.
fn count_what_was_heard(script: &mut Script, proposal: Option<IsrProposal>) -> Result<(), Violation> {
    if let Some(proposal) = proposal {
        script.propose(1, &proposal);
    }
    script.set_minimum(2);
    script.learn(&[1]);
    script.judge()
}

/// KIP-101's and KIP-320's kind: what a follower acknowledged counts in that epoch only.
fn acknowledgements_of_an_old_epoch() -> Result<(), Violation> {
    let (mut script, _) = until_the_leader_returns();
    script.unfence(2);
    script.learn(&[1]);
    let proposal = script.tick(1);
    count_what_was_heard(&mut script, proposal)
}

/// KIP-320: a fetch that was under way since an earlier epoch of the same leader.
fn fetch_of_an_old_epoch() -> Result<(), Violation> {
    let (mut script, question) = until_the_leader_returns();
    script.unfence(2);
    script.learn(&[1]);
    let (_, proposal) = script.hear(1, &question);
    count_what_was_heard(&mut script, proposal)
}

/// KIP-101: a follower doesn't know yet that what it has is acknowledged, and its next leader has less than
/// it.
fn follower_that_knows_little() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 3, 2], 2);
    script.append(1);
    script.append(1);
    script.fetch_once(3, 1);
    script.append(1);
    script.fetch_once(2, 1);
    // Their next questions tell the leader what they have.
    for id in [2, 3] {
        let question = script.ask(id);
        script.hear(1, &question);
    }
    assert_eq!(script.acknowledged.len(), 2, "what both have");
    script.fence(1);
    script.learn(&[2, 3]);
    script.fetch_once(2, 3);
    script.judge()
}

/// KIP-279: broker 2 leads so briefly that nobody hears of its epoch. Its record stands where broker 3, which
/// leads next, has one of the epoch before.
fn elections_in_quick_succession() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2, 3], 1);
    script.append(1);
    script.fetch(2, 1);
    script.append(1);
    script.append(1);
    script.fetch(3, 1);
    script.fence(1);
    script.learn(&[2]);
    script.append(2);
    script.fence(2);
    script.learn(&[3]);
    assert_eq!(script.acknowledged.len(), 3, "what the only one in sync has");
    script.unfence(2);
    script.learn(&[2, 3]);
    let join = script.catch_up(2, 3);
    assert!(script.propose(3, &join), "it may join");
    script.judge()
}

/// KIP-966: what the last replica in sync takes alone isn't acknowledged, as its disk may be lost.
fn last_replica_standing() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2], 2);
    script.append(1);
    script.fetch(2, 1);
    script.fence(2);
    script.learn(&[1]);
    script.append(1);
    script.destroy(1);
    script.unfence(2);
    script.judge()
}

/// KIP-966: the last replica in sync comes back without what it had only written. The one that was in sync
/// before it has that.
fn last_replica_without_power() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2], 2);
    script.append(1);
    script.fetch(2, 1);
    assert_eq!(script.acknowledged.len(), 1, "what both have");
    script.fence(2);
    script.lose(1, 0);
    script.judge()
}

/// A follower's question arrives after the follower has lost what it acknowledged with it, and has joined
/// again.
fn fetch_from_before_a_power_loss() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2, 3], 2);
    script.append(1);
    script.fetch(2, 1);
    script.fetch(3, 1);
    script.append(1);
    script.fetch_once(2, 1);
    let late = script.ask(2);
    script.lose(2, 1);
    script.learn(&[1, 2, 3]);
    // It joins with what all have, before it has the second record again.
    let question = script.ask(2);
    if let (_, Some(join)) = script.hear(1, &question) {
        assert!(script.propose(1, &join), "it may join");
    }
    script.learn(&[1, 2, 3]);
    script.hear(1, &late);
    script.fetch(3, 1);
    script.judge()
}

/// KIP-903: the delayed word of a leader that a follower is in sync, which has started again without what it
/// had.
fn join_from_before_a_power_loss() -> Result<(), Violation> {
    let (mut script, late) = until_it_may_join(2);
    script.lose(2, 0);
    script.propose(1, &late);
    script.judge()
}

/// A leader's word that a follower joins arrives a second time, after the follower has lagged and was left
/// behind.
fn join_that_comes_twice() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2, 3], 2);
    script.fence(3);
    script.unfence(3);
    script.learn(&[1, 2, 3]);
    script.append(1);
    script.fetch(2, 1);
    let join = script.catch_up(3, 1);
    assert!(script.propose(1, &join), "it may join");
    script.learn(&[1, 2, 3]);
    script.append(1);
    script.fetch(2, 1);
    let leave = script.tick(1).expect("broker 3 lags");
    assert!(script.propose(1, &leave), "it may leave");
    script.learn(&[1, 2, 3]);
    script.propose(1, &join);
    script.judge()
}

/// The controller refuses that a follower joins, as it is out of service, and the leader goes on without it.
/// Then a copy of the leader's word arrives, when the follower is in service again.
fn join_that_was_refused() -> Result<(), Violation> {
    let (mut script, join) = until_it_may_join(1);
    script.fence(2);
    assert!(!script.propose(1, &join), "it is out of service");
    script.refused(1, &join);
    script.append(1);
    script.unfence(2);
    script.propose(1, &join);
    script.judge()
}

/// A broker has come back with an empty disk, and its leader hasn't heard of that. Counted as in sync, it
/// would let through what only one disk has of those that may lead; that one dies.
fn fetch_with_another_disk() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2], 2);
    script.destroy(2);
    script.begin(2, 2, Vec::new());
    script.unfence(2);
    script.learn(&[2]);
    script.append(1);
    script.fetch(2, 1);
    script.destroy(1);
    script.judge()
}

/// One disk dies while a partition moves: the replica that is to go is the one that has everything.
fn move_before_a_disk_dies() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2], 1);
    script.append(1);
    script.fetch(2, 1);
    script.move_to(&[1, 3]);
    script.destroy(1);
    script.judge()
}

/// KAFKA-18723: a leader's answer waits for its turn, as a place in a file. The leader is deposed meanwhile,
/// and has what its successor wrote in that place when the answer is sent; the follower hasn't heard of the
/// successor.
fn answer_that_waits_for_its_turn() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 3, 2], 2);
    script.append(1);
    script.fetch(2, 1);
    script.fetch(3, 1);
    script.append(1);
    script.fetch_once(2, 1);
    let question = script.ask(2);
    let (Some((answer, _)), _) = script.hear(1, &question) else { panic!("it leads") };
    script.fence(1);
    script.learn(&[1, 3]);
    for _ in 0..3 {
        script.append(3);
    }
    script.unfence(1);
    script.learn(&[1, 3]);
    script.fetch(1, 3);
    let sent = script.records_from(1, question.spec.fetch_offset);
    script.take(2, (answer, sent));
    script.learn(&[2]);
    script.fetch(2, 3);
    script.fetch(1, 3);
    script.judge()
}

/// Broker 1 has led, has a record that the others don't have, and is back; nobody has heard of the new
/// leader, 2, yet.
fn deposed_with_a_record_of_its_own() -> Script {
    let mut script = Script::new(&[1, 2, 3], 2);
    script.append(1);
    script.fetch(2, 1);
    script.fetch(3, 1);
    script.append(1);
    script.fence(1);
    script.unfence(1);
    script
}

/// A leader's word to cut the log comes twice. In between the follower has cut it, has got as much again from
/// the leader, and has joined those in sync.
fn word_that_comes_twice() -> Result<(), Violation> {
    word_to_cut_after(1)
}

/// The same, when the follower has got more than it had, and asks for other records.
fn word_that_comes_late() -> Result<(), Violation> {
    word_to_cut_after(2)
}

fn word_to_cut_after(records: usize) -> Result<(), Violation> {
    let mut script = deposed_with_a_record_of_its_own();
    script.learn(&[1, 2, 3]);
    let question = script.ask(1);
    let (Some(late), _) = script.hear(2, &question) else { panic!("it leads") };
    script.fetch_once(1, 2);
    for _ in 0..records {
        script.append(2);
    }
    let join = script.catch_up(1, 2);
    assert!(script.propose(2, &join), "it may join");
    script.learn(&[1, 2, 3]);
    script.fetch(3, 2);
    script.fetch(1, 2);
    script.take(1, late);
    script.judge()
}

/// A leader has let go all that a follower has, and more of what it hasn't: the follower's log ends just
/// where the leader's begins, with a record that was never acknowledged.
fn log_that_begins_where_another_ends() -> Result<(), Violation> {
    let mut script = deposed_with_a_record_of_its_own();
    script.learn(&[2, 3]);
    script.append(2);
    script.fetch(3, 2);
    script.let_go(2, 2);
    script.append(2);
    script.fetch(3, 2);
    script.learn(&[1]);
    let join = script.catch_up(1, 2);
    assert!(script.propose(2, &join), "it may join");
    script.judge()
}

/// A follower has let go all that there was, and no epoch tells of it any more. Meanwhile an unclean election
/// has brought other records into its place.
fn log_without_records_of_before_an_unclean_election() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2], 1);
    script.append(1);
    script.append(1);
    script.fetch(2, 1);
    script.let_go(2, 2);
    script.destroy(1);
    script.fence(2);
    script.begin(1, 2, Vec::new());
    script.unfence(1);
    script.elect_unclean(1);
    script.unfence(2);
    script.learn(&[1, 2]);
    for _ in 0..3 {
        script.append(1);
    }
    let join = script.catch_up(2, 1);
    assert!(script.propose(1, &join), "it may join");
    script.judge()
}

/// A follower that has let go all that there was is eligible, so its leader takes it for one that has it. Then
/// others are in sync without it, and it has to begin anew while its broker is out of service.
fn log_without_records_that_begins_anew() -> Result<(), Violation> {
    let mut script = Script::new(&[1, 2, 3], 2);
    script.append(1);
    script.append(1);
    script.fetch(2, 1);
    script.fetch(3, 1);
    script.let_go(2, 2);
    script.fence(3);
    script.fence(2);
    script.unfence(2);
    script.learn(&[1, 2]);
    let join = script.catch_up(2, 1);
    assert!(script.propose(1, &join), "it may join");
    script.learn(&[1, 2]);
    script.unfence(3);
    script.learn(&[1, 2, 3]);
    let join = script.catch_up(3, 1);
    assert!(script.propose(1, &join), "it may join");
    script.fence(2);
    script.learn(&[1, 2, 3]);
    script.fetch_once(2, 1);
    script.unfence(2);
    script.learn(&[1]);
    if let Some(join) = script.tick(1) {
        script.propose(1, &join);
    }
    script.judge()
}
