//! `ottla quorum`: who votes on the metadata, and who shall.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use ottla_client::{ClientError, QuorumMember, QuorumView};
use ottla_wire::ErrorCode;

use super::recover;
use crate::admin_args::{QuorumArgs, QuorumCommand, QuorumVoterArgs};
use crate::failure::Failure;
use crate::table::{NONE, Table};
use crate::target;

/// Does what is asked.
///
/// # Errors
/// When no cluster can be reached, or the voters can't be so.
pub async fn run(args: &QuorumArgs) -> Result<(), Failure> {
    match &args.what {
        QuorumCommand::Describe(args) => {
            let client = target::connect(&args.target).await?;
            let quorum = client.describe_quorum().await.map_err(unknown)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
            let table = describe(&quorum, i64::try_from(now).unwrap_or(i64::MAX));
            Ok(table.write(&mut std::io::stdout().lock())?)
        }
        QuorumCommand::AddVoter(args) => change(args, true).await,
        QuorumCommand::RemoveVoter(args) => change(args, false).await,
        QuorumCommand::Recover(args) => recover::run(args).await,
    }
}

async fn change(args: &QuorumVoterArgs, votes: bool) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    let quorum = client.describe_quorum().await.map_err(unknown)?;
    let Some(member) = quorum.members.iter().find(|member| member.id == args.id) else {
        return Err(Failure::new(format!("node {} doesn't follow the metadata", args.id))
            .remedy("start it first: every broker follows; `ottla quorum describe` lists them"));
    };
    let changed = if votes { client.add_voter(member).await } else { client.remove_voter(member).await };
    let remedy = |failure: Failure, code| match code {
        Some(ErrorCode::RequestTimedOut) => {
            failure.remedy("the wish stands and the cluster goes on trying: see `ottla quorum describe`")
        }
        Some(ErrorCode::InvalidRequest) => failure.remedy("add another voter first"),
        _ => failure.remedy("`ottla quorum describe` shows who votes"),
    };
    changed.map_err(|error| remedy(Failure::new(&error), error.error_code()))?;
    let words = if votes { "votes" } else { "votes no more" };
    writeln!(std::io::stdout(), "node {} {words}", args.id)?;
    Ok(())
}

/// A broker that answers but can't say who votes: most often there is no active controller, and each broker
/// knows why.
fn unknown(error: ClientError) -> Failure {
    let is_answered = error.error_code().is_some();
    let failure = target::failed(error);
    if !is_answered {
        return failure;
    }
    failure.remedy("if it stays so, `ottla quorum recover` shows what each broker has of the metadata, and what is wrong")
}

fn describe(quorum: &QuorumView, now_ms: i64) -> Table {
    let mut table = Table::new(&["NODE", "ROLE", "LOG END", "BEHIND", "CAUGHT UP", "ADDRESS"]);
    let end = quorum.members.iter().map(|member| member.log_end_offset).max().unwrap_or(-1);
    for member in &quorum.members {
        let known = member.log_end_offset >= 0;
        table.row([
            member.id.to_string(),
            role(quorum, member).to_owned(),
            if known { member.log_end_offset.to_string() } else { NONE.to_owned() },
            if known { (end - member.log_end_offset).to_string() } else { NONE.to_owned() },
            match member.last_caught_up_ms {
                ..0 => NONE.to_owned(),
                at => format!("{} ms ago", (now_ms - at).max(0)),
            },
            member.address.clone().unwrap_or_else(|| NONE.to_owned()),
        ]);
    }
    table
}

fn role(quorum: &QuorumView, member: &QuorumMember) -> &'static str {
    match (member.id == quorum.leader_id, member.votes) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "observer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cant_say_who_votes_names_where_to_look() {
        let what = "the metadata quorum".to_owned();
        let failure = unknown(ClientError::Broker { what, error: ErrorCode::RequestTimedOut, message: None });
        assert!(format!("{failure:?}").contains("ottla quorum recover"), "{failure:?}");
    }

    #[test]
    fn who_votes_and_how_far_each_is() {
        let member = |id, votes, log_end_offset, last_caught_up_ms| QuorumMember {
            id,
            votes,
            directory_id: [0; 16],
            log_end_offset,
            last_caught_up_ms,
            address: (id != 2).then(|| format!("b{id}:9093")),
        };
        let quorum = QuorumView {
            leader_id: 1,
            leader_epoch: 4,
            high_watermark: 90,
            members: vec![member(1, true, 100, 5_000), member(0, true, 90, 4_900), member(2, false, -1, -1)],
        };
        let mut out = Vec::new();
        describe(&quorum, 5_000).write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NODE   ROLE       LOG END   BEHIND   CAUGHT UP    ADDRESS\n\
             1      leader     100       0        0 ms ago     b1:9093\n\
             0      voter      90        10       100 ms ago   b0:9093\n\
             2      observer   <none>    <none>   <none>       <none>\n"
        );
    }
}
