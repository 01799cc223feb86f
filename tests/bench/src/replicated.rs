//! Three brokers and three replicas: throughput, latency, and what the brokers spend on it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ottla_it::{Up, free_ports};
use serde_json::Value;

use crate::ask::create_topic;
use crate::process::cpu_seconds;
use crate::report::Report;
use crate::throughput::Load;

/// Measures one and three replicas in the same cluster.
///
/// # Errors
/// When a broker fails.
pub fn measure(report: &mut Report, dir: &Path, load: &Load) -> Result<()> {
    let port = free_ports();
    let up = Up::start(&dir.join("replicated"), port, &[]);
    for replicas in [1_i16, 3] {
        let topic = format!("replicas-{replicas}");
        create_topic(port, &topic, load.partitions, replicas, &[])?;
        let who = format!("{replicas} replicas, synced");
        let (records, size) = (load.megabytes * 1_000_000 / load.record_size, load.record_size.to_string());
        let brokers = || -> Result<f64> {
            [1, 2, 3].iter().map(|id| cpu_seconds(&up.broker_pid(*id).to_string())).sum()
        };
        let before = brokers()?;
        let full = produce(&up, &topic, &["-n", &records.to_string(), "--record-size", &size])?;
        let cpu = (brokers()? - before) / (load.megabytes as f64 / 1000.0);
        let rated = produce(&up, &topic, &["-n", "2500", "--rate", "500", "--record-size", &size])?;
        report.add(
            "produce, three brokers",
            &who,
            format!("{:.0} MB/s", figure(&full, "megabytesPerSecond")),
            "",
        );
        report.add("all brokers' CPU for it", &who, format!("{cpu:.2} s/GB"), "");
        let latency = format!("p50 {:.1} ms, p99 {:.1} ms", figure(&rated, "p50Ms"), figure(&rated, "p99Ms"));
        report.add("latency at 500 records a second", &who, latency, "");
    }
    up.interrupt();
    Ok(())
}

fn produce(up: &Up, topic: &str, more: &[&str]) -> Result<Value> {
    let output = up.run(&[&["bench", "produce", topic, "-o", "json"], more].concat());
    ensure!(output.code == Some(0), "bench produce: {output:?}");
    serde_json::from_str(&output.out).context("figures as JSON")
}

fn figure(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or(f64::NAN)
}
