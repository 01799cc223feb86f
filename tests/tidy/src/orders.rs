//! Which modules of a folder may use which: what ARCHITECTURE.md lists, for [`crate::modules`] to check.

/// The modules in one folder, each of which may use those before it.
pub struct Order {
    /// The folder of a crate's root, or of a module.
    pub folder: &'static str,
    /// The modules there, but for those of tests.
    pub modules: &'static [&'static str],
}

pub(crate) const fn order(folder: &'static str, modules: &'static [&'static str]) -> Order {
    Order { folder, modules }
}

/// Folders whose modules still use each other in a circle.
pub const CIRCLES: &[&str] = &["broker/sim/src/cluster"];

/// The whole picture.
pub const ORDERS: &[Order] = &[
    order("broker/core/src", &["config", "metadata", "partition", "coordinator", "group"]),
    order("broker/core/src/config", &["table", "validate", "throttle", "resolve"]),
    order("broker/core/src/coordinator", &["outbox", "ledger", "pending", "shard"]),
    order(
        "broker/core/src/group",
        &[
            "config", "ids", "record", "refusal", "request", "reply", "stats", "after", "offsets", "classic",
            "consumer", "groups",
        ],
    ),
    order(
        "broker/core/src/group/classic",
        &["subscription", "member", "group", "rebalance", "sync", "join", "live"],
    ),
    order(
        "broker/core/src/group/consumer",
        &["partitions", "assign", "topics", "current", "ownership", "record", "group", "heartbeat"],
    ),
    order("broker/core/src/group/consumer/assign", &["spec", "range", "uniform", "mixed"]),
    order(
        "broker/core/src/group/groups",
        &[
            "deadlines",
            "tally",
            "members",
            "commits",
            "tombstones",
            "deletions",
            "replies",
            "sums",
            "admin",
            "cleanup",
            "machine",
        ],
    ),
    order("broker/core/src/group/offsets", &["expiry", "table"]),
    order(
        "broker/core/src/metadata",
        &[
            "internal",
            "index",
            "image",
            "check",
            "replica_command",
            "command",
            "record",
            "reply",
            "replay",
            "snapshot",
            "succession",
            "decide",
        ],
    ),
    order(
        "broker/core/src/metadata/decide",
        &["refusals", "configs", "partitions", "topics", "settle", "reassign", "brokers", "isr", "chores"],
    ),
    order(
        "broker/core/src/partition",
        &[
            "assignment",
            "lag",
            "log_facts",
            "leader_state",
            "follower_state",
            "replica",
            "follower",
            "leader",
        ],
    ),
    order(
        "broker/log/src/cleaner",
        &[
            "error",
            "stats",
            "offset_map",
            "transactions",
            "contents",
            "batches",
            "mapping",
            "rewrite",
            "filter",
            "cleanable",
            "groups",
        ],
    ),
    order(
        "broker/server/src",
        &[
            "clock",
            "contained",
            "config",
            "logging",
            "net",
            "http",
            "producer_ids",
            "partitions",
            "throttle",
            "metrics",
            "fetch",
            "coordinator",
            "broker",
            "request",
            "replication",
            "handlers",
            "start",
        ],
    ),
    order(
        "broker/server/src/config",
        &["kind", "ignored", "properties", "table", "source", "listeners", "groups", "typed"],
    ),
    order("broker/server/src/coordinator", &["topics", "codec", "mailbox", "load", "runner", "host"]),
    order(
        "broker/server/src/net",
        &[
            "rate",
            "budget",
            "connections",
            "kept",
            "turns",
            "limits",
            "progress",
            "frame",
            "output",
            "connection",
            "listener",
            "side",
        ],
    ),
    order(
        "broker/server/src/partitions",
        &[
            "ready",
            "high_watermarks",
            "purgatory",
            "standing",
            "partition",
            "following",
            "from_future",
            "streams",
            "manager",
            "openings",
        ],
    ),
    order(
        "broker/store/src",
        &[
            "disk",
            "error",
            "real",
            "parallel",
            "config",
            "changes",
            "meta",
            "journal",
            "offsets",
            "held",
            "shared",
            "segment",
            "damage",
            "partition",
            "patient",
            "append",
            "commit",
            "read",
            "known_damage",
            "side",
            "repair",
            "retain",
            "time",
            "swap_file",
            "load",
            "owner",
            "recover",
            "cut",
            "swap",
            "scrub",
            "removals",
            "store",
            "upkeep",
        ],
    ),
];
