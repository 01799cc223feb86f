//! `cargo run -p ottla-e2e`: the chart, the operator and the brokers on the Kubernetes of `bed/`, as a person
//! uses them. It ends with a line `N passed, M failed`, and always takes the bed down that it brought up.

mod audit;
mod bed;
mod kafka;
mod kube;
mod load;
mod manifest;
mod report;
mod shell;
mod stages;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::bed::Bed;
use crate::stages::World;

#[derive(Parser)]
#[command(name = "ottla-e2e", about = "Tests the chart, the operator and the brokers on a real Kubernetes")]
struct Options {
    /// Use the bed that runs, and leave it running
    #[arg(long)]
    keep: bool,
    /// The folder with the image archives that `cargo xtask images --clients` wrote
    #[arg(long, env = "OTTLA_IMAGES")]
    images: Option<std::path::PathBuf>,
    /// Stop at the first stage that fails
    #[arg(long)]
    fail_fast: bool,
    /// Only these stages, on a bed where those before them have passed (with --keep)
    #[arg(long, value_name = "STAGE", value_delimiter = ',', requires = "keep")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let bed = Bed::up(options.keep)?;
    let world = World::new(&bed, options.images.clone());
    let passed = stages::run_all(&world, &options.only, options.fail_fast);
    drop(bed);
    Ok(passed)
}
