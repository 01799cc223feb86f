//! Sending and reading at full speed: MB/s, and the broker's CPU seconds for each GB.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ottla_it::{free_ports, run};
use serde_json::Value;

use crate::ask::{create_topic, wait_for_metadata};
use crate::kafka::Kafka;
use crate::process::Server;
use crate::report::Report;
use crate::start::ottla;

/// How much is sent.
pub struct Load {
    /// In all, in millions of bytes.
    pub megabytes: u64,
    /// The size of a record, in bytes.
    pub record_size: u64,
    /// The topic's partitions.
    pub partitions: i32,
}

/// Measures ours, synced and written, and, if it is there, Apache Kafka.
///
/// # Errors
/// When a broker fails.
pub fn measure(report: &mut Report, dir: &Path, load: &Load, kafka: Option<&Kafka>) -> Result<()> {
    for (who, config) in
        [("ottla, synced", &[][..]), ("ottla, written", &[("ack.durability", "written")][..])]
    {
        let (server, port) = ottla(dir, &format!("throughput-{}", free_ports()))?;
        one(report, who, server, port, load, config)?;
    }
    if let Some(kafka) = kafka {
        let (server, port) = kafka.start(dir, "kafka-throughput")?;
        one(report, "Apache Kafka, written", server, port, load, &[])?;
    }
    Ok(())
}

fn one(
    report: &mut Report,
    who: &str,
    server: Server,
    port: u16,
    load: &Load,
    config: &[(&str, &str)],
) -> Result<()> {
    wait_for_metadata(port)?;
    let topic = "bench";
    create_topic(port, topic, load.partitions, 1, config)?;
    let bootstrap = format!("127.0.0.1:{port}");
    let (records, size) =
        ((load.megabytes * 1_000_000 / load.record_size).to_string(), load.record_size.to_string());
    let produce = ["produce", topic, "-b", &bootstrap, "-n", &records, "--record-size", &size];
    for (what, args) in
        [("produce", &produce[..]), ("consume", &["consume", topic, "-b", &bootstrap, "-n", &records][..])]
    {
        let before = server.cpu_seconds()?;
        let output = run(&[&["bench"], args, &["-o", "json"]].concat());
        ensure!(output.code == Some(0), "bench {what}: {output:?}");
        let cpu = server.cpu_seconds()? - before;
        let result: Value = serde_json::from_str(&output.out).context("figures as JSON")?;
        let figure = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
        let latency = match what {
            "produce" => format!(", p50 {:.1} ms, p99 {:.1} ms", figure("p50Ms"), figure("p99Ms")),
            _ => String::new(),
        };
        report.add(what, who, format!("{:.0} MB/s{latency}", figure("megabytesPerSecond")), "");
        report.add(
            "broker's CPU for it",
            who,
            format!("{:.2} s/GB", cpu / (load.megabytes as f64 / 1000.0)),
            "",
        );
    }
    server.stop()
}
