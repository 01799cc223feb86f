//! Topics: a manifest, a status and a cluster in, the plan out.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ottla_api::{KafkaClusterSpec, Topic};
use ottla_plan::{
    BrokerView, ClusterState, ClusterView, PartitionView, TopicAction, TopicObserved, TopicPlan, TopicView,
    elder_of, plan_topic,
};
use ottla_types::BrokerId;

fn now() -> Time {
    serde_saphyr::from_str("2026-11-22T12:00:00Z").expect("a time")
}

fn topic(spec: &str) -> Topic {
    let text = format!(
        "{{apiVersion: ottla.dev/v1alpha1, kind: Topic, metadata: {{name: orders, namespace: shop, generation: 2, creationTimestamp: 2026-11-22T11:00:00Z}}, spec: {spec}}}"
    );
    serde_saphyr::from_str(&text).expect("a Topic")
}

/// A cluster of three brokers; each partition of `orders` is given by its replicas.
fn cluster(orders: Option<&[&[i32]]>) -> ClusterView {
    let brokers = (0..3)
        .map(|id| BrokerView {
            id: BrokerId(id),
            fenced: false,
            draining: false,
            rack: None,
            directory_id: "d".into(),
        })
        .collect();
    let ids = |replicas: &[i32]| replicas.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let partition = |r: &&[i32]| PartitionView {
        replicas: ids(r),
        isr: ids(r),
        leader: ids(r).first().copied(),
        min_insync_replicas: 1,
        ..Default::default()
    };
    let topics = orders
        .map(|partitions| TopicView {
            id: "AAAAAAAAAAAAAAAAAAAAAQ".into(),
            config: BTreeMap::new(),
            partitions: partitions.iter().map(partition).collect(),
        })
        .map(|topic| BTreeMap::from([("orders".to_owned(), topic)]))
        .unwrap_or_default();
    ClusterView {
        metadata_version: 7,
        active_controller: Some(BrokerId(0)),
        brokers,
        topics,
        ..Default::default()
    }
}

fn plan(topic: &Topic, cluster: ClusterState<'_>, refusal: Option<&str>) -> TopicPlan {
    let spec = KafkaClusterSpec::default();
    plan_topic(TopicObserved { topic, elder: None, spec: Some(&spec), cluster, refusal }, now())
}

const SPEC: &str = "{clusterRef: {name: demo}, partitions: 4, replicas: 1, config: {retention.ms: 1000}, deletionPolicy: Delete}";

#[test]
fn an_absent_topic_is_created_over_all_brokers() {
    let plan = plan(&topic(SPEC), ClusterState::Known(&cluster(None)), None);
    insta::assert_snapshot!(plan);
}

#[test]
fn a_topic_that_says_nothing_gets_three_replicas_or_as_many_as_there_are_brokers() {
    let topic = topic("{clusterRef: {name: demo}, partitions: 2}");
    for (brokers, expected) in [(1, 1), (2, 2), (3, 3), (5, 3)] {
        let asked = KafkaClusterSpec { replicas: brokers, ..Default::default() };
        let mut view = cluster(None);
        view.brokers.truncate(usize::try_from(brokers).unwrap_or_default());
        let state = ClusterState::Known(&view);
        let observed =
            TopicObserved { topic: &topic, elder: None, spec: Some(&asked), cluster: state, refusal: None };
        let Some(TopicAction::Apply { assignments, .. }) = plan_topic(observed, now()).action else {
            panic!("it is created");
        };
        assert!(assignments.iter().all(|replicas| replicas.len() == expected), "{assignments:?}");
    }
}

#[test]
fn a_refusal_is_shown_in_the_brokers_words() {
    let view = cluster(None);
    let plan = plan(
        &topic(SPEC),
        ClusterState::Known(&view),
        Some("replication factor 3: only 1 is supported so far"),
    );
    insta::assert_snapshot!(plan);
}

#[test]
fn more_partitions_leave_the_old_ones_where_they_are() {
    let mut view = cluster(Some(&[&[2], &[2]]));
    if let Some(topic) = view.topics.get_mut("orders") {
        topic.config.insert("retention.ms".into(), "1000".into());
    }
    insta::assert_snapshot!(plan(&topic(SPEC), ClusterState::Known(&view), None));
}

#[test]
fn nothing_is_asked_once_all_is_as_it_should_be() {
    let mut view = cluster(Some(&[&[0], &[1], &[2], &[0]]));
    if let Some(topic) = view.topics.get_mut("orders") {
        topic.config.insert("retention.ms".into(), "1000".into());
    }
    let mut topic = topic(SPEC);
    let first = plan(&topic, ClusterState::Known(&view), None);
    insta::assert_snapshot!(first);
    insta::assert_snapshot!(serde_saphyr::to_string(&first.status).unwrap());
    topic.status = Some(first.status.clone());
    let second = plan(&topic, ClusterState::Known(&view), None);
    assert_eq!((second.action, second.events, second.status), (None, vec![], first.status));
}

#[test]
fn a_partition_without_leader_is_not_ready() {
    let mut view = cluster(Some(&[&[0]]));
    if let Some(topic) = view.topics.get_mut("orders") {
        topic.partitions[0].leader = None;
        topic.partitions[0].isr.clear();
    }
    insta::assert_snapshot!(plan(&topic("{clusterRef: {name: demo}}"), ClusterState::Known(&view), None));
}

#[test]
fn what_cannot_be_changed_says_so() {
    let fewer = plan(
        &topic("{clusterRef: {name: demo}, partitions: 1}"),
        ClusterState::Known(&cluster(Some(&[&[0], &[1]]))),
        None,
    );
    insta::assert_snapshot!(fewer);
    let spec = "{clusterRef: {name: demo}, replicas: 5}";
    let many = plan(&topic(spec), ClusterState::Known(&cluster(None)), None);
    insta::assert_snapshot!(many);
}

#[test]
fn nothing_goes_to_a_broker_that_is_being_emptied() {
    let mut view = cluster(None);
    view.brokers[1].draining = true;
    let plan = plan(
        &topic("{clusterRef: {name: demo}, partitions: 4, replicas: 2}"),
        ClusterState::Known(&view),
        None,
    );
    let Some(ottla_plan::TopicAction::Apply { assignments, .. }) = plan.action else { panic!("{plan}") };
    assert!(assignments.iter().flatten().all(|id| *id != BrokerId(1)), "{assignments:?}");
}

#[test]
fn other_replicas_are_a_move() {
    let asked =
        |replicas| topic(&format!("{{clusterRef: {{name: demo}}, partitions: 2, replicas: {replicas}}}"));
    let mut view = cluster(Some(&[&[0, 1], &[2, 0]]));
    let action = |topic: &Topic, view: &ClusterView| {
        let plan = plan(topic, ClusterState::Known(view), None);
        plan.action.as_ref().map_or(plan.to_string(), ToString::to_string)
    };
    assert_eq!(action(&asked(3), &view), "change topic orders from metadata version 7: 0→0/1/2 1→2/0/1");
    assert_eq!(action(&asked(1), &view), "change topic orders from metadata version 7: 0→0 1→2");
    // Who is away goes first.
    let orders = view.topics.get_mut("orders").expect("it is there");
    orders.partitions[0].offline = vec![BrokerId(0)];
    assert_eq!(action(&asked(1), &view), "change topic orders from metadata version 7: 0→1 1→2");
    // What moves already isn't asked for twice, and shows.
    let orders = view.topics.get_mut("orders").expect("it is there");
    for partition in &mut orders.partitions {
        partition.adding = vec![BrokerId(9)];
        partition.replicas.push(BrokerId(9));
    }
    let moving = plan(&asked(3), ClusterState::Known(&view), None);
    assert_eq!((moving.action, moving.status.conditions[0].reason.as_str()), (None, "Reassigning"));
    assert_eq!(moving.status.reassigning_partitions, Some(2));
    // Without a word about it, the topic keeps what it has.
    let view = cluster(Some(&[&[0], &[1]]));
    let same = plan(&topic("{clusterRef: {name: demo}, partitions: 2}"), ClusterState::Known(&view), None);
    assert_eq!(same.action, None);
}

/// A topic of three partitions with these settings, that was there before.
fn with_settings(settings: &[(&str, &str)]) -> ClusterView {
    let mut view = cluster(Some(&[&[0], &[1], &[2]]));
    let orders = view.topics.get_mut("orders").expect("it is there");
    orders.config = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    view
}

/// The settings that are asked of the cluster, as in "a=1 b=2"; none if nothing is.
fn asked(plan: &TopicPlan) -> Option<String> {
    match plan.action.as_ref()? {
        TopicAction::Apply { config, .. } => {
            Some(config.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
        }
        TopicAction::Delete { .. } => panic!("nobody deletes it"),
    }
}

/// What is on record as this Topic's, as in "a=1 b=2".
fn managed(plan: &TopicPlan) -> String {
    let managed = plan.status.managed_config.as_ref().expect("a record is kept");
    managed.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// What was asked for in the place of that and may be in force, as in "a=1,2 b=3".
fn in_doubt(plan: &TopicPlan) -> String {
    let asked = plan.status.asked_config.iter().map(|(key, values)| format!("{key}={}", values.join(",")));
    asked.collect::<Vec<_>>().join(" ")
}

/// The cluster is as was asked.
fn done(view: &mut ClusterView, plan: &TopicPlan) {
    let Some(TopicAction::Apply { config, .. }) = &plan.action else { panic!("something is asked: {plan}") };
    view.topics.get_mut("orders").expect("it is there").config.clone_from(config);
}

#[test]
fn what_the_manifest_does_not_name_stays_as_it_is() {
    let view = with_settings(&[("retention.ms", "-1"), ("cleanup.policy", "compact")]);
    let mut topic = topic("{clusterRef: {name: demo}, replicas: 1}");
    let first = plan(&topic, ClusterState::Known(&view), None);
    assert_eq!((first.action.clone(), first.status.partitions), (None, Some(3)), "{first}");
    let ready = first.status.conditions.first().map(|c| c.status.clone());
    assert_eq!(ready.as_deref(), Some("True"));
    let unmanaged = serde_json::to_string(&first.status.unmanaged_config).unwrap();
    assert_eq!(unmanaged, r#"{"cleanup.policy":"compact","retention.ms":"-1"}"#);
    let told: Vec<String> = first.events.iter().map(ToString::to_string).collect();
    let expected = "Normal Adopted: the topic was there before this Topic; it keeps what the manifest doesn't name: cleanup.policy=compact, retention.ms=-1";
    assert!(told.contains(&expected.to_owned()), "{told:?}");
    // It is told once.
    topic.status = Some(first.status);
    assert_eq!(plan(&topic, ClusterState::Known(&view), None).events, []);
}

#[test]
fn a_difference_is_shown_before_it_is_changed() {
    let mut view = with_settings(&[("segment.bytes", "1048576"), ("cleanup.policy", "compact")]);
    let mut topic = topic(
        "{clusterRef: {name: demo}, partitions: 4, replicas: 2, config: {segment.bytes: 2097152, compression.type: zstd}}",
    );
    let first = plan(&topic, ClusterState::Known(&view), None);
    assert!(first.is_told_first && first.status.topic_id.is_none());
    assert_eq!(
        asked(&first).as_deref(),
        Some("cleanup.policy=compact compression.type=zstd segment.bytes=2097152")
    );
    insta::assert_snapshot!(first);
    insta::assert_snapshot!(serde_saphyr::to_string(&first.status).unwrap());
    // Had it been refused, the topic would still not be in this Topic's care.
    let refused = plan(&topic, ClusterState::Known(&view), Some("no"));
    assert_eq!((refused.status.topic_id, refused.action), (None, None));
    // Once it is done, these two are this Topic's.
    topic.spec.partitions = None;
    topic.spec.replicas = None;
    done(&mut view, &first);
    topic.status = Some(first.status);
    let second = plan(&topic, ClusterState::Known(&view), None);
    assert_eq!((&second.action, second.status.topic_id.is_some()), (&None, true));
    assert_eq!(managed(&second), "compression.type=zstd segment.bytes=2097152");
}

#[test]
fn a_setting_that_is_taken_out_returns_to_the_default_only_if_this_topic_had_set_it() {
    let mut view = with_settings(&[("cleanup.policy", "compact"), ("segment.bytes", "1048576")]);
    let with =
        |config: &str| topic(&format!("{{clusterRef: {{name: demo}}, replicas: 1, config: {config}}}"));
    // One is as it was, the other is set.
    let mut asking = with("{cleanup.policy: compact, max.message.bytes: 1000}");
    let first = plan(&asking, ClusterState::Known(&view), None);
    done(&mut view, &first);
    asking.status = Some(first.status);
    let second = plan(&asking, ClusterState::Known(&view), None);
    assert_eq!(managed(&second), "max.message.bytes=1000");
    // Both are taken out.
    let mut asking = with("{}");
    asking.status = Some(second.status);
    let third = plan(&asking, ClusterState::Known(&view), None);
    assert_eq!(asked(&third).as_deref(), Some("cleanup.policy=compact segment.bytes=1048576"));
    // Until that is done, it is on record.
    assert_eq!(managed(&third), "max.message.bytes=1000");
    done(&mut view, &third);
    asking.status = Some(third.status);
    let last = plan(&asking, ClusterState::Known(&view), None);
    assert_eq!((managed(&last).as_str(), last.action), ("", None));
    // A topic that was made anew by others owes this Topic nothing.
    let mut asking = with("{}");
    asking.status = Some(ottla_api::TopicStatus {
        topic_id: Some("another".into()),
        managed_config: Some([("cleanup.policy".to_owned(), "compact".to_owned())].into()),
        ..Default::default()
    });
    assert_eq!(plan(&asking, ClusterState::Known(&view), None).action, None);
}

#[test]
fn a_topic_that_was_there_keeps_its_records_until_a_person_agrees() {
    let view = with_settings(&[("retention.ms", "-1")]);
    let mut topic = topic(
        "{clusterRef: {name: demo}, replicas: 1, config: {retention.ms: 604800000}, deletionPolicy: Delete}",
    );
    let first = plan(&topic, ClusterState::Known(&view), None);
    insta::assert_snapshot!(first);
    assert_eq!((first.action, first.status.topic_id.clone()), (None, None));
    // Nothing that was said makes it this Topic's, not even its deletion.
    topic.status = Some(first.status);
    assert_eq!(plan(&topic, ClusterState::Known(&view), None).action, None);
    let mut deleted = topic.clone();
    deleted.metadata.deletion_timestamp = Some(now());
    let deletion = plan(&deleted, ClusterState::Known(&view), None);
    assert_eq!((deletion.action, deletion.finalizer), (None, false));
    // A word for no topic, or for another one, is none for this.
    for other in ["true", "BBBBBBBBBBBBBBBBBBBBBg"] {
        agree(&mut topic, other);
        let plan = plan(&topic, ClusterState::Known(&view), None);
        assert_eq!(plan.action, None, "{other}");
        let says = format!(
            "ottla.dev/adopt=AAAAAAAAAAAAAAAAAAAAAQ to have it so ({other} is not the id of this topic)"
        );
        assert!(plan.to_string().contains(&says), "{plan}");
    }
    agree(&mut topic, "AAAAAAAAAAAAAAAAAAAAAQ");
    let agreed = plan(&topic, ClusterState::Known(&view), None);
    assert_eq!(asked(&agreed).as_deref(), Some("retention.ms=604800000"));
    assert!(agreed.is_told_first);
    let told: Vec<String> = agreed.events.iter().map(ToString::to_string).collect();
    let expected = "Normal Adopting: the topic was there before this Topic, and is changed: retention.ms from -1 to 604800000";
    assert_eq!(told, [expected]);
}

/// A person agrees that the topic with this id keeps fewer records.
fn agree(topic: &mut Topic, id: &str) {
    topic.metadata.annotations =
        Some(BTreeMap::from([(ottla_api::ADOPT_ANNOTATION.to_owned(), id.to_owned())]));
}

/// A Topic of one replica with these settings, and what is on record of the one before it.
fn edited(config: &str, before: &TopicPlan) -> Topic {
    let mut topic = topic(&format!("{{clusterRef: {{name: demo}}, replicas: 1, config: {config}}}"));
    topic.status = Some(before.status.clone());
    topic
}

#[test]
fn what_was_asked_for_and_refused_is_not_taken_back() {
    let year = [("retention.ms", "31536000000")];
    let view = with_settings(&year);
    let bad = "{retention.ms: 31536000001, max.message.bytes: 1MB}";
    let first = topic(&format!("{{clusterRef: {{name: demo}}, replicas: 1, config: {bad}}}"));
    let first = plan(&first, ClusterState::Known(&view), None);
    assert!(first.is_told_first && asked(&first).is_some(), "{first}");
    // They refuse, or nobody answers, or there is no room: the record is what was told first, or what is left
    // of it.
    let refused = plan(&edited(bad, &first), ClusterState::Known(&view), Some("1MB is no number"));
    let silent = plan(&edited(bad, &first), ClusterState::Unreachable("nobody answers"), None);
    for before in [&refused, &silent] {
        let third = plan(&edited("{}", before), ClusterState::Known(&view), None);
        assert_eq!((asked(&third), third.status.topic_id.is_some()), (None, true), "{third}");
        assert_eq!(managed(&third), "");
    }
    // So with a topic that was to be created, and was made by another one meanwhile.
    let created = topic("{clusterRef: {name: demo}, replicas: 1, config: {retention.ms: 1000}}");
    let created = plan(&created, ClusterState::Known(&cluster(None)), None);
    assert_eq!(managed(&created), "retention.ms=1000");
    let third = plan(&edited("{}", &created), ClusterState::Known(&view), None);
    assert_eq!(third.action, None, "{third}");
}

#[test]
fn a_value_of_others_is_not_taken_back_from_a_topic_in_care() {
    let mut view = with_settings(&[("segment.bytes", "5000000")]);
    let none = topic("{clusterRef: {name: demo}, replicas: 1}");
    let adopted = plan(&none, ClusterState::Known(&view), None);
    let asking = edited("{segment.bytes: nonsense}", &adopted);
    let first = plan(&asking, ClusterState::Known(&view), None);
    let refused = plan(&edited("{segment.bytes: nonsense}", &first), ClusterState::Known(&view), Some("no"));
    assert_eq!(plan(&edited("{}", &refused), ClusterState::Known(&view), None).action, None);
    // What this Topic has set stays its own through a refusal,
    let set = plan(&edited("{segment.bytes: 6000000}", &adopted), ClusterState::Known(&view), None);
    done(&mut view, &set);
    let set = plan(&edited("{segment.bytes: 6000000}", &set), ClusterState::Known(&view), None);
    let first = plan(&edited("{segment.bytes: nonsense}", &set), ClusterState::Known(&view), None);
    let refused = plan(&edited("{segment.bytes: nonsense}", &first), ClusterState::Known(&view), Some("no"));
    let back = plan(&edited("{}", &refused), ClusterState::Known(&view), None);
    assert_eq!(asked(&back).as_deref(), Some(""));
    // and isn't any more once others have set something else.
    let orders = view.topics.get_mut("orders").expect("it is there");
    orders.config.insert("segment.bytes".into(), "7000000".into());
    let left = plan(&edited("{}", &set), ClusterState::Known(&view), None);
    assert_eq!((left.action.as_ref(), managed(&left).as_str()), (None, ""), "{left}");
}

#[test]
fn a_change_that_was_carried_out_unanswered_is_this_topics() {
    let mut view = with_settings(&[]);
    let six = "{segment.bytes: 6000000}";
    let first = topic(&format!("{{clusterRef: {{name: demo}}, replicas: 1, config: {six}}}"));
    let first = plan(&first, ClusterState::Known(&view), None);
    done(&mut view, &first);
    let set = plan(&edited(six, &first), ClusterState::Known(&view), None);
    assert_eq!((set.action.as_ref(), managed(&set).as_str()), (None, "segment.bytes=6000000"));
    // The next value is on record beside the one in force, before anybody is asked.
    let asking = plan(&edited("{segment.bytes: 7000000}", &set), ClusterState::Known(&view), None);
    assert!(asking.is_told_first, "{asking}");
    assert_eq!(
        (managed(&asking).as_str(), in_doubt(&asking).as_str()),
        ("segment.bytes=6000000", "segment.bytes=7000000")
    );
    // No answer comes, and the manifest names it no more: whichever value the topic has is taken back.
    let silent = edited("{}", &asking);
    let silent = plan(&silent, ClusterState::Unreachable("nobody answers"), None);
    let before = plan(&edited("{}", &silent), ClusterState::Known(&view), None);
    assert_eq!((asked(&before).as_deref(), in_doubt(&before).as_str()), (Some(""), "segment.bytes=7000000"));
    done(&mut view, &asking);
    for earlier in [&silent, &before] {
        let back = plan(&edited("{}", earlier), ClusterState::Known(&view), None);
        assert_eq!(asked(&back).as_deref(), Some(""), "{back}");
    }
    // So it is where a third one was asked for before the second was seen to be in force, or instead of the
    // first.
    let six_still = &with_settings(&[("segment.bytes", "6000000")]);
    let both = plan(&edited("{segment.bytes: 8000000}", &asking), ClusterState::Known(six_still), None);
    assert_eq!(
        (managed(&both).as_str(), in_doubt(&both).as_str()),
        ("segment.bytes=6000000", "segment.bytes=7000000,8000000")
    );
    let again = plan(&edited("{segment.bytes: 8000000}", &both), ClusterState::Known(six_still), None);
    assert_eq!((again.is_told_first, in_doubt(&again)), (false, in_doubt(&both)), "it is on record");
    let back = plan(&edited("{}", &both), ClusterState::Known(&view), None);
    assert_eq!(asked(&back).as_deref(), Some(""), "{back}");
    let none_yet = &with_settings(&[]);
    let instead = plan(&edited("{segment.bytes: 7000000}", &first), ClusterState::Known(none_yet), None);
    assert_eq!(
        (managed(&instead).as_str(), in_doubt(&instead).as_str()),
        ("segment.bytes=7000000", "segment.bytes=6000000")
    );
    // A third value takes the place of the one that came unanswered.
    let third = plan(&edited("{segment.bytes: 8000000}", &asking), ClusterState::Known(&view), None);
    assert_eq!(
        (managed(&third).as_str(), in_doubt(&third).as_str()),
        ("segment.bytes=7000000", "segment.bytes=8000000")
    );
    // Once it is in force nothing is in doubt, nor once the brokers have refused; what others set stays
    // theirs.
    let settled = plan(&edited("{segment.bytes: 7000000}", &asking), ClusterState::Known(&view), None);
    assert_eq!((managed(&settled).as_str(), in_doubt(&settled).as_str()), ("segment.bytes=7000000", ""));
    let refused = plan(&edited("{segment.bytes: 8000000}", &third), ClusterState::Known(&view), Some("no"));
    assert_eq!((managed(&refused).as_str(), in_doubt(&refused).as_str()), ("segment.bytes=7000000", ""));
    view.topics.get_mut("orders").expect("it is there").config.insert("segment.bytes".into(), "9".into());
    let left = plan(&edited("{}", &third), ClusterState::Known(&view), None);
    assert_eq!((left.action.as_ref(), in_doubt(&left).as_str()), (None, ""), "{left}");
}

#[test]
fn a_topic_not_in_care_is_not_taken_back_to_a_default_that_keeps_less_unasked() {
    // Its creation was asked for and nobody answered: it may be this Topic's, or another's with the same
    // value.
    let config = "{retention.ms: 31536000000}";
    let created = topic(&format!("{{clusterRef: {{name: demo}}, replicas: 1, config: {config}}}"));
    let created = plan(&created, ClusterState::Known(&cluster(None)), None);
    let view = with_settings(&[("retention.ms", "31536000000")]);
    let held = plan(&edited("{}", &created), ClusterState::Known(&view), None);
    assert_eq!(held.action, None);
    assert!(held.to_string().contains("AdoptionHeld"), "{held}");
    assert!(held.to_string().contains("retention.ms from 31536000000 to its default"), "{held}");
    // Where it is named as it is, it is as it was asked for.
    let named = plan(&edited(config, &held), ClusterState::Known(&view), None);
    assert_eq!((named.action.as_ref(), managed(&named).as_str()), (None, "retention.ms=31536000000"));
}

#[test]
fn a_topic_in_care_of_an_operator_that_kept_no_record_gets_one() {
    let view = with_settings(&[("retention.ms", "1000"), ("segment.bytes", "1048576")]);
    let mut old = topic("{clusterRef: {name: demo}, replicas: 1, config: {retention.ms: 1000}}");
    old.status = Some(ottla_api::TopicStatus {
        topic_id: Some("AAAAAAAAAAAAAAAAAAAAAQ".into()),
        ..Default::default()
    });
    let first = plan(&old, ClusterState::Known(&view), None);
    assert_eq!((first.action.as_ref(), managed(&first).as_str()), (None, "retention.ms=1000"));
    let back = plan(&edited("{}", &first), ClusterState::Known(&view), None);
    assert_eq!(asked(&back).as_deref(), Some("segment.bytes=1048576"));
}

#[test]
fn a_topic_that_never_fitted_does_not_go_with_its_topic() {
    let view = with_settings(&[]);
    let mut topic = topic("{clusterRef: {name: demo}, partitions: 1, deletionPolicy: Delete}");
    let refused = plan(&topic, ClusterState::Known(&view), None);
    assert!(refused.to_string().contains("PartitionsDiffer"), "{refused}");
    topic.status = Some(refused.status);
    topic.metadata.deletion_timestamp = Some(now());
    assert_eq!(plan(&topic, ClusterState::Known(&view), None).action, None);
}

#[test]
fn too_few_in_sync_is_no_ready_topic() {
    let mut view = cluster(Some(&[&[0, 1, 2], &[1, 2, 0]]));
    let asked =
        topic("{clusterRef: {name: demo}, partitions: 2, replicas: 3, config: {ack.durability: written}}");
    let orders = view.topics.get_mut("orders").expect("it is there");
    orders.config.insert("ack.durability".into(), "written".into());
    for partition in &mut orders.partitions {
        partition.min_insync_replicas = 2;
    }
    let ready = |view: &ClusterView| {
        let plan = plan(&asked, ClusterState::Known(view), None);
        let condition = plan.status.conditions.first().expect("it says so").clone();
        let event = plan.events.first().map(|e| e.warning);
        (condition.reason, condition.message, event, plan.status)
    };
    let (reason, _, _, status) = ready(&view);
    assert_eq!((reason.as_str(), status.ack_durability.as_deref()), ("AsAsked", Some("written")));
    view.topics.get_mut("orders").expect("it is there").partitions[1].isr = vec![BrokerId(1), BrokerId(2)];
    let (reason, message, warning, status) = ready(&view);
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("UnderReplicated", "1 of 2 partitions under-replicated")
    );
    assert_eq!((warning, status.under_replicated_partitions), (Some(false), Some(1)));
    view.topics.get_mut("orders").expect("it is there").partitions[1].isr = vec![BrokerId(1)];
    let (reason, message, warning, _) = ready(&view);
    assert_eq!((reason.as_str(), warning), ("UnderMinIsr", Some(true)));
    assert_eq!(
        message,
        "1 of 2 partitions under min.insync.replicas: no acks=all; 1 of 2 partitions under-replicated"
    );
}

#[test]
fn without_a_cluster_it_waits() {
    insta::assert_snapshot!(plan(&topic(SPEC), ClusterState::Absent, None));
    insta::assert_snapshot!(plan(&topic(SPEC), ClusterState::Unreachable("no broker answers yet"), None));
}

#[test]
fn the_oldest_of_two_topics_wins() {
    let elder = topic(SPEC);
    let mut younger = elder.clone();
    younger.metadata.name = Some("again".into());
    younger.spec.topic_name = Some("orders".into());
    younger.metadata.creation_timestamp = Some(now());
    let both = [elder.clone(), younger.clone()];
    assert_eq!(elder_of(&elder, &both), None);
    assert_eq!(elder_of(&younger, &both), Some(&both[0]));
    let view = cluster(Some(&[&[0]]));
    let observed = TopicObserved {
        topic: &younger,
        elder: Some("orders"),
        spec: None,
        cluster: ClusterState::Known(&view),
        refusal: None,
    };
    insta::assert_snapshot!(plan_topic(observed, now()));
    younger.spec.cluster_ref.name = "other".into();
    assert_eq!(elder_of(&younger, &both), None);
}

/// Deletes the Topic and says what is planned, with the topic's id on record or not.
fn deletion(policy: &str, recorded: bool, cluster: ClusterState<'_>) -> TopicPlan {
    let mut topic = topic(&format!("{{clusterRef: {{name: demo}}, deletionPolicy: {policy}}}"));
    topic.metadata.deletion_timestamp = Some(now());
    let status = recorded.then(|| ottla_api::TopicStatus {
        topic_id: Some("AAAAAAAAAAAAAAAAAAAAAQ".into()),
        ..Default::default()
    });
    topic.status = status;
    plan(&topic, cluster, None)
}

#[test]
fn deletion_follows_the_policy() {
    let view = cluster(Some(&[&[0]]));
    let known = ClusterState::Known(&view);
    let delete = deletion("Delete", true, known);
    assert_eq!(
        (delete.action.map(|a| a.to_string()).unwrap_or_default(), delete.finalizer),
        ("delete topic orders (id AAAAAAAAAAAAAAAAAAAAAQ)".to_owned(), true)
    );
    for (plan, why) in [
        (deletion("Retain", true, known), "the policy keeps it"),
        (deletion("Delete", false, known), "it was never this Topic's"),
        (deletion("Delete", true, ClusterState::Absent), "the cluster is gone"),
        (deletion("Delete", true, ClusterState::Known(&cluster(None))), "it is gone"),
    ] {
        assert_eq!((plan.action, plan.finalizer), (None, false), "{why}");
    }
    let waits = deletion("Delete", true, ClusterState::Unreachable("down"));
    assert_eq!((waits.action, waits.finalizer), (None, true), "it waits for the brokers");
}
