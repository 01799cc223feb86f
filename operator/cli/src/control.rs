//! The control API of the cluster that is meant: for what Kafka's protocol has no words.

use std::time::Duration;

use ottla_client::Client;
use ottla_control::proto::control_client::ControlClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::failure::{self, Failure};
use crate::target;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Connects to the control API of a node of the metadata quorum; any of them carries commands on.
///
/// # Errors
/// When none can be reached.
pub async fn connect(client: &Client) -> Result<ControlClient<Channel>, Failure> {
    let quorum = client.describe_quorum().await.map_err(target::failed)?;
    let mut tried = Vec::new();
    for address in quorum.members.iter().filter_map(|member| member.address.as_deref()) {
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else { continue };
        match endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await {
            Ok(channel) => return Ok(ControlClient::new(channel)),
            Err(_) => tried.push(address.to_owned()),
        }
    }
    Err(Failure::new(format!("no node answers on its CONTROLLER listener ({})", tried.join(", ")))
        .remedy("run this where the brokers' CONTROLLER listeners can be reached, as beside a broker")
        .code(failure::Code::Unreachable))
}

/// What the control API refused, in its words; they name the remedy where there is one.
pub fn refused(status: &Status) -> Failure {
    let failure = Failure::new(status.message());
    match status.code() {
        Code::Unavailable => failure
            .remedy("try again: the cluster has no active controller just now")
            .code(failure::Code::Unreachable),
        Code::Unimplemented => failure.remedy("use an `ottla` of the cluster's own version"),
        _ => failure,
    }
}
