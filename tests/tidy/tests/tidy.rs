//! Applies the rules to the tree. A failure lists what to change, file by file.

use ottla_tidy::tree::{self, File};
use ottla_tidy::{
    Complaints, direction, dockerfile, features, length, modules, orders, purity, reach, registry, source,
    spawns, text,
};

#[track_caller]
fn none(complaints: Complaints) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn each_rust_file(rule: fn(&File) -> Complaints) {
    none(tree::rust(&tree::files()).flat_map(rule).collect());
}

#[test]
fn dependencies_point_one_way() {
    none(direction::check(&tree::files(), direction::ALLOWED));
}

#[test]
fn modules_use_each_other_one_way() {
    let files = tree::files();
    let packages = modules::packages(&files);
    none(modules::check(&packages, orders::ORDERS));
    none(modules::circles(&packages, orders::CIRCLES));
    let architecture = files.iter().find(|f| f.path == "ARCHITECTURE.md").expect("it is in the tree");
    none(modules::drawn(architecture, orders::ORDERS));
}

#[test]
fn no_shipped_binary_has_planted_bugs() {
    none(features::check(&tree::files()));
}

#[test]
fn pure_crates_touch_nothing() {
    none(purity::check(&tree::files()));
}

#[test]
fn files_and_functions_are_short() {
    none(length::check(tree::rust(&tree::files()), length::LONG_FILES, length::LONG_FUNCTIONS));
}

#[test]
fn every_file_says_what_it_is() {
    each_rust_file(source::opens_with_its_purpose);
}

#[test]
fn no_panic_is_swallowed() {
    each_rust_file(spawns::check);
}

#[test]
fn nothing_is_put_off() {
    each_rust_file(source::puts_nothing_off);
}

#[test]
fn error_enums_are_small() {
    each_rust_file(source::error_enums_are_small);
}

#[test]
fn unwraps_are_rare() {
    none(source::unwraps_are_rare(tree::rust(&tree::files())));
}

#[test]
fn each_api_key_has_one_line_in_the_registry() {
    none(registry::check(&tree::files()));
}

#[test]
fn there_are_no_orphans() {
    none(reach::check(&tree::files()));
}

#[test]
fn no_file_names_a_registrys_host_or_a_machines_path() {
    none(tree::files().iter().flat_map(text::check).collect());
}

#[test]
fn the_dockerfile_builds_from_what_is_there() {
    let files = tree::files();
    let named = |path: &str| files.iter().find(|f| f.path == path).expect("it is in the tree");
    none(dockerfile::check(named("Dockerfile"), &files));
    none(dockerfile::check_ignored(named(".dockerignore"), named("Dockerfile")));
}
