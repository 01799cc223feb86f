//! Go, and what is built with it: Kubernetes for the test bed, and helm. All from the Go module proxy.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::verify::Env;
use crate::{bed, paths};

/// The oldest Go that builds Kubernetes.
const OLDEST: (u32, u32) = (1, 24);
/// What is fetched where Go is older: a toolchain is a module as any other, which any Go can fetch.
const TOOLCHAIN: &str = "v0.0.1-go1.24.10";
const HELM: &str = "v3.19.0";

/// Builds Kubernetes, etcd and CoreDNS for the bed, unless that has been done.
///
/// # Errors
/// Go or the build fails; its output is in the log.
pub fn kubernetes(env: &Env) -> Result<()> {
    let path = path_with_go(env)?;
    env.run(env.command("tests/e2e/bed/build.sh").env("PATH", path).envs(bed::settings()))
}

/// The program helm, built by [`helm`].
pub fn helm_program() -> PathBuf {
    paths::cache().join(format!("helm-{HELM}")).join("helm")
}

/// Builds helm, unless that has been done.
///
/// # Errors
/// Go or the build fails; its output is in the log.
pub fn helm(env: &Env) -> Result<()> {
    let program = helm_program();
    if program.exists() {
        return Ok(());
    }
    let bin = program.parent().context("a program lies in a folder")?;
    let mut install = env.command("go");
    install.args(["install", "-v", &format!("helm.sh/helm/v3/cmd/helm@{HELM}")]);
    env.run(install.env("GOBIN", bin).env("PATH", path_with_go(env)?).env("CGO_ENABLED", "0"))
}

/// `$PATH`, with a Go in front that is new enough.
fn path_with_go(env: &Env) -> Result<String> {
    let path = env::var("PATH").unwrap_or_default();
    let version = output("go", &["env", "GOVERSION"])?;
    if parse(&version).is_some_and(|v| v >= OLDEST) {
        return Ok(path);
    }
    let arch = output("go", &["env", "GOARCH"])?;
    let name = format!("golang.org/toolchain@{TOOLCHAIN}.linux-{arch}");
    let folder = Path::new(&output("go", &["env", "GOMODCACHE"])?).join(&name);
    env.run(env.command("go").args(["mod", "download", &name]).current_dir("/"))?;
    // An old Go unpacks every file without the right to run it.
    make_programs(&folder.join("bin"))?;
    make_programs(&folder.join("pkg/tool").join(format!("linux_{arch}")))?;
    Ok(format!("{}:{path}", folder.join("bin").display()))
}

fn make_programs(folder: &Path) -> Result<()> {
    for file in fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))? {
        fs::set_permissions(file?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let out = Command::new(program).args(args).current_dir("/").output();
    let out = out.with_context(|| format!("can't run {program}: install the Debian package golang-go"))?;
    if !out.status.success() {
        bail!("{program} {} fails: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}

/// The first two numbers of a version such as `go1.24.10`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(parse("go1.9.2").unwrap() < OLDEST);
        assert!(parse("go1.26").unwrap() > OLDEST);
        assert_eq!(parse("go1.24.10"), Some(OLDEST));
        assert_eq!(parse("devel"), None);
    }
}
