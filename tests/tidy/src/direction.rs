//! Dependencies point one way: what each crate may depend on, as ARCHITECTURE.md draws it.

use crate::Complaints;
use crate::tree::File;

/// A crate, those of ours that it may depend on, and a word on what isn't obvious.
pub struct Allowed {
    /// The crate.
    pub name: &'static str,
    /// What it may depend on.
    pub on: &'static [&'static str],
    /// Why, where the picture doesn't say it.
    pub why: &'static str,
}

const fn allow(name: &'static str, on: &'static [&'static str], why: &'static str) -> Allowed {
    Allowed { name, on, why }
}

/// The whole picture. Crates under tests/ may use all.
pub const ALLOWED: &[Allowed] = &[
    allow("ottla-types", &[], "the bottom"),
    allow("ottla-wire-derive", &[], "a macro"),
    allow("ottla-wire", &["ottla-wire-derive"], "knows no batch format, so not log"),
    allow("ottla-history", &[], "judges any log, so knows none"),
    allow("ottla-log", &["ottla-types"], ""),
    allow("ottla-placement", &["ottla-types"], "the operator uses it too"),
    allow("ottla-core", &["ottla-types", "ottla-log", "ottla-placement"], "knows no API key, so not wire"),
    allow("ottla-store", &["ottla-types", "ottla-log"], ""),
    allow("ottla-control", &["ottla-types", "ottla-core"], "the cluster's view is made from core's image"),
    allow(
        "ottla-quorum",
        &["ottla-types", "ottla-log", "ottla-core", "ottla-store", "ottla-control"],
        "its log lies in our segments, its messages in the control proto",
    ),
    allow("ottla-client", &["ottla-wire", "ottla-types", "ottla-log"], "a client makes record batches"),
    allow(
        "ottla-server",
        &[
            "ottla-types",
            "ottla-wire",
            "ottla-log",
            "ottla-core",
            "ottla-placement",
            "ottla-store",
            "ottla-control",
            "ottla-quorum",
            "ottla-client",
        ],
        "puts the broker together; a follower is a client of its leader",
    ),
    allow("ottla-broker", &["ottla-server"], "the binary"),
    allow(
        "ottla-sim",
        &["ottla-types", "ottla-log", "ottla-core", "ottla-store", "ottla-history"],
        "no sockets, so not server",
    ),
    allow("ottla-api", &[], "the operator's bottom"),
    allow("ottla-plan", &["ottla-api", "ottla-placement", "ottla-types"], ""),
    allow("ottla-controller", &["ottla-api", "ottla-plan", "ottla-control", "ottla-types"], ""),
    allow("ottla-local", &["ottla-api", "ottla-plan", "ottla-control", "ottla-types"], ""),
    allow(
        "ottla",
        &[
            "ottla-api",
            "ottla-plan",
            "ottla-local",
            "ottla-client",
            "ottla-wire",
            "ottla-control",
            "ottla-types",
            "ottla-broker",
            "ottla-history",
        ],
        "contains the broker, so that one binary is all that a laptop needs",
    ),
    allow("ottla-operator", &["ottla-controller", "ottla-api"], "the binary"),
];

/// Checks every manifest among `files` against `allowed`.
pub fn check(files: &[File], allowed: &[Allowed]) -> Complaints {
    let manifests = files.iter().filter(|f| f.path.ends_with("/Cargo.toml") && !f.path.starts_with("tests/"));
    manifests.flat_map(|file| check_one(file, allowed)).collect()
}

fn check_one(file: &File, allowed: &[Allowed]) -> Complaints {
    let Ok(manifest) = file.text.parse::<toml::Table>() else {
        return vec![format!("{} isn't TOML", file.path)];
    };
    let name =
        manifest.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str).unwrap_or("");
    let Some(rule) = allowed.iter().find(|a| a.name == name) else {
        return vec![format!("{}: {name} isn't in the table of tests/tidy/src/direction.rs", file.path)];
    };
    let wrong = |on: &&String| on.starts_with("ottla") && !rule.on.contains(&on.as_str());
    let complaint = |on: &String| format!("{}: {name} must not depend on {on} ({})", file.path, rule.why);
    dependencies(&manifest).iter().filter(wrong).map(complaint).collect()
}

/// What the product is built from: what only tests use may point anywhere.
pub fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    for section in ["dependencies", "build-dependencies"] {
        let table = manifest.get(section).and_then(toml::Value::as_table);
        names.extend(table.into_iter().flat_map(|t| t.keys().cloned()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> [File; 1] {
        [File::sample("broker/x/Cargo.toml", &format!("[package]\nname = \"{name}\"\n{rest}"))]
    }

    #[test]
    fn an_edge_against_the_direction_is_found() {
        let up = manifest("ottla-types", "[dependencies]\nottla-server.workspace = true\n");
        assert_eq!(check(&up, ALLOWED).len(), 1);
        let build = manifest("ottla-log", "[build-dependencies]\nottla-wire = \"1\"\n");
        assert_eq!(check(&build, ALLOWED).len(), 1);
    }

    #[test]
    fn the_drawn_edges_and_those_of_tests_are_fine() {
        let fine =
            "[dependencies]\nottla-types = \"1\"\nbytes = \"1\"\n[dev-dependencies]\nottla-sim = \"1\"\n";
        assert!(check(&manifest("ottla-log", fine), ALLOWED).is_empty());
    }

    #[test]
    fn a_crate_that_is_not_drawn_is_found() {
        assert_eq!(check(&manifest("ottla-new", ""), ALLOWED).len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        for (at, rule) in ALLOWED.iter().enumerate() {
            for on in rule.on {
                assert!(ALLOWED[..at].iter().any(|a| a.name == *on), "{} stands before {on}", rule.name);
            }
        }
    }
}
