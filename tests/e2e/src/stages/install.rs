//! The chart, as `helm install` brings it, and what it leaves when it goes.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{OPERATOR, RELEASE, SOON, World};
use crate::manifest;

/// Helm installs the definitions and the operator, which starts under the restricted Pod Security Standard.
pub fn chart(world: &World) -> Result<()> {
    let kube = &world.kube;
    let images = images(world)?;
    let archives = ["ottla-broker.tar", "ottla-operator.tar", "kcat.tar"].map(|name| images.join(name));
    kube.bed.load(&archives)?;
    kube.apply("default", &manifest::read("namespace.yaml")?)?;
    kube.helm(&["install", RELEASE, "charts/ottla", "-n", OPERATOR, "--wait", "--timeout", "60s"], 2 * SOON)?;
    kube.wait(OPERATOR, &[&format!("deployment/{RELEASE}")], "condition=Available", SOON)
}

/// Helm removes the operator; the definitions, and so all resources of people, stay.
pub fn uninstall(world: &World) -> Result<()> {
    let kube = &world.kube;
    kube.helm(&["uninstall", RELEASE, "-n", OPERATOR, "--wait", "--timeout", "60s"], 2 * SOON)?;
    let left =
        kube.list(OPERATOR, &["deployments,services,serviceaccounts,configmaps,roles,rolebindings"])?;
    let ours =
        left.iter().filter(|o| o["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE).count();
    ensure!(ours == 0, "helm left {ours} objects of the release");
    let crds = kube.kubectl(OPERATOR, &["get", "crds", "-o", "name"])?;
    for kind in ["kafkaclusters", "topics"] {
        ensure!(crds.contains(&format!("{kind}.ottla.dev")), "the definition of {kind} went with the chart");
    }
    Ok(())
}

fn images(world: &World) -> Result<PathBuf> {
    if let Some(folder) = &world.images {
        return Ok(folder.clone());
    }
    // This program lies in TARGET/TRIPLE/PROFILE.
    let this = env::current_exe()?;
    Ok(this.ancestors().nth(3).context("cargo's folders are three deep")?.join("images"))
}
