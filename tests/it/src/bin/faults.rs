//! Runs the matrix of faults; `cargo xtask faults` builds what it needs first.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use ottla_it::faults::{Options, Programs, SCENARIOS, enter, run};

/// Real brokers under faults, judged by what real clients saw.
#[derive(Parser)]
#[command(name = "cargo xtask faults --")]
struct Arguments {
    /// Only this scenario; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Chooses what is done when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long all scenarios may take together
    #[arg(long, default_value_t = 18.0)]
    minutes: f64,
    /// How many scenarios run side by side
    #[arg(long, default_value_t = 1)]
    lanes: usize,
    /// Replicas of each partition
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// A setting of the topic under load, such as ack.durability=written, which must fail under
    /// power_loss_all
    #[arg(long, value_name = "NAME=VALUE")]
    topic_config: Vec<String>,
    /// Records a second, of each client
    #[arg(long, default_value_t = 150)]
    rate: u64,
    /// Name the scenarios and end
    #[arg(long)]
    list: bool,
    /// Where logs and histories go
    #[arg(long, value_name = "DIR", default_value = "target/faults")]
    folder: PathBuf,
    /// A Python that has confluent-kafka
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// A folder with the jars of Apache Kafka's clients
    #[arg(long, value_name = "DIR", env = "KAFKA_TOOLS")]
    jars: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        SCENARIOS.iter().for_each(|s| println!("{:18} {}", s.name, s.about));
        return Ok(ExitCode::SUCCESS);
    }
    // Before anything is built or found, as that may end somewhere else.
    ottla_it::ottla();
    enter()?;
    let jars = arguments.jars.ok_or_else(|| anyhow::anyhow!("--jars isn't set; use cargo xtask faults"))?;
    let options = Options {
        scenarios: arguments.scenario,
        seed: arguments.seed,
        minutes: arguments.minutes,
        lanes: arguments.lanes,
        replicas: arguments.replicas,
        topic_config: arguments.topic_config,
        rate: arguments.rate,
        folder: std::path::absolute(arguments.folder)?,
        programs: Programs { python: arguments.python, jars },
    };
    let (passed, failed) = run(&options)?;
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
