//! Manifests that the API server refuses, in the words of the rules.

use anyhow::{Result, bail, ensure};

use super::{NAMESPACE, World};
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
    for words in &refused.says {
        ensure!(
            output.stderr.contains(words),
            "it was refused, but not with {words:?}: {}",
            output.stderr.trim()
        );
    }
    Ok(())
}
