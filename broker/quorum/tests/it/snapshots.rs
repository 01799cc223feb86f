//! The log stays short, and who comes late gets a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::metadata::{AlterTopicConfigs, Command, ConfigChange, MetadataImage, TopicConfigChange};
use ottla_quorum::{QuorumConfig, Tuning, Voters};
use ottla_types::BrokerId;

use crate::harness::{Place, Running, create_topic, live, poll, within};

fn short_log(place: &Place, voters: &Voters) -> QuorumConfig {
    let tuning = Tuning { snapshot_after_entries: 20, entries_kept: 5, ..Tuning::default() };
    QuorumConfig { tuning, voter: place.id == BrokerId(0), ..place.config(voters.clone()) }
}

async fn change_often(node: &Running, times: u32) {
    for n in 0..times {
        let config = BTreeMap::from([("retention.ms".to_owned(), (1000 + n).to_string())]);
        let change = TopicConfigChange { name: "t".to_owned(), change: ConfigChange::Replace(config) };
        let command = AlterTopicConfigs { topics: vec![change], validate_only: false };
        node.quorum.submit(Command::AlterTopicConfigs(command)).await.unwrap();
    }
}

fn snapshots(place: &Place) -> Vec<String> {
    let names = std::fs::read_dir(place.metadata_folder()).unwrap().map(|e| e.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".checkpoint")).collect()
}

/// But for the version: a snapshot may be of a later entry without effect.
fn same(one: &MetadataImage, other: &Arc<MetadataImage>) -> bool {
    (&one.brokers, &one.topics, one.changed) == (&other.brokers, &other.topics, other.changed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_a_snapshot_and_a_restart_starts_from_one() {
    let first = Place::new(0);
    let voters = Voters::Static(vec![first.voter()]);
    let node = first.start(short_log(&first, &voters)).await;
    node.until("a broker in service", |image| live(image) == 1).await;
    create_topic(&node, "t", 1).await;
    change_often(&node, 100).await;
    poll("one snapshot, the newest", || (snapshots(&first).len() == 1).then_some(())).await;
    poll("purged entries", || first.metadata_folder().join("purged-log-id").exists().then_some(())).await;

    let second = Place::new(1);
    let newcomer = second.start(short_log(&second, &voters)).await;
    newcomer.until("two brokers in service", |image| live(image) == 2).await;
    poll("equal images", || same(&node.image(), &newcomer.image()).then_some(())).await;
    assert_eq!(snapshots(&second).len(), 1, "it came as a snapshot");
    assert_eq!(newcomer.image().topic("t").unwrap().config["retention.ms"], "1099");

    newcomer.crash().await;
    let before = node.image();
    node.crash().await;
    let node = first.start(short_log(&first, &voters)).await;
    node.until("the last change", |image| {
        // The newcomer may have been fenced before the crash: then one broker is live until this one
        // registers.
        let again = image.broker(first.id).is_some_and(|me| me.epoch >= before.next_broker_epoch);
        let topic = image.topic("t");
        again && topic.is_some_and(|topic| topic.config["retention.ms"] == "1099") && live(image) == 1
    })
    .await;
    create_topic(&node, "more", 1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_whose_disk_was_wiped_learns_again() {
    let first = Place::new(0);
    let voters = Voters::Static(vec![first.voter()]);
    let node = first.start(short_log(&first, &voters)).await;
    let mut second = Place::new(1);
    let learner = second.start(short_log(&second, &voters)).await;
    node.until("two brokers in service", |image| live(image) == 2).await;
    create_topic(&node, "t", 2).await;
    learner.crash().await;
    std::fs::remove_dir_all(second.metadata_folder()).unwrap();
    second.directory_id = ottla_types::DirectoryId([77; 16]);
    let learner = second.start(short_log(&second, &voters)).await;
    let new = |image: &MetadataImage| {
        image.broker(BrokerId(1)).is_some_and(|b| b.directory_id == second.directory_id)
    };
    let back = |image: &MetadataImage| live(image) == 2 && image.topic("t").is_some() && new(image);
    let image = learner.until("both brokers in service", back).await;
    let orphan = image.topic("t").unwrap().partitions.iter().find(|p| p.replicas == [BrokerId(1)]).unwrap();
    assert_eq!(orphan.leader, None, "records on the wiped disk are gone, and the partition says so");
    learner.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_write_its_log_says_so() {
    let place = Place::new(0);
    let voters = Voters::Static(vec![place.voter()]);
    let node = place.start(short_log(&place, &voters)).await;
    node.until("a broker in service", |image| live(image) == 1).await;
    create_topic(&node, "t", 1).await;
    std::fs::remove_dir_all(place.metadata_folder()).unwrap();
    let writes = async {
        for n in 0u64.. {
            let config = BTreeMap::from([("retention.ms".to_owned(), n.to_string())]);
            let change = TopicConfigChange { name: "t".to_owned(), change: ConfigChange::Replace(config) };
            let command = AlterTopicConfigs { topics: vec![change], validate_only: false };
            // Refused or never answered, once the log has failed.
            let _ = node.quorum.submit(Command::AlterTopicConfigs(command)).await;
        }
    };
    let failure = tokio::select! {
        failure = within("the failure", node.quorum.failed()) => failure,
        () = writes => unreachable!("it ends with the failure"),
    };
    assert!(failure.to_string().contains("start the node again"), "{failure}");
    node.crash().await;
}
