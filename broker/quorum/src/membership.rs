//! Safe to do once, and by one: forming a quorum, agreeing on its cluster's id, joining it.
//!
//! The rule is: the voter with the lowest id forms the cluster. It does so only with an empty log, and after
//! all of the voters said that they know of no cluster and which log they have: voters that lost theirs, even
//! most of them, never form another cluster beside one that still knows. The other brokers that it is told of
//! are asked too, as far as they are there: a quorum may have lost all of its voters. It mints the cluster's
//! id if none is configured. Everybody else learns the id by asking and waits to be told the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use ottla_control::proto;
use ottla_types::{BrokerId, ClusterId, QuorumId};
use tonic::Status;

use crate::backoff::Backoff;
use crate::config::Voters;
use crate::error::StartError;
use crate::identity;
use crate::lineage::{self, Lineage, Memory, Relation};
use crate::node::{Node, Running};
use crate::peers::too_late;
use crate::raft_types::{Identity, Member};
use crate::voters::change_members;

/// How long a node may take to say who it is.
const IDENTIFY_LIMIT: Duration = Duration::from_millis(500);

/// How long the active controller may take to let a node join.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// How often a node that misses somebody says of which quorum it is.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// How long nothing was heard of somebody who is missed.
const MISSED_AFTER: Duration = Duration::from_secs(3);

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
    /// Who that is, for people.
    known_by: Vec<String>,
    /// How many of the other brokers didn't answer.
    others_missing: usize,
    /// A cluster id that one of them has.
    cluster_id: Option<ClusterId>,
    /// The active controller's address, if one of them knows it.
    leader: Option<String>,
    /// The quorum that this node follows: the active controller of another one isn't for it.
    ours: Option<Lineage>,
}

impl Node {
    /// Asks every configured voter, and the other brokers, who they are and what they know.
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
            known_by: Vec::new(),
            others_missing: 0,
            cluster_id: *self.cluster_id.borrow(),
            leader: None,
            ours: self.memory.lineage(),
        };
        let others = self.others(&targets);
        let others_asked = futures::future::join_all(others.iter().map(|address| self.ask(None, address)));
        let answers = futures::future::join_all(targets.iter().map(|(id, address)| self.ask(*id, address)));
        let (answers, others_answers) = tokio::join!(answers, others_asked);
        for (answer, (id, address)) in answers.into_iter().zip(&targets) {
            if let Some(id) = id {
                survey.voters.insert(*id, (*address).to_owned());
            }
            match answer {
                Ok(answer) => survey.add_voter(&answer, address)?,
                Err(status) => tracing::debug!(address, %status, "a voter does not answer yet"),
            }
        }
        for (answer, address) in others_answers.into_iter().zip(&others) {
            match answer {
                Ok(answer) => survey.add(&answer, address)?,
                Err(status) => {
                    tracing::debug!(address, %status, "a broker does not answer yet");
                    survey.others_missing += 1;
                }
            }
        }
        Ok(survey)
    }

    /// The addresses of brokers that aren't among those who form the quorum.
    fn others(&self, voters: &[(Option<BrokerId>, &str)]) -> Vec<String> {
        let mine = &self.config.control_address;
        let others: BTreeSet<&String> = self
            .config
            .others
            .iter()
            .filter(|a| *a != mine && voters.iter().all(|(_, address)| a != address))
            .collect();
        others.into_iter().cloned().collect()
    }

    async fn ask(&self, id: Option<BrokerId>, address: &str) -> Result<proto::IdentifyResponse, Status> {
        if id == Some(self.config.node_id) || address == self.config.control_address {
            return Ok(self.identify());
        }
        let answer = self.peers.identify(address, self.asker(), IDENTIFY_LIMIT).await?;
        if self.check_cluster(&answer.cluster_id).is_ok()
            && let Some(theirs) = lineage::from_proto(answer.quorum.as_ref())
        {
            self.memory.hear(&theirs, &format!("node {} at {address}", answer.node_id));
            self.note_address(&answer);
        }
        Ok(answer)
    }

    /// Where another node says that it is reached; the address at which it was asked may lead to others too.
    fn note_address(&self, answer: &proto::IdentifyResponse) {
        let id = BrokerId(answer.node_id);
        if !answer.control_address.is_empty() {
            let logged = self.server().and_then(|server| {
                server.membership_config.membership().get_node(&id).map(|member| member.addr.clone())
            });
            self.addresses.found(id, &answer.control_address, logged);
        }
    }

    /// Who this node is, as it asks others who they are.
    fn asker(&self) -> proto::IdentifyRequest {
        proto::IdentifyRequest {
            cluster_id: self.known_cluster_id(),
            node_id: self.config.node_id.0,
            quorum: self.followed(),
            active_controller_address: self.leader().map(|(_, address)| address).unwrap_or_default(),
        }
    }

    /// The quorum that this node follows, as others are told: one that it is only forming may never come
    /// about, and whoever was told of it would wait for it.
    fn followed(&self) -> Option<proto::Lineage> {
        self.memory.followed().as_ref().map(Into::into)
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
            quorum: self.followed(),
            control_address: self.config.control_address.clone(),
        }
    }

    /// The cluster's id: the configured one, else the one that other voters have, else a new one if this node
    /// forms the cluster. Asks until there is one.
    pub async fn learn_cluster_id(&self) -> Result<ClusterId, StartError> {
        let (mut backoff, began) = (Backoff::for_peers(), Instant::now());
        loop {
            if let Some(known) = *self.cluster_id.borrow() {
                return Ok(known);
            }
            let survey = self.survey().await?;
            let others_are_asked =
                survey.others_missing == 0 || began.elapsed() > self.config.tuning.others_patience;
            let cluster_id = match survey.cluster_id {
                None if others_are_asked && survey.is_mine_to_form(self) => Some(mint()?),
                known => known,
            };
            if let Some(id) = cluster_id {
                self.cluster_id.send_replace(Some(id));
                return Ok(id);
            }
            backoff.pause().await;
        }
    }

    /// Forms the quorum if that is this voter's to do, else waits until there is one.
    pub async fn form(&self, running: &Running) -> Result<(), StartError> {
        let (mut backoff, began) = (Backoff::for_peers(), Instant::now());
        loop {
            let survey = self.survey().await?;
            if survey.initialized {
                self.say_why_none_is_formed(&survey);
                return Ok(());
            }
            let others_are_asked =
                survey.others_missing == 0 || began.elapsed() > self.config.tuning.others_patience;
            if others_are_asked
                && survey.is_mine_to_form(self)
                && let Some(members) = survey.members()
            {
                let id = mint_quorum_id()?;
                tracing::info!(quorum = %id, voters = ?survey.voters, "forming the metadata quorum");
                if !self.remember(move |memory| memory.begin_forming(Lineage::new(id))).await? {
                    // Somebody told of one since it was asked for.
                    continue;
                }
                running.elections.wait_for_election();
                return match running.raft.initialize(members).await {
                    Ok(()) => self.remember(move |memory| memory.remember(Lineage::new(id))).await,
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

    async fn remember<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Memory) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, StartError> {
        let memory = self.memory.clone();
        let remembered =
            self.tasks.spawn_blocking("write down the metadata quorum", move || write(&memory)).await;
        let remembered = remembered.map_err(std::io::Error::other).and_then(|remembered| remembered);
        remembered.map_err(|error| StartError::Log {
            path: self.config.log_dir.clone(),
            reason: format!("which metadata quorum this is can't be written down: {error}"),
        })
    }

    /// A node whose log is empty finds that there is a quorum already: mostly it just joins.
    fn say_why_none_is_formed(&self, survey: &Survey) {
        // openraft may not have told of the log yet.
        let follows = self.memory.followed().is_some() && !self.memory.log_is_gone();
        if follows || self.has_log() || survey.leader.is_some() {
            return;
        }
        let known_by = if self.memory.log_is_gone() { "its own data folder" } else { "others" };
        tracing::warn!(
            known_by, brokers = ?survey.known_by,
            "a metadata quorum exists already, so that this node forms none: it waits for its active controller. If the \
             disks of its voters are lost for good, rebuild it from what other brokers know: `ottla quorum recover`"
        );
    }

    /// Says of which quorum this node is, to whom it misses: somebody may have come back without knowing of
    /// it, and be about to form another one. Ends with the node.
    pub async fn tell_the_missed(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TELL_INTERVAL) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            if self.memory.lineage().is_none() {
                continue;
            }
            let missed = self.missed();
            futures::future::join_all(missed.iter().map(|address| self.ask(None, address))).await;
        }
    }

    /// The addresses of whom this node misses: as the active controller, members that don't answer; else all
    /// whom it knows, once it hears nothing of an active controller.
    fn missed(&self) -> BTreeSet<String> {
        let Some(running) = self.running.get() else { return BTreeSet::new() };
        let server = running.raft.server_metrics().borrow().clone();
        let is_active = server.current_leader == Some(self.config.node_id);
        if !is_active && running.elections.heard_within(MISSED_AFTER) {
            return BTreeSet::new();
        }
        let is_there =
            |id: BrokerId, identity| is_active && self.contacts.answered_within(id, identity, MISSED_AFTER);
        let membership = server.membership_config.membership();
        let members = membership
            .nodes()
            .filter(|(id, member)| **id != self.config.node_id && !is_there(**id, member.identity))
            // One of the two may be from before it moved.
            .flat_map(|(id, member)| [self.addresses.of(*id, &member.addr), member.addr.clone()]);
        let mut missed: BTreeSet<String> = members.collect();
        if !is_active {
            missed.extend(self.addresses.configured().chain(&self.config.others).cloned());
            if let Voters::Bootstrap(addresses) = &self.config.voters {
                missed.extend(addresses.iter().cloned());
            }
        }
        missed.remove(&self.config.control_address);
        missed
    }

    /// Asks the active controller for the metadata until this node is a member of the quorum with the log
    /// that it has, at its address.
    pub async fn join(&self, running: &Running) -> Result<(), StartError> {
        let metrics = running.raft.metrics();
        let mut backoff = Backoff::for_peers();
        loop {
            let known =
                metrics.borrow().membership_config.membership().get_node(&self.config.node_id).cloned();
            if known.is_some_and(|member| self.is_listed_as(&member, running)) {
                return Ok(());
            }
            if let Some(address) = self.survey().await?.leader.or_else(|| self.told_leader.borrow().clone())
                && let Err(status) = self.ask_to_join(&address, running).await
            {
                tracing::debug!(address, %status, "the active controller does not let this node join yet");
            }
            backoff.pause().await;
        }
    }

    fn is_listed_as(&self, member: &Member, running: &Running) -> bool {
        member.addr == self.config.control_address
            && member.identity == running.identity
            && member.controller == self.config.voter
    }

    async fn ask_to_join(&self, address: &str, running: &Running) -> Result<(), Status> {
        let request = proto::JoinRequest {
            cluster_id: self.known_cluster_id(),
            node_id: self.config.node_id.0,
            control_address: self.config.control_address.clone(),
            identity: Some((&running.identity).into()),
            voter: self.config.voter,
            quorum: self.quorum(),
        };
        let mut client = self.peers.client(address)?;
        let joined = tokio::time::timeout(JOIN_LIMIT, client.join(request)).await;
        joined.map_err(|_| too_late(JOIN_LIMIT))?.map(|_| ())
    }

    /// Makes a node a member that learns, or notes its new address. Only the active controller can.
    ///
    /// A member that comes with another log lost the one that it had. That one is removed first, its vote
    /// included, which takes a majority that has its logs; then the new one learns, and `voters` gives it the
    /// vote again. One that is new only learns: whether it gets the vote too is for `voters`.
    pub async fn let_join(&self, id: BrokerId, joining: Member) -> Result<(), Status> {
        let running = self.running()?;
        let _one_at_a_time = running.membership_changes.lock().await;
        let members = self.members_as_leader(running)?;
        let Some(known) = members.get(&id) else {
            return change_members(running, ChangeMembers::AddNodes([(id, joining)].into()), true).await;
        };
        let same_log = joining.identity.is(&known.identity);
        let joining = Member { wanted: known.wanted, dismissed: known.dismissed, ..joining };
        if *known == joining {
            return Ok(());
        }
        if same_log {
            return change_members(running, ChangeMembers::SetNodes([(id, joining)].into()), true).await;
        }
        if self.answers_with_its_log(&known.addr, known).await {
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

    /// Whether a member is there with the log that it is known by, and follows this node's quorum.
    pub async fn is_there(&self, id: BrokerId, member: &Member) -> bool {
        self.answers_with_its_log(&self.addresses.of(id, &member.addr), member).await
    }

    async fn answers_with_its_log(&self, address: &str, member: &Member) -> bool {
        let answer = self.peers.identify(address, self.asker(), IDENTIFY_LIMIT).await;
        answer.is_ok_and(|answer| {
            identity::from_proto(answer.identity).is_some_and(|theirs| theirs.is(&member.identity))
                && self.check_quorum(answer.quorum.as_ref()).is_ok()
        })
    }
}

impl Survey {
    fn add_voter(&mut self, answer: &proto::IdentifyResponse, address: &str) -> Result<(), StartError> {
        if answer.voter {
            self.answered += 1;
            if let Some(identity) = identity::from_proto(answer.identity.clone()) {
                self.identities.insert(BrokerId(answer.node_id), identity);
            }
            self.voters.insert(BrokerId(answer.node_id), address.to_owned());
        }
        self.add(answer, address)
    }

    fn add(&mut self, answer: &proto::IdentifyResponse, address: &str) -> Result<(), StartError> {
        self.initialized |= answer.initialized;
        if answer.initialized {
            self.known_by.push(format!("{} at {address}", answer.node_id));
        }
        if !answer.active_controller_address.is_empty()
            && is_for(self.ours.as_ref(), lineage::from_proto(answer.quorum.as_ref()).as_ref())
        {
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
        self.voters
            .iter()
            .map(|(id, addr)| {
                let identity = *self.identities.get(id)?;
                let addr = addr.clone();
                Some((*id, Member { addr, identity, wanted: true, controller: true, dismissed: false }))
            })
            .collect()
    }
}

/// Whether the active controller of the quorum `theirs` is one for a node that follows `ours`. Nodes from
/// before quorums had identities say none.
pub fn is_for(ours: Option<&Lineage>, theirs: Option<&Lineage>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return true };
    matches!(ours.relation(theirs), Relation::Same | Relation::Successor(_))
}

fn mint() -> Result<ClusterId, StartError> {
    random().map(ClusterId)
}

fn mint_quorum_id() -> Result<QuorumId, StartError> {
    random().map(QuorumId)
}

fn random() -> Result<[u8; 16], StartError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StartError::Config(format!("no randomness: {error}")))?;
    Ok(id)
}

#[cfg(test)]
mod tests;
