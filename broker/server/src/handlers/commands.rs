//! Carrying a request's command to the active controller.

use std::borrow::Cow;
use std::time::Duration;

use ottla_core::metadata::{Command, Reply};
use ottla_wire::ErrorCode;

use crate::request::{Call, submit_error};

/// A longer time-out than this isn't waited for.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Why a command has no reply, as a client is told.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The error code.
    pub code: ErrorCode,
    /// The error in words.
    pub message: Cow<'static, str>,
}

impl Failure {
    /// A topic is named more than once in one request.
    pub const NAMED_TWICE: Self = Self {
        code: ErrorCode::InvalidRequest,
        message: Cow::Borrowed("the topic is named twice: name each topic once"),
    };
}

/// Submits a command and waits for its reply for as long as the client does.
pub async fn submit(call: &Call, command: Command, timeout_ms: i32) -> Result<Reply, Failure> {
    let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)).min(TIMEOUT_MAX);
    let submitted = call.broker.quorum.submit_within(command, limit).await;
    submitted.map_err(|error| Failure { code: submit_error(&error), message: error.to_string().into() })
}

/// Refuses a request that names another cluster.
pub fn check_cluster(call: &Call, named: Option<&str>) -> Result<(), Failure> {
    let own = call.broker.image().cluster_id.to_string();
    match named {
        Some(named) if named != own => Err(Failure {
            code: ErrorCode::InconsistentClusterId,
            message: format!("this is the cluster {own}, not {named}").into(),
        }),
        _ => Ok(()),
    }
}
