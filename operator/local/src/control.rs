//! The control API of the running brokers: one connection to any of them, and a watch that outlives each.

use std::time::Duration;

use ottla_control::proto::control_client::ControlClient;
use ottla_control::proto::{ClusterView, GetClusterRequest};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

/// How long a connection may take: brokers are on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one call may take; the watch is none.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent connection is tried, and how long a broker may take to answer that.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long to wait once no broker could be reached.
const PAUSE: Duration = Duration::from_millis(50);
/// The largest view, in bytes: some hundred thousand partitions.
const VIEW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connects to the first of these ports of loopback where a broker answers.
pub(crate) async fn connect(ports: &[u16]) -> Option<ControlClient<Channel>> {
    for port in ports {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
            .expect("an address made of a number")
            .connect_timeout(CONNECT_TIMEOUT)
            // So that a broker that hangs is given up as one that is gone.
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        if let Ok(channel) = endpoint.connect().await {
            return Some(ControlClient::new(channel).max_decoding_message_size(VIEW_BYTES_MAX));
        }
    }
    None
}

/// Publishes each view of the cluster to `views`, from whichever broker is there, until it is dropped.
///
/// `ports` are the control ports of the brokers that should run.
pub(crate) async fn watch_cluster(
    mut ports: watch::Receiver<Vec<u16>>,
    views: watch::Sender<Option<ClusterView>>,
) {
    let mut turn = 0;
    loop {
        let mut candidates = ports.borrow_and_update().clone();
        if !candidates.is_empty() {
            // Not always the same: the one that just failed comes last.
            let count = candidates.len();
            candidates.rotate_left(turn % count);
            if let Some(client) = connect(&candidates).await {
                follow(client, &views).await;
            }
            turn += 1;
        }
        sleep(PAUSE).await;
    }
}

/// Publishes views from one broker until it goes away.
async fn follow(mut client: ControlClient<Channel>, views: &watch::Sender<Option<ClusterView>>) {
    let call = client.watch_cluster(GetClusterRequest::default());
    let Ok(Ok(answer)) = timeout(CALL_TIMEOUT, call).await else { return };
    let mut stream = answer.into_inner();
    while let Ok(Some(view)) = stream.message().await {
        views.send_if_modified(|last| {
            // Another broker may be behind the one before: time only goes forward.
            let newer = last.as_ref().is_none_or(|last| view.metadata_version >= last.metadata_version);
            if newer {
                *last = Some(view);
            }
            newer
        });
    }
}
