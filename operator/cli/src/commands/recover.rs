//! `ottla quorum recover`: a metadata quorum whose voters lost their disks goes on from what another broker
//! has.

use std::cmp::Ordering;
use std::io::Write;
use std::time::Duration;

use ottla_control::proto::recovery_client::RecoveryClient;
use ottla_control::proto::{self, MetadataCopy};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::admin_args::QuorumRecoverArgs;
use crate::control;
use crate::failure::{self, Failure};
use crate::table::{NONE, Table};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long a broker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long the broker from which the quorum is rebuilt may take to start again and lead it.
const REBUILD_LIMIT: Duration = Duration::from_secs(120);

/// How long a broker may take to write down what it is to do, after it has seen whether its quorum lives.
const TELL_LIMIT: Duration = Duration::from_secs(30);

/// How long a broker that gave no answer may take to follow.
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);

/// How often it is asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What a broker has, and where it answered.
#[derive(Debug, PartialEq)]
struct Found {
    address: String,
    copy: MetadataCopy,
}

/// Shows what each broker has, and rebuilds the quorum from one of them if it is named.
///
/// # Errors
/// When nobody answers, something would be lost that no flag gives up, or a broker can't do it or refuses.
pub async fn run(args: &QuorumRecoverArgs) -> Result<(), Failure> {
    let mut found = Vec::new();
    for address in &args.controllers {
        match look(address).await {
            Ok(copy) => found.push(Found { address: address.clone(), copy }),
            Err(status) => writeln!(std::io::stderr(), "{address} doesn't answer: {}", status.message())?,
        }
    }
    table(&found).write(&mut std::io::stdout().lock())?;
    if found.is_empty() {
        return Err(Failure::new("no broker answers")
            .remedy("start the brokers that are left, and name their CONTROLLER listeners")
            .code(failure::Code::Unreachable));
    }
    let Some(id) = args.from_broker else {
        return Ok(writeln!(std::io::stdout(), "\n{}", advice(&found))?);
    };
    let quorum = match check(&found, args, id)? {
        Check::Rebuild(chosen) => rebuild(chosen, &found, REBUILD_LIMIT).await?,
        Check::Lives(quorum) => {
            lives(id)?;
            quorum.clone()
        }
    };
    let mut failures = Vec::new();
    for other in found.iter().filter(|found| found.copy.node_id != id) {
        failures.extend(follow(other, &quorum).await.err());
    }
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        more => Err(failures.remove(0).about(format!("{more} brokers don't follow, the first"))),
    }
}

/// What may be done.
#[derive(Debug, PartialEq)]
enum Check<'a> {
    /// The quorum may be rebuilt from this broker.
    Rebuild(&'a Found),
    /// The quorum that the broker follows lives: the others may be told to follow it.
    Lives(&'a proto::Lineage),
}

/// Whether a broker's quorum may be rebuilt from that broker, `id`, by what all say that answered.
fn check<'a>(found: &'a [Found], asked: &QuorumRecoverArgs, id: i32) -> Result<Check<'a>, Failure> {
    let Some(chosen) = found.iter().find(|found| found.copy.node_id == id) else {
        return Err(Failure::new(format!("broker {id} isn't among those that answer"))
            .remedy("start it, and name its CONTROLLER listener"));
    };
    let Some(quorum) = chosen.copy.quorum.as_ref().filter(|_| chosen.copy.last_index > 0) else {
        return Err(Failure::new(format!("broker {id} has nothing of the metadata"))
            .remedy("name the one with the last entry"));
    };
    let others = || found.iter().filter(|found| found.copy.node_id != id);
    if let Some(living) = others().find(|other| other.lives() && other.carries_on(quorum)) {
        if living.follows(quorum) && chosen.lives() {
            return Ok(Check::Lives(quorum));
        }
        let (other, address) = (living.copy.node_id, &living.address);
        return Err(Failure::new(format!(
            "the metadata quorum lives: broker {other} ({address}) has an active controller, and broker {id} is merely out \
             of touch with it"
        ))
        .remedy(format!("see why broker {id} can't reach the others; if they have just stopped, wait for ten seconds")));
    }
    let unseen: Vec<&str> = asked
        .controllers
        .iter()
        .map(String::as_str)
        .filter(|address| !found.iter().any(|found| found.address == *address))
        .collect();
    if !unseen.is_empty() && !asked.lose_unseen_metadata {
        return Err(Failure::new(format!("{} doesn't answer, and may have the latest metadata", unseen.join(", ")))
            .remedy(format!(
                "start it with its disk; if that is lost for good, say so by --lose-unseen-metadata: topics, settings and \
                 moves that broker {id} doesn't know are lost then"
            )));
    }
    let end = |found: &Found| (found.copy.last_term, found.copy.last_index);
    let later = others()
        .filter(|other| {
            if other.follows(quorum) {
                end(other) > end(chosen)
            } else {
                other.carries_on(quorum) || other.lives() && other.has_more_than(chosen)
            }
        })
        .max_by_key(|other| end(other));
    if let Some(later) = later.filter(|_| !asked.lose_later_metadata) {
        return Err(loses_later(chosen, later));
    }
    Ok(Check::Rebuild(chosen))
}

/// Why the quorum isn't rebuilt from `chosen`: what only `later` knows would be lost.
fn loses_later(chosen: &Found, later: &Found) -> Failure {
    let (id, other) = (chosen.copy.node_id, later.copy.node_id);
    let (ours, theirs) = (&chosen.copy, &later.copy);
    let known =
        format!("{} topics, up to entry {} of term {}", later.topics(), theirs.last_index, theirs.last_term);
    let lost = format!(
        "say by --lose-later-metadata that what only broker {other} knows is to be lost: topics, settings and moves"
    );
    let is_related = chosen.copy.quorum.as_ref().is_some_and(|quorum| later.carries_on(quorum));
    if !is_related && !chosen.is_counted() {
        return Failure::new(format!(
            "broker {other} follows another quorum, which lives and has {known}; that of broker {id} has {} topics, up to \
             entry {}: which of them has your topics isn't known",
            chosen.topics(),
            ours.last_index
        ))
        .remedy(format!("name the broker whose quorum has your topics; if that is broker {id}, {lost}"));
    }
    Failure::new(format!("broker {other} has later metadata than broker {id}: {known}")).remedy(format!(
        "name broker {other}, or {lost} since entry {} of term {}",
        ours.last_index, ours.last_term
    ))
}

impl Found {
    /// Whether its topics are counted: it has applied all of its log. What it doesn't know to be committed
    /// isn't, and an older broker doesn't say.
    fn is_counted(&self) -> bool {
        self.copy.applied_index.is_some_and(|applied| applied >= self.copy.last_index)
    }

    /// How many topics it has.
    fn topics(&self) -> String {
        let or_more = if self.is_counted() { "" } else { " or more" };
        format!("{}{or_more}", self.copy.topics)
    }

    /// Whether it has more than one that follows another quorum, or may have: topics first, then entries.
    fn has_more_than(&self, other: &Self) -> bool {
        match self.copy.topics.cmp(&other.copy.topics) {
            // The other one's may be more; that nobody knows.
            Ordering::Greater => true,
            Ordering::Less if self.is_counted() => false,
            Ordering::Less | Ordering::Equal => self.copy.last_index > other.copy.last_index,
        }
    }

    /// Whether its quorum has an active controller, by its word.
    fn lives(&self) -> bool {
        self.copy.active_controller.is_some() && self.copy.trouble.is_empty()
    }

    fn follows(&self, quorum: &proto::Lineage) -> bool {
        self.copy.quorum.as_ref().is_some_and(|own| own.id == quorum.id)
    }

    /// Whether it follows the quorum, or one that was rebuilt from it.
    fn carries_on(&self, quorum: &proto::Lineage) -> bool {
        let mut ancestors = self.copy.quorum.iter().flat_map(|own| &own.succeeds);
        self.follows(quorum) || ancestors.any(|ancestor| ancestor.id == quorum.id)
    }
}

fn lives(id: i32) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "the quorum that broker {id} follows lives: it stays as it is")
}

/// What the broker at `address` answers to something that it is told; it may hang.
async fn tell<T>(
    address: &str,
    ask: impl AsyncFnOnce(RecoveryClient<Channel>) -> Result<tonic::Response<T>, Status>,
) -> Result<T, Status> {
    let asked = async { ask(client(address).await?).await };
    Ok(timeout(TELL_LIMIT, asked)
        .await
        .map_err(|_| Status::deadline_exceeded("it took too long"))??
        .into_inner())
}

async fn look(address: &str) -> Result<MetadataCopy, Status> {
    let asked = async { client(address).await?.describe_metadata(proto::DescribeMetadataRequest {}).await };
    Ok(timeout(ANSWER_LIMIT, asked)
        .await
        .map_err(|_| Status::deadline_exceeded("it took too long"))??
        .into_inner())
}

async fn client(address: &str) -> Result<RecoveryClient<Channel>, Status> {
    let unreachable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(unreachable)?;
    Ok(RecoveryClient::new(endpoint.connect_timeout(CONNECT_LIMIT).connect().await.map_err(unreachable)?))
}

/// Has the quorum rebuilt, unless it lives; the quorum that the others are to follow.
///
/// The broker starts again as soon as it has written down what it is to do, so its answer may be lost: what
/// it says afterwards counts. That takes up to `limit`.
async fn rebuild(chosen: &Found, all: &[Found], limit: Duration) -> Result<proto::Lineage, Failure> {
    let copy = &chosen.copy;
    let id = copy.node_id;
    let greatest = |of: fn(&MetadataCopy) -> u64| all.iter().map(|found| of(&found.copy)).max().unwrap_or(0);
    let request = proto::RecoverQuorumRequest {
        cluster_id: copy.cluster_id.clone(),
        quorum: copy.quorum.clone(),
        last_term: copy.last_term,
        last_index: copy.last_index,
        beyond_term: greatest(|copy| copy.last_term),
        beyond_index: greatest(|copy| copy.last_index),
    };
    let asked = tell(&chosen.address, async |mut client| client.recover_quorum(request).await);
    let mut out = std::io::stdout();
    let answered = match asked.await {
        Ok(answer) => {
            writeln!(out, "broker {id} starts again, as the only voter of the quorum {}", answer.quorum_id)?;
            true
        }
        Err(status) if status.code() == Code::AlreadyExists => {
            lives(id)?;
            return copy.quorum.clone().ok_or_else(|| Failure::new(format!("broker {id} follows no quorum")));
        }
        Err(status) if is_no_answer(status.code()) => {
            let reason = status.message();
            writeln!(out, "broker {id} gave no answer ({reason}): it may be about to start again")?;
            false
        }
        Err(status) => return Err(control::refused(&status).about(format!("broker {id}"))),
    };
    if let Some(rebuilt) = leads_rebuilt(chosen, limit).await {
        writeln!(out, "broker {id} is the active controller of the quorum {}", rebuilt.id)?;
        return Ok(rebuilt);
    }
    let failure = if answered {
        Failure::new(format!("broker {id} doesn't lead the rebuilt quorum yet"))
    } else {
        Failure::new(format!("broker {id} gave no answer, and leads no rebuilt quorum"))
            .code(failure::Code::Unreachable)
    };
    Err(failure
        .remedy("see that it is started again, then run this once more: its log says what it waits for"))
}

/// The quorum that was rebuilt from what the broker had, once it is the active controller of it.
async fn leads_rebuilt(chosen: &Found, limit: Duration) -> Option<proto::Lineage> {
    let (id, old) = (chosen.copy.node_id, chosen.copy.quorum.as_ref()?);
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Ok(copy) = look(&chosen.address).await {
            let now = Found { address: chosen.address.clone(), copy };
            if now.copy.active_controller == Some(id) && now.carries_on(old) && !now.follows(old) {
                return now.copy.quorum;
            }
        }
        sleep(LOOK_INTERVAL).await;
    }
    None
}

/// Has a broker follow the quorum, if it follows another one.
async fn follow(other: &Found, quorum: &proto::Lineage) -> Result<(), Failure> {
    let id = other.copy.node_id;
    let mut out = std::io::stdout();
    let Some(leaves) = other.copy.quorum.as_ref().map(|quorum| quorum.id.clone()) else {
        return Ok(writeln!(out, "broker {id} follows it, as it has followed none")?);
    };
    if leaves == quorum.id {
        return Ok(writeln!(out, "broker {id} follows it already")?);
    }
    let cluster_id = other.copy.cluster_id.clone();
    let request = proto::FollowQuorumRequest { cluster_id, leaves, quorum: Some(quorum.clone()) };
    let asked = tell(&other.address, async |mut client| client.follow_quorum(request).await);
    match asked.await {
        Ok(_) => writeln!(out, "broker {id} starts again and follows it; it keeps its old log")?,
        Err(status) if is_no_answer(status.code()) => {
            if !follows_by_itself(other, &quorum.id).await {
                return Err(Failure::new(format!(
                    "broker {id} gave no answer ({}), and doesn't follow",
                    status.message()
                ))
                .remedy("see that it runs, then run this once more")
                .code(failure::Code::Unreachable));
            }
            writeln!(out, "broker {id} follows it by itself")?;
        }
        Err(status) => return Err(control::refused(&status).about(format!("broker {id} refuses to follow"))),
    }
    Ok(())
}

/// Whether that may say nothing of what was asked: a broker that starts again to follow answers nobody
/// meanwhile.
fn is_no_answer(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

async fn follows_by_itself(other: &Found, quorum: &str) -> bool {
    let deadline = Instant::now() + FOLLOW_LIMIT;
    while Instant::now() < deadline {
        let now = look(&other.address).await;
        if now.is_ok_and(|now| now.quorum.is_some_and(|now| now.id == quorum)) {
            return true;
        }
        sleep(LOOK_INTERVAL).await;
    }
    false
}

fn table(found: &[Found]) -> Table {
    let mut table = Table::new(&["BROKER", "QUORUM", "LAST ENTRY", "TERM", "TOPICS", "VOTES", "ADDRESS"]);
    for found in found {
        let Found { address, copy } = found;
        table.row([
            copy.node_id.to_string(),
            copy.quorum.as_ref().map_or_else(|| NONE.to_owned(), |quorum| quorum.id.clone()),
            copy.last_index.to_string(),
            copy.last_term.to_string(),
            found.topics(),
            if copy.votes { "yes" } else { "no" }.to_owned(),
            address.clone(),
        ]);
    }
    table
}

/// What to do, by what each broker has.
fn advice(found: &[Found]) -> String {
    let troubled: Vec<&Found> = found.iter().filter(|found| !found.copy.trouble.is_empty()).collect();
    if troubled.is_empty() {
        return "No broker says that anything is wrong with the metadata quorum.".to_owned();
    }
    let mut text: String = troubled.iter().map(|found| format!("{}\n", found.copy.trouble)).collect();
    if !found.iter().all(Found::is_counted) {
        text += "\"Or more\" topics: only those are counted that the broker knows to be committed; its log goes on.\n";
    }
    let newest = found.iter().max_by_key(|found| (found.copy.last_term, found.copy.last_index));
    // A quorum that was formed beside the old one is short, but its terms may be as high.
    let longest = found.iter().max_by_key(|found| found.copy.last_index);
    let (Some(newest), Some(longest)) = (newest, longest) else { return text };
    let quorums: std::collections::BTreeSet<&str> = found
        .iter()
        .filter_map(|found| found.copy.quorum.as_ref())
        .map(|quorum| quorum.id.as_str())
        .collect();
    let chosen = if quorums.len() > 1 {
        text += "They follow different quorums: entries of one say nothing of the other. Look for the one with your topics.\n";
        longest
    } else {
        newest
    };
    let id = chosen.copy.node_id;
    text + &format!(
        "If a voter can still be started with its disk, do that instead. Else broker {id} has the most:\n  \
         ottla quorum recover --controllers ... --from-broker {id}\n\
         makes it the only voter of a new quorum that the others follow. What is lost for good: topics, settings and moves \
         that it doesn't know, as it didn't hear of them any more; and records that were acknowledged while it believed other \
         replicas in sync than there were, if one of these leads next."
    )
}

#[cfg(test)]
mod tests;
