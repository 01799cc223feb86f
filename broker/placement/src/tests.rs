//! Balance, racks and determinism of placement, for any cluster.

use std::collections::BTreeSet;

use ottla_types::BrokerId;
use proptest::prelude::*;

use crate::{Broker, PlacementError, loads, place, substitute};

fn brokers(count: i32, racks: i32) -> Vec<Broker> {
    let rack = |id: i32| (racks > 0).then(|| format!("rack-{}", id % racks));
    (0..count)
        .map(|id| Broker { id: BrokerId(id), rack: rack(id), replicas: 0, leaders: 0, live: true })
        .collect()
}

fn spread(counts: impl Iterator<Item = usize> + Clone) -> usize {
    counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
}

fn check(brokers: &[Broker], placed: &[Vec<BrokerId>]) {
    let assignments = placed.iter().map(Vec::as_slice);
    let after = loads(brokers.iter().map(|broker| (broker.id, broker.rack.clone())), assignments);
    assert!(spread(after.iter().map(|broker| broker.leaders)) <= 1, "leaders: {after:?}");
    assert!(spread(after.iter().map(|broker| broker.replicas)) <= 1, "replicas: {after:?}");
}

#[test]
fn partitions_go_round_the_brokers() {
    let placed = place(&brokers(3, 0), &[], 6, 1, 0).unwrap();
    let leaders: Vec<i32> = placed.iter().map(|replicas| replicas[0].0).collect();
    assert_eq!(leaders, [0, 1, 2, 0, 1, 2]);
    let later = place(&brokers(3, 0), &[], 3, 1, 1).unwrap();
    assert_eq!(later[0], [BrokerId(1)], "the seed says where to start");
}

#[test]
fn small_topics_fill_the_emptiest_broker() {
    let mut some = brokers(3, 0);
    some[0].leaders = 5;
    some[0].replicas = 5;
    some[2].leaders = 4;
    some[2].replicas = 4;
    assert_eq!(place(&some, &[], 1, 1, 0).unwrap(), [[BrokerId(1)]]);
}

#[test]
fn added_partitions_go_where_the_topic_is_not() {
    let existing = [vec![BrokerId(0)], vec![BrokerId(1)]];
    let some = loads((0..3).map(|id| (BrokerId(id), None)), existing.iter().map(Vec::as_slice));
    assert_eq!(place(&some, &existing, 1, 1, 0).unwrap(), [[BrokerId(2)]]);
}

#[test]
fn too_few_brokers_is_an_error_that_says_so() {
    let error = place(&brokers(2, 0), &[], 1, 3, 0).unwrap_err();
    assert_eq!(error, PlacementError { replication_factor: 3, brokers: 2 });
    assert_eq!(error.to_string(), "3 replicas need as many brokers, one of them live, and there are 2");
    assert!(place(&brokers(2, 0), &[], 1, 0, 0).is_err());
    assert!(place(&[], &[], 1, 1, 0).is_err());
}

#[test]
fn brokers_that_are_away_get_only_what_finds_no_other_place() {
    let mut some = brokers(4, 0);
    some[0].live = false;
    let placed = place(&some, &[], 6, 3, 0).unwrap();
    assert!(placed.iter().flatten().all(|id| *id != BrokerId(0)), "{placed:?}");
    let wide = place(&some, &[], 6, 4, 0).unwrap();
    assert!(wide.iter().all(|replicas| replicas[0] != BrokerId(0) && replicas.len() == 4), "{wide:?}");
    some.iter_mut().for_each(|broker| broker.live = false);
    assert!(place(&some, &[], 1, 1, 0).is_err(), "nobody could lead");
}

#[test]
fn a_substitute_is_the_emptiest_broker_of_another_rack() {
    let mut some = brokers(6, 3);
    some[4].replicas = 5;
    let on = [0, 1, 2].map(BrokerId);
    assert_eq!(substitute(&some, &on, BrokerId(1)), Some(BrokerId(4)), "its own rack is free again");
    some[4].live = false;
    assert_eq!(substitute(&some, &on, BrokerId(1)), Some(BrokerId(3)), "else any");
    assert_eq!(substitute(&some[..3], &on, BrokerId(1)), None);
}

proptest! {
    #[test]
    fn replicas_are_distinct_balanced_and_repeatable(
        count in 1i32..12, partitions in 0usize..60, factor in 1usize..6, seed: u64,
    ) {
        let some = brokers(count, 0);
        prop_assume!(factor <= some.len());
        let placed = place(&some, &[], partitions, factor, seed).unwrap();
        prop_assert_eq!(placed.len(), partitions);
        for replicas in &placed {
            prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor);
        }
        check(&some, &placed);
        let mut shuffled = some;
        shuffled.reverse();
        prop_assert_eq!(placed, place(&shuffled, &[], partitions, factor, seed).unwrap());
    }

    #[test]
    fn racks_are_distinct_when_there_are_enough(
        racks in 1i32..6, each in 1i32..4, partitions in 1usize..40, factor in 1usize..6, seed: u64,
    ) {
        let some = brokers(racks * each, racks);
        prop_assume!(factor <= some.len());
        let placed = place(&some, &[], partitions, factor, seed).unwrap();
        for replicas in &placed {
            let used: BTreeSet<i32> = replicas.iter().map(|id| id.0 % racks).collect();
            prop_assert_eq!(used.len(), factor.min(racks as usize));
        }
        let after = loads(some.iter().map(|b| (b.id, None)), placed.iter().map(Vec::as_slice));
        prop_assert!(spread(after.iter().map(|broker| broker.leaders)) <= 1);
    }

    #[test]
    fn growth_in_steps_stays_balanced(count in 1i32..8, steps in prop::collection::vec(1usize..7, 1..6), seed: u64) {
        let ids = || (0..count).map(|id| (BrokerId(id), None));
        let mut topic: Vec<Vec<BrokerId>> = Vec::new();
        for step in steps {
            let now = loads(ids(), topic.iter().map(Vec::as_slice));
            topic.extend(place(&now, &topic, step, 1, seed).unwrap());
            check(&now, &topic);
        }
    }
}
