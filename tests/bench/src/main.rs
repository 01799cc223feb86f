//! Measurements that print their figures: start, size, memory, throughput and CPU, what durability and
//! replication cost, restarts; beside the raw limit of the machine and, if asked, beside Apache Kafka in the
//! same run.
//!
//! `cargo xtask bench` runs it. Nothing here passes or fails: a shared machine makes no promise.

mod ask;
mod copy;
mod durability;
mod failover;
mod kafka;
mod process;
mod replicated;
mod report;
mod restart;
mod size;
mod start;
mod throughput;
mod up;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use crate::report::Report;
use crate::throughput::Load;

/// What is measured.
#[derive(Parser)]
#[command(name = "cargo xtask bench --", about = "Measurements that print their figures")]
struct Options {
    /// Only these: start, up, size, copy, throughput, durability, replicated, restart
    #[arg(long, value_delimiter = ',', default_values = ["start", "up", "size", "copy", "throughput"])]
    only: Vec<String>,
    /// Measure Apache Kafka too; fetches it with Maven unless --kafka-jars names a folder of its jars
    #[arg(long)]
    kafka: bool,
    /// A folder with the jars of Apache Kafka's server
    #[arg(long, value_name = "DIR")]
    kafka_jars: Option<PathBuf>,
    /// How often the start is measured; the median counts
    #[arg(long, default_value_t = 7)]
    starts: usize,
    /// How much is sent and read, in MB (a million bytes)
    #[arg(long, default_value_t = 1000)]
    megabytes: u64,
    /// The size of each record, in bytes
    #[arg(long, default_value_t = 1000)]
    record_size: u64,
    /// The partitions of the topic
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// How much lies on the disk when a broker is killed and started again, in GB
    #[arg(long, default_value_t = 10)]
    restart_gigabytes: u64,
    /// Measure only how long writes pause when brokers fail (as root; some twenty minutes)
    #[arg(long)]
    failover: bool,
    /// For --failover: a Python that has confluent-kafka
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// For --failover: a folder with the jars of Apache Kafka's clients
    #[arg(long, value_name = "DIR")]
    client_jars: Option<PathBuf>,
    /// For --failover: leave the brokers' logs and the clients' histories in the folder
    #[arg(long)]
    keep: bool,
    /// Where the data goes while it is measured; it should be a disk, not memory
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Receive one copy on this port, then end (used by this program itself)
    #[arg(long, hide = true, value_name = "FILE")]
    receive_into: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(file) = &options.receive_into {
        return copy::receive(file);
    }
    if options.failover {
        return failover::run(&options.folder, options.python, options.client_jars, options.keep);
    }
    let dir = tempfile::Builder::new().prefix(".ottla-bench-").tempdir_in(&options.folder)?;
    let wanted = |name: &str| options.only.iter().any(|only| only == name);
    let load = Load {
        megabytes: options.megabytes,
        record_size: options.record_size,
        partitions: options.partitions,
    };
    let mut report = Report::default();
    let kafka = match options.kafka || options.kafka_jars.is_some() {
        true => Some(kafka::Kafka::find(options.kafka_jars.clone()).context("Apache Kafka can't be had")?),
        false => None,
    };
    if wanted("size") {
        size::measure(&mut report)?;
    }
    if wanted("start") {
        start::measure(&mut report, dir.path(), options.starts, kafka.as_ref())?;
    }
    if wanted("up") {
        up::measure(&mut report, dir.path())?;
    }
    if wanted("copy") {
        copy::measure(&mut report, dir.path(), options.megabytes)?;
    }
    if wanted("throughput") {
        throughput::measure(&mut report, dir.path(), &load, kafka.as_ref())?;
    }
    if wanted("durability") {
        durability::measure(&mut report, dir.path(), &load)?;
    }
    if wanted("replicated") {
        replicated::measure(&mut report, dir.path(), &load)?;
    }
    if wanted("restart") {
        restart::measure(&mut report, dir.path(), options.restart_gigabytes)?;
    }
    finish(&report);
    Ok(())
}

/// Prints the table.
fn finish(report: &Report) {
    report.print();
    if cfg!(debug_assertions) {
        println!("\nThese are figures of a debug build, which mean little: use `cargo xtask bench`.");
    }
}
