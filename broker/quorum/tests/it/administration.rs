//! What administrators ask over the control API and Kafka's protocol has no words for: emptying a broker, and
//! the election of a replica that they name.

use ottla_control::proto::{self, control_client::ControlClient};
use ottla_core::metadata::{MetadataImage, PartitionImage};
use ottla_quorum::{QuorumConfig, Voters};
use ottla_types::{BrokerId, PartitionIndex};
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{Place, Running, live};

/// One voter and two brokers that follow it.
async fn three_brokers() -> (Vec<Place>, Vec<Running>, ControlClient<Channel>) {
    let (mut places, mut nodes) = (Vec::new(), Vec::new());
    for id in 0..3 {
        places.push(Place::new(id));
        let voters = Voters::Bootstrap(vec![places[0].address.to_string()]);
        let place = places.last().unwrap();
        nodes.push(place.start(QuorumConfig { voter: id == 0, ..place.config(voters) }).await);
    }
    nodes[0].until("three brokers in service", |image| live(image) == 3).await;
    let client = ControlClient::connect(format!("http://{}", places[0].address)).await.unwrap();
    (places, nodes, client)
}

async fn apply(client: &mut ControlClient<Channel>, replicas: &[i32]) {
    let request = proto::ApplyTopicRequest {
        name: "t".to_owned(),
        config: [("min.insync.replicas".to_owned(), "1".to_owned())].into(),
        assignments: vec![proto::Assignment { replicas: replicas.to_vec() }],
        ..Default::default()
    };
    client.apply_topic(request).await.unwrap();
}

fn partition(image: &MetadataImage) -> &PartitionImage {
    image.partition("t", PartitionIndex(0)).unwrap()
}

fn leader(image: &MetadataImage) -> Option<BrokerId> {
    partition(image).leader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_marked_as_draining_if_the_others_can_take_what_it_holds() {
    let (_places, nodes, mut client) = three_brokers().await;
    apply(&mut client, &[1, 2]).await;
    let request = |id, draining| proto::DrainBrokerRequest { id, draining };
    client.drain_broker(request(1, true)).await.unwrap();
    nodes[0].until("the leadership to leave", |image| leader(image) == Some(BrokerId(2))).await;
    let view = client.get_cluster(proto::GetClusterRequest::default()).await.unwrap().into_inner();
    assert_eq!(view.brokers.iter().map(|broker| broker.draining).collect::<Vec<_>>(), [false, true, false]);
    let is_moving = |image: &MetadataImage| !partition(image).adding.is_empty();
    let image = nodes[0].until("the replica to be on its way", is_moving).await;
    let moving = partition(&image);
    assert_eq!((&moving.adding[..], &moving.removing[..]), (&[BrokerId(0)][..], &[BrokerId(1)][..]));
    let too_many = client.drain_broker(request(2, true)).await.unwrap_err();
    assert_eq!(too_many.code(), Code::FailedPrecondition, "{too_many}");
    assert!(too_many.message().contains("t-0"), "it names who is in the way: {too_many}");
    let unknown = client.drain_broker(request(9, true)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    client.drain_broker(request(1, false)).await.unwrap();
    assert!(!nodes[0].image().broker(BrokerId(1)).unwrap().draining);
    assert!(!is_moving(&nodes[0].image()), "the move is cancelled with it");
    let is_preferred = |image: &MetadataImage| leader(image) == Some(BrokerId(1));
    nodes[0].until("the preferred leader to lead again", is_preferred).await;
    for node in nodes {
        node.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_may_lack_records_leads_only_where_it_is_named_and_nobody_leads() {
    let (places, mut nodes, mut client) = three_brokers().await;
    apply(&mut client, &[1, 2]).await;
    let request = |replica| proto::ElectUncleanRequest { topic: "t".to_owned(), partition: 0, replica };
    let led = client.elect_unclean(request(2)).await.unwrap_err();
    assert_eq!(led.code(), Code::FailedPrecondition, "{led}");
    let unknown = proto::ElectUncleanRequest { topic: "none".to_owned(), ..request(2) };
    assert_eq!(client.elect_unclean(unknown).await.unwrap_err().code(), Code::NotFound);

    // Broker 2 leaves while one replica in sync is enough; then broker 1 does, and it alone has everything.
    nodes.pop().unwrap().stop().await;
    nodes[0].until("broker 2 to leave", |image| live(image) == 2).await;
    nodes.pop().unwrap().stop().await;
    nodes[0].until("no leader", |image| leader(image).is_none()).await;
    let voters = Voters::Bootstrap(vec![places[0].address.to_string()]);
    let config = QuorumConfig { voter: false, ..places[2].config(voters) };
    let back = places[2].start(config).await;
    nodes[0].until("broker 2 to come back", |image| live(image) == 2).await;
    assert_eq!(leader(&nodes[0].image()), None, "it may lack records");

    assert_eq!(client.elect_unclean(request(0)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.elect_unclean(request(1)).await.unwrap_err().code(), Code::FailedPrecondition);
    let elected = client.elect_unclean(request(2)).await.unwrap().into_inner();
    assert!(elected.may_lose.contains("broker 1"), "{elected:?}");
    let view = client.get_cluster(proto::GetClusterRequest::default()).await.unwrap().into_inner();
    let partition = &view.topics[0].partitions[0];
    assert_eq!((partition.leader, partition.leader_epoch), (Some(2), elected.leader_epoch));
    assert_eq!(partition.unclean_election, elected.may_lose, "the status keeps it");
    for node in nodes.into_iter().chain([back]) {
        node.crash().await;
    }
}
