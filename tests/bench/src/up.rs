//! From `ottla up` on an empty folder to the first record read.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use ottla_it::{Up, free_ports, run, run_with_input};

use crate::report::Report;

/// Measures it once: three brokers, a topic, one record sent and read.
///
/// # Errors
/// When the record isn't read.
pub fn measure(report: &mut Report, dir: &Path) -> Result<()> {
    let port = free_ports();
    let began = Instant::now();
    let up = Up::start(&dir.join("up"), port, &[]);
    let ready = began.elapsed().as_secs_f64();
    let bootstrap = up.bootstrap();
    let sent = run_with_input(&["produce", "hello", "-b", &bootstrap], "Hello, Ottla\n");
    ensure!(sent.code == Some(0), "not sent: {sent:?}");
    let read = run(&["consume", "hello", "-b", &bootstrap, "--from-beginning", "-n", "1"]);
    ensure!(read.out == "Hello, Ottla\n", "not read: {read:?}");
    let figure = format!("{:.2} s (ready after {ready:.2} s)", began.elapsed().as_secs_f64());
    report.add("up to first record read", "ottla, three brokers", figure, "< 3 s");
    up.interrupt();
    Ok(())
}
