//! AddRaftVoter: lets a node that follows the metadata vote on it.

use std::time::Duration;

use ottla_types::{BrokerId, DirectoryId};
use ottla_wire::apis::AddRaftVoter;
use ottla_wire::messages::AddRaftVoterResponse;

use super::commands::{Failure, check_cluster};
use crate::request::{Begun, Call, voters_error};

/// A longer time isn't waited for.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Returns once the node votes. Its listeners are those that it joined with, whatever the request says.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<AddRaftVoter>()?;
        let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let added = match check_cluster(&call, request.cluster_id) {
            Ok(()) => {
                let (id, directory) = (BrokerId(request.voter_id), DirectoryId(request.voter_directory_id));
                let added = call.broker.quorum.add_voter(id, Some(directory), asked.min(TIMEOUT_MAX)).await;
                added.map_err(|error| Failure {
                    code: voters_error(&error),
                    message: error.to_string().into(),
                })
            }
            Err(failure) => Err(failure),
        };
        let mut response = AddRaftVoterResponse::default();
        if let Err(failure) = added {
            response.error_code = failure.code.code();
            response.error_message = Some(failure.message);
        }
        call.respond::<AddRaftVoter>(&response)
    })
}
