//! A cluster of real brokers, and what it says of itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ottla_control::proto::control_client::ControlClient;
use ottla_control::proto::{
    ApplyTopicRequest, Assignment, BrokerView, ClusterView, DeleteTopicRequest, GetClusterRequest,
    PartitionView,
};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use super::broker::{Broker, CLIENT_PORT, CONTROL_PORT, Shape};
use super::net::Net;

/// How long a broker may take to answer before another one is asked.
const ANSWER: Duration = Duration::from_millis(1500);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The brokers and the network between them.
pub struct Cluster {
    /// The brokers; the first one has id 1.
    pub brokers: Vec<Broker>,
    /// The network.
    pub net: Net,
    /// How it was made.
    pub shape: Shape,
    runtime: Runtime,
}

impl Cluster {
    /// Starts a cluster on fresh disks.
    ///
    /// # Errors
    /// A broker can't be started.
    pub fn start(net: Net, shape: Shape, folder: &Path) -> Result<Cluster> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let brokers = (1..=shape.brokers).map(|id| Broker::prepare(id, net, shape, folder));
        let mut cluster = Cluster { brokers: brokers.collect::<Result<_>>()?, net, shape, runtime };
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Starts the brokers that don't run.
    ///
    /// # Errors
    /// One can't be started.
    pub fn start_all(&mut self) -> Result<()> {
        self.brokers.iter_mut().try_for_each(Broker::start)
    }

    /// A broker by its id.
    pub fn broker(&mut self, id: usize) -> &mut Broker {
        &mut self.brokers[id - 1]
    }

    /// All ids.
    pub fn ids(&self) -> Vec<usize> {
        (1..=self.shape.brokers).collect()
    }

    /// The ids of all others.
    pub fn others(&self, id: usize) -> Vec<usize> {
        self.ids().into_iter().filter(|other| *other != id).collect()
    }

    /// Where clients find it.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> =
            self.ids().into_iter().map(|id| format!("{}:{CLIENT_PORT}", self.net.address(id))).collect();
        all.join(",")
    }

    fn ask(&self, id: usize) -> Result<ClusterView> {
        self.runtime.block_on(async {
            let answer = async {
                let mut client = connect(&self.net.address(id)).await?;
                Ok(client.get_cluster(GetClusterRequest::default()).await?.into_inner())
            };
            tokio::time::timeout(ANSWER, answer).await?
        })
    }

    /// The newest of the views that brokers have.
    ///
    /// # Errors
    /// None answers.
    pub fn view(&mut self) -> Result<ClusterView> {
        let asked: Vec<usize> = self.brokers.iter_mut().filter_map(|b| b.answers().then(|| b.id())).collect();
        let views = asked.into_iter().filter_map(|id| self.ask(id).ok());
        // A view without an active controller is of one that lost touch.
        let newest = views.max_by_key(|view| (view.active_controller.is_some(), view.metadata_version));
        newest.context("no broker answers")
    }

    /// Waits until the cluster is as wanted; looks at a topic's partitions by index.
    ///
    /// # Errors
    /// It isn't in time.
    pub fn wait_until(
        &mut self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&ClusterView) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let view = self.view();
            if view.as_ref().is_ok_and(&wanted) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > patience {
                let said = view.map_or_else(|error| error.to_string(), |view| describe(&view));
                bail!("not {what} within {patience:?}: {said}\n{}", self.last_words());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until all brokers are there, and each partition of the topic has all its replicas in sync. A
    /// broker that was started again has to be there with a new epoch: until then it only hasn't been missed
    /// yet.
    ///
    /// # Errors
    /// It isn't in time.
    pub fn wait_whole(&mut self, topic: &str, patience: Duration) -> Result<Duration> {
        let brokers = self.shape.brokers;
        let restarted: Vec<(usize, i64)> =
            self.brokers.iter().filter_map(|b| Some((b.id(), b.old_epoch?))).collect();
        let is_back = |view: &ClusterView, (id, old): &(usize, i64)| {
            view.brokers.iter().any(|b| usize::try_from(b.id) == Ok(*id) && b.epoch != *old)
        };
        let took = self.wait_until("whole", patience, |view| {
            view.brokers.iter().filter(|b| !b.fenced).count() == brokers
                && restarted.iter().all(|broker| is_back(view, broker))
                && view.topics.iter().filter(|t| t.name == topic).flat_map(|t| &t.partitions).all(is_whole)
                && view.topics.iter().any(|t| t.name == topic)
        })?;
        let view = self.view()?;
        let epoch = |b: &BrokerView| Some((usize::try_from(b.id).ok()?, b.epoch));
        let epochs: BTreeMap<usize, i64> = view.brokers.iter().filter_map(epoch).collect();
        for broker in &mut self.brokers {
            broker.old_epoch = None;
            broker.epoch = epochs.get(&broker.id()).copied();
        }
        Ok(took)
    }

    /// Makes a topic whose partitions go round these brokers.
    ///
    /// # Errors
    /// The cluster refuses, or doesn't answer in time.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: usize,
        ids: &[usize],
        config: &[String],
    ) -> Result<()> {
        let count = self.shape.replicas.min(ids.len());
        let replicas = |partition: usize| {
            let in_turn = (0..count).map(|at| ids[(partition + at) % ids.len()] as i32);
            Assignment { replicas: in_turn.collect() }
        };
        let request = ApplyTopicRequest {
            name: name.to_owned(),
            config: config.iter().filter_map(|text| setting(text)).collect(),
            assignments: (0..partitions).map(replicas).collect(),
            ..ApplyTopicRequest::default()
        };
        let began = Instant::now();
        for attempt in 0.. {
            match self.apply(&request, attempt) {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > Duration::from_secs(60) => {
                    return Err(error.context(format!("topic {name}\n{}", self.last_words())));
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
        unreachable!("attempts don't end by themselves")
    }

    /// Asks one of the brokers that answer, another one at each attempt.
    fn apply(&mut self, request: &ApplyTopicRequest, attempt: usize) -> Result<()> {
        let answering: Vec<usize> =
            self.brokers.iter_mut().filter_map(|b| b.answers().then(|| b.id())).collect();
        let id = *answering.get(attempt % answering.len().max(1)).context("no broker runs")?;
        self.runtime.block_on(async {
            let answer =
                async { Ok(connect(&self.net.address(id)).await?.apply_topic(request.clone()).await?) };
            tokio::time::timeout(Duration::from_secs(3), answer).await?.map(drop)
        })
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let id =
            self.brokers.iter_mut().find_map(|b| b.answers().then(|| b.id())).context("no broker runs")?;
        let request = DeleteTopicRequest { name: name.to_owned(), ..DeleteTopicRequest::default() };
        self.runtime.block_on(async {
            let answer = async { Ok(connect(&self.net.address(id)).await?.delete_topic(request).await?) };
            tokio::time::timeout(Duration::from_secs(10), answer).await?.map(drop)
        })
    }

    /// The broker that leads a partition.
    ///
    /// # Errors
    /// There is none in time.
    pub fn leader(&mut self, topic: &str, partition: i32) -> Result<usize> {
        let find = |view: &ClusterView| {
            let partitions = &view.topics.iter().find(|t| t.name == topic)?.partitions;
            usize::try_from(partitions.iter().find(|p| p.index == partition)?.leader?).ok()
        };
        self.wait_until("led", Duration::from_secs(60), |view| find(view).is_some())?;
        self.view().ok().as_ref().and_then(find).context("a leader")
    }

    /// The active controller.
    ///
    /// # Errors
    /// There is none in time.
    pub fn controller(&mut self) -> Result<usize> {
        let find = |view: &ClusterView| usize::try_from(view.active_controller?).ok();
        self.wait_until("controlled", Duration::from_secs(60), |view| find(view).is_some())?;
        self.view().ok().as_ref().and_then(find).context("a controller")
    }

    /// The ends of the brokers' logs, for a failure to show.
    pub fn last_words(&self) -> String {
        let each = self.brokers.iter().map(|b| format!("broker {}:\n{}", b.id(), b.last_words()));
        each.collect::<Vec<_>>().join("\n")
    }
}

fn setting(text: &str) -> Option<(String, String)> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn is_whole(partition: &PartitionView) -> bool {
    partition.leader.is_some() && partition.isr.len() == partition.replicas.len()
}

async fn connect(address: &str) -> Result<ControlClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}:{CONTROL_PORT}"))?;
    Ok(ControlClient::new(endpoint.connect_timeout(ANSWER).connect().await?))
}

/// A view in a line or two.
fn describe(view: &ClusterView) -> String {
    let fenced: Vec<i32> = view.brokers.iter().filter(|b| b.fenced).map(|b| b.id).collect();
    let mut said = format!(
        "controller {:?}, {} brokers, of them fenced {fenced:?}",
        view.active_controller,
        view.brokers.len()
    );
    for topic in &view.topics {
        for p in topic.partitions.iter().filter(|p| !is_whole(p)) {
            said += &format!("; {}-{}: leader {:?}, in sync {:?}", topic.name, p.index, p.leader, p.isr);
        }
    }
    said
}
