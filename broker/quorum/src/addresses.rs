//! Where the other nodes are reached. Node ids last, addresses may change while all nodes are down.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ottla_types::BrokerId;

/// The addresses of nodes. What the configuration gives them with their ids goes first, then what the log
/// says, unless the node itself has named another address since the log says so: then all nodes may have
/// moved while they were down.
#[derive(Default)]
pub struct Addresses {
    configured: BTreeMap<BrokerId, String>,
    found: Mutex<BTreeMap<BrokerId, Found>>,
}

/// What a node said.
#[derive(PartialEq, Eq)]
struct Found {
    address: String,
    /// The address that the log had for it by then.
    logged: Option<String>,
}

impl Addresses {
    /// With the addresses of voters that the configuration gives with their ids.
    pub fn new(configured: BTreeMap<BrokerId, String>) -> Self {
        Self { configured, found: Mutex::default() }
    }

    /// The node says that it is reached at `address`, while the log has `logged` for it.
    pub fn found(&self, id: BrokerId, address: &str, logged: Option<String>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(id, Found { address: address.to_owned(), logged });
    }

    /// The node's address, if the log says `logged`.
    pub fn of(&self, id: BrokerId, logged: &str) -> String {
        let found = || {
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            let since = found.get(&id).filter(|found| found.logged.as_deref() == Some(logged));
            since.map(|found| found.address.clone())
        };
        self.configured.get(&id).cloned().or_else(found).unwrap_or_else(|| logged.to_owned())
    }

    /// The node's address without a word of the log.
    pub fn known(&self, id: BrokerId) -> Option<String> {
        let found = || {
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.get(&id).map(|found| found.address.clone())
        };
        self.configured.get(&id).cloned().or_else(found)
    }

    /// Those of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &String> {
        self.configured.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_goes_first_and_then_what_the_node_said_since_the_logs_word() {
        let addresses = Addresses::new([(BrokerId(1), "a:1".to_owned())].into());
        for id in [1, 2] {
            addresses.found(BrokerId(id), "b:1", Some("c:1".to_owned()));
        }
        let of = |id, logged| addresses.of(BrokerId(id), logged);
        assert_eq!([of(1, "c:1"), of(2, "c:1"), of(3, "c:1")], ["a:1", "b:1", "c:1"]);
        // It joined again at another address.
        assert_eq!([of(1, "d:1"), of(2, "d:1"), of(3, "d:1")], ["a:1", "d:1", "d:1"]);
        // What it said before the log was known isn't newer than the log.
        addresses.found(BrokerId(4), "b:1", None);
        assert_eq!(
            (of(4, "c:1"), addresses.known(BrokerId(4)).unwrap()),
            ("c:1".to_owned(), "b:1".to_owned())
        );
    }
}
