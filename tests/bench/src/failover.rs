//! How long writes pause when a leader, or the active controller, goes: real brokers in namespaces of their
//! own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ottla_it::faults::{Failover, Plan, Programs, Shape, enter, failover};

use crate::report::Report;

/// Measures and prints it. As root: it goes on in namespaces of its own.
///
/// # Errors
/// A tool is missing, or the cluster loses something. Then, or with `keep`, what there is to read stays in
/// `folder`.
pub fn run(folder: &Path, python: PathBuf, jars: Option<PathBuf>, keep: bool) -> Result<()> {
    ottla_it::ottla();
    enter()?;
    let mut dir = tempfile::Builder::new().prefix(".ottla-bench-").tempdir_in(folder)?;
    dir.disable_cleanup(keep);
    let mut report = Report::default();
    let plan = Plan {
        name: "failover",
        shape: Shape { brokers: 3, replicas: 3, min_insync: 2 },
        partitions: 12,
        topic_config: Vec::new(),
        rate: 600,
        time: std::time::Duration::ZERO,
        seed: 1,
        folder: std::path::absolute(dir.path())?.join("failover"),
        programs: Programs {
            python,
            jars: jars.context("--client-jars isn't set: use cargo xtask bench --failover")?,
        },
    };
    let measured = failover(plan);
    if measured.is_err() {
        // What it was is to be read there.
        eprintln!("the brokers' logs and the clients' histories stay in {}", dir.path().display());
        dir.disable_cleanup(true);
    }
    for Failover { what, client, times, resumed_ms, longest_ms, goal } in measured? {
        let who = format!("{what}, {client}");
        let figure =
            |[p50, p99, max]: [u64; 3]| format!("p50 {p50} ms, p99 {p99} ms, max {max} ms ({times} times)");
        report.add("to the next write", &who, figure(resumed_ms), goal);
        report.add("longest wait of a record", &who, figure(longest_ms), "");
    }
    crate::finish(&report);
    Ok(())
}
