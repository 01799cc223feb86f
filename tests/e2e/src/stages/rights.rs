//! The operator may just what it does: by the API server's own record of what it called.

use anyhow::{Result, ensure};

use super::{OPERATOR, RELEASE, World};
use crate::audit::{Audit, Permission, called, granted};

/// Nothing was refused, nothing is granted that it doesn't use.
pub fn called_is_granted(world: &World) -> Result<()> {
    let calls = Audit::new(&world.kube, OPERATOR, RELEASE).calls()?;
    let refused: Vec<String> = calls.iter().filter(|c| c.forbidden).map(ToString::to_string).collect();
    ensure!(refused.is_empty(), "the operator was refused: {}", refused.join(", "));
    let (called, granted) = (called(&calls), granted(&world.kube, OPERATOR, RELEASE)?);
    let show = |all: Vec<&Permission>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let unasked = show(called.difference(&granted).collect());
    ensure!(unasked.is_empty(), "called, though no role of its own grants it: {unasked}");
    let unused = show(granted.difference(&called).collect());
    ensure!(unused.is_empty(), "granted, but never called: {unused}");
    Ok(())
}
