//! `ottla elect-leader`: gives partitions their preferred leader, or one that an administrator names.

use std::io::Write;

use ottla_client::Client;
use ottla_control::proto::ElectUncleanRequest;
use ottla_wire::ErrorCode;
use tonic::Code;

use crate::admin_args::ElectLeaderArgs;
use crate::failure::Failure;
use crate::{control, target};

/// Elects and says what became of each partition.
///
/// # Errors
/// When a partition keeps its leader though another was to lead.
pub async fn run(args: &ElectLeaderArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    match (&args.topic, args.partition, args.replica) {
        (Some(topic), Some(partition), Some(replica)) => unclean(&client, topic, partition, replica).await,
        (Some(topic), None, None) => {
            let topic = client.refresh_topic(topic).await.map_err(target::failed)?;
            let partitions: Vec<(&str, i32)> =
                topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.index)).collect();
            preferred(&client, Some(&partitions)).await
        }
        (Some(topic), Some(partition), None) => preferred(&client, Some(&[(topic, partition)])).await,
        _ => preferred(&client, None).await,
    }
}

async fn preferred(client: &Client, partitions: Option<&[(&str, i32)]>) -> Result<(), Failure> {
    let outcomes = client.elect_preferred(partitions).await.map_err(target::failed)?;
    let mut out = std::io::stdout().lock();
    let mut failed = 0;
    for outcome in &outcomes {
        let name = format!("{}-{}", outcome.topic, outcome.partition);
        match &outcome.result {
            Ok(()) => writeln!(out, "{name}: its preferred replica leads")?,
            Err(error) if error.error_code() == Some(ErrorCode::ElectionNotNeeded) => {
                writeln!(out, "{name}: its preferred replica leads already")?;
            }
            Err(error) => {
                failed += 1;
                writeln!(out, "{error}")?;
            }
        }
    }
    if outcomes.is_empty() {
        writeln!(out, "Every partition is led by its preferred replica.")?;
    }
    if failed > 0 {
        return Err(Failure::new(format!("{failed} partitions keep their leader")).remedy(
            "`ottla get partitions` shows who is in sync: the first of the replicas leads once it is",
        ));
    }
    Ok(())
}

async fn unclean(client: &Client, topic: &str, partition: i32, replica: i32) -> Result<(), Failure> {
    let mut control = control::connect(client).await?;
    let request = ElectUncleanRequest { topic: topic.to_owned(), partition, replica };
    let shows = format!("`ottla get partitions {topic}` shows its leader, its replicas and who is in sync");
    let elected = control.elect_unclean(request).await.map_err(|status| {
        let failure = control::refused(&status);
        if status.code() == Code::Unavailable { failure } else { failure.remedy(shows) }
    })?;
    let elected = elected.into_inner();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{topic}-{partition}: broker {replica} leads in epoch {}", elected.leader_epoch)?;
    if !elected.may_lose.is_empty() {
        writeln!(out, "{topic}-{partition}: {}", elected.may_lose)?;
    }
    Ok(())
}
