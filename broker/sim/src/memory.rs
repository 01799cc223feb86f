//! What a broker holds in memory stays within its budget, whatever the schedule.

use ottla_core::partition::Replica;
use ottla_store::Store;

use crate::Violation;
use crate::shadow::demand;

/// Checks what a store holds.
pub(crate) fn check_store(store: &Store) -> Result<(), Violation> {
    let held = store.memory();
    demand!(
        held.journal_bytes <= held.journal_bytes_max,
        "memory: a group of the journal is too large: {held:?}"
    );
    demand!(held.open_files <= held.open_files_max, "memory: too many files are open: {held:?}");
    Ok(())
}

/// Checks what a replica holds: progress of nobody but the other replicas.
pub(crate) fn check_replica(replica: &Replica) -> Result<(), Violation> {
    let peers = replica.assignment().map_or(0, |assignment| assignment.replicas.len().saturating_sub(1));
    let followers = replica.followers().count();
    demand!(followers <= peers, "memory: a leader knows of {followers} followers and has {peers}");
    Ok(())
}
