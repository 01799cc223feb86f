//! RemoveRaftVoter: takes a node's vote on the metadata away, whether it lives or not.

use std::time::Duration;

use ottla_types::{BrokerId, DirectoryId};
use ottla_wire::apis::RemoveRaftVoter;
use ottla_wire::messages::RemoveRaftVoterResponse;

use super::commands::{Failure, check_cluster};
use crate::request::{Begun, Call, voters_error};

/// For how long it may take, as the request doesn't say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns once the node votes no more.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<RemoveRaftVoter>()?;
        let removed = match check_cluster(&call, request.cluster_id) {
            Ok(()) => {
                let (id, directory) = (BrokerId(request.voter_id), DirectoryId(request.voter_directory_id));
                let removed = call.broker.quorum.remove_voter(id, Some(directory), TIMEOUT).await;
                removed.map_err(|error| Failure {
                    code: voters_error(&error),
                    message: error.to_string().into(),
                })
            }
            Err(failure) => Err(failure),
        };
        let mut response = RemoveRaftVoterResponse::default();
        if let Err(failure) = removed {
            response.error_code = failure.code.code();
            response.error_message = Some(failure.message);
        }
        call.respond::<RemoveRaftVoter>(&response)
    })
}
