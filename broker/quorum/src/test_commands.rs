//! Commands for this crate's tests.

use ottla_core::metadata::{IncarnationId, RegisterBroker};
use ottla_types::{BrokerId, DirectoryId};

/// A broker's first registration, which says no more than it has to.
pub fn register(id: BrokerId) -> RegisterBroker {
    RegisterBroker {
        id,
        incarnation: IncarnationId(1),
        directory_id: DirectoryId([1; 16]),
        listeners: vec![],
        control_address: String::new(),
        rack: None,
        clean_shutdown: true,
        min_insync_replicas: None,
        default_replication_factor: None,
        acks_written: false,
    }
}
