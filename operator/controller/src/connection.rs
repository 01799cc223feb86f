//! A standing connection to each cluster's control API: it watches, and wakes whom a change concerns.
//!
//! One broker's word is not enough: it may be cut off from the others, or have an empty disk and be catching
//! up. So a broker is followed only once a quorum has confirmed its word, and for as long as it hears of an
//! active controller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::reflector::ObjectRef;
use ottla_api::KafkaCluster;
use ottla_control::proto::control_client::ControlClient;
use ottla_control::proto::{self, GetClusterRequest};
use ottla_plan::ClusterView;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};

use crate::metrics::Metrics;
use crate::view::view_of;
use crate::wake::{Changed, Wake};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a broker may take to have its word confirmed; it gives up by itself sooner.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broker that is followed may hear of no active controller: elections take less.
const LOST_PATIENCE: Duration = Duration::from_secs(3);
/// How long a cluster may be silent before its topics say so.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The largest view, in bytes: some hundred thousand partitions.
const VIEW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A client of some broker's control API.
pub(crate) type Client = ControlClient<Channel>;

/// What is known of a cluster by its own word.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// The newest view, if one was ever seen.
    pub view: Option<Arc<ClusterView>>,
    /// A connection, while there is one.
    pub client: Option<Client>,
    /// Whether nobody has answered for a while; a cluster that was just asked is not silent yet.
    pub silent: bool,
    /// What brokers say is wrong with the metadata quorum, while none has its word confirmed.
    pub trouble: Option<String>,
    /// Held while a change is planned and asked for, so that one doesn't make another's plan old.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

/// The connections to all clusters.
pub(crate) struct Connections {
    open: Mutex<HashMap<ObjectRef<KafkaCluster>, Open>>,
    wake: Wake,
    metrics: Arc<Metrics>,
}

struct Open {
    uid: Option<String>,
    addresses: watch::Sender<Vec<String>>,
    known: watch::Receiver<Known>,
    // Ends the task when the connection is forgotten.
    _stop: DropGuard,
}

impl Connections {
    /// None yet. Those whom a change concerns are woken by `wake`.
    pub fn new(wake: Wake, metrics: Arc<Metrics>) -> Self {
        Self { open: Mutex::default(), wake, metrics }
    }

    /// What is known of a cluster, from now on by a connection to one of `addresses` (host:port each).
    pub fn follow(
        &self,
        cluster: &ObjectRef<KafkaCluster>,
        uid: Option<&str>,
        addresses: Vec<String>,
    ) -> watch::Receiver<Known> {
        let mut open = self.open.lock();
        if let Some(known) = open.get(cluster).filter(|o| o.uid.as_deref() == uid) {
            known.addresses.send_if_modified(|now| {
                let changed = *now != addresses;
                *now = addresses;
                changed
            });
            return known.known.clone();
        }
        let (addresses, candidates) = watch::channel(addresses);
        let (sender, known) = watch::channel(Known::default());
        let stop = CancellationToken::new();
        let task =
            Task { cluster: cluster.clone(), sender, wake: self.wake.clone(), metrics: self.metrics.clone() };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(task.run(candidates)).await });
        let uid = uid.map(str::to_owned);
        let entry = Open { uid, addresses, known: known.clone(), _stop: stop.drop_guard() };
        open.insert(cluster.clone(), entry);
        known
    }

    /// What is known of a cluster by now; nothing if it isn't followed yet.
    pub fn known(&self, cluster: &ObjectRef<KafkaCluster>, uid: &str) -> Known {
        let open = self.open.lock();
        let known = open.get(cluster).filter(|o| o.uid.as_deref() == Some(uid));
        known.map(|open| open.known.borrow().clone()).unwrap_or_default()
    }

    /// Closes the connection to a cluster that is gone.
    pub fn forget(&self, cluster: &ObjectRef<KafkaCluster>) {
        self.open.lock().remove(cluster);
    }
}

struct Task {
    cluster: ObjectRef<KafkaCluster>,
    sender: watch::Sender<Known>,
    wake: Wake,
    metrics: Arc<Metrics>,
}

impl Task {
    async fn run(self, mut addresses: watch::Receiver<Vec<String>>) {
        let (mut turn, mut pause) = (0, PAUSE_FIRST);
        let mut answered = Instant::now();
        loop {
            let candidates = addresses.borrow_and_update().clone();
            let mut trouble = None;
            // Not always the same: the one that just failed comes last.
            for address in candidates.iter().cycle().skip(turn).take(candidates.len()) {
                let Some(mut client) = connect(address).await else { continue };
                match confirmed(&mut client).await {
                    Ok(view) => {
                        self.follow(client, &view).await;
                        (pause, answered, trouble) = (PAUSE_FIRST, Instant::now(), None);
                        break;
                    }
                    Err(said) => trouble = trouble.or(said),
                }
            }
            self.note_trouble(trouble);
            // One broker's restart is no news; a cluster that stays silent is.
            if answered.elapsed() > PATIENCE && !self.sender.borrow().silent {
                self.sender.send_modify(|known| (known.view, known.silent) = (None, true));
                self.tell(None);
            }
            turn = (turn + 1) % candidates.len().max(1);
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                _ = addresses.changed() => pause = PAUSE_FIRST,
            }
        }
    }

    /// Watches until the broker goes away, or hears of no active controller any more; `first` was confirmed.
    async fn follow(&self, mut client: Client, first: &proto::ClusterView) {
        let _connected = Connected::new(&self.metrics);
        self.publish(&client, first);
        let call = client.watch_cluster(GetClusterRequest::default());
        if let Ok(Ok(answer)) = timeout(CALL_TIMEOUT, call).await {
            let mut stream = answer.into_inner();
            let mut lost_since = None;
            loop {
                let next = match lost_since {
                    None => stream.message().await,
                    Some(since) => {
                        let left = LOST_PATIENCE.saturating_sub(Instant::elapsed(&since));
                        match timeout(left, stream.message()).await {
                            Ok(next) => next,
                            // Others may know better.
                            Err(_) => break,
                        }
                    }
                };
                let Ok(Some(mut view)) = next else { break };
                // What it says of the quorum counts once it is confirmed, or nobody's word is.
                let trouble = std::mem::replace(&mut view.quorum_trouble, first.quorum_trouble.clone());
                let is_lost = is_led(first) && !is_led(&view) || trouble != first.quorum_trouble;
                lost_since = if is_lost { lost_since.or_else(|| Some(Instant::now())) } else { None };
                self.publish(&client, &view);
            }
        }
        self.sender.send_modify(|known| known.client = None);
    }

    fn note_trouble(&self, trouble: Option<String>) {
        let news = self.sender.send_if_modified(|known| {
            let news = known.trouble != trouble;
            known.trouble = trouble;
            news
        });
        if news {
            self.tell(None);
        }
    }

    fn publish(&self, client: &Client, view: &proto::ClusterView) {
        let view = Arc::new(view_of(view));
        let mut concerns = None;
        self.sender.send_if_modified(|known| {
            let old = known.view.clone();
            // Another broker may be behind the one before: time only goes forward.
            if old.as_ref().is_some_and(|old| old.metadata_version > view.metadata_version) {
                return false;
            }
            let reconnected = known.client.is_none();
            known.client = Some(client.clone());
            known.view = Some(view.clone());
            (known.silent, known.trouble) = (false, None);
            concerns = match &old {
                // The watch begins with what was just confirmed.
                Some(old) if !reconnected && **old == *view => return false,
                Some(old) if !reconnected => Some(topics_changed(old, &view)),
                _ => Some(None),
            };
            true
        });
        if let Some(topics) = concerns {
            self.tell(topics);
        }
    }

    fn tell(&self, topics: Option<Vec<String>>) {
        // Nobody listens once the operator stops.
        let _ = self.wake.clusters.send(self.cluster.clone());
        let _ = self.wake.topics.send(Changed { cluster: self.cluster.clone(), topics });
    }
}

// Counts a connection for as long as it is there, however it ends.
struct Connected(prometheus_client::metrics::gauge::Gauge);

impl Connected {
    fn new(metrics: &Metrics) -> Self {
        metrics.clusters_connected.inc();
        Self(metrics.clusters_connected.clone())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// New brokers matter to topics that could not be placed, so they concern all.
fn topics_changed(old: &ClusterView, new: &ClusterView) -> Option<Vec<String>> {
    if old.brokers != new.brokers {
        return None;
    }
    let gone = old.topics.keys().filter(|name| !new.topics.contains_key(*name));
    let differs = new.topics.iter().filter(|(name, topic)| old.topics.get(*name) != Some(topic));
    Some(gone.chain(differs.map(|(name, _)| name)).cloned().collect())
}

fn is_led(view: &proto::ClusterView) -> bool {
    view.active_controller.is_some()
}

/// Asks the broker at `address` what is true now, past what any watch has shown. Who was the active
/// controller until a moment ago doesn't answer.
pub(crate) async fn ask(address: &str) -> Option<ClusterView> {
    ask_by(&mut connect(address).await?).await
}

/// Asks the broker that this is a client of what is true now.
pub(crate) async fn ask_by(client: &mut Client) -> Option<ClusterView> {
    let answer = timeout(CALL_TIMEOUT, client.get_cluster(GetClusterRequest { confirmed: true })).await;
    Some(view_of(&answer.ok()?.ok()?.into_inner()))
}

/// What a broker shows, if a quorum confirms it; otherwise what it says is wrong with the quorum, if it says
/// so.
async fn confirmed(client: &mut Client) -> Result<proto::ClusterView, Option<String>> {
    let asked = client.get_cluster(GetClusterRequest { confirmed: true });
    if let Ok(Ok(answer)) = timeout(CONFIRM_TIMEOUT, asked).await {
        return Ok(answer.into_inner());
    }
    let asked = client.get_cluster(GetClusterRequest { confirmed: false });
    let Ok(Ok(answer)) = timeout(CONFIRM_TIMEOUT, asked).await else { return Err(None) };
    Err(Some(answer.into_inner().quorum_trouble).filter(|trouble| !trouble.is_empty()))
}

async fn connect(address: &str) -> Option<Client> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .ok()?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.ok()?;
    Some(ControlClient::new(channel).max_decoding_message_size(VIEW_BYTES_MAX))
}
