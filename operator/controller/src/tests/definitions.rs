//! The operator isn't ready before the definitions of its kinds are there, as new as it is.

use std::sync::Arc;
use std::time::Duration;

use ottla_api::{DEFINITION_ANNOTATION, crds};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::api_server::ApiServer;
use crate::definitions::wait;
use crate::http::{Health, serve};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The API server has this definition, with this change.
fn put(api: &ApiServer, which: usize, change: impl FnOnce(&mut Value)) {
    let mut definition = serde_json::to_value(&crds()[which]).expect("a definition is JSON");
    definition["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
    change(&mut definition);
    let name = definition["metadata"]["name"].as_str().expect("it has a name").to_owned();
    api.put(&format!("{DEFINITIONS}/{name}"), definition);
}

/// What is asked and answered by a person with curl.
async fn readyz(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    text
}

#[tokio::test]
async fn readiness_says_which_definition_is_missing_until_none_is() {
    let api = Arc::new(ApiServer::default());
    let health = Health::default();
    health.ready.store(true, std::sync::atomic::Ordering::Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, health.clone(), stop.clone()));
    let (client, waits_for) = (api.client(), health.waits_for.clone());
    let waiting = tokio::spawn(async move { wait(&client, &waits_for).await });
    said(&health, "kafkaclusters.ottla.dev is not there").await;
    let answer = readyz(address).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("install the chart ottla-crds"),
        "{answer}"
    );
    put(&api, 0, |_| {});
    said(&health, "topics.ottla.dev is not there").await;
    // One that another release keeps old.
    put(&api, 1, |definition| definition["metadata"]["annotations"][DEFINITION_ANNOTATION] = json!("old"));
    said(&health, "topics.ottla.dev is another one").await;
    assert!(!waiting.is_finished());
    put(&api, 1, |_| {});
    waiting.await.expect("it ends");
    assert!(readyz(address).await.starts_with("HTTP/1.1 200"));
    stop.cancel();
}

/// Waits until this is what the operator waits for.
async fn said(health: &Health, words: &str) {
    let heard = async {
        while !health.waits_for.get().is_some_and(|what| what.contains(words)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), heard).await.expect("it says so");
}
