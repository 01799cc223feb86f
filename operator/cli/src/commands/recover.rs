//! `ottla quorum recover`: a metadata quorum whose voters lost their disks goes on from what another broker has.

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

/// How often it is asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What a broker has, and where it answered.
struct Found {
    address: String,
    copy: MetadataCopy,
}

/// Shows what each broker has, and rebuilds the quorum from one of them if it is named.
///
/// # Errors
/// When nobody answers, or the broker can't do it.
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
    let Some(chosen) = found.iter().find(|found| found.copy.node_id == id) else {
        return Err(Failure::new(format!("broker {id} isn't among those that answer"))
            .remedy("start it, and name its CONTROLLER listener"));
    };
    let quorum = rebuild(chosen, &found).await?;
    for other in found.iter().filter(|found| found.copy.node_id != id) {
        follow(other, &quorum).await?;
    }
    Ok(())
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
async fn rebuild(chosen: &Found, all: &[Found]) -> Result<proto::Lineage, Failure> {
    let copy = &chosen.copy;
    let id = copy.node_id;
    if copy.last_index == 0 {
        return Err(Failure::new(format!("broker {id} has nothing of the metadata"))
            .remedy("name the one with the last entry"));
    }
    let greatest = |of: fn(&MetadataCopy) -> u64| all.iter().map(|found| of(&found.copy)).max().unwrap_or(0);
    let request = proto::RecoverQuorumRequest {
        cluster_id: copy.cluster_id.clone(),
        quorum: copy.quorum.clone(),
        last_term: copy.last_term,
        last_index: copy.last_index,
        beyond_term: greatest(|copy| copy.last_term),
        beyond_index: greatest(|copy| copy.last_index),
    };
    let asked = async { client(&chosen.address).await?.recover_quorum(request).await };
    let wanted = match asked.await {
        Ok(answer) => answer.into_inner().quorum_id,
        Err(status) if status.code() == Code::AlreadyExists => {
            writeln!(std::io::stdout(), "the quorum that broker {id} follows lives: it stays as it is")?;
            return copy.quorum.clone().ok_or_else(|| Failure::new(format!("broker {id} follows no quorum")));
        }
        Err(status) => return Err(control::refused(&status).about(format!("broker {id}"))),
    };
    writeln!(std::io::stdout(), "broker {id} starts again, as the only voter of the quorum {wanted}")?;
    let deadline = Instant::now() + REBUILD_LIMIT;
    while Instant::now() < deadline {
        if let Ok(now) = look(&chosen.address).await
            && now.active_controller == Some(id)
            && let Some(quorum) = now.quorum.filter(|quorum| quorum.id == wanted)
        {
            writeln!(std::io::stdout(), "broker {id} is the active controller")?;
            return Ok(quorum);
        }
        sleep(LOOK_INTERVAL).await;
    }
    Err(Failure::new(format!("broker {id} doesn't lead the quorum {wanted} yet"))
        .remedy("see that it is started again, then run this once more: its log says what it waits for"))
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
    let asked = async { client(&other.address).await?.follow_quorum(request).await };
    match asked.await {
        Ok(_) => writeln!(out, "broker {id} starts again and follows it; it keeps its old log")?,
        Err(status) => writeln!(
            out,
            "broker {id} does not answer just now ({}): it may be following already. `ottla quorum recover` shows it",
            status.message()
        )?,
    }
    Ok(())
}

fn table(found: &[Found]) -> Table {
    let mut table = Table::new(&["BROKER", "QUORUM", "LAST ENTRY", "TERM", "TOPICS", "VOTES", "ADDRESS"]);
    for Found { address, copy } in found {
        table.row([
            copy.node_id.to_string(),
            copy.quorum.as_ref().map_or_else(|| NONE.to_owned(), |quorum| quorum.id.clone()),
            copy.last_index.to_string(),
            copy.last_term.to_string(),
            copy.topics.to_string(),
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
mod tests {
    use super::*;

    fn found(id: i32, quorum: &str, last_term: u64, last_index: u64, trouble: &str) -> Found {
        let quorum = (!quorum.is_empty()).then(|| proto::Lineage { id: quorum.to_owned(), succeeds: vec![] });
        let copy = MetadataCopy {
            node_id: id,
            quorum,
            last_term,
            last_index,
            topics: 2,
            votes: id == 1,
            trouble: trouble.to_owned(),
            ..MetadataCopy::default()
        };
        Found { address: format!("b{id}:9093"), copy }
    }

    #[test]
    fn what_each_broker_has_and_no_advice_without_need() {
        let all = [found(0, "", 0, 0, ""), found(1, "Q", 3, 40, "")];
        let mut out = Vec::new();
        table(&all).write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "BROKER   QUORUM   LAST ENTRY   TERM   TOPICS   VOTES   ADDRESS\n\
             0        <none>   0            0      2        no      b0:9093\n\
             1        Q        40           3      2        yes     b1:9093\n"
        );
        assert!(advice(&all).starts_with("No broker"));
    }

    #[test]
    fn the_broker_with_the_newest_metadata_is_named() {
        let check = |all: &[Found], expected: i32, different: bool| {
            let advice = advice(all);
            assert!(advice.contains(&format!("--from-broker {expected}\n")), "{advice}");
            assert_eq!(advice.contains("different quorums"), different, "{advice}");
        };
        check(
            &[found(1, "Q", 2, 50, "no voter"), found(2, "Q", 3, 40, "no voter"), found(0, "", 0, 0, "")],
            2,
            false,
        );
        check(
            &[found(0, "E", 9, 7, "another one"), found(1, "Q", 3, 40, ""), found(2, "Q", 3, 39, "")],
            1,
            true,
        );
    }
}
