//! Limits that connections share: how many there are, in all and from one address, and the bytes of requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ConnectionLimits;

/// Requests of all connections that may wait beyond what each connection may have: some 32 MiB.
const SHARED_PLACES: usize = 32 << 10;

/// Why a connection is closed as soon as it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are `max.connections` already.
    #[error("max.connections ({0}) is reached")]
    Connections(usize),
    /// There are `max.connections.per.ip` from this address already.
    #[error("max.connections.per.ip ({0}) is reached")]
    ConnectionsOfAddress(usize),
}

/// The limits of one broker, over all its listeners.
#[derive(Debug)]
pub struct Limits {
    config: ConnectionLimits,
    open: Mutex<OpenConnections>,
    request_bytes: Arc<Semaphore>,
    shared_places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One counted connection; dropping it makes room for another.
#[derive(Debug)]
pub struct ConnectionSlot {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Limits {
    /// Limits as configured, nothing used.
    pub fn new(config: ConnectionLimits) -> Arc<Self> {
        assert!(config.queued_bytes_max >= config.request_bytes_max, "a largest request must fit");
        let request_bytes = Arc::new(Semaphore::new(config.queued_bytes_max));
        let shared_places = Arc::new(Semaphore::new(SHARED_PLACES));
        Arc::new(Self { config, open: Mutex::default(), request_bytes, shared_places })
    }

    /// What was configured.
    pub fn config(&self) -> &ConnectionLimits {
        &self.config
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.open.lock().total
    }

    /// Bytes of requests in flight now.
    pub fn queued_bytes(&self) -> usize {
        self.config.queued_bytes_max - self.request_bytes.available_permits()
    }

    /// Counts a connection from `address`.
    ///
    /// # Errors
    /// When one of the limits is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, Refusal> {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        if open.total >= self.config.connections_max {
            return Err(Refusal::Connections(self.config.connections_max));
        }
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.config.connections_per_address_max {
            return Err(Refusal::ConnectionsOfAddress(self.config.connections_per_address_max));
        }
        open.total += 1;
        open.by_address.insert(address, of_address + 1);
        Ok(ConnectionSlot { limits: Arc::clone(self), address })
    }

    /// Waits until `bytes` more of requests may be held; at most `request_bytes_max`.
    pub async fn reserve(&self, bytes: usize) -> OwnedSemaphorePermit {
        assert!(bytes <= self.config.request_bytes_max, "checked when the length was read");
        let permits = u32::try_from(bytes).expect("request_bytes_max is a 32-bit number");
        let semaphore = Arc::clone(&self.request_bytes);
        semaphore.acquire_many_owned(permits).await.expect("the semaphore is never closed")
    }

    /// Waits for one of a connection's own places for a request that is begun. One that waits with little memory may
    /// have one of those that all connections share, too.
    pub async fn place(&self, own: &Arc<Semaphore>, is_brief: bool) -> OwnedSemaphorePermit {
        let own = Arc::clone(own).acquire_owned();
        let place = if is_brief {
            let shared = Arc::clone(&self.shared_places).acquire_owned();
            tokio::select! { biased; place = own => place, place = shared => place }
        } else {
            own.await
        };
        place.expect("the semaphores are never closed")
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock();
        let count = open.by_address.get_mut(&self.address).expect("counted when it was admitted");
        *count -= 1;
        if *count == 0 {
            open.by_address.remove(&self.address);
        }
        open.total -= 1;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Room for two requests of ten bytes.
    pub fn limits(connections_max: usize, connections_per_address_max: usize) -> Arc<Limits> {
        Limits::new(ConnectionLimits {
            request_bytes_max: 10,
            queued_bytes_max: 20,
            connections_max,
            connections_per_address_max,
            idle_max: None,
            backlog: 1,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        })
    }

    #[test]
    fn connections_are_limited_in_all_and_by_address() {
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let limits = limits(3, 2);
        let first = limits.admit(a).unwrap();
        let _second = limits.admit(a).unwrap();
        assert_eq!(limits.admit(a).unwrap_err(), Refusal::ConnectionsOfAddress(2));
        let _third = limits.admit(b).unwrap();
        assert_eq!(limits.admit(b).unwrap_err(), Refusal::Connections(3));
        drop(first);
        assert!(limits.admit("::ffff:10.0.0.1".parse().unwrap()).is_ok());
        assert_eq!(limits.connections(), 2);
    }

    #[tokio::test]
    async fn brief_requests_have_more_places_than_others_and_all_connections_together_not_many() {
        let (limits, own) = (limits(1, 1), Arc::new(Semaphore::new(1)));
        let first = limits.place(&own, false).await;
        let has_none = async |is_brief| {
            tokio::select! { biased;
                _ = limits.place(&own, is_brief) => false,
                () = std::future::ready(()) => true,
            }
        };
        assert!(has_none(false).await, "its own is taken");
        let mut shared = Vec::new();
        for _ in 0..SHARED_PLACES {
            shared.push(limits.place(&own, true).await);
        }
        assert!(has_none(true).await && has_none(false).await);
        drop(first);
        assert!(!has_none(true).await && !has_none(false).await, "it is given back at once");
        let _first = limits.place(&own, false).await;
        shared.pop();
        assert!(has_none(false).await && !has_none(true).await);
    }

    #[tokio::test]
    async fn bytes_of_requests_are_reserved_and_given_back() {
        let limits = limits(1, 1);
        let first = limits.reserve(10).await;
        let _second = limits.reserve(10).await;
        assert_eq!(limits.queued_bytes(), 20);
        let mut third = std::pin::pin!(limits.reserve(1));
        tokio::select! { biased;
            _ = &mut third => panic!("nothing was free"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        drop(third.await);
        assert_eq!(limits.queued_bytes(), 10);
    }
}
