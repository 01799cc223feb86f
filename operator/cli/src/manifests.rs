//! Reads the manifests that a command names.

use std::io::Read;
use std::path::Path;

use ottla_local::{MANIFEST_BYTES_MAX, parse_manifests};
use serde_json::Value;

use crate::failure::{Code, Context, Failure};

/// The objects of a file, or of the standard input if it is `-`.
///
/// # Errors
/// When it can't be read, or isn't manifests.
pub fn read(file: &Path) -> Result<Vec<Value>, Failure> {
    let (name, text) = if file == Path::new("-") {
        let mut text = String::new();
        // One byte more than is allowed, so that more is seen to be too much.
        let mut input = std::io::stdin().lock().take(MANIFEST_BYTES_MAX as u64 + 1);
        input.read_to_string(&mut text).context("cannot read the standard input")?;
        ("the standard input".to_owned(), text)
    } else {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::new(format!("cannot read {name}: {error}")).remedy("name a file of manifests with -f")
        })?;
        (name, text)
    };
    parse_manifests(&text, &name).map_err(|error| {
        Failure::new(error).remedy("`ottla up --print` shows how manifests look").code(Code::Refused)
    })
}
