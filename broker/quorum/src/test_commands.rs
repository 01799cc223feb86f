//! Commands for this crate's tests.

use ottla_core::metadata::{IncarnationId, RegisterBroker};
use ottla_types::{BrokerId, DirectoryId};

/// A broker's first registration, which says no more than it has to.
pub fn register(id: BrokerId) -> RegisterBroker {
    RegisterBroker { clean_shutdown: true, ..RegisterBroker::new(id, IncarnationId(1), DirectoryId([1; 16])) }
}
