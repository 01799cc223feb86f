//! Which cluster a command means: the one at `--bootstrap`, else the one that runs on `--data`.

use ottla_client::{Client, ClientConfig, ClientError};

use crate::args::TargetArgs;
use crate::failure::{Code, Failure};
use crate::local;

/// Connects to the cluster that is meant.
///
/// # Errors
/// When no local cluster runs and no other is named, or none answers (exit code 3).
pub async fn connect(target: &TargetArgs) -> Result<Client, Failure> {
    let bootstrap = match &target.bootstrap {
        Some(bootstrap) => bootstrap.clone(),
        None => local::cluster(&target.data.data).await.map_err(or_bootstrap)?.bootstrap_servers,
    };
    at(&bootstrap).await
}

/// Connects to the cluster at these addresses.
///
/// # Errors
/// When none answers (exit code 3).
pub async fn at(bootstrap: &str) -> Result<Client, Failure> {
    if let Some(wrong) = bootstrap.split(',').map(str::trim).find(|address| !is_address(address)) {
        return Err(Failure::new(format!("{wrong:?} is not an address"))
            .remedy("give --bootstrap as host:port, several separated by commas, as in 127.0.0.1:9092"));
    }
    let mut config = ClientConfig::new(bootstrap);
    config.client_id = "ottla-cli".to_owned();
    Client::connect(config).await.map_err(failed)
}

/// Names the other way to say which cluster is meant.
pub fn or_bootstrap(failure: Failure) -> Failure {
    failure.or("give another cluster's address with --bootstrap HOST:PORT")
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// A client's error as a failure, with its remedy where there is one.
pub fn failed(error: ClientError) -> Failure {
    use ottla_wire::ErrorCode as E;
    // The remedy stands on a line of its own.
    let text = error.to_string();
    let failure = Failure::new(text.split_once("; is the cluster").map_or(text.as_str(), |(what, _)| what));
    match (&error, error.error_code()) {
        _ if error.is_silence() => failure
            .remedy(
                "the broker may be waiting for its metadata quorum, and serves nobody until then: its log and /readyz \
                 say what for, and `ottla quorum recover` helps if voters lost their disks. Else see that the address is right \
                 (--bootstrap)",
            )
            .code(Code::Unreachable),
        (ClientError::NoBroker { .. } | ClientError::Connection { .. } | ClientError::Timeout { .. }, _) => {
            failure
                .remedy("see that the cluster runs and that the address is right (--bootstrap)")
                .code(Code::Unreachable)
        }
        (_, Some(E::UnknownTopicOrPartition)) => failure
            .remedy("`ottla get topics` lists the topics, `ottla get partitions TOPIC` their partitions"),
        (_, Some(E::OffsetOutOfRange)) => {
            failure.remedy("--from-beginning starts at the oldest record that is left")
        }
        (_, Some(E::RecordListTooLarge)) => failure.remedy(
            "a batch has to fit into a segment: raise the topic's segment.bytes, or send smaller batches",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The remedy that goes with an error.
    fn remedy(error: ClientError) -> String {
        format!("{:?}", failed(error))
    }

    #[tokio::test]
    async fn a_broker_that_says_nothing_may_wait_for_its_quorum() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut config = ClientConfig::new(&address);
        config.request_timeout = std::time::Duration::from_millis(50);
        // The system takes the connection, and nobody reads from it.
        let said = remedy(Client::connect(config.clone()).await.unwrap_err());
        assert!(said.contains("metadata quorum") && said.contains("Unreachable"), "{said}");
        drop(listener);
        let said = remedy(Client::connect(config).await.unwrap_err());
        assert!(!said.contains("metadata quorum") && said.contains("Unreachable"), "{said}");
        let api = ottla_wire::ApiKey::CreateTopics;
        let late = remedy(ClientError::Timeout { address, api, timeout_ms: 50 });
        assert!(!late.contains("metadata quorum"), "{late}");
    }

    #[test]
    fn a_batch_larger_than_a_segment_has_a_remedy() {
        let error = ottla_wire::ErrorCode::RecordListTooLarge;
        let said = remedy(ClientError::Broker { what: "t-0".to_owned(), error, message: None });
        assert!(said.contains("segment.bytes"), "{said}");
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.1:9092", "[::1]:9092", "kafka.example:1"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "9092", "host", "host:", ":9092", "host:0", "host:http", "host:70000"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
