//! Restarts: records, topics and settings are still there; another broker can't take the folder.

use std::path::Path;
use std::time::Duration;

use ottla_server::start::RunError;
use ottla_wire::ErrorCode;

use crate::client::batch;
use crate::harness::TestBroker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_topics_and_records() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 2, &[("segment.bytes", "2000")]).await;
    let id = client.topic_id("t").await;
    let expected: Vec<String> = (0..60).map(|number| format!("{number}-{}", "x".repeat(100))).collect();
    for value in &expected {
        assert_eq!(client.produce("t", 1, &batch(&[value])).await.0, ErrorCode::None);
    }
    assert!(broker.files("t-1", ".log").len() > 2, "there are several segments");
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    assert_eq!(client.topic_id("t").await, id);
    let mut values = Vec::new();
    while values.len() < expected.len() {
        values.extend(client.values_from("t", 1, values.len() as i64).await);
    }
    assert_eq!(values, expected);
    assert_eq!(client.produce("t", 1, &batch(&["next"])).await, (ErrorCode::None, 60));
    assert_eq!(client.produce("t", 0, &batch(&["first"])).await, (ErrorCode::None, 0));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_metadata_log_a_broker_forms_no_other_quorum_and_its_records_stay() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, &batch(&["old"])).await;
    let (data, log) = (broker.folder().join("data"), Path::new("t-0/00000000000000000000.log"));
    let before = std::fs::read(data.join(log)).unwrap();
    let stopped = broker.stop_for_now().await;
    std::fs::remove_dir_all(data.join("__cluster_metadata-0")).unwrap();
    // It waits for others who know the metadata, or for an administrator's word.
    let mut start = std::pin::pin!(stopped.start());
    let started = tokio::time::timeout(Duration::from_secs(3), start.as_mut()).await;
    assert!(started.is_err(), "it made a cluster without topics of one that had some");
    assert_eq!(std::fs::read(data.join(log)).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_is_refused() {
    let broker = TestBroker::start(&[]).await;
    match broker.start_another().await {
        Err(RunError::Store(error)) => assert!(error.to_string().contains("in use"), "{error}"),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("two brokers on one folder"),
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_refused_by_name() {
    let broker = TestBroker::start(&[]).await;
    let taken =
        format!("listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:0", broker.address().port());
    match TestBroker::try_start(&[&taken]).await {
        Err(RunError::Bind(error)) => {
            assert!(error.to_string().contains("another process listens"), "{error}")
        }
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("two brokers on one port"),
    }
    broker.stop().await;
}
