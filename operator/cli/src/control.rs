//! The control API of the cluster that is meant: for what Kafka's protocol has no words.

use std::error::Error;
use std::time::Duration;

use ottla_client::Client;
use ottla_control::proto::GetBrokerRequest;
use ottla_control::proto::control_client::ControlClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::failure::{self, Failure};
use crate::target;

/// How long a node may take until it answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How often a silent connection is tried, and how long a node may take to answer that.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Connects to the control API of a node of the metadata quorum that answers; any of them carries commands on.
///
/// # Errors
/// When none answers.
pub async fn connect(client: &Client) -> Result<ControlClient<Channel>, Failure> {
    let quorum = client.describe_quorum().await.map_err(target::failed)?;
    let (leads, others): (Vec<_>, Vec<_>) =
        quorum.members.iter().partition(|member| member.id == quorum.leader_id);
    let addresses: Vec<&str> =
        leads.into_iter().chain(others).filter_map(|member| member.address.as_deref()).collect();
    first_answering(&addresses, ANSWER_LIMIT).await
}

async fn first_answering(addresses: &[&str], limit: Duration) -> Result<ControlClient<Channel>, Failure> {
    for address in addresses {
        if let Ok(Ok(control)) = timeout(limit, answering(address)).await {
            return Ok(control);
        }
    }
    Err(Failure::new(format!("no node answers on its CONTROLLER listener ({})", addresses.join(", ")))
        .remedy("run this where the brokers' CONTROLLER listeners can be reached, as beside a broker")
        .code(failure::Code::Unreachable))
}

/// A node that has answered: that a connection could be made says nothing, as the kernel takes those of a
/// process that is frozen.
async fn answering(address: &str) -> Result<ControlClient<Channel>, Box<dyn Error + Send + Sync>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let mut control = ControlClient::new(endpoint.connect().await?);
    match control.get_broker(GetBrokerRequest {}).await {
        Err(status) if status.code() == Code::Unavailable => Err(status.into()),
        // Whatever it says, it lives.
        Ok(_) | Err(_) => Ok(control),
    }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_node_that_is_frozen_is_passed_over() {
        let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [&frozen, &gone].map(|listener| listener.local_addr().unwrap().to_string());
        drop(gone);
        let [frozen_at, gone_at] = &addresses;
        let limit = Duration::from_millis(100);
        let error = first_answering(&[frozen_at, gone_at], limit).await.unwrap_err();
        let error = format!("{error:?}");
        assert!(error.contains(frozen_at.as_str()) && error.contains(gone_at.as_str()), "{error}");
    }
}
