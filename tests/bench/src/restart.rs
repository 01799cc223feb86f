//! From `kill -9` of a broker with thousands of partitions to its next answer.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use ottla_it::run;

use crate::ask::{create_topic, wait_for_metadata};
use crate::process::Server;
use crate::report::{Report, median};
use crate::start::ottla;

const PARTITIONS: i32 = 4_000;
const TURNS: usize = 3;

/// Fills a broker with `gigabytes` in 4,000 partitions, kills it under load, and starts it again.
///
/// # Errors
/// When the broker fails.
pub fn measure(report: &mut Report, dir: &Path, gigabytes: u64) -> Result<()> {
    let (mut server, port) = ottla(dir, "restart")?;
    wait_for_metadata(port)?;
    create_topic(port, "many", PARTITIONS, 1, &[])?;
    let bootstrap = format!("127.0.0.1:{port}");
    let fill = |megabytes: u64| -> Result<()> {
        let records = megabytes.to_string();
        let size = ["--record-size", "1000000", "--batch-size", "1000000"];
        let filled =
            run(&[&["bench", "produce", "many", "-b", &bootstrap, "-n", &records], &size[..]].concat());
        ensure!(filled.code == Some(0), "not filled: {filled:?}");
        Ok(())
    };
    fill(gigabytes * 1000)?;
    let mut seconds = Vec::new();
    for _ in 0..TURNS {
        // Every partition has something that no checkpoint covers.
        fill(PARTITIONS.unsigned_abs().into())?;
        server.kill()?;
        let properties = dir.join("restart/server.properties");
        let mut command = Command::new(ottla_it::ottla());
        server = Server::start(command.arg("broker").arg(&properties), &dir.join("restart/again.log"))?;
        wait_for_metadata(port)?;
        seconds.push(server.age().as_secs_f64());
    }
    let who = format!("{PARTITIONS} partitions, {gigabytes} GB");
    report.add("start after kill -9", &who, format!("{:.2} s", median(seconds)), "< 2 s");
    server.stop()
}
