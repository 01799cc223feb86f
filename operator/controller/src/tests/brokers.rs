//! A control API of our own: one server that remembers topics, and what it was asked.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt};
use ottla_control::proto::control_server::{Control, ControlServer};
use ottla_control::proto::*;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status};

/// The id of every topic that is made here.
const TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// Brokers 0 to 2, as one server.
pub struct Brokers {
    view: watch::Sender<ClusterView>,
    calls: Mutex<Vec<String>>,
    /// What the next calls are refused with.
    refusals: Mutex<Vec<Status>>,
    /// No quorum confirms their word.
    cut_off: AtomicBool,
    /// The topic that watches don't show, as they lag behind.
    unseen: Mutex<String>,
}

impl Brokers {
    /// Starts it; gives its address too.
    pub async fn start() -> (Arc<Self>, String) {
        let broker = |id| BrokerView { id, ..Default::default() };
        let view =
            ClusterView { metadata_version: 1, brokers: (0..3).map(broker).collect(), ..Default::default() };
        let brokers = Arc::new(Self {
            view: watch::Sender::new(view),
            calls: Mutex::default(),
            refusals: Mutex::default(),
            cut_off: AtomicBool::default(),
            unseen: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server =
            tonic::transport::Server::builder().add_service(ControlServer::new(Served(brokers.clone())));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (brokers, address)
    }

    /// What was asked since this was last called.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock())
    }

    /// Refuses the next call; those who watch see a newer version after it.
    pub fn refuse(&self, status: Status) {
        self.refusals.lock().push(status);
    }

    /// The names of the topics.
    pub fn topics(&self) -> Vec<String> {
        self.view.borrow().topics.iter().map(|t| t.name.clone()).collect()
    }

    /// Somebody else makes a topic of one partition with these settings.
    pub fn make_topic(&self, name: &str, config: &[(&str, &str)]) {
        let partition =
            PartitionView { replicas: vec![0], isr: vec![0], leader: Some(0), ..Default::default() };
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let topic = TopicView {
            name: name.to_owned(),
            id: "BBBBBBBBBBBBBBBBBBBBBg".to_owned(),
            partitions: vec![partition],
            config,
        };
        self.change(|view| view.topics.push(topic));
    }

    /// The settings of a topic, as in "a=1 b=2".
    pub fn config(&self, name: &str) -> String {
        let view = self.view.borrow();
        let topic = view.topics.iter().find(|topic| topic.name == name).expect("it is there");
        let mut pairs: Vec<String> =
            topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.sort();
        pairs.join(" ")
    }

    /// A replica of the first partition of the first topic falls out of sync, or comes back.
    pub fn set_isr(&self, isr: &[i32]) {
        self.change(|view| view.topics[0].partitions[0].isr = isr.to_vec());
    }

    /// This broker is the active controller.
    pub fn elect(&self, id: i32) {
        self.change(|view| view.active_controller = Some(id));
    }

    /// They hear of no active controller any more, and say so.
    pub fn cut_off(&self, trouble: &str) {
        self.cut_off.store(true, Ordering::Relaxed);
        self.view.send_modify(|view| {
            view.active_controller = None;
            view.quorum_trouble = trouble.to_owned();
        });
    }

    /// From the next change on, watches don't show a topic.
    pub fn hide_from_watches(&self, topic: &str) {
        topic.clone_into(&mut self.unseen.lock());
        self.change(|_| {});
    }

    fn change(&self, change: impl FnOnce(&mut ClusterView)) -> u64 {
        self.view.send_modify(|view| {
            change(view);
            view.metadata_version += 1;
        });
        self.view.borrow().metadata_version
    }

    fn asked(&self, call: String) -> Result<(), Status> {
        self.calls.lock().push(call);
        match self.refusals.lock().pop() {
            Some(status) => {
                if status.code() == tonic::Code::FailedPrecondition {
                    self.change(|_| {});
                }
                Err(status)
            }
            None => Ok(()),
        }
    }
}

struct Served(Arc<Brokers>);

#[tonic::async_trait]
impl Control for Served {
    type WatchClusterStream = Pin<Box<dyn Stream<Item = Result<ClusterView, Status>> + Send>>;

    async fn get_cluster(
        &self,
        request: Request<GetClusterRequest>,
    ) -> Result<Response<ClusterView>, Status> {
        if request.into_inner().confirmed && self.0.cut_off.load(Ordering::Relaxed) {
            return Err(Status::unavailable("no quorum confirms it"));
        }
        Ok(Response::new(self.0.view.borrow().clone()))
    }

    async fn watch_cluster(
        &self,
        _: Request<GetClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        let brokers = self.0.clone();
        let shown = move |mut view: ClusterView| {
            let unseen = brokers.unseen.lock();
            view.topics.retain(|topic| topic.name != *unseen);
            Ok(view)
        };
        Ok(Response::new(Box::pin(WatchStream::new(self.0.view.subscribe()).map(shown))))
    }

    async fn apply_topic(
        &self,
        request: Request<ApplyTopicRequest>,
    ) -> Result<Response<ApplyTopicResponse>, Status> {
        let request = request.into_inner();
        self.0.asked(format!("apply {} of {} partitions", request.name, request.assignments.len()))?;
        let partition = |(index, a): (i32, &Assignment)| PartitionView {
            index,
            replicas: a.replicas.clone(),
            isr: a.replicas.clone(),
            min_insync_replicas: 1,
            leader: a.replicas.first().copied(),
            ..Default::default()
        };
        let topic = TopicView {
            name: request.name.clone(),
            id: TOPIC_ID.to_owned(),
            partitions: (0..).zip(&request.assignments).map(partition).collect(),
            config: request.config,
        };
        let metadata_version = self.0.change(|view| {
            view.topics.retain(|t| t.name != request.name);
            view.topics.push(topic);
        });
        let id = TOPIC_ID.to_owned();
        Ok(Response::new(ApplyTopicResponse { metadata_version, changed: true, id }))
    }

    async fn delete_topic(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Result<Response<DeleteTopicResponse>, Status> {
        let request = request.into_inner();
        self.0.asked(format!("delete {}", request.name))?;
        let metadata_version = self.0.change(|view| view.topics.retain(|t| t.name != request.name));
        Ok(Response::new(DeleteTopicResponse { metadata_version }))
    }

    async fn submit_assignments(
        &self,
        _: Request<SubmitAssignmentsRequest>,
    ) -> Result<Response<SubmitAssignmentsResponse>, Status> {
        Err(Status::unimplemented("nobody moves partitions yet"))
    }

    async fn drain_broker(
        &self,
        _: Request<DrainBrokerRequest>,
    ) -> Result<Response<DrainBrokerResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn elect_unclean(
        &self,
        _: Request<ElectUncleanRequest>,
    ) -> Result<Response<ElectUncleanResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn describe_quorum(
        &self,
        _: Request<DescribeQuorumRequest>,
    ) -> Result<Response<QuorumView>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn change_voters(
        &self,
        _: Request<ChangeVotersRequest>,
    ) -> Result<Response<ChangeVotersResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_broker(&self, _: Request<GetBrokerRequest>) -> Result<Response<BrokerHealth>, Status> {
        Err(Status::unimplemented("readiness comes from the pods"))
    }

    async fn set_log_level(
        &self,
        _: Request<SetLogLevelRequest>,
    ) -> Result<Response<SetLogLevelResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}
