//! Limits that connections share: how many there are, in all and from one address, and the bytes of requests.
//!
//! Who may have memory for a request is decided in [`super::budget`]; here is who waits for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::budget::{Budget, HolderId, HolderStanding, LOOK_INTERVAL, Sender};
use super::connections::{ConnectionSlot, Connections, ConnectionsMax, Refusal};
use super::kept::KeptBytes;
use super::turns::{LargeTurn, Turns};
use crate::config::ConnectionLimits;

/// Requests of all connections that may wait beyond what each connection may have: some 32 MiB.
const SHARED_PLACES: usize = 32 << 10;
/// Requests that are so large that they have a thread of their own, at a time.
const LARGE_AT_A_TIME: usize = 2;

/// The limits of one broker, over all its listeners.
#[derive(Debug)]
pub struct Limits {
    config: ConnectionLimits,
    /// It changes while the broker runs.
    connections_max: Mutex<ConnectionsMax>,
    open: Arc<Connections>,
    requests: Mutex<Requests>,
    shared_places: Arc<Semaphore>,
    large: Turns,
    /// What requests keep that wait, and for as long as they do.
    pub waiting: Arc<KeptBytes>,
    /// What answers take that clients haven't taken yet.
    pub answers: Arc<KeptBytes>,
}

/// The memory of requests, and how those are told that hold or want some.
#[derive(Debug)]
struct Requests {
    budget: Budget,
    signals: HashMap<HolderId, Arc<Notify>>,
}

/// The memory of one request; dropping it makes room for others.
#[derive(Debug)]
pub struct RequestMemory {
    limits: Arc<Limits>,
    id: HolderId,
    changed: Arc<Notify>,
    /// So many bytes may arrive.
    granted: usize,
}

/// Others wait for the memory of a request that comes too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow;

fn configured(config: &ConnectionLimits) -> ConnectionsMax {
    ConnectionsMax { in_all: config.connections_max, of_address: config.connections_per_address_max }
}

impl Limits {
    /// Limits as configured, nothing used.
    pub fn new(config: ConnectionLimits) -> Arc<Self> {
        assert!(config.queued_bytes_max >= config.request_bytes_max, "a largest request must fit");
        let budget = Budget::new(config.queued_bytes_max);
        let requests = Mutex::new(Requests { budget, signals: HashMap::new() });
        let shared_places = Arc::new(Semaphore::new(SHARED_PLACES));
        let waiting = KeptBytes::new(config.kept_bytes_max());
        let answers = KeptBytes::new(config.queued_bytes_max);
        Arc::new(Self {
            connections_max: Mutex::new(configured(&config)),
            config,
            open: Arc::default(),
            requests,
            shared_places,
            large: Turns::new(LARGE_AT_A_TIME),
            waiting,
            answers,
        })
    }

    /// Sets how many connections there may be in all and from one address; none: as many as were configured.
    /// Those that are open stay.
    pub fn set_connections_max(&self, in_all: Option<usize>, of_address: Option<usize>) {
        let configured = configured(&self.config);
        *self.connections_max.lock() = ConnectionsMax {
            in_all: in_all.unwrap_or(configured.in_all),
            of_address: of_address.or(configured.of_address),
        };
    }

    /// What was configured.
    pub fn config(&self) -> &ConnectionLimits {
        &self.config
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.open.count()
    }

    /// Bytes of requests in flight now.
    pub fn queued_bytes(&self) -> usize {
        self.requests.lock().budget.held()
    }

    /// Counts a connection from `address`.
    ///
    /// # Errors
    /// When one of the limits is reached.
    pub fn admit(&self, address: IpAddr) -> Result<ConnectionSlot, Refusal> {
        let max = *self.connections_max.lock();
        self.open.admit(address, max)
    }

    /// Counts a connection beyond the limits, which has to show that it is another broker's.
    pub fn admit_on_trial(&self, address: IpAddr) -> Option<ConnectionSlot> {
        self.open.admit_on_trial(address)
    }

    /// A request of `length` bytes has begun, of which `arrived` are here. It may have no more yet, unless a
    /// broker sends it.
    pub fn request(self: &Arc<Self>, sender: Sender, length: usize, arrived: usize) -> RequestMemory {
        self.entered(|budget| budget.enter(sender, length, arrived))
    }

    /// Waits for memory of `bytes` for what is made of a request that is here, whose own memory is `of`, if
    /// it has some.
    pub async fn memory(
        self: &Arc<Self>,
        sender: Sender,
        bytes: usize,
        of: Option<&RequestMemory>,
    ) -> RequestMemory {
        let of = of.map(|memory| memory.id);
        let mut memory = self.entered(|budget| budget.enter_whole(sender, bytes, of));
        let waited = memory.more().await;
        assert_eq!((waited, memory.granted), (Ok(()), bytes), "nobody waits for its sender");
        memory
    }

    /// Waits for the turn of a request from `address` that keeps a thread busy for long.
    pub async fn large_turn(&self, address: IpAddr) -> LargeTurn {
        self.large.turn(address).await
    }

    fn entered(self: &Arc<Self>, enter: impl FnOnce(&mut Budget) -> HolderId) -> RequestMemory {
        let mut requests = self.requests.lock();
        let id = enter(&mut requests.budget);
        let changed = Arc::new(Notify::new());
        requests.signals.insert(id, Arc::clone(&changed));
        let granted = match requests.budget.standing(id) {
            HolderStanding::Holds(bytes) => bytes,
            HolderStanding::Waits | HolderStanding::TooSlow => 0,
        };
        RequestMemory { limits: Arc::clone(self), id, changed, granted }
    }

    /// Waits for `count` of a connection's own places for a request that is begun. One that waits with little
    /// memory may have one of those that all connections share, too.
    pub async fn place(&self, own: &Arc<Semaphore>, is_brief: bool, count: u32) -> OwnedSemaphorePermit {
        let own = Arc::clone(own).acquire_many_owned(count);
        let place = if is_brief {
            let shared = Arc::clone(&self.shared_places).acquire_owned();
            tokio::select! { biased; place = own => place, place = shared => place }
        } else {
            own.await
        };
        place.expect("the semaphores are never closed")
    }
}

impl RequestMemory {
    /// How many bytes of the request may be here.
    pub fn granted(&self) -> usize {
        self.granted
    }

    /// Waits until more of the request may be here.
    ///
    /// # Errors
    /// When it has to go.
    pub async fn more(&mut self) -> Result<(), TooSlow> {
        let mut standing = self.limits.requests.lock().budget.want(self.id);
        loop {
            match standing {
                HolderStanding::Holds(bytes) => {
                    self.granted = bytes;
                    return Ok(());
                }
                HolderStanding::TooSlow => return Err(TooSlow),
                HolderStanding::Waits => {
                    // Who waits sees to it that those go who keep him waiting.
                    let _ = timeout(LOOK_INTERVAL, self.changed.notified()).await;
                    standing = self.limits.look(self.id);
                }
            }
        }
    }

    /// So many bytes have come.
    pub fn arrived(&self, bytes: usize) {
        self.limits.requests.lock().budget.arrived(self.id, bytes);
    }

    /// Waits until the request has to go, as others wait for its memory.
    pub async fn too_slow(&self) -> TooSlow {
        loop {
            self.changed.notified().await;
            if self.limits.requests.lock().budget.standing(self.id) == HolderStanding::TooSlow {
                return TooSlow;
            }
        }
    }
}

impl Limits {
    /// Ends who keeps others waiting, and says how the request `id` stands.
    fn look(&self, id: HolderId) -> HolderStanding {
        let mut requests = self.requests.lock();
        for slow in requests.budget.look(Instant::now().into_std()) {
            requests.tell(slow);
        }
        requests.budget.standing(id)
    }
}

impl Requests {
    fn tell(&self, id: HolderId) {
        if let Some(changed) = self.signals.get(&id) {
            changed.notify_one();
        }
    }
}

impl Drop for RequestMemory {
    fn drop(&mut self) {
        let mut requests = self.limits.requests.lock();
        requests.signals.remove(&self.id);
        for served in requests.budget.leave(self.id) {
            requests.tell(served);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Room for four requests of ten bytes, two at most of the largest size.
    pub fn limits(connections_max: usize, connections_per_address_max: usize) -> Arc<Limits> {
        Limits::new(ConnectionLimits {
            request_bytes_max: 10,
            queued_bytes_max: 40,
            connections_max,
            connections_per_address_max: Some(connections_per_address_max),
            idle_max: None,
            backlog: 1,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        })
    }

    #[tokio::test]
    async fn brief_requests_have_more_places_than_others_and_all_connections_together_not_many() {
        let (limits, own) = (limits(1, 1), Arc::new(Semaphore::new(1)));
        let first = limits.place(&own, false, 1).await;
        let has_none = async |is_brief| {
            tokio::select! { biased;
                _ = limits.place(&own, is_brief, 1) => false,
                () = std::future::ready(()) => true,
            }
        };
        assert!(has_none(false).await, "its own is taken");
        let mut shared = Vec::new();
        for _ in 0..SHARED_PLACES {
            shared.push(limits.place(&own, true, 1).await);
        }
        assert!(has_none(true).await && has_none(false).await);
        drop(first);
        assert!(!has_none(true).await && !has_none(false).await, "it is given back at once");
        let _first = limits.place(&own, false, 1).await;
        shared.pop();
        assert!(has_none(false).await && !has_none(true).await);
    }

    #[tokio::test]
    async fn who_waits_for_memory_goes_on_once_there_is_some() {
        let limits = limits(1, 1);
        let from = |last| Sender { address: IpAddr::from([10, 0, 0, last]), broker: None };
        let mut requests: Vec<_> = (1..=4).map(|last| limits.request(from(last), 10, 0)).collect();
        requests[0].more().await.unwrap();
        requests[1].more().await.unwrap();
        requests[2].more().await.unwrap();
        assert_eq!(
            limits.queued_bytes(),
            30,
            "one beyond what the largest may have, so that it is completed"
        );
        let mut last = requests.pop().unwrap();
        let mut waiting = Box::pin(last.more());
        tokio::select! { biased;
            _ = &mut waiting => panic!("nothing was free"),
            () = std::future::ready(()) => {}
        }
        requests[0].arrived(10);
        requests.remove(0);
        waiting.await.unwrap();
        drop((requests, last));
        assert_eq!(limits.queued_bytes(), 0);
    }
}
