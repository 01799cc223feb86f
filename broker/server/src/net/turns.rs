//! Turns of requests that keep a thread busy for long: few at a time, and one of each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses that are remembered before those are forgotten that have no request.
const ADDRESSES_MAX: usize = 1_024;

/// The turns of all addresses.
#[derive(Debug)]
pub struct Turns {
    all: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// A turn; dropping it gives it to the next.
#[derive(Debug)]
pub struct LargeTurn {
    _of_all: OwnedSemaphorePermit,
    _of_address: OwnedSemaphorePermit,
}

impl Turns {
    /// So many at a time.
    pub fn new(at_a_time: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_a_time)), by_address: Mutex::default() }
    }

    /// Waits for the turn of a request from `address`. However many an address sends, others wait for one of
    /// them at most.
    pub async fn turn(&self, address: IpAddr) -> LargeTurn {
        let of_address = permit(self.of_address(address.to_canonical())).await;
        let of_all = permit(Arc::clone(&self.all)).await;
        LargeTurn { _of_all: of_all, _of_address: of_address }
    }

    fn of_address(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut by_address = self.by_address.lock();
        if let Some(known) = by_address.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        if by_address.len() >= ADDRESSES_MAX {
            by_address.retain(|_, semaphore| semaphore.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(1));
        by_address.insert(address, Arc::downgrade(&new));
        new
    }
}

async fn permit(of: Arc<Semaphore>) -> OwnedSemaphorePermit {
    of.acquire_owned().await.expect("the semaphores are never closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// The turn, if it comes without waiting.
    async fn now(turns: &Turns, last: u8) -> Option<LargeTurn> {
        tokio::select! { biased;
            turn = turns.turn(address(last)) => Some(turn),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn an_address_has_one_turn_at_a_time_and_all_have_few() {
        let turns = Turns::new(2);
        let first = now(&turns, 1).await.expect("nobody has one");
        assert!(now(&turns, 1).await.is_none(), "its own is taken");
        let second = now(&turns, 2).await.expect("another address has its own");
        assert!(now(&turns, 3).await.is_none(), "there are two");
        drop(second);
        assert!(now(&turns, 3).await.is_some() && now(&turns, 1).await.is_none());
        drop(first);
        assert!(now(&turns, 1).await.is_some());
    }

    #[tokio::test]
    async fn addresses_without_requests_are_forgotten() {
        let turns = Turns::new(1);
        for number in 0..3 * ADDRESSES_MAX as u32 {
            drop(turns.turn(IpAddr::from(number.to_be_bytes())).await);
        }
        assert!(turns.by_address.lock().len() <= ADDRESSES_MAX);
    }
}
