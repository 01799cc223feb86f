//! How large the binaries are: an image is little more than its static binary.

use std::path::Path;

use anyhow::{Context, Result};

use crate::report::Report;

/// Measures the binaries beside `ottla`.
///
/// # Errors
/// When there is no `ottla`.
pub fn measure(report: &mut Report) -> Result<()> {
    let ottla = ottla_it::ottla();
    let folder = ottla.parent().context("a folder")?;
    for name in ["ottla", "ottla-broker", "ottla-operator"] {
        match size(&folder.join(name)) {
            Some(mb) => report.add(
                "binary",
                name,
                format!("{mb:.1} MB"),
                if name == "ottla" { "" } else { "< 25 MB" },
            ),
            None => report.add("binary", name, "not built".to_owned(), ""),
        }
    }
    Ok(())
}

fn size(path: &Path) -> Option<f64> {
    Some(std::fs::metadata(path).ok()?.len() as f64 / 1e6)
}
