//! Restarts: records, topics and settings are still there; another broker can't take the folder.

use ottla_server::broker::RunError;
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
async fn without_its_metadata_the_records_are_put_aside_and_never_shown_as_anothers() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, &batch(&["old"])).await;
    let data = broker.folder().join("data");
    let broker =
        broker.restart_after(|| std::fs::remove_dir_all(data.join("__cluster_metadata-0")).unwrap()).await;
    assert!(data.join("t-0").exists(), "what the metadata doesn't know is left alone");
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.produce("t", 0, &batch(&["new"])).await, (ErrorCode::None, 0));
    assert_eq!(client.values_from("t", 0, 0).await, ["new"]);
    let names = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
    let strays = names.filter(|name| name.to_string_lossy().ends_with("-stray")).count();
    assert_eq!(strays, 1, "the old records are still there for who wants them");
    broker.stop().await;
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
