//! What "synced" costs beside "written": throughput and latency, with few and many active partitions, with
//! one replica and with three.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ottla_it::{Up, free_ports, run};
use serde_json::Value;

use crate::ask::{create_topic, wait_for_metadata};
use crate::report::{Report, median};
use crate::start::ottla;
use crate::throughput::Load;

const PARTITIONS: [i32; 4] = [1, 10, 100, 1_000];
/// Kafka's default, and that of our own producer.
const BATCHES_KIB: [usize; 2] = [16, 256];
/// What is compared; topics have these names too.
const DURABILITIES: [&str; 2] = ["synced", "written"];
/// How often each is measured; the medians count.
const TURNS: usize = 3;
/// For the latency: records a second, and how many in all.
const RATE: &str = "500";
const RATED_RECORDS: &str = "2500";

/// Measures both in turn: on one broker, and on three that replicate, for each number of partitions.
///
/// # Errors
/// When a broker fails.
pub fn measure(report: &mut Report, dir: &Path, load: &Load) -> Result<()> {
    for partitions in PARTITIONS {
        let name = format!("durability-{}", free_ports());
        let (server, port) = ottla(dir, &name)?;
        wait_for_metadata(port)?;
        throughput(report, port, partitions, 1, load)?;
        let mut slower = Vec::new();
        for _ in 0..TURNS {
            slower.push(p99_ms(port, "synced")? - p99_ms(port, "written")?);
        }
        let who = format!("{partitions} partitions");
        report.add("synced \u{2212} written, p99", &who, format!("{:.1} ms", median(slower)), "< 3 ms");
        server.stop()?;
        std::fs::remove_dir_all(dir.join(&name)).context("can't clear a broker's folder")?;
    }
    for partitions in PARTITIONS {
        let (folder, port) = (dir.join("replicated"), free_ports());
        let up = Up::start(&folder, port, &[]);
        throughput(report, port, partitions, 3, load)?;
        up.interrupt();
        std::fs::remove_dir_all(&folder).context("can't clear the brokers' folder")?;
    }
    Ok(())
}

/// Creates the two topics and adds what full speed is with each.
fn throughput(report: &mut Report, port: u16, partitions: i32, replicas: i16, load: &Load) -> Result<()> {
    for durability in DURABILITIES {
        create_topic(port, durability, partitions, replicas, &[("ack.durability", durability)])?;
    }
    for batch_kib in BATCHES_KIB {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (durability, rates) in DURABILITIES.into_iter().zip(&mut rates) {
                touch_memory(usize::try_from(load.megabytes * 1_000_000)? * usize::try_from(replicas)?);
                rates.push(full_speed(port, durability, batch_kib, load)?);
            }
        }
        let who = format!("{partitions} partitions, {replicas} replicas, batches of {batch_kib} KiB");
        let ratio = rates[0].iter().zip(&rates[1]).map(|(synced, written)| synced / written);
        report.add("synced : written, MB/s", &who, format!("{:.2}", median(ratio.collect())), "> 0.75");
        let [synced, written] = rates.map(median);
        report.add("synced and written", &who, format!("{synced:.0} and {written:.0} MB/s"), "");
    }
    Ok(())
}

/// Takes as much memory as the page cache is about to, and gives it back. The host of a virtual machine may
/// have taken back what was free, and then each first touch of a page costs more than the write that is
/// measured: up to two seconds for a gigabyte, now in one turn and now in the next.
fn touch_memory(bytes: usize) {
    drop(std::hint::black_box(vec![1_u8; bytes]));
}

/// Half the load in each turn: with less, the first sync of each new file is what is measured.
fn full_speed(port: u16, topic: &str, batch_kib: usize, load: &Load) -> Result<f64> {
    let records = (load.megabytes * 1_000_000 / load.record_size / 2).to_string();
    let (size, batch) = (load.record_size.to_string(), (batch_kib << 10).to_string());
    produce(
        port,
        topic,
        &["-n", &records, "--record-size", &size, "--batch-size", &batch],
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
