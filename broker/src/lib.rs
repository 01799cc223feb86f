//! The broker as a command: arguments, configuration, a runtime, signals, and an exit code.
//!
//! Not here: what a broker does; that is `ottla-server`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use ottla_server::config::{Config, ConfigError, Sources, text as properties_text};
use ottla_server::contained::is_contained;
use ottla_server::logging::LogControl;
use ottla_server::start::{RunError, Running, start};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Threads that may wait for the disk at once, of each runtime.
const BLOCKING_THREADS_MAX: usize = 32;

/// Threads of the control traffic. One would do for its load; the other goes on when one waits.
const CONTROL_THREADS: usize = 2;

/// A Kafka-compatible broker.
///
/// Settings are Kafka's. A flag goes before the environment, the environment before the file. The environment
/// variable of a setting is OTTLA_ and its key in upper case with _ for each dot: OTTLA_NODE_ID is node.id.
#[derive(Debug, Parser)]
#[command(name = "ottla-broker", version)]
struct Arguments {
    /// Apache Kafka's server.properties; without one, a single node on localhost:9092.
    file: Option<PathBuf>,
    /// Sets a setting, as in --override node.id=2. May be repeated.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

/// Runs a broker until it is told to stop. `arguments` begin with the program's name.
///
/// The exit code is 0 after an orderly stop, 1 when the broker can't start or its disk fails, 2 for arguments
/// that can't be read.
pub fn run<T: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = T>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run_with(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ottla-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_with(arguments: Arguments) -> anyhow::Result<()> {
    let config = configuration(arguments)?;
    let log_control = LogControl::start(&config.log_filter, config.log_format).context("ottla.log.filter")?;
    if let Some(warning) = config.warning() {
        warn!("{warning}");
    }
    raise_open_files_limit();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if config.worker_threads == 0 { cores } else { config.worker_threads };
    let control = runtime("ottla-control", CONTROL_THREADS)?;
    let data = runtime("ottla-data", workers)?;
    let result = control.block_on(serve(config, Arc::new(log_control), data.handle().clone()));
    // What still runs waits for nothing that matters: the store is closed, or has failed.
    data.shutdown_background();
    control.shutdown_background();
    result
}

fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(name)
        .enable_all()
        .build()
        .context("cannot start the threads")
}

/// Connections and segments are files: takes as many as the system allows this process. Shells often give
/// few.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

fn configuration(arguments: Arguments) -> Result<Config, ConfigError> {
    let sources = Sources {
        file: arguments
            .file
            .map(|path| match std::fs::read(&path) {
                Ok(bytes) => Ok((path, properties_text(&bytes))),
                Err(error) => Err(ConfigError::File { path, reason: error.to_string() }),
            })
            .transpose()?,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        overrides: arguments.overrides,
    };
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Config::new(&sources, &host_name)
}

/// Hears of each panic, also in libraries that would swallow it. Only the decoding of requests may panic by
/// itself.
fn watch_panics() -> watch::Receiver<Option<String>> {
    let (sender, panics) = watch::channel(None);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if !is_contained() {
            sender.send_replace(Some(panic.to_string()));
        }
    }));
    panics
}

fn ended_by(panic: Option<&str>) -> anyhow::Error {
    let reason = panic.unwrap_or("no reason").replace('\n', " ");
    error!(reason, "a bug ended a part of the broker");
    anyhow::anyhow!("a bug ended a part of the broker: {reason}")
}

/// Has the part of the broker panic that `PLANTED_PANIC` names: for tests of the process, and not in a
/// release.
fn plant_panic(running: &Running) {
    #[cfg(debug_assertions)]
    if let Ok(part) = std::env::var("PLANTED_PANIC") {
        running.broker().quorum.tasks().plant(&part);
    }
    #[cfg(not(debug_assertions))]
    let _ = running;
}

async fn serve(config: Config, log_control: Arc<LogControl>, data: Handle) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    // A terminal that closes is no reason to stop.
    let _hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    info!(version = env!("CARGO_PKG_VERSION"), node_id = %config.node_id, "starting");
    let mut panics = watch_panics();
    let mut running = tokio::select! {
        started = start(config, log_control, data) => started?,
        Ok(panic) = panics.wait_for(Option::is_some) => return Err(ended_by(panic.as_deref())),
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let quorum = running.broker().quorum.clone();
    plant_panic(&running);
    tokio::select! {
        error = running.failed() => {
            error!(%error, "the broker failed");
            return Err(error.into());
        }
        Ok(panic) = panics.wait_for(Option::is_some) => return Err(ended_by(panic.as_deref())),
        error = quorum.failed() => {
            error!(%error, "the metadata quorum failed");
            return Err(error.into());
        }
        reason = quorum.has_to_start_again() => {
            info!(reason, "stopping, to start again");
            running.stop().await?;
            return Err(RunError::StartAgain(reason).into());
        }
        _ = interrupt.recv() => info!("stopping, as SIGINT says"),
        _ = terminate.recv() => info!("stopping, as SIGTERM says"),
    }
    Ok(running.stop().await?)
}
