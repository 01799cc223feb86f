//! Safe to do once, and by one: forming a quorum, agreeing on its cluster's id, joining it.
//!
//! The rule is: the voter with the lowest id forms the cluster. It does so only with an empty log, and after a
//! majority of the voters (all of them, if only their addresses are configured) said that they know of no cluster. It
//! mints the cluster's id if none is configured. Everybody else learns the id by asking and waits to be told the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::{BasicNode, ChangeMembers};
use ottla_control::proto;
use ottla_types::{BrokerId, ClusterId};
use tokio::time::sleep;
use tonic::Status;

use crate::config::Voters;
use crate::error::StartError;
use crate::node::Node;
use crate::peers::too_late;
use crate::raft_types::Raft;

/// How long a node may take to say who it is.
const IDENTIFY_LIMIT: Duration = Duration::from_millis(500);

/// How long the active controller may take to let a node join.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait before asking the nodes again.
const PAUSE: Duration = Duration::from_millis(20);

/// What is known of the voters after asking them.
struct Survey {
    /// Those with a known id and address; this node included, if it votes.
    voters: BTreeMap<BrokerId, String>,
    /// How many of the configured voters are known by id.
    configured: usize,
    /// How many answered, or are this node.
    answered: usize,
    /// How many of these can vote already.
    started: usize,
    /// Whether one of them knows of a quorum.
    initialized: bool,
    /// A cluster id that one of them has.
    cluster_id: Option<ClusterId>,
    /// The active controller's address, if one of them knows it.
    leader: Option<String>,
}

impl Node {
    /// Asks every configured voter who it is and what it knows.
    async fn survey(&self) -> Result<Survey, StartError> {
        let targets: Vec<(Option<BrokerId>, &str)> = match &self.config.voters {
            Voters::Static(voters) => voters.iter().map(|v| (Some(v.id), v.address.as_str())).collect(),
            Voters::Bootstrap(addresses) => {
                addresses.iter().map(|address| (None, address.as_str())).collect()
            }
        };
        let mut survey = Survey {
            voters: BTreeMap::new(),
            configured: targets.len(),
            answered: 0,
            started: 0,
            initialized: self.is_initialized(),
            cluster_id: *self.cluster_id.borrow(),
            leader: None,
        };
        let answers = targets.iter().map(|(id, address)| self.ask(*id, address));
        for (answer, (id, address)) in futures::future::join_all(answers).await.into_iter().zip(&targets) {
            if let Some(id) = id {
                survey.voters.insert(*id, (*address).to_owned());
            }
            match answer {
                Ok(answer) => survey.add(&answer, address)?,
                Err(status) => tracing::debug!(address, %status, "a voter does not answer yet"),
            }
        }
        Ok(survey)
    }

    async fn ask(&self, id: Option<BrokerId>, address: &str) -> Result<proto::IdentifyResponse, Status> {
        if id == Some(self.config.node_id) || address == self.config.control_address {
            return Ok(self.identify());
        }
        self.peers.identify(address, IDENTIFY_LIMIT).await
    }

    /// Who this node is.
    pub fn identify(&self) -> proto::IdentifyResponse {
        let leader = self.leader();
        proto::IdentifyResponse {
            cluster_id: self.cluster_id.borrow().map(|id| id.to_string()).unwrap_or_default(),
            node_id: self.config.node_id.0,
            voter: self.config.voter,
            initialized: self.is_initialized(),
            active_controller: leader.as_ref().map(|(id, _)| id.0),
            active_controller_address: leader.map(|(_, address)| address).unwrap_or_default(),
            started: self.running.get().is_some(),
        }
    }

    /// The cluster's id: the configured one, else the one that other voters have, else a new one if this node forms
    /// the cluster. Asks until there is one.
    pub async fn learn_cluster_id(&self) -> Result<ClusterId, StartError> {
        loop {
            if let Some(known) = *self.cluster_id.borrow() {
                return Ok(known);
            }
            let survey = self.survey().await?;
            let minted = || match survey.is_mine_to_form(self) {
                true => mint().map(Some),
                false => Ok(None),
            };
            if let Some(id) = survey.cluster_id.map_or_else(minted, |id| Ok(Some(id)))? {
                self.cluster_id.send_replace(Some(id));
                return Ok(id);
            }
            sleep(PAUSE).await;
        }
    }

    /// Forms the quorum if that is this voter's to do, else waits until it was told of one.
    pub async fn form(&self, raft: &Raft) -> Result<(), StartError> {
        while !self.is_initialized() {
            let survey = self.survey().await?;
            // An election that a majority can't answer yet would only cost time.
            if survey.is_mine_to_form(self) && survey.started * 2 > survey.configured {
                tracing::info!(voters = ?survey.voters, "forming the metadata quorum");
                let nodes: BTreeMap<BrokerId, BasicNode> =
                    survey.voters.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
                return match raft.initialize(nodes).await {
                    Ok(()) => Ok(()),
                    // Meanwhile somebody told of a quorum.
                    Err(openraft::error::RaftError::APIError(reason)) => {
                        tracing::info!(%reason, "a metadata quorum exists already");
                        Ok(())
                    }
                    Err(error) => Err(StartError::Raft(error.to_string())),
                };
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Asks the active controller for the metadata until this node is one of those that get it, at its address.
    pub async fn join(&self, raft: &Raft) -> Result<(), StartError> {
        let metrics = raft.metrics();
        loop {
            let known =
                metrics.borrow().membership_config.membership().get_node(&self.config.node_id).cloned();
            if known.is_some_and(|node| node.addr == self.config.control_address) {
                return Ok(());
            }
            if let Some(address) = self.survey().await?.leader
                && let Err(status) = self.ask_to_join(&address).await
            {
                tracing::debug!(address, %status, "the active controller does not let this node join yet");
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask_to_join(&self, address: &str) -> Result<(), Status> {
        let request = proto::JoinRequest {
            cluster_id: self.cluster_id.borrow().unwrap_or_default().to_string(),
            node_id: self.config.node_id.0,
            control_address: self.config.control_address.clone(),
        };
        let mut client = self.peers.client(address)?;
        let joined = tokio::time::timeout(JOIN_LIMIT, client.join(request)).await;
        joined.map_err(|_| too_late(JOIN_LIMIT))?.map(|_| ())
    }

    /// Adds a node that isn't a voter, or notes its new address. Only the active controller can.
    pub async fn let_join(&self, id: BrokerId, address: String) -> Result<(), Status> {
        let raft = &self.running()?.raft;
        let membership = raft.metrics().borrow().membership_config.membership().clone();
        if membership.voter_ids().any(|voter| voter == id) {
            return Err(Status::failed_precondition(format!(
                "node {id} is a voter of this quorum: give it the process role controller"
            )));
        }
        let node = BasicNode::new(address);
        if membership.get_node(&id) == Some(&node) {
            return Ok(());
        }
        let nodes = BTreeMap::from([(id, node)]);
        let changed = raft.change_membership(ChangeMembers::SetNodes(nodes), true).await;
        changed.map(|_| ()).map_err(|error| Status::unavailable(error.to_string()))
    }
}

impl Survey {
    fn add(&mut self, answer: &proto::IdentifyResponse, address: &str) -> Result<(), StartError> {
        self.initialized |= answer.initialized;
        if answer.voter {
            self.answered += 1;
            self.started += usize::from(answer.started);
            self.voters.insert(BrokerId(answer.node_id), address.to_owned());
        }
        if !answer.active_controller_address.is_empty() {
            self.leader = Some(answer.active_controller_address.clone());
        }
        let Ok(theirs) = answer.cluster_id.parse::<ClusterId>() else { return Ok(()) };
        match self.cluster_id {
            Some(ours) if ours != theirs => Err(StartError::AnotherCluster(format!(
                "the node at {address} is of cluster {theirs}, this one of {ours}: check the addresses of the \
                 controllers (controller.quorum.voters, controller.quorum.bootstrap.servers), cluster.id and log.dirs"
            ))),
            _ => {
                self.cluster_id = Some(theirs);
                Ok(())
            }
        }
    }

    /// Whether the node asking has to form the quorum; see the rule above.
    fn is_mine_to_form(&self, node: &Node) -> bool {
        let all_known = self.voters.len() == self.configured;
        let enough = match node.config.voters {
            Voters::Static(_) => self.answered * 2 > self.configured,
            Voters::Bootstrap(_) => self.answered == self.configured,
        };
        let lowest = self.voters.keys().next() == Some(&node.config.node_id);
        node.config.voter && !self.initialized && all_known && enough && lowest
    }
}

fn mint() -> Result<ClusterId, StartError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StartError::Config(format!("no randomness: {error}")))?;
    Ok(ClusterId(id))
}
