//! Why a reconciliation is tried again.

use ottla_plan::NoIdentity;

/// Why a reconciliation is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused something, or doesn't answer.
    #[error("the api server: {0}")]
    Kubernetes(#[from] Box<kube::Error>),
    /// The resource is none that an API server gave.
    #[error("{0}")]
    NoIdentity(NoIdentity),
    /// Some steps were refused; the status says which.
    #[error("{count} steps failed, the first: {first}")]
    Steps {
        /// How many.
        count: usize,
        /// The first, and what was said.
        first: String,
    },
}

impl From<kube::Error> for ReconcileError {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}
