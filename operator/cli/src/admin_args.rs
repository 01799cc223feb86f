//! The command line of what administrators do with replicas, brokers and the metadata quorum.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::TargetArgs;

/// `ottla elect-leader`
#[derive(Debug, Args)]
#[command(after_help = "\
Without --unclean, the first replica of each partition leads again, if it is in sync. With it, the replica
of the broker that is named leads although it may lack acknowledged records: those are lost. That is
possible only while the partition has no leader.")]
pub struct ElectLeaderArgs {
    /// The topic
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub topic: Option<String>,
    /// Only this partition; else all of the topic. Needed with --unclean
    #[arg(short, long, value_name = "N", requires = "topic")]
    pub partition: Option<i32>,
    /// All partitions of all topics
    #[arg(long)]
    pub all: bool,
    /// Give up what the replica lacks
    #[arg(long, requires = "replica", requires = "partition")]
    pub unclean: bool,
    /// The broker whose replica is to lead, with --unclean
    #[arg(long, value_name = "BROKER", requires = "unclean")]
    pub replica: Option<i32>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla reassign`
#[derive(Debug, Args)]
pub struct ReassignArgs {
    /// What to do
    #[command(subcommand)]
    pub what: ReassignCommand,
}

/// What `reassign` does.
#[derive(Debug, Subcommand)]
pub enum ReassignCommand {
    /// Move partitions to other brokers
    Execute(ReassignExecuteArgs),
    /// Show which partitions are moving, and how far they are
    Verify(ReassignVerifyArgs),
    /// Stop moves: partitions go back to where they were
    Cancel(ReassignCancelArgs),
}

/// `ottla reassign execute`
#[derive(Debug, Args)]
#[command(after_help = "\
A plan is the JSON of kafka-reassign-partitions.sh:
  {\"partitions\": [{\"topic\": \"orders\", \"partition\": 0, \"replicas\": [1, 2, 3]}]}
The moves are in the cluster's metadata and go on whether or not this command watches them.")]
pub struct ReassignExecuteArgs {
    /// The topic
    #[arg(
        required_unless_present = "file",
        conflicts_with = "file",
        requires = "partition",
        requires = "replicas"
    )]
    pub topic: Option<String>,
    /// The partition
    #[arg(short, long, value_name = "N")]
    pub partition: Option<i32>,
    /// The brokers that it is to be on, the preferred leader first
    #[arg(short, long, value_name = "BROKER,…", value_delimiter = ',')]
    pub replicas: Vec<i32>,
    /// A plan (- is the standard input)
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Don't wait until the partitions have moved
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla reassign verify`
#[derive(Debug, Args)]
pub struct ReassignVerifyArgs {
    /// A plan: tell also which of its partitions are where they are to be (- is the standard input)
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla reassign cancel`
#[derive(Debug, Args)]
pub struct ReassignCancelArgs {
    /// The topic
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub topic: Option<String>,
    /// Only this partition; else all of the topic that move
    #[arg(short, long, value_name = "N", requires = "topic")]
    pub partition: Option<i32>,
    /// All that move
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla drain`
#[derive(Debug, Args)]
#[command(after_help = "\
The broker is marked in the cluster's metadata: nothing is placed on it from then on, and what it holds
moves to the others, whether or not this command watches it. `ottla undrain` takes the mark away.")]
pub struct DrainArgs {
    /// The broker's id
    pub broker: i32,
    /// Don't wait until the broker is empty
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla undrain`
#[derive(Debug, Args)]
pub struct UndrainArgs {
    /// The broker's id
    pub broker: i32,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla quorum`
#[derive(Debug, Args)]
pub struct QuorumArgs {
    /// What to do
    #[command(subcommand)]
    pub what: QuorumCommand,
}

/// What `quorum` does.
#[derive(Debug, Subcommand)]
pub enum QuorumCommand {
    /// Show who votes on the metadata, and how far each node is
    Describe(QuorumDescribeArgs),
    /// Let a node vote that follows the metadata
    AddVoter(QuorumVoterArgs),
    /// Take the vote from a node, whether it lives or not
    RemoveVoter(QuorumVoterArgs),
    /// Show what each broker has of the metadata, and rebuild a quorum whose voters lost their disks
    Recover(QuorumRecoverArgs),
}

/// `ottla quorum describe`
#[derive(Debug, Args)]
pub struct QuorumDescribeArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla quorum add-voter`, `ottla quorum remove-voter`
#[derive(Debug, Args)]
pub struct QuorumVoterArgs {
    /// The node's id
    pub id: i32,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla quorum recover`
///
/// Without --from-broker it only shows what each broker has.
#[derive(Debug, Args)]
pub struct QuorumRecoverArgs {
    /// The CONTROLLER listeners of all brokers that are left
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub controllers: Vec<String>,
    /// Rebuild the quorum from this broker's metadata, and have the others follow. What only others knew is
    /// lost
    #[arg(long, value_name = "ID")]
    pub from_broker: Option<i32>,
    /// Rebuild it though another broker has later metadata: topics, settings and moves that only that one
    /// knows are lost
    #[arg(long, requires = "from_broker")]
    pub lose_later_metadata: bool,
    /// Rebuild it though a broker of --controllers doesn't answer: what only that one knows of the metadata
    /// is lost
    #[arg(long, requires = "from_broker")]
    pub lose_unseen_metadata: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[track_caller]
    fn check(line: &str, is_right: bool) {
        let parsed = Cli::try_parse_from(line.split(' '));
        assert_eq!(parsed.is_ok(), is_right, "{line}: {parsed:?}");
    }

    #[test]
    fn a_rebuild_names_who_is_asked() {
        check("ottla quorum recover --controllers a:1,b:2", true);
        check("ottla quorum recover --controllers a:1 --from-broker 1", true);
        check("ottla quorum recover --from-broker 1", false);
        check("ottla quorum recover --controllers a:1 --from-broker 1 --lose-later-metadata", true);
        check("ottla quorum recover --controllers a:1 --lose-unseen-metadata", false);
    }

    #[test]
    fn an_unclean_election_names_its_partition_and_replica() {
        check("ottla elect-leader t", true);
        check("ottla elect-leader --all", true);
        check("ottla elect-leader", false);
        check("ottla elect-leader t --all", false);
        check("ottla elect-leader t -p 0 --unclean --replica 2", true);
        check("ottla elect-leader t --unclean --replica 2", false);
        check("ottla elect-leader t -p 0 --unclean", false);
        check("ottla elect-leader t -p 0 --replica 2", false);
    }

    #[test]
    fn a_move_is_named_or_stands_in_a_plan() {
        check("ottla reassign execute t -p 0 --replicas 1,2", true);
        check("ottla reassign execute -f plan.json", true);
        check("ottla reassign execute t -p 0", false);
        check("ottla reassign execute", false);
        check("ottla reassign cancel --all", true);
        check("ottla reassign cancel", false);
    }
}
