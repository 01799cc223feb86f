//! What a run prints: a line for each stage, and when one fails, what the cluster says.

use std::time::Duration;

use anyhow::Error;

use crate::kube::Kube;
use crate::stages::{NAMESPACE, OPERATOR};

/// A stage that passed.
pub fn passed(name: &str, took: Duration) {
    println!("ok   {name:<24} {:>6.1} s", took.as_secs_f64());
}

/// A stage that failed, or wasn't run because of one before it.
pub fn failed(name: &str, took: Duration, error: &Error) {
    println!("FAIL {name:<24} {:>6.1} s  {error:#}", took.as_secs_f64());
}

/// What is there, what happened, and what operator and brokers said last.
pub fn diagnose(kube: &Kube) {
    let show = |namespace: &str, words: &[&str]| {
        println!("---- kubectl -n {namespace} {}", words.join(" "));
        match kube.try_kubectl(namespace, words) {
            Ok(output) => println!("{}{}", output.stdout, output.stderr),
            Err(error) => println!("{error:#}"),
        }
    };
    show(NAMESPACE, &["get", "pods,pvc", "--all-namespaces", "-o", "wide"]);
    show(NAMESPACE, &["get", "kafkaclusters,topics,statefulsets,services", "-o", "wide"]);
    show(NAMESPACE, &["get", "kafkaclusters,topics", "-o", "yaml"]);
    show(NAMESPACE, &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]);
    show(OPERATOR, &["logs", "deployment/ottla", "--tail=80", "--all-containers"]);
    for broker in 0..3 {
        show(NAMESPACE, &["logs", &format!("demo-broker-{broker}"), "--tail=40"]);
        show(NAMESPACE, &["logs", &format!("demo-broker-{broker}"), "--previous", "--tail=20"]);
    }
    println!("----");
}
