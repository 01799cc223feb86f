//! `ottla reassign`: moves partitions to other brokers, shows how far they are, and stops moves.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

use ottla_client::{Client, DescribedPartition, MovingPartition, NewReplicas, PartitionOutcome};
use serde::Deserialize;

use crate::admin_args::{
    ReassignArgs, ReassignCancelArgs, ReassignCommand, ReassignExecuteArgs, ReassignVerifyArgs,
};
use crate::failure::{Context, Failure};
use crate::moves::{self, LOOK_INTERVAL, PartitionKey, Progress};
use crate::table::{NONE, Table};
use crate::target;

/// Does what is asked.
///
/// # Errors
/// When a move is refused, or a partition isn't where it is to be.
pub async fn run(args: &ReassignArgs) -> Result<(), Failure> {
    match &args.what {
        ReassignCommand::Execute(args) => execute(args).await,
        ReassignCommand::Verify(args) => verify(args).await,
        ReassignCommand::Cancel(args) => cancel(args).await,
    }
}

/// A plan as kafka-reassign-partitions.sh reads and writes it.
#[derive(Debug, Deserialize)]
struct Plan {
    partitions: Vec<PlannedPartition>,
}

#[derive(Debug, Deserialize)]
struct PlannedPartition {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
}

fn read_plan(path: &Path) -> Result<Vec<NewReplicas>, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    parse_plan(&text.context(path.display())?).map_err(|failure| failure.about(path.display()))
}

fn parse_plan(text: &str) -> Result<Vec<NewReplicas>, Failure> {
    let plan: Plan = serde_json::from_str(text)
        .map_err(|error| Failure::new(error).remedy("write it as `ottla reassign execute --help` shows"))?;
    Ok(plan
        .partitions
        .into_iter()
        .map(|p| NewReplicas { topic: p.topic, partition: p.partition, replicas: Some(p.replicas) })
        .collect())
}

async fn execute(args: &ReassignExecuteArgs) -> Result<(), Failure> {
    let plan = match (&args.file, &args.topic, args.partition) {
        (Some(file), ..) => read_plan(file)?,
        (None, Some(topic), Some(partition)) => {
            let replicas = Some(args.replicas.clone());
            vec![NewReplicas { topic: topic.clone(), partition, replicas }]
        }
        _ => {
            return Err(
                Failure::new("no partition is named").remedy("name a topic and -p, or a plan with -f")
            );
        }
    };
    let client = target::connect(&args.target).await?;
    let outcomes = client.reassign(&plan).await.map_err(target::failed)?;
    let asked = accepted(outcomes)?;
    if args.no_wait {
        writeln!(
            std::io::stdout(),
            "{} partitions are on their way: see `ottla reassign verify`",
            asked.len()
        )?;
        return Ok(());
    }
    watch(&client, &asked).await?;
    let strayed: Vec<String> = astray(&plan, &client.describe_partitions(&[]).await.map_err(target::failed)?);
    match strayed.as_slice() {
        [] => Ok(()),
        some => {
            Err(Failure::new(format!("{} did not move: somebody stopped or changed it", some.join(", ")))
                .remedy("`ottla get partitions` shows where they are"))
        }
    }
}

/// The partitions of the moves that were accepted, if all were.
fn accepted(outcomes: Vec<PartitionOutcome>) -> Result<BTreeSet<PartitionKey>, Failure> {
    let mut asked = BTreeSet::new();
    let mut refused = Vec::new();
    for outcome in outcomes {
        match outcome.result {
            Ok(()) => {
                asked.insert((outcome.topic, outcome.partition));
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    match refused.as_slice() {
        [] => Ok(asked),
        some => Err(Failure::new(some.join("\n       ")).remedy(match asked.len() {
            0 => "`ottla get partitions` and `ottla get brokers` show what there is".to_owned(),
            count => format!("{count} others are on their way: see `ottla reassign verify`"),
        })),
    }
}

/// Prints how far these partitions are until none of them moves.
async fn watch(client: &Client, asked: &BTreeSet<PartitionKey>) -> Result<(), Failure> {
    let mut progress = Progress::default();
    let mut told = String::new();
    loop {
        // So that brokers that just came are asked for sizes too.
        client.refresh(Some(&[])).await.map_err(target::failed)?;
        let moving = client.moving().await.map_err(target::failed)?;
        let ours: Vec<MovingPartition> =
            moving.into_iter().filter(|partition| asked.contains(&moves::key(partition))).collect();
        progress.note(moves::measure(client, &ours).await);
        if progress.is_over() {
            writeln!(std::io::stdout(), "{} partitions are where they are to be.", asked.len())?;
            return Ok(());
        }
        let words = progress.words();
        if words != told {
            writeln!(std::io::stdout(), "moved {words}")?;
            told = words;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The partitions of a plan that aren't where they are to be.
fn astray(plan: &[NewReplicas], found: &[DescribedPartition]) -> Vec<String> {
    let is_there = |new: &&NewReplicas| {
        let found = found.iter().find(|p| (&p.topic, p.partition) == (&new.topic, new.partition));
        found.map(|p| &p.replicas) == new.replicas.as_ref()
    };
    plan.iter().filter(|new| !is_there(new)).map(|new| format!("{}-{}", new.topic, new.partition)).collect()
}

async fn verify(args: &ReassignVerifyArgs) -> Result<(), Failure> {
    let plan = args.file.as_deref().map(read_plan).transpose()?;
    let client = target::connect(&args.target).await?;
    let moving = client.moving().await.map_err(target::failed)?;
    let sizes = moves::measure(&client, &moving).await;
    let mut out = std::io::stdout().lock();
    if moving.is_empty() {
        writeln!(out, "No partition is moving.")?;
    } else {
        let mut table = Table::new(&["TOPIC", "PARTITION", "REPLICAS", "ADDING", "REMOVING", "COPIED"]);
        for partition in &moving {
            let copied = sizes.get(&moves::key(partition)).copied().unwrap_or_default();
            table.row([
                partition.topic.clone(),
                partition.partition.to_string(),
                list(&partition.replicas),
                list(&partition.adding),
                list(&partition.removing),
                format!("{} of {}", moves::bytes(copied.done), moves::bytes(copied.total)),
            ]);
        }
        table.write(&mut out)?;
    }
    let Some(plan) = plan else { return Ok(()) };
    let found = client.describe_partitions(&[]).await.map_err(target::failed)?;
    match astray(&plan, &found).as_slice() {
        [] => Ok(writeln!(out, "All {} partitions of the plan are where they are to be.", plan.len())?),
        some => Err(Failure::new(format!("not where they are to be: {}", some.join(", ")))
            .remedy("wait for those that move; `ottla reassign execute` moves the others")),
    }
}

async fn cancel(args: &ReassignCancelArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    let moving = client.moving().await.map_err(target::failed)?;
    let stops: Vec<NewReplicas> = moving
        .iter()
        .filter(|partition| {
            args.topic.as_ref().is_none_or(|topic| *topic == partition.topic)
                && args.partition.is_none_or(|index| index == partition.partition)
        })
        .map(|partition| NewReplicas {
            topic: partition.topic.clone(),
            partition: partition.partition,
            replicas: None,
        })
        .collect();
    if stops.is_empty() {
        return Err(Failure::new("nothing of that is moving").remedy("`ottla reassign verify` shows what is"));
    }
    let stopped = accepted(client.reassign(&stops).await.map_err(target::failed)?)?;
    let mut out = std::io::stdout().lock();
    for (topic, partition) in &stopped {
        writeln!(out, "{topic}-{partition}: goes back to where it was")?;
    }
    Ok(())
}

fn list(ids: &[i32]) -> String {
    if ids.is_empty() {
        return NONE.to_owned();
    }
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_kafkas_json() {
        let text = r#"{"version":1,"partitions":[{"topic":"t","partition":1,"replicas":[3,1],"log_dirs":["any","any"]}]}"#;
        let plan = parse_plan(text).unwrap();
        let expected = NewReplicas { topic: "t".to_owned(), partition: 1, replicas: Some(vec![3, 1]) };
        assert_eq!(plan, [expected]);
        assert!(parse_plan("{}").is_err());
    }

    #[test]
    fn a_partition_in_another_order_is_not_there_yet() {
        let new =
            |partition, replicas| NewReplicas { topic: "t".to_owned(), partition, replicas: Some(replicas) };
        let found = |partition, replicas| DescribedPartition {
            topic: "t".to_owned(),
            partition,
            leader: None,
            leader_epoch: 0,
            replicas,
            isr: vec![],
            elr: vec![],
            offline: vec![],
        };
        let plan = [new(0, vec![1, 2]), new(1, vec![1, 2]), new(2, vec![1])];
        let there = [found(0, vec![1, 2]), found(1, vec![2, 1])];
        assert_eq!(astray(&plan, &there), ["t-1", "t-2"]);
    }
}
