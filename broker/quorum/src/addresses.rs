//! Where the other nodes are reached. Node ids last, addresses may change while all nodes are down.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ottla_types::BrokerId;

/// The addresses of nodes: what the configuration says goes before where one answered last, and that before what the log
/// says.
#[derive(Default)]
pub struct Addresses {
    configured: BTreeMap<BrokerId, String>,
    found: Mutex<BTreeMap<BrokerId, String>>,
}

impl Addresses {
    /// With the addresses of voters that the configuration gives with their ids.
    pub fn new(configured: BTreeMap<BrokerId, String>) -> Self {
        Self { configured, found: Mutex::default() }
    }

    /// The node answered at this address.
    pub fn found(&self, id: BrokerId, address: &str) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.get(&id).is_none_or(|known| known != address) {
            found.insert(id, address.to_owned());
        }
    }

    /// The node's address, if the log says `logged`.
    pub fn of(&self, id: BrokerId, logged: &str) -> String {
        self.known(id).unwrap_or_else(|| logged.to_owned())
    }

    /// The node's address without a word of the log.
    pub fn known(&self, id: BrokerId) -> Option<String> {
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
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
    fn the_configuration_goes_before_answers_and_those_before_the_log() {
        let addresses = Addresses::new([(BrokerId(1), "a:1".to_owned())].into());
        for id in [1, 2] {
            addresses.found(BrokerId(id), "b:1");
        }
        let of = |id| addresses.of(BrokerId(id), "c:1");
        assert_eq!([of(1), of(2), of(3)], ["a:1", "b:1", "c:1"]);
    }
}
