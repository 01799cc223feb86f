//! The manifests of `manifests/`, and those of `refused/` with what admission has to say of them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file in `manifests/`.
///
/// # Errors
/// There is no such file.
pub fn read(name: &str) -> Result<String> {
    let path = folder("manifests").join(name);
    fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
}

/// A manifest that admission refuses.
pub struct Refused {
    /// The file's name.
    pub name: String,
    /// The manifest.
    pub text: String,
    /// What the refusal must say: the values of the head's `# says:` lines.
    pub says: Vec<String>,
}

/// The manifests of a folder below `refused/`, by name.
///
/// # Errors
/// A file can't be read or doesn't say what is expected of it, or there is none.
pub fn refused(when: &str) -> Result<Vec<Refused>> {
    let folder = folder("refused").join(when);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let says: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("# says: ")).map(str::to_owned).collect();
        ensure!(!says.is_empty(), "{} has no line `# says: …`", path.display());
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        found.push(Refused { name, text, says });
    }
    ensure!(!found.is_empty(), "{} is empty", folder.display());
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_manifest_says_why() {
        for when in ["create", "update"] {
            let all = refused(when).unwrap();
            assert!(all.iter().all(|r| r.says.iter().all(|s| s.len() > 10)), "{when}");
        }
    }

    #[test]
    fn the_manifests_are_there() {
        for name in ["namespace.yaml", "kcat.yaml", "cluster.yaml", "topic.yaml"] {
            assert!(read(name).unwrap().contains("kind: "), "{name}");
        }
    }
}
