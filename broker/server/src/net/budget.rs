//! Which requests may take memory while they come in: pure policy, without clocks and sockets.
//!
//! The rule, which [`Budget`] keeps:
//!
//! 1. *Memory is charged as bytes arrive*, in steps. What is announced costs nothing.
//! 2. *Small before large.* Requests fall into classes by their size, and each class leaves room for the
//!    smaller ones: the largest have half of the memory, those next to them three quarters. So a request
//!    waits for others of about its own size or for smaller ones, and never for larger ones.
//! 3. *No address has it all*: one has at most half of what all have.
//! 4. *What has begun is completed.* Where there is no room, one request of each class goes on beyond it, and
//!    after it the next, so that half-sent requests can't fill the memory and then wait for each other. That
//!    is how far the whole may be exceeded: by one request of each class.
//! 5. *Who keeps others waiting keeps the pace, or goes.* While anyone waits for memory that a half-sent
//!    request holds, a thirtieth of that request has to come each second.
//! 6. *What is made of a request is charged before it is made*, all at once: its decoded form, and the
//!    answer. It is as another request whose sender nobody waits for. What is made of a request that goes on
//!    beyond (4) goes on with it.
//! 7. *Each other broker has an allowance of its own*, which no client can use up; beyond it, it is a client.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ottla_types::BrokerId;

/// Classes by size, the smallest first.
const CLASSES: usize = 4;
/// The most that is charged before it has arrived, in bytes; and the least, if so much is missing.
const STEP_BYTES_MAX: usize = 1 << 20;
const STEP_BYTES_MIN: usize = 64 << 10;
/// The allowance of each other broker, in bytes: some ten times what a follower asks at once.
pub const BROKER_BYTES: usize = 8 << 20;
/// The time in which a pace is measured while others wait.
pub const PACE_TIME: Duration = Duration::from_secs(1);
/// The part of a request that has to come in that time, and the least of it in bytes.
const PACE_PARTS: usize = 30;
const PACE_BYTES_MIN: usize = 8 << 10;
/// How often it is looked who is too slow, while others wait.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A request that holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HolderId(u64);

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// From where.
    pub address: IpAddr,
    /// The other broker that it says it is.
    pub broker: Option<BrokerId>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderStanding {
    /// It may hold so many bytes.
    Holds(usize),
    /// It waits until there is room.
    Waits,
    /// It kept others waiting: it has to go.
    TooSlow,
}

/// What requests hold, by class.
type HeldBytes = [usize; CLASSES];

/// The memory of all requests.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    holders: HashMap<HolderId, Holder>,
    next: u64,
    held: HeldBytes,
    by_address: HashMap<IpAddr, HeldBytes>,
    by_broker: HashMap<BrokerId, usize>,
    /// The request of each class that goes on although there is no room. What it holds counts for nobody's
    /// share.
    completing: [Option<HolderId>; CLASSES],
    beyond: usize,
    /// Who waits, in order, by class and address.
    waiting: BTreeMap<(usize, IpAddr), VecDeque<HolderId>>,
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Holder {
    sender: Sender,
    /// The broker of whose allowance it has a part, instead of the clients' memory.
    allowance_of: Option<BrokerId>,
    /// Whether it takes all at once.
    is_whole: bool,
    /// Whether it goes on beyond what there is with the request that it is made of.
    goes_along: bool,
    length: usize,
    class: usize,
    held: usize,
    arrived: usize,
    standing: HolderStanding,
    /// Since when others wait for it, and what had arrived then.
    pressed: Option<(Instant, usize)>,
}

impl Holder {
    /// What it would hold after one more step.
    fn step(&self) -> usize {
        if self.is_whole {
            return self.length;
        }
        (self.held + self.held.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX)).min(self.length)
    }

    fn has_allowance(&self) -> bool {
        self.allowance_of.is_some()
    }

    /// Whether it holds memory and waits for its sender.
    fn is_half_sent(&self) -> bool {
        !self.has_allowance()
            && self.arrived < self.length
            && matches!(self.standing, HolderStanding::Holds(_))
    }

    fn is_slow(&self, since: usize) -> bool {
        self.arrived - since < (self.length / PACE_PARTS).max(PACE_BYTES_MIN)
    }
}

impl Budget {
    /// Nothing held, `bytes_max` at most but for what the rule says.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            holders: HashMap::new(),
            next: 0,
            held: HeldBytes::default(),
            by_address: HashMap::new(),
            by_broker: HashMap::new(),
            completing: [None; CLASSES],
            beyond: 0,
            waiting: BTreeMap::new(),
            look_at: None,
        }
    }

    /// Bytes that requests hold now.
    pub fn held(&self) -> usize {
        self.held.iter().sum::<usize>() + self.beyond + self.by_broker.values().sum::<usize>()
    }

    /// A request of `length` bytes begins, of which `arrived` are here. It holds nothing yet, unless a broker
    /// sends it.
    pub fn enter(&mut self, sender: Sender, length: usize, arrived: usize) -> HolderId {
        self.enter_as(sender, length, arrived, false)
    }

    /// What is made of a request that has arrived takes `length` bytes, which it wants all at once. `of` is
    /// the request, if it holds memory.
    pub fn enter_whole(&mut self, sender: Sender, length: usize, of: Option<HolderId>) -> HolderId {
        let id = self.enter_as(sender, length, length, true);
        let goes_along = of.is_some_and(|of| self.completing.contains(&Some(of)));
        let holder = self.holder_mut(id);
        if goes_along && !holder.has_allowance() {
            // It would wait for itself otherwise.
            (holder.goes_along, holder.held, holder.standing) = (true, length, HolderStanding::Holds(length));
            self.beyond += length;
        }
        id
    }

    fn enter_as(&mut self, sender: Sender, length: usize, arrived: usize, is_whole: bool) -> HolderId {
        let id = HolderId(self.next);
        self.next += 1;
        let allowance = sender.broker.map(|broker| self.by_broker.entry(broker).or_default());
        let allowance = allowance.filter(|used| **used + length <= BROKER_BYTES);
        let has_allowance = allowance.is_some();
        if let Some(used) = allowance {
            *used += length;
        }
        let held = if has_allowance { length } else { 0 };
        let holder = Holder {
            sender,
            allowance_of: sender.broker.filter(|_| has_allowance),
            is_whole,
            goes_along: false,
            length,
            class: self.class(length),
            held,
            arrived,
            standing: HolderStanding::Holds(held),
            pressed: None,
        };
        self.holders.insert(id, holder);
        id
    }

    /// How a request stands.
    pub fn standing(&self, id: HolderId) -> HolderStanding {
        self.holders[&id].standing
    }

    /// A request wants another step, as all that it holds has arrived.
    pub fn want(&mut self, id: HolderId) -> HolderStanding {
        let holder = &self.holders[&id];
        if holder.standing != HolderStanding::Holds(holder.held) || holder.held == holder.length {
            return holder.standing;
        }
        let (class, address) = (holder.class, holder.sender.address);
        // Those who came before go first.
        let is_first = !self.waiting.contains_key(&(class, address));
        let is_completing = self.completing[class] == Some(id);
        if is_completing || (is_first && self.has_room(id)) {
            self.grant(id);
        } else if self.completing[class].is_none() {
            self.complete(id);
            self.grant(id);
        } else {
            self.waiting.entry((class, address)).or_default().push_back(id);
            self.holder_mut(id).standing = HolderStanding::Waits;
        }
        self.standing(id)
    }

    /// So many bytes of a request have come.
    pub fn arrived(&mut self, id: HolderId, bytes: usize) {
        self.holder_mut(id).arrived += bytes;
    }

    /// A request is done, or its connection is gone. Returns those that needn't wait any more.
    pub fn leave(&mut self, id: HolderId) -> Vec<HolderId> {
        let Some(holder) = self.holders.remove(&id) else { return Vec::new() };
        let (class, address) = (holder.class, holder.sender.address);
        if let Some(broker) = holder.allowance_of {
            let used = self.by_broker.get_mut(&broker).expect("taken when it entered");
            *used -= holder.held;
            if *used == 0 {
                self.by_broker.remove(&broker);
            }
            return Vec::new();
        }
        if holder.goes_along {
            self.beyond -= holder.held;
        } else if self.completing[class] == Some(id) {
            self.completing[class] = None;
            self.beyond -= holder.held;
        } else {
            self.give_back(class, address, holder.held);
        }
        self.leave_queue(id, class, address);
        self.serve_waiting()
    }

    /// Who keeps others waiting and doesn't keep the pace; to be called now and then while anyone waits.
    pub fn look(&mut self, now: Instant) -> Vec<HolderId> {
        if self.look_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.look_at = Some(now + LOOK_INTERVAL);
        let pressures = self.pressures();
        let mut slow = Vec::new();
        for (id, holder) in &mut self.holders {
            if !holder.is_half_sent() || !pressures.iter().any(|pressure| pressure.is_on(*id, holder)) {
                holder.pressed = None;
                continue;
            }
            let (since, before) = *holder.pressed.get_or_insert((now, holder.arrived));
            if now.duration_since(since) < PACE_TIME {
                continue;
            }
            if holder.is_slow(before) {
                holder.standing = HolderStanding::TooSlow;
                slow.push(*id);
            } else {
                holder.pressed = Some((now, holder.arrived));
            }
        }
        slow
    }

    /// The class of requests of `length` bytes.
    fn class(&self, length: usize) -> usize {
        [4_096, 128, 16].iter().filter(|part| length > self.bytes_max / **part).count()
    }

    /// What requests of this class and of larger ones may hold together.
    fn limit(&self, class: usize) -> usize {
        let reserved = [0, 8, 4, 2].map(|part| self.bytes_max.checked_div(part).unwrap_or(0));
        self.bytes_max - reserved[class]
    }

    fn has_room(&self, id: HolderId) -> bool {
        let holder = &self.holders[&id];
        self.is_full(holder, &self.held, 1).is_none() && self.is_full(holder, &self.of(holder), 2).is_none()
    }

    fn of(&self, holder: &Holder) -> HeldBytes {
        self.by_address.get(&holder.sender.address).copied().unwrap_or_default()
    }

    /// The smallest class that leaves no room for another step of `holder`, where all `share` a limit.
    fn is_full(&self, holder: &Holder, held: &HeldBytes, share: usize) -> Option<usize> {
        let more = holder.step() - holder.held;
        (0..=holder.class)
            .find(|class| held[*class..].iter().sum::<usize>() + more > self.limit(*class) / share)
    }

    fn grant(&mut self, id: HolderId) {
        let holder = self.holder_mut(id);
        let more = holder.step() - holder.held;
        holder.held += more;
        holder.standing = HolderStanding::Holds(holder.held);
        let (class, address) = (holder.class, holder.sender.address);
        if self.completing[class] == Some(id) {
            self.beyond += more;
            return;
        }
        self.held[class] += more;
        self.by_address.entry(address).or_default()[class] += more;
    }

    /// Has a request go on beyond what there is.
    fn complete(&mut self, id: HolderId) {
        let holder = &self.holders[&id];
        let (class, address, held) = (holder.class, holder.sender.address, holder.held);
        self.completing[class] = Some(id);
        self.beyond += held;
        self.give_back(class, address, held);
    }

    fn give_back(&mut self, class: usize, address: IpAddr, bytes: usize) {
        self.held[class] -= bytes;
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address[class] -= bytes;
            if of_address.iter().all(|held| *held == 0) {
                self.by_address.remove(&address);
            }
        }
    }

    /// Gives what is free to those who wait: to small requests first, and to the address that holds least.
    fn serve_waiting(&mut self) -> Vec<HolderId> {
        let mut served = Vec::new();
        loop {
            let mut first: Vec<_> = self
                .waiting
                .iter()
                .map(|((class, address), queue)| {
                    let held = self.by_address.get(address).map_or(0, |held| held.iter().sum::<usize>());
                    (*class, held, queue[0])
                })
                .collect();
            first.sort_unstable();
            let Some(&(class, _, id)) =
                first.iter().find(|(class, _, id)| self.completing[*class].is_none() || self.has_room(*id))
            else {
                return served;
            };
            if !self.has_room(id) {
                self.complete(id);
            }
            self.leave_queue(id, class, self.holders[&id].sender.address);
            self.grant(id);
            served.push(id);
        }
    }

    fn leave_queue(&mut self, id: HolderId, class: usize, address: IpAddr) {
        let Some(queue) = self.waiting.get_mut(&(class, address)) else { return };
        queue.retain(|waiting| *waiting != id);
        if queue.is_empty() {
            self.waiting.remove(&(class, address));
        }
    }

    /// What those who wait, wait for.
    fn pressures(&self) -> Vec<Pressure> {
        let mut pressures = Vec::new();
        for (&(class, address), queue) in &self.waiting {
            let holder = &self.holders[&queue[0]];
            pressures.extend(self.is_full(holder, &self.held, 1).map(Pressure::Class));
            let of_address = self.is_full(holder, &self.of(holder), 2);
            pressures.extend(of_address.map(|class| Pressure::OfAddress(class, address)));
            pressures.extend(self.completing[class].map(Pressure::Completing));
        }
        pressures
    }

    fn holder_mut(&mut self, id: HolderId) -> &mut Holder {
        self.holders.get_mut(&id).expect("a request is here until it leaves")
    }
}

/// What somebody waits for.
enum Pressure {
    /// Requests of this class and of larger ones hold too much.
    Class(usize),
    /// Those of one address do.
    OfAddress(usize, IpAddr),
    /// Another one goes on beyond the limit.
    Completing(HolderId),
}

impl Pressure {
    fn is_on(&self, id: HolderId, holder: &Holder) -> bool {
        match *self {
            Self::Class(class) => holder.class >= class,
            Self::OfAddress(class, address) => holder.class >= class && holder.sender.address == address,
            Self::Completing(completing) => completing == id,
        }
    }
}

#[cfg(test)]
mod tests;
