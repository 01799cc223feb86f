//! Who is asked, whom to believe, and what is told.

use ottla_control::proto::quorum_server::{Quorum as _, QuorumServer};
use ottla_store::RealDisk;
use ottla_types::ClusterId;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Request;

use super::*;
use crate::config::{QuorumConfig, Tuning};
use crate::services::QuorumService;

const CLUSTER: ClusterId = ClusterId([9; 16]);

fn quorum(id: u8) -> Lineage {
    Lineage::new(QuorumId([id; 16]))
}

/// A node that isn't started.
fn node(id: i32) -> (TempDir, Arc<Node>) {
    let dir = tempfile::tempdir().unwrap();
    let config = QuorumConfig {
        node_id: BrokerId(id),
        voter: true,
        cluster_id: Some(CLUSTER),
        voters: Voters::Bootstrap(vec!["127.0.0.1:1".to_owned()]),
        others: Vec::new(),
        formatted: false,
        control_address: format!("node-{id}:9093"),
        registration: None,
        log_dir: dir.path().to_owned(),
        tuning: Tuning::default(),
    };
    let node = Node::new(Arc::new(RealDisk), config, tokio::runtime::Handle::current()).unwrap();
    (dir, Arc::new(node))
}

fn answer(of: &Lineage, leader: &str) -> proto::IdentifyResponse {
    proto::IdentifyResponse {
        cluster_id: CLUSTER.to_string(),
        initialized: true,
        active_controller_address: leader.to_owned(),
        quorum: Some(of.into()),
        ..Default::default()
    }
}

#[test]
fn the_active_controller_of_another_quorum_is_nobodys_word() {
    let check = |ours: Option<Lineage>, answers: &[(u8, &str)], expected: Option<&str>| {
        let mut survey = Survey {
            voters: BTreeMap::new(),
            configured: 0,
            answered: 0,
            identities: BTreeMap::new(),
            initialized: false,
            known_by: Vec::new(),
            others_missing: 0,
            cluster_id: Some(CLUSTER),
            leader: None,
            ours,
        };
        for (of, leader) in answers {
            survey.add(&answer(&quorum(*of), leader), "somewhere").unwrap();
        }
        assert_eq!(survey.leader.as_deref(), expected, "{answers:?}");
    };
    check(Some(quorum(1)), &[(1, "a"), (2, "b")], Some("a"));
    check(Some(quorum(1)), &[(2, "b"), (1, "a")], Some("a"));
    check(Some(quorum(1)), &[(2, "b")], None);
    check(None, &[(2, "b")], Some("b"));
}

#[tokio::test]
async fn who_asks_names_an_active_controller_only_to_those_of_its_quorum() {
    let (_dir, node) = node(1);
    node.memory.remember(quorum(1)).unwrap();
    let service = QuorumService { node: node.clone() };
    for (of, leader) in [(1, "ours:1"), (2, "theirs:1")] {
        let request = proto::IdentifyRequest {
            cluster_id: CLUSTER.to_string(),
            node_id: 2,
            quorum: Some((&quorum(of)).into()),
            active_controller_address: leader.to_owned(),
        };
        service.identify(Request::new(request)).await.unwrap();
    }
    assert_eq!(node.told_leader.borrow().as_deref(), Some("ours:1"));
}

#[tokio::test]
async fn a_quorum_that_is_being_formed_is_told_to_nobody() {
    let ((_dir, forming), (_other_dir, asking)) = (node(1), node(2));
    assert!(forming.memory.begin_forming(quorum(1)).unwrap());
    let address = serve(&forming).await;
    let told = asking.ask(None, &address).await.unwrap();
    // It is killed here, and knows nothing of that quorum when it starts again: nobody else may then.
    assert!(!told.initialized && !asking.is_initialized());
    assert_eq!((told.quorum, forming.asker().quorum), (None, None));
    assert!(forming.quorum().is_some(), "the first messages of the consensus carry it");
    forming.memory.remember(quorum(1)).unwrap();
    asking.ask(None, &address).await.unwrap();
    assert!(asking.is_initialized());
}

#[tokio::test]
async fn a_node_is_reached_where_it_says_and_not_where_it_was_asked() {
    let ((_dir, one), (_other_dir, other)) = (node(1), node(2));
    other.memory.remember(quorum(1)).unwrap();
    // As a name that leads to many nodes.
    let name = serve(&other).await;
    one.ask(None, &name).await.unwrap();
    assert_eq!(one.addresses.known(BrokerId(2)).as_deref(), Some("node-2:9093"));
}

/// Answers for a node at an address that isn't its own, which is returned.
async fn serve(node: &Arc<Node>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = QuorumServer::new(QuorumService { node: node.clone() });
    let server = tonic::transport::Server::builder().add_service(service);
    node.tasks.spawn("serve", async move {
        let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
    });
    address
}
