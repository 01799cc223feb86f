//! The files of the tree: those that git tracks or would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the tree.
pub struct File {
    /// Its path from the root, with `/`.
    pub path: String,
    /// Its text; empty where it isn't text.
    pub text: String,
}

impl File {
    /// A file for a test.
    pub fn sample(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// What stands before the unit tests at its end.
    pub fn product(&self) -> &str {
        let end = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(super) mod tests {"]
            .into_iter()
            .filter_map(|tests| self.text.find(tests))
            .min();
        &self.text[..end.unwrap_or(self.text.len())]
    }

    /// Whether all of it is test code.
    pub fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
            // What unit tests of several files share, itself behind `#[cfg(test)]`.
            || name == "test_support.rs"
            || name == "test_commands.rs"
    }
}

/// The root of the tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map_or_else(PathBuf::new, Path::to_path_buf)
}

/// All files, in order.
///
/// # Panics
/// git can't list them: a tidy test without a tree proves nothing.
pub fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git lists the tree; install it if it is missing");
    assert!(listed.status.success(), "git ls-files fails: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("paths are text");
    let mut paths: Vec<&str> = names.split('\0').filter(|p| !p.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &&str| {
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        // A file that is deleted but not yet committed is no file.
        root().join(path).exists().then(|| File::sample(path, &text))
    };
    let files: Vec<File> = paths.iter().filter_map(read).collect();
    assert!(files.len() > 50, "the tree has only {} files", files.len());
    files
}

/// The Rust files among them.
pub fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}
