//! Safe to do once, and by one: forming a quorum, agreeing on its cluster's id, joining it.
//!
//! The rule is: the voter with the lowest id forms the cluster. It does so only with an empty log, and after all of the
//! voters said that they know of no cluster and which log they have: voters that lost theirs, even most of them, never
//! form another cluster beside one that still knows. It mints the cluster's id if none is configured. Everybody else
//! learns the id by asking and waits to be told the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::ChangeMembers;
use ottla_control::proto;
use ottla_types::{BrokerId, ClusterId};
use tonic::Status;

use crate::backoff::Backoff;
use crate::config::Voters;
use crate::error::StartError;
use crate::identity;
use crate::node::{Node, Running};
use crate::peers::too_late;
use crate::raft_types::{Identity, Member};
use crate::voters::change_members;

/// How long a node may take to say who it is.
const IDENTIFY_LIMIT: Duration = Duration::from_millis(500);

/// How long the active controller may take to let a node join.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// What is known of the voters after asking them.
struct Survey {
    /// Those with a known id and address; this node included, if it votes.
    voters: BTreeMap<BrokerId, String>,
    /// How many of the configured voters are known by id.
    configured: usize,
    /// How many answered, or are this node.
    answered: usize,
    /// The logs of those that have opened them.
    identities: BTreeMap<BrokerId, Identity>,
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
            identities: BTreeMap::new(),
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
            identity: self.running.get().map(|running| (&running.identity).into()),
        }
    }

    /// The cluster's id: the configured one, else the one that other voters have, else a new one if this node forms
    /// the cluster. Asks until there is one.
    pub async fn learn_cluster_id(&self) -> Result<ClusterId, StartError> {
        let mut backoff = Backoff::for_peers();
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
            backoff.pause().await;
        }
    }

    /// Forms the quorum if that is this voter's to do, else waits until there is one.
    pub async fn form(&self, running: &Running) -> Result<(), StartError> {
        let mut backoff = Backoff::for_peers();
        loop {
            let survey = self.survey().await?;
            if survey.initialized {
                return Ok(());
            }
            if survey.is_mine_to_form(self)
                && let Some(members) = survey.members()
            {
                tracing::info!(voters = ?survey.voters, "forming the metadata quorum");
                running.elections.wait_for_election();
                return match running.raft.initialize(members).await {
                    Ok(()) => Ok(()),
                    // Meanwhile somebody told of a quorum.
                    Err(openraft::error::RaftError::APIError(reason)) => {
                        tracing::info!(%reason, "a metadata quorum exists already");
                        Ok(())
                    }
                    Err(error) => Err(StartError::Raft(error.to_string())),
                };
            }
            backoff.pause().await;
        }
    }

    /// Asks the active controller for the metadata until this node is a member of the quorum with the log that it
    /// has, at its address.
    pub async fn join(&self, running: &Running) -> Result<(), StartError> {
        let metrics = running.raft.metrics();
        let mut backoff = Backoff::for_peers();
        loop {
            let known =
                metrics.borrow().membership_config.membership().get_node(&self.config.node_id).cloned();
            if known.is_some_and(|member| self.is_listed_as(&member, running)) {
                return Ok(());
            }
            if let Some(address) = self.survey().await?.leader
                && let Err(status) = self.ask_to_join(&address, running).await
            {
                tracing::debug!(address, %status, "the active controller does not let this node join yet");
            }
            backoff.pause().await;
        }
    }

    fn is_listed_as(&self, member: &Member, running: &Running) -> bool {
        member.addr == self.config.control_address && member.identity == running.identity
    }

    async fn ask_to_join(&self, address: &str, running: &Running) -> Result<(), Status> {
        let request = proto::JoinRequest {
            cluster_id: self.known_cluster_id(),
            node_id: self.config.node_id.0,
            control_address: self.config.control_address.clone(),
            identity: Some((&running.identity).into()),
            voter: self.config.voter,
        };
        let mut client = self.peers.client(address)?;
        let joined = tokio::time::timeout(JOIN_LIMIT, client.join(request)).await;
        joined.map_err(|_| too_late(JOIN_LIMIT))?.map(|_| ())
    }

    /// Makes a node a member that learns, or notes its new address. Only the active controller can.
    ///
    /// A member that comes with another log lost the one that it had. That one is removed first, its vote included,
    /// which takes a majority that has its logs; then the new one learns, and `voters` gives it the vote again.
    pub async fn let_join(&self, id: BrokerId, joining: Member) -> Result<(), Status> {
        let running = self.running()?;
        let _one_at_a_time = running.membership_changes.lock().await;
        let members = self.members_as_leader(running)?;
        let Some(known) = members.get(&id) else {
            return change_members(running, ChangeMembers::AddNodes([(id, joining)].into()), true).await;
        };
        let same_log = joining.identity.is(&known.identity);
        let joining = Member { wanted: known.wanted, ..joining };
        if *known == joining {
            return Ok(());
        }
        if same_log {
            return change_members(running, ChangeMembers::SetNodes([(id, joining)].into()), true).await;
        }
        if self.has_its_log(known).await {
            return Err(Status::already_exists(format!(
                "node {id} runs at {} with its log: give the node at {} another node.id, or stop the first",
                known.addr, joining.addr
            )));
        }
        tracing::warn!(node = id.0, lost = %known.identity, has = %joining.identity, "a member has lost its log");
        let votes =
            running.raft.metrics().borrow().membership_config.membership().voter_ids().any(|v| v == id);
        let removal = if votes {
            ChangeMembers::RemoveVoters([id].into())
        } else {
            ChangeMembers::RemoveNodes([id].into())
        };
        change_members(running, removal, false).await?;
        change_members(running, ChangeMembers::AddNodes([(id, joining)].into()), true).await
    }

    /// Whether a member is there with the log that it is known by.
    async fn has_its_log(&self, member: &Member) -> bool {
        let answer = self.peers.identify(&member.addr, IDENTIFY_LIMIT).await;
        answer.is_ok_and(|answer| identity::from_proto(answer.identity) == Some(member.identity))
    }
}

impl Survey {
    fn add(&mut self, answer: &proto::IdentifyResponse, address: &str) -> Result<(), StartError> {
        self.initialized |= answer.initialized;
        if answer.voter {
            self.answered += 1;
            if let Some(identity) = identity::from_proto(answer.identity.clone()) {
                self.identities.insert(BrokerId(answer.node_id), identity);
            }
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
        let all_answered = self.answered == self.configured;
        let lowest = self.voters.keys().next() == Some(&node.config.node_id);
        node.config.voter && !self.initialized && all_known && all_answered && lowest
    }

    /// The first members of the quorum, once all have opened their logs.
    fn members(&self) -> Option<BTreeMap<BrokerId, Member>> {
        let member = |(id, addr): (&BrokerId, &String)| {
            let identity = *self.identities.get(id)?;
            Some((*id, Member { addr: addr.clone(), identity, wanted: true }))
        };
        self.voters.iter().map(member).collect()
    }
}

fn mint() -> Result<ClusterId, StartError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StartError::Config(format!("no randomness: {error}")))?;
    Ok(ClusterId(id))
}
