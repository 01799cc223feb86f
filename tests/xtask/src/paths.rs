//! Where things are: the tree, the build's output, and the cache of tools that outlives a clone.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// The root of the tree.
pub fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.ancestors().nth(2).map_or_else(|| here.clone(), PathBuf::from)
}

/// Cargo's output folder.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Logs and archives that a run leaves for a person to read.
pub fn out() -> PathBuf {
    target().join("verify")
}

/// Built and downloaded tools, kept across clones: `$OTTLA_CACHE`, else `~/.cache/ottla`.
pub fn cache() -> PathBuf {
    if let Some(dir) = env::var_os("OTTLA_CACHE") {
        return dir.into();
    }
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("ottla")
}

/// Where `cargo build --release` puts its binaries.
///
/// # Errors
/// `rustc` can't be asked for the name of this machine's target.
pub fn release_folder() -> Result<PathBuf> {
    Ok(target().join(host()?).join("release"))
}

/// The target that the tree is built for: this machine's own (see `.cargo/config.toml`).
///
/// # Errors
/// `rustc` can't be run.
fn host() -> Result<&'static str> {
    static HOST: OnceLock<String> = OnceLock::new();
    if let Some(host) = HOST.get() {
        return Ok(host);
    }
    let out = Command::new("rustc").arg("-vV").output().context("can't run rustc")?;
    let text = String::from_utf8(out.stdout)?;
    let host = text.lines().find_map(|l| l.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(HOST.get_or_init(|| host.to_owned()))
}
