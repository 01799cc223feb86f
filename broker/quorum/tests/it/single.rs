//! One node alone, and its control API.

use std::time::Instant;

use ottla_control::proto::{self, control_client::ControlClient};
use ottla_quorum::{QuorumConfig, StartError, Voters};
use tonic::Code;

use crate::harness::{Place, Running, create_topic, live, within};

async fn alone() -> (Place, Running) {
    let place = Place::new(0);
    let voters = Voters::Bootstrap(vec![place.address.to_string()]);
    let began = Instant::now();
    let node = place.start(QuorumConfig { cluster_id: None, ..place.config(voters) }).await;
    node.until("the broker to be in service", |image| live(image) == 1).await;
    println!("one broker in service after {} ms", began.elapsed().as_millis());
    (place, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_forms_its_cluster_and_finds_it_again() {
    let (place, node) = alone().await;
    create_topic(&node, "t", 3).await;
    let cluster_id = node.image().cluster_id;
    node.stop().await;
    let config = place.config(Voters::Bootstrap(vec![place.address.to_string()]));
    let began = Instant::now();
    let node = place.start(QuorumConfig { cluster_id: Some(cluster_id), ..config }).await;
    let ready = |image: &ottla_core::metadata::MetadataImage| {
        live(image) == 1
            && image.topic("t").is_some_and(|topic| topic.partitions.iter().all(|p| p.leader.is_some()))
    };
    node.until("the topic with its leaders", ready).await;
    println!("back in service after {} ms", began.elapsed().as_millis());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contradictions_are_refused_with_the_remedy() {
    let place = Place::new(0);
    let other = Place::new(1);
    let refusal = |config| match ottla_quorum::Quorum::new(config) {
        Err(StartError::Config(text)) => text,
        _ => panic!("accepted"),
    };
    let text = refusal(place.config(Voters::Static(vec![other.voter()])));
    assert!(text.contains("add it there"), "{text}");
    let not_voting = QuorumConfig { voter: false, ..place.config(Voters::Static(vec![place.voter()])) };
    assert!(refusal(not_voting).contains("lacks the process role controller"));
    assert!(refusal(place.config(Voters::Bootstrap(vec![]))).contains("controller.quorum.bootstrap.servers"));
}

fn assignments(replicas: &[&[i32]]) -> Vec<proto::Assignment> {
    replicas.iter().map(|replicas| proto::Assignment { replicas: replicas.to_vec() }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_api_applies_watches_and_deletes() {
    let (place, node) = alone().await;
    let mut client = ControlClient::connect(format!("http://{}", place.address)).await.unwrap();
    let view = client.get_cluster(proto::GetClusterRequest::default()).await.unwrap().into_inner();
    assert_eq!((view.brokers.len(), view.active_controller, view.voters), (1, Some(0), vec![0]));
    let mut views = client.watch_cluster(proto::GetClusterRequest::default()).await.unwrap().into_inner();
    assert!(within("a first view", views.message()).await.unwrap().unwrap().topics.is_empty());

    let apply = proto::ApplyTopicRequest {
        name: "orders".to_owned(),
        assignments: assignments(&[&[0], &[0]]),
        metadata_version: view.metadata_version,
        ..Default::default()
    };
    let applied = client.apply_topic(apply.clone()).await.unwrap().into_inner();
    assert!(applied.changed && !applied.id.is_empty());
    let view = within("a view with the topic", views.message()).await.unwrap().unwrap();
    assert_eq!(view.topics[0].partitions[1].leader, Some(0));

    let stale = client.apply_topic(apply.clone()).await.unwrap_err();
    assert_eq!(stale.code(), Code::FailedPrecondition, "{stale}");
    let again = proto::ApplyTopicRequest { metadata_version: 0, ..apply.clone() };
    assert!(!client.apply_topic(again.clone()).await.unwrap().into_inner().changed);
    let more = proto::ApplyTopicRequest {
        assignments: assignments(&[&[0], &[0], &[0]]),
        config: [("retention.ms".to_owned(), "5".to_owned())].into(),
        ..again.clone()
    };
    assert!(client.apply_topic(more).await.unwrap().into_inner().changed);
    assert_eq!(node.image().topic("orders").unwrap().partitions.len(), 3);

    let code = |result: Result<_, tonic::Status>| result.map(|_: tonic::Response<_>| ()).unwrap_err().code();
    assert_eq!(code(client.apply_topic(again.clone()).await), Code::InvalidArgument, "fewer partitions");
    let bad = proto::ApplyTopicRequest { name: "a b".to_owned(), ..again.clone() };
    assert_eq!(code(client.apply_topic(bad).await), Code::InvalidArgument);
    let another = proto::ApplyTopicRequest { expected_id: node.image().cluster_id.to_string(), ..again };
    assert_eq!(code(client.apply_topic(another).await), Code::FailedPrecondition);
    let delete = |name: &str| proto::DeleteTopicRequest { name: name.to_owned(), expected_id: String::new() };
    client.delete_topic(delete("orders")).await.unwrap();
    assert!(node.image().topics.is_empty());
    let gone = client.delete_topic(delete("orders")).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let level = |filter: &str| proto::SetLogLevelRequest { filter: filter.to_owned() };
    assert_eq!(client.set_log_level(level("debug")).await.unwrap().into_inner().previous, "info");
    assert_eq!(client.set_log_level(level("nonsense")).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(client.get_broker(proto::GetBrokerRequest {}).await.unwrap().into_inner().ready);
    node.stop().await;
}
