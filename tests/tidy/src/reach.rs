//! No orphans: every Rust file is reached from a target of its package by `mod`, so that nothing looks like
//! code or a test and is neither compiled nor run.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::Complaints;
use crate::tree::File;

/// Complains of each file that no target reaches.
pub fn check(files: &[File]) -> Complaints {
    let mut reached = BTreeSet::new();
    for manifest in files.iter().filter(|f| f.path == "Cargo.toml" || f.path.ends_with("/Cargo.toml")) {
        for root in targets(manifest, files) {
            follow(&root, true, files, &mut reached);
        }
    }
    let orphan = |f: &&File| f.path.ends_with(".rs") && !reached.contains(&f.path);
    files.iter().filter(orphan).map(|f| format!("{}: no target reaches it by `mod`", f.path)).collect()
}

/// The root files of a package's targets: those that cargo finds by itself, and those that are named.
fn targets(manifest: &File, files: &[File]) -> Vec<String> {
    let folder = manifest.path.trim_end_matches("Cargo.toml");
    let table: toml::Table = manifest.text.parse().unwrap_or_default();
    let mut roots: Vec<String> = Vec::new();
    for kind in ["bin", "test", "bench", "example"] {
        let named = table.get(kind).and_then(toml::Value::as_array);
        roots.extend(named.into_iter().flatten().filter_map(path_of));
    }
    roots.extend(table.get("lib").and_then(path_of));
    let finds_tests =
        table.get("package").and_then(|p| p.get("autotests")).and_then(toml::Value::as_bool) != Some(false);
    for file in files.iter().filter_map(|f| f.path.strip_prefix(folder)) {
        let parts: Vec<&str> = file.split('/').collect();
        let found = match parts.as_slice() {
            ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
            ["src", "bin", name] | ["examples" | "benches", name] => name.ends_with(".rs"),
            ["src", "bin", _, "main.rs"] => true,
            ["tests", name] => finds_tests && name.ends_with(".rs"),
            ["tests", _, "main.rs"] => finds_tests,
            _ => false,
        };
        if found {
            roots.push(file.to_owned());
        }
    }
    roots.into_iter().map(|root| format!("{folder}{root}")).collect()
}

fn path_of(target: &toml::Value) -> Option<String> {
    target.get("path").and_then(toml::Value::as_str).map(str::to_owned)
}

/// Notes `path` and what its `mod` lines name. A target's root and a `mod.rs` look beside themselves, other
/// files in the folder of their name.
fn follow(path: &str, is_root: bool, files: &[File], reached: &mut BTreeSet<String>) {
    let Some(file) = files.iter().find(|f| f.path == path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let Ok(parsed) = syn::parse_file(&file.text) else { return };
    let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder = match is_root || path.ends_with("/mod.rs") {
        true => beside.to_owned(),
        false => path.trim_end_matches(".rs").to_owned(),
    };
    let mut modules = Modules { within: vec![folder], beside: beside.to_owned(), found: Vec::new() };
    modules.visit_file(&parsed);
    for module in modules.found {
        follow(&module, false, files, reached);
    }
}

struct Modules {
    within: Vec<String>,
    beside: String,
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Modules {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let folder = self.within.last().cloned().unwrap_or_default();
        let name = item.ident.to_string();
        if item.content.is_some() {
            self.within.push(format!("{folder}/{name}"));
            visit::visit_item_mod(self, item);
            self.within.pop();
        } else if let Some(path) = item.attrs.iter().find_map(path_attribute) {
            self.found.push(format!("{}/{path}", self.beside));
        } else {
            self.found.push(format!("{folder}/{name}.rs"));
            self.found.push(format!("{folder}/{name}/mod.rs"));
        }
    }
}

fn path_attribute(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(meta) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &meta.value else { return None };
    meta.path.is_ident("path").then(|| path.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(files: &[(&str, &str)]) -> Vec<File> {
        let mut all = vec![File::sample("p/Cargo.toml", "[package]\nname = \"p\"\n")];
        all.extend(files.iter().map(|(path, text)| File::sample(path, text)));
        all
    }

    #[track_caller]
    fn orphans(files: &[(&str, &str)], expected: &[&str]) {
        let complaints = check(&package(files));
        assert_eq!(complaints.len(), expected.len(), "{complaints:?}");
        for path in expected {
            assert!(complaints.iter().any(|c| c.starts_with(path)), "{complaints:?}");
        }
    }

    #[test]
    fn a_file_without_a_mod_line_is_found() {
        orphans(&[("p/src/lib.rs", "mod a;"), ("p/src/a.rs", ""), ("p/src/b.rs", "")], &["p/src/b.rs"]);
    }

    #[test]
    fn modules_are_followed_down_in_both_layouts() {
        orphans(
            &[
                ("p/src/lib.rs", "mod a; mod d { mod e; }"),
                ("p/src/a.rs", "mod b;"),
                ("p/src/a/b.rs", "#[path = \"other.rs\"] mod c;"),
                ("p/src/a/other.rs", ""),
                ("p/src/d/e/mod.rs", "mod f;"),
                ("p/src/d/e/f.rs", ""),
            ],
            &[],
        );
    }

    #[test]
    fn a_test_that_no_target_builds_is_found() {
        orphans(
            &[("p/tests/it.rs", "mod helper;"), ("p/tests/helper.rs", ""), ("p/tests/cases/lost.rs", "")],
            &["p/tests/cases/lost.rs"],
        );
        let mut quiet = package(&[("p/tests/it.rs", "")]);
        quiet[0].text.push_str("autotests = false\n");
        assert_eq!(check(&quiet).len(), 1);
    }
}
