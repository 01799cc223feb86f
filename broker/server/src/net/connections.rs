//! How many connections there are, in all and from each address, and who may have another.
//!
//! The last quarter is kept for addresses that have few, so that none of them can take it all from the
//! others; and other brokers have room beyond, once they have shown that they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The part that is kept for addresses that have few.
const KEPT_PART: usize = 4;
/// Few are so small a part of all, and one at least.
const FEW_PART: usize = 64;
/// Connections beyond the limits that may be other brokers', in all and from one address.
const ON_TRIAL_MAX: usize = 64;
const ON_TRIAL_OF_ADDRESS_MAX: usize = 16;

/// Why a connection is closed as soon as it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are `max.connections` already.
    #[error("max.connections ({0}) is reached")]
    Connections(usize),
    /// There are `max.connections.per.ip` from this address already.
    #[error("max.connections.per.ip ({0}) is reached")]
    ConnectionsOfAddress(usize),
    /// This address has more than a few, and the last quarter is kept for others.
    #[error("three quarters of max.connections are reached, and this address has {0} already")]
    KeptForOthers(usize),
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionsMax {
    /// In all.
    pub in_all: usize,
    /// From one address; none: as many as leave room for others.
    pub of_address: Option<usize>,
}

/// The connections that are open.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
    on_trial: usize,
    on_trial_by_address: HashMap<IpAddr, usize>,
}

/// One counted connection; dropping it makes room for another.
#[derive(Debug)]
pub struct ConnectionSlot {
    of: Arc<Connections>,
    address: IpAddr,
    on_trial: bool,
}

impl Connections {
    /// How many are open.
    pub fn count(&self) -> usize {
        let open = self.open.lock();
        open.total + open.on_trial
    }

    /// Counts a connection from `address`.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr, max: ConnectionsMax) -> Result<ConnectionSlot, Refusal> {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        if open.total >= max.in_all {
            return Err(Refusal::Connections(max.in_all));
        }
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        match max.of_address {
            Some(most) if of_address >= most => return Err(Refusal::ConnectionsOfAddress(most)),
            Some(_) => {}
            None => {
                let is_last_quarter = open.total >= max.in_all - max.in_all / KEPT_PART;
                if is_last_quarter && of_address >= (max.in_all / FEW_PART).max(1) {
                    return Err(Refusal::KeptForOthers(of_address));
                }
            }
        }
        open.total += 1;
        open.by_address.insert(address, of_address + 1);
        Ok(ConnectionSlot { of: Arc::clone(self), address, on_trial: false })
    }

    /// Counts a connection beyond the limits, which has to show that it is another broker's; none if there
    /// are too many.
    pub fn admit_on_trial(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionSlot> {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        let of_address = open.on_trial_by_address.get(&address).copied().unwrap_or(0);
        if open.on_trial >= ON_TRIAL_MAX || of_address >= ON_TRIAL_OF_ADDRESS_MAX {
            return None;
        }
        open.on_trial += 1;
        open.on_trial_by_address.insert(address, of_address + 1);
        Some(ConnectionSlot { of: Arc::clone(self), address, on_trial: true })
    }
}

impl ConnectionSlot {
    /// Whether it is beyond the limits, and only for another broker.
    pub fn is_on_trial(&self) -> bool {
        self.on_trial
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let open = &mut *self.of.open.lock();
        let (total, by_address) = match self.on_trial {
            false => (&mut open.total, &mut open.by_address),
            true => (&mut open.on_trial, &mut open.on_trial_by_address),
        };
        *total -= 1;
        let count = by_address.get_mut(&self.address).expect("counted when it was admitted");
        *count -= 1;
        if *count == 0 {
            by_address.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Opens connections from `address` until one is refused.
    fn fill(
        connections: &Arc<Connections>,
        address: IpAddr,
        max: ConnectionsMax,
    ) -> (Vec<ConnectionSlot>, Refusal) {
        let mut slots = Vec::new();
        loop {
            match connections.admit(address, max) {
                Ok(slot) => slots.push(slot),
                Err(refusal) => return (slots, refusal),
            }
        }
    }

    #[test]
    fn connections_are_limited_in_all_and_by_address() {
        let connections = Arc::new(Connections::default());
        let max = ConnectionsMax { in_all: 3, of_address: Some(2) };
        let (mut first, refusal) = fill(&connections, address(1), max);
        assert_eq!((first.len(), refusal), (2, Refusal::ConnectionsOfAddress(2)));
        let (_second, refusal) = fill(&connections, address(2), max);
        assert_eq!((refusal, connections.count()), (Refusal::Connections(3), 3));
        first.pop();
        assert!(connections.admit("::ffff:10.0.0.1".parse().unwrap(), max).is_ok());
        assert_eq!(connections.count(), 2);
    }

    #[test]
    fn no_address_takes_them_all_from_the_others() {
        let connections = Arc::new(Connections::default());
        let max = ConnectionsMax { in_all: 1_000, of_address: None };
        let (greedy, refusal) = fill(&connections, address(1), max);
        assert_eq!((greedy.len(), refusal), (750, Refusal::KeptForOthers(750)));
        let others: Vec<_> = (2..=17).map(|last| fill(&connections, address(last), max).0).collect();
        assert!(others.iter().all(|slots| slots.len() == 15), "each has its few");
        drop(greedy);
        let (one, _) = fill(&connections, address(1), max);
        assert_eq!(one.len(), 750 - 16 * 15, "what is free is anyone's again");
    }

    #[test]
    fn a_limit_for_each_address_is_the_limit() {
        let connections = Arc::new(Connections::default());
        let max = ConnectionsMax { in_all: 100, of_address: Some(100) };
        assert_eq!(fill(&connections, address(1), max).0.len(), 100);
    }

    #[test]
    fn there_is_room_for_brokers_beyond_and_not_without_end() {
        let connections = Arc::new(Connections::default());
        let max = ConnectionsMax { in_all: 1, of_address: None };
        let _client = connections.admit(address(1), max).unwrap();
        let slots: Vec<_> = (0..100).map_while(|_| connections.admit_on_trial(address(1))).collect();
        assert_eq!(slots.len(), ON_TRIAL_OF_ADDRESS_MAX);
        assert!(slots.iter().all(ConnectionSlot::is_on_trial));
        assert!(connections.admit_on_trial(address(2)).is_some());
        let all = (2..=200).map_while(|last| connections.admit_on_trial(address(last)));
        assert_eq!(slots.len() + all.collect::<Vec<_>>().len(), ON_TRIAL_MAX);
        drop(slots);
        assert_eq!(connections.count(), 1);
    }
}
