//! `ottla delete`: deletes a resource of the local cluster.

use std::io::Write;

use ottla_local::{Reply, Request};

use crate::args::{DeleteArgs, DeleteKind};
use crate::failure::Failure;
use crate::local;

/// Deletes the resource and says what became of its records.
///
/// # Errors
/// When there is no such resource, or the cluster could not delete the topic.
pub async fn run(args: &DeleteArgs) -> Result<(), Failure> {
    let kind = match args.kind {
        DeleteKind::Topic => "Topic",
        DeleteKind::Cluster => "KafkaCluster",
    };
    let request = Request::Delete { kind: kind.to_owned(), name: args.name.clone() };
    match local::request(&args.data.data, &request).await? {
        Reply::Deleted { records } => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}.ottla.dev/{} deleted: {records}", kind.to_lowercase(), args.name)?;
            Ok(())
        }
        _ => Err(local::unexpected()),
    }
}
