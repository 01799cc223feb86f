//! The chart, as `helm install` brings it, and what it leaves when it goes.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{OPERATOR, RELEASE, SOON, World};
use crate::kube::{Kube, text};
use crate::{manifest, shell};

/// Helm installs the definitions and the operator, which starts under the restricted Pod Security Standard.
pub fn chart(world: &World) -> Result<()> {
    let kube = &world.kube;
    let images = images(world)?;
    let archives = ["ottla-broker.tar", "ottla-operator.tar", "kcat.tar"].map(|name| images.join(name));
    kube.bed.load(&archives)?;
    kube.apply("default", &manifest::read("namespace.yaml")?)?;
    without_definitions(kube)?;
    // Helm goes on with the values of before unless it is given others.
    let upgrade =
        ["upgrade", RELEASE, "charts/ottla", "-n", OPERATOR, "--set", "crds.enabled=true", "--wait"];
    kube.helm(&upgrade, 2 * SOON)?;
    kube.wait(OPERATOR, &[&format!("deployment/{RELEASE}")], "condition=Available", SOON)?;
    definitions_of_another_release(kube)
}

/// An operator whose definitions aren't there isn't ready, and says what it waits for.
fn without_definitions(kube: &Kube) -> Result<()> {
    kube.helm(&["install", RELEASE, "charts/ottla", "-n", OPERATOR, "--set", "crds.enabled=false"], SOON)?;
    let deployment = &format!("deployment/{RELEASE}");
    shell::poll("the operator to say what it waits for", SOON, || {
        let log = kube.kubectl(OPERATOR, &["logs", deployment])?;
        ensure!(log.contains("waiting for the definitions"), "it logs {log:?}");
        ensure!(log.contains("kafkaclusters.ottla.dev is not there"), "it logs {log:?}");
        Ok(())
    })?;
    let ready = &kube.get(OPERATOR, &[deployment])?["status"]["readyReplicas"];
    ensure!(ready.is_null(), "an operator without definitions is ready: {ready}");
    Ok(())
}

/// Helm doesn't go past older definitions that belong to another release.
fn definitions_of_another_release(kube: &Kube) -> Result<()> {
    let crd = "crd/topics.ottla.dev";
    let before = kube.get(OPERATOR, &[crd])?;
    let says = |key: &str, annotation: &str| -> Result<String> {
        Ok(format!("{annotation}={}", text(&before, &format!("/metadata/annotations/{key}"))?))
    };
    let own = [
        says("ottla.dev~1definition", "ottla.dev/definition")?,
        says("meta.helm.sh~1release-name", "meta.helm.sh/release-name")?,
    ];
    let other = ["ottla.dev/definition=older", "meta.helm.sh/release-name=kinds"];
    kube.kubectl(OPERATOR, &["annotate", "--overwrite", crd, other[0], other[1]])?;
    let upgrade = ["upgrade", RELEASE, "charts/ottla", "-n", OPERATOR, "--dry-run=server"];
    let tried = kube.try_helm(&upgrade, SOON)?;
    kube.kubectl(OPERATOR, &["annotate", "--overwrite", crd, &own[0], &own[1]])?;
    ensure!(!tried.status.success(), "helm went past definitions of another release");
    ensure!(tried.stderr.contains("upgrade the release kinds"), "helm says {}", tried.stderr);
    Ok(())
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
