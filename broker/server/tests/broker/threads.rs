//! Control traffic has threads of its own: it goes on while those that carry records are busy.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use ottla_control::proto;
use ottla_control::proto::control_client::ControlClient;
use ottla_core::metadata::{AllocateProducerIds, Command};
use ottla_server::broker::Broker;
use tokio::runtime::{Handle, Runtime};
use tokio::time::timeout;

use crate::describe::http;
use crate::harness::TestBroker;

/// Long enough for any machine; without threads of its own the answer would never come.
const DEADLINE: Duration = Duration::from_secs(60);

fn one_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Keeps the only thread busy until what it returns is dropped, as a disk that takes no more does.
async fn keep_busy(data: &Handle) -> mpsc::Sender<()> {
    let (hold, held) = mpsc::channel();
    let (begun, begins) = tokio::sync::oneshot::channel();
    data.spawn(async move {
        begun.send(()).unwrap();
        let _ = held.recv();
    });
    begins.await.unwrap();
    hold
}

/// Has the active controller decide something, as any broker may.
async fn change_something(broker: &Broker) {
    let epoch = broker.quorum.broker_epoch().unwrap();
    let ask = AllocateProducerIds { id: broker.config.node_id, epoch, count: 1 };
    broker.quorum.submit(Command::AllocateProducerIds(ask)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_traffic_goes_on_while_records_keep_their_threads_busy() {
    let (first_data, second_data) = (one_thread(), one_thread());
    let first = TestBroker::start_with(first_data.handle().clone(), &[]).await;
    let servers = format!("controller.quorum.bootstrap.servers=127.0.0.1:{}", first.control_port());
    let second = TestBroker::start_with(
        second_data.handle().clone(),
        &["node.id=2", "process.roles=broker", &servers],
    )
    .await;
    // The first to use the connection between the two is a thread that carries records.
    let broker = Arc::clone(second.server());
    second_data.spawn(async move { change_something(&broker).await }).await.unwrap();

    let held = (keep_busy(first_data.handle()).await, keep_busy(second_data.handle()).await);
    let asked = async {
        change_something(second.server()).await;
        let address = format!("http://127.0.0.1:{}", second.control_port());
        let mut control = ControlClient::connect(address).await.unwrap();
        let health = control.get_broker(proto::GetBrokerRequest {}).await.unwrap().into_inner();
        assert!(health.live, "{health:?}");
        control.get_cluster(proto::GetClusterRequest::default()).await.unwrap();
        let live = http(&second, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    };
    timeout(DEADLINE, asked).await.expect("an answer, as no record is needed for it");
    drop(held);
    second.stop().await;
    first.stop().await;
    first_data.shutdown_background();
    second_data.shutdown_background();
}
