//! From exec to the first Metadata answer, and the memory of a broker that does nothing.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use ottla_it::free_ports;

use crate::ask::wait_for_metadata;
use crate::kafka::Kafka;
use crate::process::Server;
use crate::report::{Report, median};

/// How long a broker is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);

/// A single broker of ours on a fresh folder.
///
/// # Errors
/// When it can't be started.
pub fn ottla(dir: &Path, name: &str) -> Result<(Server, u16)> {
    let (port, data) = (free_ports(), dir.join(name));
    std::fs::create_dir_all(&data)?;
    let properties = data.join("server.properties");
    std::fs::write(&properties, single(port, &data.join("data"), Some(port + 20_000)))?;
    let server = Server::start(
        Command::new(ottla_it::ottla()).arg("broker").arg(&properties),
        &data.join("broker.log"),
    )?;
    Ok((server, port))
}

/// The settings of a single broker: Apache Kafka's own keys, and a port for health where ours wants one.
pub fn single(port: u16, data: &Path, http: Option<u16>) -> String {
    let mut text = format!(
        "node.id=1\nprocess.roles=broker,controller\ncontroller.quorum.voters=1@127.0.0.1:{control}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={data}\noffsets.topic.replication.factor=1\n",
        control = port + 10_000,
        data = data.display(),
    );
    if let Some(http) = http {
        text += &format!("ottla.http.listener=127.0.0.1:{http}\n");
    }
    text
}

/// Measures the start of ours and, if it is there, of Apache Kafka.
///
/// # Errors
/// When a broker doesn't start.
pub fn measure(report: &mut Report, dir: &Path, starts: usize, kafka: Option<&Kafka>) -> Result<()> {
    measure_one(
        report,
        "ottla",
        starts,
        |turn| ottla(dir, &format!("start-{turn}")),
        "< 200 ms",
        "< 30 MiB",
    )?;
    if let Some(kafka) = kafka {
        let start = |turn| kafka.start(dir, &format!("kafka-start-{turn}"));
        measure_one(report, "Apache Kafka", starts.min(3), start, "", "")?;
    }
    Ok(())
}

fn measure_one(
    report: &mut Report,
    who: &str,
    starts: usize,
    start: impl Fn(usize) -> Result<(Server, u16)>,
    goal: &str,
    memory_goal: &str,
) -> Result<()> {
    let (mut times, mut resident) = (Vec::new(), 0.0);
    for turn in 0..starts.max(1) {
        let (mut server, port) = start(turn)?;
        wait_for_metadata(port)?;
        times.push(server.age().as_secs_f64() * 1000.0);
        server.still_runs()?;
        if turn == 0 {
            thread::sleep(IDLE);
            resident = server.resident_mib()?;
        }
        server.stop()?;
    }
    let (low, high) =
        (times.iter().copied().fold(f64::MAX, f64::min), times.iter().copied().fold(0.0, f64::max));
    let figure = format!("{:.0} ms ({low:.0} to {high:.0})", median(times));
    report.add("start to first Metadata", who, figure, goal);
    report.add("idle memory", who, format!("{resident:.1} MiB"), memory_goal);
    Ok(())
}
