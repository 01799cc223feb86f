//! Commands of the system that must succeed.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command to its end.
///
/// # Errors
/// It can't be started, or fails; what it complained is in the message.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    feed(program, args, "")
}

/// What a command prints.
///
/// # Errors
/// As [`run`].
pub fn read(program: &str, args: &[&str]) -> Result<String> {
    output(program, args, "")
}

/// Runs a command with this input.
///
/// # Errors
/// As [`run`].
pub fn feed(program: &str, args: &[&str], input: &str) -> Result<()> {
    output(program, args, input).map(drop)
}

fn output(program: &str, args: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} can't be started"))?;
    child.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
