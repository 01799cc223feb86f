//! `cargo xtask chart`: lints the charts, renders them with each values file in `tests/e2e/chart/`, and
//! compares with what they rendered before. Values that the schema must refuse lie in
//! `tests/e2e/chart/refused/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{paths, setup};

const CASES: &str = "tests/e2e/chart";
const CHART: &str = "charts/ottla";

/// Write or compare.
#[derive(Args)]
pub struct Options {
    /// Write nothing; fail if a chart renders otherwise than its snapshot
    #[arg(long)]
    check: bool,
}

/// Lints, renders and compares; prints one line for each and the sum.
///
/// # Errors
/// helm isn't there, or a file can't be read or written.
pub fn run(options: &Options) -> Result<bool> {
    let mut outcomes: Vec<(String, Result<()>)> = Vec::new();
    for chart in folders(&paths::root().join("charts"))? {
        outcomes
            .push((format!("lint {}", name(&chart)), helm(&["lint", "--strict"], &chart, None).map(drop)));
    }
    for values in yaml_files(&paths::root().join(CASES))? {
        outcomes.push((format!("render {}", name(&values)), snapshot(&values, options.check)));
    }
    for values in yaml_files(&paths::root().join(CASES).join("refused"))? {
        outcomes.push((format!("refuse {}", name(&values)), refused(&values)));
    }
    let mut failed = 0;
    for (what, outcome) in &outcomes {
        match outcome {
            Ok(()) => println!("ok   {what}"),
            Err(error) => {
                failed += 1;
                println!("FAIL {what}: {error:#}");
            }
        }
    }
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    Ok(failed == 0)
}

/// Compares the chart with these values to the text beside them, or writes that text.
fn snapshot(values: &Path, check: bool) -> Result<()> {
    let rendered = template(values)?;
    let kept = values.with_extension("rendered");
    let before = fs::read_to_string(&kept).unwrap_or_default();
    if before == rendered {
        return Ok(());
    }
    if check {
        let line = before.lines().zip(rendered.lines()).position(|(a, b)| a != b).map_or(1, |n| n + 1);
        bail!(
            "it renders otherwise from line {line} of {}: see `cargo xtask chart` and git diff",
            kept.display()
        );
    }
    fs::write(&kept, rendered).with_context(|| format!("can't write {}", kept.display()))
}

/// The schema refuses these values with the words on the first line, after `# `.
fn refused(values: &Path) -> Result<()> {
    let text = fs::read_to_string(values).with_context(|| format!("can't read {}", values.display()))?;
    let words = text.lines().next().and_then(|line| line.strip_prefix("# ")).context("no words to expect")?;
    match template(values) {
        Ok(_) => bail!("these values are accepted"),
        Err(error) if format!("{error:#}").contains(words) => Ok(()),
        Err(error) => bail!("refused, but not with {words:?}: {error:#}"),
    }
}

/// The version must be given: a helm that `go install` built takes an old one for granted.
fn template(values: &Path) -> Result<String> {
    let arguments = ["template", "ottla", "--namespace", "ottla-system", "--kube-version", "1.34.0"];
    helm(&arguments, &paths::root().join(CHART), Some(values))
}

fn helm(arguments: &[&str], chart: &Path, values: Option<&Path>) -> Result<String> {
    let program = setup::go::helm_program();
    let mut helm = Command::new(&program);
    helm.args(arguments).arg(chart).current_dir(paths::root());
    if let Some(values) = values {
        helm.arg("--values").arg(values);
    }
    let out = helm.output().with_context(|| format!("can't run {}", program.display()))?;
    if !out.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8(out.stdout)?)
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut found = entries(parent)?;
    found.retain(|path| path.join("Chart.yaml").exists());
    if found.is_empty() {
        bail!("{} has no chart", parent.display());
    }
    Ok(found)
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = entries(folder)?;
    found.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
