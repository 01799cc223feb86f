//! What the command line says when there is nothing to do it with.

use crate::{ottla, run};

#[test]
fn without_a_cluster_the_error_names_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for args in [
        ["get", "topics", "--data", data].as_slice(),
        &["get", "brokers", "--data", data],
        &["produce", "hello", "--data", data],
        &["consume", "hello", "--data", data],
        &["delete", "topic", "hello", "--data", data],
    ] {
        let output = run(args);
        assert_eq!(output.code, Some(3), "{output:?}");
        assert!(output.err.starts_with("error: no local cluster runs on "), "{output:?}");
        assert!(output.err.contains("ottla up"), "{output:?}");
        assert_eq!(output.err.lines().count(), 2, "{output:?}");
    }
}

#[test]
fn a_missing_file_and_bad_yaml_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yaml");
    std::fs::write(&file, "a: [").unwrap();
    let missing = run(&["apply", "-f", "/nowhere.yaml"]);
    assert!(missing.err.contains("/nowhere.yaml"), "{missing:?}");
    let bad = run(&["up", "-f", file.to_str().unwrap(), "--data", dir.path().join("data").to_str().unwrap()]);
    assert_eq!(bad.code, Some(4), "{bad:?}");
    assert!(bad.err.contains("bad.yaml is not valid YAML"), "{bad:?}");
}

#[test]
fn the_built_in_manifests_are_printed() {
    let output = run(&["up", "--print"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains("kind: KafkaCluster") && output.out.contains("kind: Topic"), "{output:?}");
}

#[test]
fn completion_scripts_exist_for_three_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completion", shell]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.out.contains("consume"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let script = format!("'{}' completion bash | head -n 1; echo ${{PIPESTATUS[0]}}", ottla().display());
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.ends_with("\n0\n"), "{out}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
