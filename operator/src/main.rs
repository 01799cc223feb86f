//! The operator binary: flags and environment to settings, signals to a stop.
//!
//! Not here: what an operator does (`operator/controller`).

mod arguments;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use ottla_controller::{Ended, Health, client_of, run, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ottla-operator: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(operate(arguments)) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::LeaseLost) => {
            tracing::error!("the lease is lost, and another operator may work");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ottla-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn operate(arguments: Arguments) -> Result<Ended> {
    let filter = EnvFilter::try_new(&arguments.log_filter).context("--log-filter")?;
    let colours = std::io::stdout().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_target(false).init();
    let settings = arguments.settings()?;
    let config =
        kube::Config::infer().await.context("no Kubernetes: neither a pod's account nor a kubeconfig")?;
    let health = Health::default();
    let client = client_of(config, &health.metrics)?;
    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("--listen {}", settings.listen))?;
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, health.clone(), stop.clone()));
    tokio::spawn(stop_on_signal(stop.clone())?);
    let ended = run(client, settings, health, stop.clone()).await;
    stop.cancel();
    serving.await.context("the health listener")?.context("the health listener")?;
    Ok(ended)
}

fn stop_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    })
}
