//! The command line: every command, its flags and its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::admin_args::{DrainArgs, ElectLeaderArgs, QuorumArgs, ReassignArgs, UndrainArgs};

/// What follows the help of `ottla` itself.
const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  it failed
  2  the command line is wrong
  3  no cluster could be reached
  4  a manifest was refused

On Kubernetes, kubectl applies and shows KafkaClusters and Topics; `apply`, `get` and `delete` here
speak to a cluster that `ottla up` runs, and `get --bootstrap` to any Kafka cluster.";

/// A Kafka-compatible streaming platform, on this machine and on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, after_help = AFTER_HELP, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster on this machine until Ctrl-C
    Up(UpArgs),
    /// Create or change resources of the local cluster
    Apply(ApplyArgs),
    /// Show clusters, topics, brokers or partitions
    Get(GetArgs),
    /// Delete a Topic of the local cluster
    Delete(DeleteArgs),
    /// Give partitions their preferred leader, or one that you name
    ElectLeader(ElectLeaderArgs),
    /// Move partitions to other brokers
    Reassign(ReassignArgs),
    /// Empty a broker: what it holds moves to the others
    Drain(DrainArgs),
    /// Give a broker work again that was drained
    Undrain(UndrainArgs),
    /// Show or change who votes on the metadata
    Quorum(QuorumArgs),
    /// Send records, one for each line of the input
    Produce(ProduceArgs),
    /// Print records
    Consume(ConsumeArgs),
    /// Measure throughput and latency of a cluster
    Bench(BenchArgs),
    /// Judge what clients wrote down of their sends and reads
    Check(CheckArgs),
    /// Run one broker in the foreground
    Broker(BrokerArgs),
    /// Print a completion script
    Completion(CompletionArgs),
    /// Print the version
    Version,
}

/// The folder of a local cluster.
#[derive(Debug, Args, Clone)]
pub struct DataArgs {
    /// The folder of the local cluster
    #[arg(long, value_name = "DIR", env = "OTTLA_DATA", default_value = "./ottla-data")]
    pub data: PathBuf,
}

/// Which cluster is meant.
#[derive(Debug, Args, Clone)]
pub struct TargetArgs {
    /// A Kafka cluster, as host:port[,host:port…]; else the local cluster of --data
    #[arg(long, short, value_name = "ADDR", env = "OTTLA_BOOTSTRAP")]
    pub bootstrap: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// `ottla up`
#[derive(Debug, Args)]
#[command(after_help = "\
Without -f, a built-in KafkaCluster with three brokers and a Topic are used (see --print), or those
that were applied in this folder before. Each broker is a process of its own; one that dies is
started again. Records stay in the folder when the cluster stops, and the next `up` serves them.")]
pub struct UpArgs {
    /// Manifests of one KafkaCluster and its Topics (- is the standard input)
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the built-in manifests and end
    #[arg(long)]
    pub print: bool,
    /// The first broker's port on 127.0.0.1; the others follow. The control API is 10000 above, HTTP 20000
    #[arg(long, value_name = "PORT", default_value_t = ottla_local::Ports::DEFAULT, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// `ottla apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A file of manifests, one or several documents (- is the standard input)
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Only check, change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// What `get` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GetKind {
    /// KafkaClusters
    #[value(alias = "cluster", alias = "kafkaclusters", alias = "kafkacluster", alias = "okc")]
    Clusters,
    /// Topics
    #[value(alias = "topic", alias = "ot")]
    Topics,
    /// The brokers of the cluster
    #[value(alias = "broker")]
    Brokers,
    /// The partitions of the topics
    #[value(alias = "partition")]
    Partitions,
}

/// How `get` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// `ottla get`
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to show
    pub kind: GetKind,
    /// Only this one: a resource's name, a broker's id, a topic's name for its partitions
    pub name: Option<String>,
    /// How to show it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// What `delete` deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeleteKind {
    /// A Topic
    #[value(alias = "topics", alias = "ot")]
    Topic,
    /// A KafkaCluster
    #[value(alias = "clusters", alias = "kafkacluster", alias = "kafkaclusters", alias = "okc")]
    Cluster,
}

/// `ottla delete`
#[derive(Debug, Args)]
#[command(after_help = "\
What becomes of the records is for the Topic to say: with deletionPolicy Retain, which is the default,
the topic and its records stay in the cluster; with Delete they go.")]
pub struct DeleteArgs {
    /// What kind of resource
    pub kind: DeleteKind,
    /// The resource's name
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// When the broker confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AcksArg {
    /// When the records are safe on every replica in sync
    All,
    /// When the leader has them
    #[value(name = "1")]
    One,
    /// Never
    #[value(name = "0")]
    None,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `ottla produce`
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// The topic
    pub topic: String,
    /// Send all to this partition; else by key, or in turn where there is none
    #[arg(short, long, value_name = "N")]
    pub partition: Option<i32>,
    /// What lies between key and value in a line, as in ':'; without it lines have no key
    #[arg(short = 'K', long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// When the broker confirms
    #[arg(long, default_value = "all")]
    pub acks: AcksArg,
    /// How batches are compressed
    #[arg(short = 'z', long, default_value = "none")]
    pub compression: CompressionArg,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla consume`
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The topic
    pub topic: String,
    /// Only this partition; else all
    #[arg(short, long, value_name = "N")]
    pub partition: Option<i32>,
    /// Begin with the oldest record; else with the next that comes
    #[arg(long, conflicts_with = "offset")]
    pub from_beginning: bool,
    /// Begin at this offset
    #[arg(short, long, value_name = "OFFSET")]
    pub offset: Option<i64>,
    /// End after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// End once everything that was there at the start is printed
    #[arg(short = 'e', long)]
    pub exit_at_end: bool,
    /// Print the key and this text before each value
    #[arg(short = 'K', long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure
    #[command(subcommand)]
    pub what: BenchCommand,
}

/// What `bench` measures.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Send records as fast as the cluster takes them
    Produce(BenchProduceArgs),
    /// Read a topic as fast as the cluster gives it
    Consume(BenchConsumeArgs),
}

/// How figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FiguresFormat {
    /// Lines for a person
    Text,
    /// One object
    Json,
}

/// `ottla bench produce`
#[derive(Debug, Args)]
pub struct BenchProduceArgs {
    /// The topic; it must exist
    pub topic: String,
    /// How many records
    #[arg(long, short = 'n', default_value_t = 1_000_000)]
    pub records: u64,
    /// The size of each value, in bytes
    #[arg(long, default_value_t = 1000)]
    pub record_size: usize,
    /// The size of a batch, in bytes
    #[arg(long, default_value_t = 262_144)]
    pub batch_size: usize,
    /// When the broker confirms
    #[arg(long, default_value = "all")]
    pub acks: AcksArg,
    /// Records a second; 0 sends as fast as the cluster takes them
    #[arg(long, value_name = "RECORDS", default_value_t = 0)]
    pub rate: u32,
    /// How batches are compressed
    #[arg(short = 'z', long, default_value = "none")]
    pub compression: CompressionArg,
    /// How the figures are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: FiguresFormat,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla bench consume`
#[derive(Debug, Args)]
pub struct BenchConsumeArgs {
    /// The topic
    pub topic: String,
    /// Stop after this many records; else at the end
    #[arg(long, short = 'n')]
    pub records: Option<u64>,
    /// How the figures are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: FiguresFormat,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: TargetArgs,
}

/// `ottla check`
#[derive(Debug, Args)]
#[command(after_help = "\
A history is one JSON object a line, one for each operation of a client:
  {\"process\":\"w-0\",\"start\":17,\"end\":29,\"outcome\":\"ok\",\"steps\":[{\"send\":[\"orders-0\",5,1000]}]}
  {\"process\":\"r-0\",\"start\":31,\"end\":33,\"outcome\":\"ok\",\"steps\":[{\"poll\":{\"orders-0\":[[1000,5]]}}]}
A send is [key, value, offset or null], a poll lists [offset, value] by key; values are unique numbers, a
key is a partition. start and end are nanoseconds. The outcome is ok, fail (certainly not applied) or
unknown (such as a time-out). \"rebalanced\":[keys] tells of a seek, and \"final\":true marks the reading
at the end, by a fresh client from the beginning; a process's polls stand in the order of its calls.")]
pub struct CheckArgs {
    /// Files of operations, one history in all (- is the standard input)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Fail too if a record was first read more than so many milliseconds after its acknowledgement
    #[arg(long, value_name = "MS")]
    pub lag_max_ms: Option<u64>,
}

/// `ottla broker`: what follows is the broker's own command line.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct BrokerArgs {
    /// Stop as on SIGTERM once the standard input is closed, so that a broker never outlives who started it
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
    /// The arguments of `ottla-broker`: a server.properties file, --override key=value…, --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub arguments: Vec<std::ffi::OsString>,
}

/// `ottla completion`
#[derive(Debug, Args)]
#[command(after_help = "\
bash: source <(ottla completion bash)
zsh:  ottla completion zsh > \"${fpath[1]}/_ottla\"
fish: ottla completion fish | source")]
pub struct CompletionArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_broker_gets_its_arguments_as_they_are() {
        let cli = Cli::parse_from(["ottla", "broker", "server.properties", "--override", "node.id=3"]);
        let Command::Broker(broker) = cli.command else { panic!("another command") };
        assert_eq!(broker.arguments, ["server.properties", "--override", "node.id=3"]);
        assert!(!broker.until_stdin_closes);
        let cli = Cli::parse_from(["ottla", "broker", "--until-stdin-closes", "f", "--help"]);
        let Command::Broker(broker) = cli.command else { panic!("another command") };
        assert!(broker.until_stdin_closes);
        assert_eq!(broker.arguments, ["f", "--help"]);
    }

    #[test]
    fn kinds_have_kubectls_short_names() {
        for (word, kind) in
            [("okc", GetKind::Clusters), ("topic", GetKind::Topics), ("brokers", GetKind::Brokers)]
        {
            let cli = Cli::parse_from(["ottla", "get", word]);
            let Command::Get(get) = cli.command else { panic!("another command") };
            assert_eq!(get.kind, kind);
        }
    }
}
