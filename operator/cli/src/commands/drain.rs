//! `ottla drain` and `ottla undrain`: empty a broker, or give it work again.

use std::collections::BTreeMap;
use std::io::Write;

use ottla_client::{Client, MovingPartition};
use ottla_control::proto::DrainBrokerRequest;

use crate::admin_args::{DrainArgs, UndrainArgs};
use crate::failure::Failure;
use crate::moves::{self, Copied, LOOK_INTERVAL, PartitionKey, Progress};
use crate::{control, target};

/// Marks the broker, and prints how far it is until it is empty.
///
/// # Errors
/// When the others can't take what it holds.
pub async fn drain(args: &DrainArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    mark(&client, args.broker, true).await?;
    writeln!(std::io::stdout(), "broker {} is marked: nothing is placed on it any more", args.broker)?;
    if args.no_wait {
        return Ok(());
    }
    watch(&client, args.broker).await
}

/// Takes the mark away.
///
/// # Errors
/// When there is no such broker.
pub async fn undrain(args: &UndrainArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    mark(&client, args.broker, false).await?;
    writeln!(std::io::stdout(), "broker {} is given work again", args.broker)?;
    Ok(())
}

async fn mark(client: &Client, id: i32, draining: bool) -> Result<(), Failure> {
    let mut control = control::connect(client).await?;
    let marked = control.drain_broker(DrainBrokerRequest { id, draining }).await;
    let remedy = |failure: Failure, code| match code {
        tonic::Code::NotFound => failure.remedy("`ottla get brokers` lists the brokers"),
        tonic::Code::FailedPrecondition => {
            failure.remedy("add a broker first, or lower the replication of the topics that need so many")
        }
        _ => failure,
    };
    marked.map(drop).map_err(|status| remedy(control::refused(&status), status.code()))
}

async fn watch(client: &Client, broker: i32) -> Result<(), Failure> {
    let mut progress = Progress::default();
    let mut told = String::new();
    loop {
        client.refresh(Some(&[])).await.map_err(target::failed)?;
        progress.note(left_on(client, broker).await?);
        if progress.is_over() {
            let mut out = std::io::stdout().lock();
            writeln!(
                out,
                "broker {broker} is empty: stop it for good, or give it work with `ottla undrain {broker}`"
            )?;
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

/// The partitions that a broker still holds, with what of them has been copied to others.
async fn left_on(client: &Client, broker: i32) -> Result<BTreeMap<PartitionKey, Copied>, Failure> {
    let all = client.describe_partitions(&[]).await.map_err(target::failed)?;
    let held: Vec<PartitionKey> = all
        .into_iter()
        .filter(|partition| partition.replicas.contains(&broker))
        .map(|partition| (partition.topic, partition.partition))
        .collect();
    let moving = client.moving().await.map_err(target::failed)?;
    let leaving: Vec<MovingPartition> =
        moving.into_iter().filter(|partition| partition.removing.contains(&broker)).collect();
    let copied = moves::measure(client, &leaving).await;
    let sizes = client.partition_sizes(broker, None).await.unwrap_or_default();
    Ok(held
        .into_iter()
        .map(|key| {
            let waiting = Copied { done: 0, total: sizes.get(&key).copied().unwrap_or(0) };
            let copied = copied.get(&key).copied().unwrap_or(waiting);
            (key, copied)
        })
        .collect())
}
