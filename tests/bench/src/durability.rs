//! What "synced" costs beside "written": throughput and latency, with few and many active partitions.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ottla_it::{free_ports, run};
use serde_json::Value;

use crate::ask::{create_topic, wait_for_metadata};
use crate::report::{Report, median};
use crate::start::ottla;
use crate::throughput::Load;

const PARTITIONS: [i32; 4] = [1, 10, 100, 1_000];
/// How often each is measured; the medians count.
const TURNS: usize = 3;
/// For the latency: records a second, and how many in all.
const RATE: &str = "500";
const RATED_RECORDS: &str = "2500";

/// Measures both in turn on one broker.
///
/// # Errors
/// When the broker fails.
pub fn measure(report: &mut Report, dir: &Path, load: &Load) -> Result<()> {
    let (server, port) = ottla(dir, &format!("durability-{}", free_ports()))?;
    wait_for_metadata(port)?;
    for partitions in PARTITIONS {
        let topic = |durability: &str| format!("{durability}-{partitions}");
        for durability in ["synced", "written"] {
            create_topic(port, &topic(durability), partitions, 1, &[("ack.durability", durability)])?;
        }
        let records = (load.megabytes * 1_000_000 / load.record_size / 4).to_string();
        let mut ratios = Vec::new();
        let mut slower = Vec::new();
        for _ in 0..TURNS {
            let rate = |durability| full_speed(port, &topic(durability), &records, load);
            ratios.push(rate("synced")? / rate("written")?);
            let p99 = |durability| p99_ms(port, &topic(durability));
            slower.push(p99("synced")? - p99("written")?);
        }
        let who = format!("{partitions} partitions");
        report.add("synced : written, MB/s", &who, format!("{:.2}", median(ratios)), "> 0.75");
        report.add("synced \u{2212} written, p99", &who, format!("{:.1} ms", median(slower)), "< 3 ms");
    }
    server.stop()
}

fn full_speed(port: u16, topic: &str, records: &str, load: &Load) -> Result<f64> {
    let size = load.record_size.to_string();
    // Small batches, so that all partitions are active at any time.
    produce(
        port,
        topic,
        &["-n", records, "--record-size", &size, "--batch-size", "16384"],
        "megabytesPerSecond",
    )
}

fn p99_ms(port: u16, topic: &str) -> Result<f64> {
    produce(port, topic, &["-n", RATED_RECORDS, "--rate", RATE, "--record-size", "1000"], "p99Ms")
}

fn produce(port: u16, topic: &str, more: &[&str], figure: &str) -> Result<f64> {
    let bootstrap = format!("127.0.0.1:{port}");
    let output = run(&[&["bench", "produce", topic, "-b", &bootstrap, "-o", "json"], more].concat());
    ensure!(output.code == Some(0), "bench produce: {output:?}");
    let figures: Value = serde_json::from_str(&output.out).context("figures as JSON")?;
    figures[figure].as_f64().with_context(|| format!("no {figure} in {figures}"))
}
