//! Asks the cluster that `ottla up` runs on this machine.

use std::path::Path;

use ottla_local::{AskError, ClusterSnapshot, DataFolder, Reply, Request, ask};

use crate::failure::{Code, Failure};

/// Asks the cluster that runs on the folder `data`.
///
/// # Errors
/// When nobody runs there (exit code 3), a manifest is refused (4), or it failed.
pub async fn request(data: &Path, request: &Request) -> Result<Reply, Failure> {
    ask(&DataFolder::new(data), request).await.map_err(|error| {
        let code = match &error {
            AskError::NotRunning { .. } | AskError::Io { .. } => Code::Unreachable,
            AskError::Refused(refusal) if refusal.invalid => Code::Refused,
            AskError::Refused(_) => Code::Failed,
        };
        Failure::new(&error).remedy(error.remedy()).code(code)
    })
}

/// The running cluster as it is.
///
/// # Errors
/// As [`request`].
pub async fn cluster(data: &Path) -> Result<ClusterSnapshot, Failure> {
    match request(data, &Request::Cluster).await? {
        Reply::Cluster { cluster } => Ok(*cluster),
        _ => Err(unexpected()),
    }
}

/// An answer to another question, which only another version would give.
pub fn unexpected() -> Failure {
    Failure::new("the local cluster answered something else than was asked")
        .remedy("use the same version of `ottla` for both")
}
