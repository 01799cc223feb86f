//! The same plans on this machine without Kubernetes: brokers as processes on loopback.
//!
//! In reading order: the data folder and its lock, the ports, one broker as a supervised child,
//! the desired resources, the socket by which `ottla apply` and `ottla get` speak to a running
//! cluster, and `up`, which ties them together. Not here: how a spec becomes settings or
//! assignments (`ottla-plan`), what a valid manifest is (`ottla-api`), and any printing (the
//! command line tool hears [`LocalEvent`]s).

#![warn(missing_docs)]

mod folder;
mod ports;

mod child;
mod event;
mod probe;
mod supervisor;

mod manifests;
mod resources;

mod control;
mod shared;

mod brokers;
mod settings;
mod status;
mod topics;

mod answer;
mod protocol;
mod socket;

mod up;

pub use event::LocalEvent;
pub use folder::{DEFAULT_FOLDER, DataFolder, FolderError, FolderLock};
pub use manifests::{BUILT_IN, MANIFEST_BYTES_MAX, ManifestError, parse_manifests, to_yaml};
pub use ports::{PortError, Ports};
pub use protocol::{
    Action, Applied, BrokerSnapshot, ClusterSnapshot, PartitionSnapshot, Refusal, Reply, Request,
};
pub use resources::ResourcesError;
pub use socket::{AskError, ask};
pub use up::{LocalCluster, UpError, UpOptions};
