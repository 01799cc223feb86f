//! Pure crates touch nothing: no runtime, files, sockets, clocks or randomness, so that time and seeds are
//! arguments and every behaviour can be tested as a function.

use crate::Complaints;
use crate::direction::dependencies;
use crate::tree::File;

/// The folders of the pure crates.
pub const PURE: [&str; 8] = [
    "broker/types",
    "broker/wire",
    "broker/log",
    "broker/core",
    "broker/history",
    "broker/placement",
    "operator/api",
    "operator/plan",
];

/// Crates that bring what a pure crate mustn't have.
const BANNED_CRATES: &[&str] = &[
    "async-trait",
    "axum",
    "futures",
    "getrandom",
    "hyper",
    "memmap2",
    "mio",
    "openraft",
    "parking_lot",
    "rand",
    "reqwest",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-stream",
    "tokio-util",
    "tonic",
    "tower",
    "tracing",
    "uuid",
    "walkdir",
];

/// Paths of the standard library that reach outside. Collections with a random seed are left to clippy's
/// settings: a map that is only looked up shows no seed.
const BANNED_PATHS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "Instant::now",
    "SystemTime::now",
];

/// What `clippy.toml` of each pure crate says: the compiler sees through names that text can't.
pub const CLIPPY: &str = include_str!("pure-clippy.toml");

/// Checks the manifests, sources and clippy settings of the pure crates.
pub fn check(files: &[File]) -> Complaints {
    let mut complaints = Complaints::new();
    for folder in PURE {
        let of = |name: &str| files.iter().find(|f| f.path == format!("{folder}/{name}"));
        complaints.extend(
            of("Cargo.toml").map(check_manifest).unwrap_or_else(|| vec![format!("{folder} is missing")]),
        );
        if of("clippy.toml").is_none_or(|f| f.text != CLIPPY) {
            complaints
                .push(format!("{folder}/clippy.toml must be a copy of tests/tidy/src/pure-clippy.toml"));
        }
        let sources =
            files.iter().filter(|f| f.path.starts_with(&format!("{folder}/src/")) && f.path.ends_with(".rs"));
        complaints.extend(sources.flat_map(check_source));
    }
    complaints
}

fn check_manifest(file: &File) -> Complaints {
    let Ok(manifest) = file.text.parse::<toml::Table>() else {
        return vec![format!("{} isn't TOML", file.path)];
    };
    let mut complaints: Complaints = dependencies(&manifest)
        .iter()
        .filter(|name| BANNED_CRATES.contains(&name.as_str()))
        .map(|name| format!("{}: a pure crate must not depend on {name}", file.path))
        .collect();
    let lints = manifest.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
    if lints != Some(true) {
        complaints.push(format!(
            "{}: take the workspace's lints, which want every public item documented",
            file.path
        ));
    }
    complaints
}

fn check_source(file: &File) -> Complaints {
    if file.is_test() {
        return Complaints::new();
    }
    // Unit tests stand at the end of a file, and may read what they compare with.
    let mut complaints = Complaints::new();
    for (at, line) in file.product().lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for path in BANNED_PATHS.iter().filter(|p| code.contains(**p)) {
            complaints.push(format!("{}:{}: a pure crate must not use {path}", file.path, at + 1));
        }
        if code.contains("allow(missing_docs") || code.contains("allow(clippy::disallowed") {
            complaints.push(format!("{}:{}: a pure crate keeps this lint", file.path, at + 1));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_among_the_dependencies_is_found() {
        let text = "[dependencies]\ntokio.workspace = true\nbytes = \"1\"\n[lints]\nworkspace = true\n";
        assert_eq!(check_manifest(&File::sample("broker/log/Cargo.toml", text)).len(), 1);
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        assert_eq!(check_manifest(&File::sample("broker/log/Cargo.toml", "[dependencies]\n")).len(), 1);
    }

    #[test]
    fn clocks_and_files_are_found_in_code_but_not_in_comments_and_tests() {
        let text = "use std::fs;\n// std::net in a comment\nlet t = Instant::now();\n#[cfg(test)]\nmod tests {\nuse std::env;}\n";
        let complaints = check_source(&File::sample("broker/log/src/a.rs", text));
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }

    #[test]
    fn a_missing_clippy_toml_is_found() {
        let complaints = check(&[File::sample("broker/log/Cargo.toml", "[lints]\nworkspace = true\n")]);
        assert!(complaints.iter().any(|c| c.starts_with("broker/log/clippy.toml")), "{complaints:?}");
    }
}
