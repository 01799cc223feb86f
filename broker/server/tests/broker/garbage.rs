//! Bad input closes its own connection and nothing else.

use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};
use tokio::io::AsyncWriteExt;

use crate::client::Client;
use crate::harness::TestBroker;

/// A frame of these bytes, its length in front of it.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Key, version, correlation id, a null client id, and then `body`.
fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let header = [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 7], &[0xff, 0xff]].concat();
    frame(&[&header[..], body].concat())
}

async fn still_serves(broker: &TestBroker) {
    let answer = broker.connect().await.call::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
    assert_eq!(answer.decode::<apis::ApiVersions>().error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_frames_close_their_connection_only() {
    let broker = TestBroker::start(&["socket.request.max.bytes=100000"]).await;
    let mut other = broker.connect().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a negative length", vec![0xff; 4]),
        ("a length of nothing", vec![0; 4]),
        ("a length over the limit", 100_001u32.to_be_bytes().to_vec()),
        ("a web request", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("an unknown key", request(9_999, 0, &[])),
        ("a key that is not served", request(11, 0, &[])),
        ("a version that is not served", request(3, 99, &[])),
        ("an old version", request(0, 2, &[])),
        ("a body that is cut off", request(0, 3, &[0xff, 0xff, 0, 1])),
        ("an absurd count", request(3, 1, &[0x7f, 0xff, 0xff, 0xff])),
        ("a client id longer than the frame", frame(&[0, 18, 0, 0, 0, 0, 0, 7, 0x7f, 0xff])),
    ];
    for (what, bytes) in cases {
        let mut client = broker.connect().await;
        client.socket.write_all(&bytes).await.unwrap();
        assert!(client.is_closed().await, "{what}");
        still_serves(&broker).await;
    }
    let answer = other.call::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
    assert_eq!(answer.decode::<apis::ApiVersions>().error_code, 0, "the first connection never noticed");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_ends_early_is_no_request() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.socket.write_all(&[0, 0, 0, 100, 1, 2, 3]).await.unwrap();
    client.socket.shutdown().await.unwrap();
    assert!(client.is_closed().await);
    still_serves(&broker).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_a_request_are_passed_over() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.socket.write_all(&request(18, 0, &[1, 2, 3])).await.unwrap();
    assert_eq!(client.receive(0).await.unwrap().decode::<apis::ApiVersions>().error_code, 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_version_of_api_versions_is_answered_in_version_zero() {
    let broker = TestBroker::start(&[]).await;
    let mut client: Client = broker.connect().await;
    client.socket.write_all(&request(18, 99, &[0])).await.unwrap();
    let answer = client.receive(0).await.unwrap();
    let response = answer.decode::<apis::ApiVersions>();
    assert_eq!(ErrorCode::from_wire(response.error_code), ErrorCode::UnsupportedVersion);
    assert!(response.api_keys.iter().any(|api| api.api_key == 18 && api.max_version == 4));
    still_serves(&broker).await;
    broker.stop().await;
}
