//! `ottla apply`: creates or changes resources of the local cluster.

use std::io::Write;

use ottla_local::{Reply, Request};

use crate::args::ApplyArgs;
use crate::failure::Failure;
use crate::{local, manifests};

/// Applies the manifests and says what became of each, in kubectl's words.
///
/// # Errors
/// When a manifest is refused; then none of them is applied.
pub async fn run(args: &ApplyArgs) -> Result<(), Failure> {
    let objects = manifests::read(&args.file)?;
    let request = Request::Apply { objects, dry_run: args.dry_run };
    match local::request(&args.data.data, &request).await? {
        Reply::Applied { results } => {
            let mut out = std::io::stdout().lock();
            let suffix = if args.dry_run { " (dry run)" } else { "" };
            for result in results {
                writeln!(out, "{} {}{suffix}", result.resource, result.action.as_str())?;
            }
            Ok(())
        }
        _ => Err(local::unexpected()),
    }
}
