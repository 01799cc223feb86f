//! Manifests that the API server refuses, in the words of the rules, which `ottla apply` says too.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{NAMESPACE, World};
use crate::kube::text;
use crate::manifest::{Refused, refused};

/// New resources that can't be.
pub fn refused_when_made(world: &World) -> Result<()> {
    check(world, &refused("create")?)
}

/// Changes of resources that are there.
pub fn refused_when_changed(world: &World) -> Result<()> {
    check(world, &refused("update")?)
}

fn check(world: &World, all: &[Refused]) -> Result<()> {
    let mut wrong = Vec::new();
    for refused in all {
        if let Err(error) = check_one(world, refused) {
            wrong.push(format!("{}: {error:#}", refused.name));
        }
    }
    if !wrong.is_empty() {
        bail!("{} of {} manifests:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    }
    Ok(())
}

fn check_one(world: &World, refused: &Refused) -> Result<()> {
    let output = world.kube.try_apply(NAMESPACE, &refused.text)?;
    ensure!(!output.status.success(), "it was taken: {}", output.stdout.trim());
    let said = output.stderr.trim();
    for words in &refused.says {
        ensure!(said.contains(words), "it was refused, but not with {words:?}: {said}");
    }
    let violations = evaluated_here(world, &refused.text)?;
    ensure!(!violations.is_empty(), "only the API server refuses it: {said}");
    for violation in violations {
        ensure!(
            said.contains(&violation),
            "evaluated here, it is {violation:?}, but the API server says: {said}"
        );
    }
    Ok(())
}

/// What the rules say of the manifest without an API server, compared with the object that there is.
fn evaluated_here(world: &World, manifest: &str) -> Result<Vec<String>> {
    let manifest: Value = serde_saphyr::from_str(manifest).context("a manifest is YAML")?;
    let (kind, name) = (text(&manifest, "/kind")?, text(&manifest, "/metadata/name")?);
    let found = world.kube.list(NAMESPACE, &[&format!("{kind}.ottla.dev")])?;
    let old = found.iter().find(|object| object["metadata"]["name"] == name);
    Ok(ottla_api::validate(&manifest, old).into_iter().map(|violation| violation.message).collect())
}
