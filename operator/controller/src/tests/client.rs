//! The operator's own client against a server on this machine: what it sends, and what it makes of answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use kube::Config;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::calls::client_of;
use crate::eviction::{Evicted, evict};
use crate::metrics::Metrics;

/// A server that refuses the first request with 429 and takes all others; what it was sent, too.
async fn refusing_once() -> (String, Arc<Mutex<Vec<Value>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = bodies.clone();
    let answer = move |body: Bytes| {
        let mut seen = seen.lock();
        seen.push(serde_json::from_slice(&body).expect("a body is JSON"));
        let (code, status) = if seen.len() == 1 {
            let cause = json!({"reason": "DisruptionBudget", "message": "The disruption budget b needs 3"});
            let details = json!({"causes": [cause]});
            (429, json!({"status": "Failure", "code": 429, "message": "no", "details": details}))
        } else {
            (201, json!({"status": "Success", "code": 201}))
        };
        let code = StatusCode::from_u16(code).expect("it is a status");
        async move { (code, [(header::CONTENT_TYPE, "application/json")], status.to_string()) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, bodies)
}

#[tokio::test]
async fn a_refused_eviction_is_told_and_not_tried_again_by_the_client() {
    let (address, bodies) = refusing_once().await;
    let config = Config::new(address.parse().expect("an address"));
    let client = client_of(config, &Arc::new(Metrics::default())).expect("it needs nothing");
    let refused = evict(&client, "shop", "demo-broker-1", "u1").await.expect("a refusal is an answer");
    assert_eq!(refused, Evicted::Stays("The disruption budget b needs 3".to_owned()));
    assert_eq!(bodies.lock().len(), 1);
    assert_eq!(bodies.lock()[0].pointer("/deleteOptions/preconditions/uid"), Some(&json!("u1")));
    // The next try is another look's.
    assert_eq!(evict(&client, "shop", "demo-broker-1", "u1").await.expect("it is taken"), Evicted::Goes);
}
