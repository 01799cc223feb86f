//! Which requests may take memory while they come in: pure policy, without clocks and sockets.
//!
//! The rule, which [`Budget`] keeps:
//!
//! 1. *Memory is charged as bytes arrive*, in steps. What is announced costs nothing.
//! 2. *Small before large.* Requests fall into classes by their size, and each class leaves room for the smaller ones:
//!    the largest have half of the memory, those next to them three quarters. So a request waits for others of about
//!    its own size or for smaller ones, and never for larger ones.
//! 3. *No address has it all*: one has at most half of what all have.
//! 4. *What has begun is completed.* Where there is no room, one request of each class goes on beyond it, and after it the
//!    next, so that half-sent requests can't fill the memory and then wait for each other. That is how far the whole may be
//!    exceeded: by one request of each class.
//! 5. *Who keeps others waiting keeps the pace, or goes.* While anyone waits for memory that a half-sent request
//!    holds, a thirtieth of that request has to come each second.
//! 6. *What is made of a request is charged before it is made*, all at once: its decoded form, and the answer. It is as another
//!    request whose sender nobody waits for. What is made of a request that goes on beyond (4) goes on with it.
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
pub enum Standing {
    /// It may hold so many bytes.
    Holds(usize),
    /// It waits until there is room.
    Waits,
    /// It kept others waiting: it has to go.
    TooSlow,
}

/// What requests hold, by class.
type Held = [usize; CLASSES];

/// The memory of all requests.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    holders: HashMap<HolderId, Holder>,
    next: u64,
    held: Held,
    by_address: HashMap<IpAddr, Held>,
    by_broker: HashMap<BrokerId, usize>,
    /// The request of each class that goes on although there is no room. What it holds counts for nobody's share.
    completing: [Option<HolderId>; CLASSES],
    beyond: usize,
    /// Who waits, in order, by class and address.
    waiting: BTreeMap<(usize, IpAddr), VecDeque<HolderId>>,
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Holder {
    sender: Sender,
    /// Whether it has a part of its broker's allowance instead of the clients' memory.
    has_allowance: bool,
    /// Whether it takes all at once.
    is_whole: bool,
    /// Whether it goes on beyond what there is with the request that it is made of.
    goes_along: bool,
    length: usize,
    class: usize,
    held: usize,
    arrived: usize,
    standing: Standing,
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

    /// Whether it holds memory and waits for its sender.
    fn is_half_sent(&self) -> bool {
        !self.has_allowance && self.arrived < self.length && matches!(self.standing, Standing::Holds(_))
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
            held: Held::default(),
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

    /// A request of `length` bytes begins, of which `arrived` are here. It holds nothing yet, unless a broker sends it.
    pub fn enter(&mut self, sender: Sender, length: usize, arrived: usize) -> HolderId {
        self.enter_as(sender, length, arrived, false)
    }

    /// What is made of a request that has arrived takes `length` bytes, which it wants all at once. `of` is the request, if
    /// it holds memory.
    pub fn enter_whole(&mut self, sender: Sender, length: usize, of: Option<HolderId>) -> HolderId {
        let id = self.enter_as(sender, length, length, true);
        let goes_along = of.is_some_and(|of| self.completing.contains(&Some(of)));
        let holder = self.holder_mut(id);
        if goes_along && !holder.has_allowance {
            // It would wait for itself otherwise.
            (holder.goes_along, holder.held, holder.standing) = (true, length, Standing::Holds(length));
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
            has_allowance,
            is_whole,
            goes_along: false,
            length,
            class: self.class(length),
            held,
            arrived,
            standing: Standing::Holds(held),
            pressed: None,
        };
        self.holders.insert(id, holder);
        id
    }

    /// How a request stands.
    pub fn standing(&self, id: HolderId) -> Standing {
        self.holders[&id].standing
    }

    /// A request wants another step, as all that it holds has arrived.
    pub fn want(&mut self, id: HolderId) -> Standing {
        let holder = &self.holders[&id];
        if holder.standing != Standing::Holds(holder.held) || holder.held == holder.length {
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
            self.holder_mut(id).standing = Standing::Waits;
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
        if holder.has_allowance {
            let broker = holder.sender.broker.expect("an allowance is a broker's");
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
                holder.standing = Standing::TooSlow;
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

    fn of(&self, holder: &Holder) -> Held {
        self.by_address.get(&holder.sender.address).copied().unwrap_or_default()
    }

    /// The smallest class that leaves no room for another step of `holder`, where all `share` a limit.
    fn is_full(&self, holder: &Holder, held: &Held, share: usize) -> Option<usize> {
        let more = holder.step() - holder.held;
        let is_full =
            |class: &usize| held[*class..].iter().sum::<usize>() + more > self.limit(*class) / share;
        (0..=holder.class).find(is_full)
    }

    fn grant(&mut self, id: HolderId) {
        let holder = self.holder_mut(id);
        let more = holder.step() - holder.held;
        holder.held += more;
        holder.standing = Standing::Holds(holder.held);
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
            let may_go = |(class, _, id): &&(usize, usize, HolderId)| {
                self.completing[*class].is_none() || self.has_room(*id)
            };
            let Some(&(class, _, id)) = first.iter().find(may_go) else { return served };
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
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const TOTAL: usize = 256 * MIB;

    fn client(last: u8) -> Sender {
        Sender { address: IpAddr::from([10, 0, 0, last]), broker: None }
    }

    /// Sends up to `bytes` of a request, as far as it may, and returns how many went.
    fn send(budget: &mut Budget, id: HolderId, bytes: usize) -> usize {
        let mut sent = 0;
        while sent < bytes
            && let Standing::Holds(held) = budget.want_if_used_up(id)
            && held > budget.holders[&id].arrived
        {
            let more = (held - budget.holders[&id].arrived).min(bytes - sent);
            budget.arrived(id, more);
            sent += more;
        }
        sent
    }

    impl Budget {
        fn want_if_used_up(&mut self, id: HolderId) -> Standing {
            match self.holders[&id].standing {
                Standing::Holds(held) if held == self.holders[&id].arrived => self.want(id),
                standing => standing,
            }
        }

        /// How far the rule lets all requests go together, the largest being of `length` bytes.
        fn bound(&self, length: usize) -> usize {
            self.bytes_max + self.bytes_max / 4_096 + self.bytes_max / 128 + self.bytes_max / 16 + length
        }
    }

    #[test]
    fn what_is_announced_costs_nothing() {
        let mut budget = Budget::new(TOTAL);
        for _ in 0..10_000 {
            budget.enter(client(1), 100 * MIB, 0);
        }
        assert_eq!(budget.held(), 0);
        let id = budget.enter(client(1), 100 * MIB, 0);
        assert_eq!(send(&mut budget, id, 3 * MIB), 3 * MIB);
        assert!(budget.held() <= 4 * MIB, "{}", budget.held());
    }

    #[test]
    fn small_requests_do_not_wait_for_large_ones() {
        let mut budget = Budget::new(TOTAL);
        for last in 1..=40 {
            for length in [100 * MIB, 16 * MIB, 2 * MIB] {
                for _ in 0..20 {
                    let id = budget.enter(client(last), length, 0);
                    send(&mut budget, id, length / 2);
                }
            }
            // Another one may have the right to go on beyond what there is.
            let half_sent = budget.enter(client(201), 64 << 10, 0);
            send(&mut budget, half_sent, 32 << 10);
            let small = budget.enter(client(200), 64 << 10, 0);
            assert_eq!(send(&mut budget, small, 64 << 10), 64 << 10);
            budget.leave(small);
        }
        assert!(budget.held() <= budget.bound(100 * MIB));
        let same_address = budget.enter(client(1), 64 << 10, 0);
        assert_eq!(send(&mut budget, same_address, 64 << 10), 64 << 10);
    }

    #[test]
    fn no_address_takes_it_all() {
        let mut budget = Budget::new(TOTAL);
        for _ in 0..100 {
            for length in [100 * MIB, 16 * MIB, 2 * MIB, 64 << 10] {
                let id = budget.enter(client(1), length, 0);
                send(&mut budget, id, length - 1);
            }
        }
        for length in [30 * MIB, 16 * MIB, 2 * MIB, 64 << 10] {
            let other = budget.enter(client(2), length, 0);
            assert_eq!(send(&mut budget, other, length), length, "the other waits with {length} bytes");
            budget.leave(other);
        }
    }

    #[test]
    fn who_stalls_while_others_wait_goes_and_who_keeps_the_pace_stays() {
        let (mut budget, start) = (Budget::new(TOTAL), Instant::now());
        let stalled: Vec<_> = (1..=4).map(|last| budget.enter(client(last), 60 * MIB, 0)).collect();
        for id in &stalled {
            send(&mut budget, *id, 30 * MIB);
        }
        let steady = budget.enter(client(5), 100 * MIB, 0);
        send(&mut budget, steady, 10 * MIB);
        assert!(budget.look(start).is_empty());
        assert!(
            budget.look(start + PACE_TIME * 2).is_empty(),
            "nobody waits: they may be as slow as they like"
        );
        let waiting = budget.enter(client(6), 100 * MIB, 0);
        send(&mut budget, waiting, 100 * MIB);
        assert_eq!(budget.standing(waiting), Standing::Waits);
        let mut slow = Vec::new();
        for step in 0..8 {
            send(&mut budget, steady, MIB);
            slow.extend(budget.look(start + PACE_TIME * 3 + LOOK_INTERVAL * step));
        }
        slow.sort_unstable();
        assert_eq!(slow, stalled);
        assert!(slow.iter().all(|id| budget.standing(*id) == Standing::TooSlow));
        let served: Vec<_> = slow.iter().flat_map(|id| budget.leave(*id)).collect();
        assert_eq!(served, [waiting]);
        assert_eq!(send(&mut budget, waiting, 20 * MIB), 20 * MIB);
    }

    /// All of them send what they may, in an order that `seed` draws. Nobody may be left waiting.
    fn check_all_complete(seed: u64, bytes_max: usize, length_max: usize) {
        let mut state = seed;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut budget = Budget::new(bytes_max);
        let mut open: Vec<HolderId> = Vec::new();
        for _ in 0..200 {
            let length = (length_max >> draw(10)).max(9);
            open.push(budget.enter(client(draw(4) as u8), length, 0));
        }
        while !open.is_empty() {
            let mut moved = false;
            for _ in 0..open.len() * 4 {
                let at = draw(open.len());
                let sent = send(&mut budget, open[at], 1 + draw(length_max));
                moved |= sent > 0;
                assert!(budget.held() <= budget.bound(length_max), "seed {seed}: {} held", budget.held());
                if budget.holders[&open[at]].arrived == budget.holders[&open[at]].length {
                    budget.leave(open.swap_remove(at));
                    moved = true;
                    if open.is_empty() {
                        break;
                    }
                }
            }
            let stuck = || open.iter().all(|id| budget.standing(*id) == Standing::Waits);
            assert!(moved || !stuck(), "seed {seed}: {} wait for each other", open.len());
        }
        assert_eq!((budget.held(), budget.waiting.len(), budget.by_address.len()), (0, 0, 0));
    }

    #[test]
    fn half_sent_requests_never_wait_for_each_other() {
        for seed in 0..40 {
            check_all_complete(seed, TOTAL, 100 * MIB);
            check_all_complete(seed, 100_000, 100_000);
        }
    }

    /// As [`check_all_complete`]; something is made of each request that has arrived, before it leaves.
    fn check_all_made(seed: u64, bytes_max: usize) {
        let mut state = seed;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut budget = Budget::new(bytes_max);
        let mut open: Vec<(HolderId, Option<HolderId>)> = (0..200)
            .map(|_| (budget.enter(client(draw(4) as u8), ((bytes_max / 2) >> draw(10)).max(9), 0), None))
            .collect();
        let mut idle = 0;
        while !open.is_empty() {
            let at = draw(open.len());
            let (id, made) = open[at];
            let (sender, length) = (budget.holders[&id].sender, budget.holders[&id].length);
            let mut moved = send(&mut budget, id, length) > 0;
            if budget.holders[&id].arrived == length {
                moved |= made.is_none();
                let cost = ((bytes_max / 2) >> draw(10)).max(1);
                let made = made.unwrap_or_else(|| budget.enter_whole(sender, cost, Some(id)));
                open[at].1 = Some(made);
                if budget.want(made) == Standing::Holds(budget.holders[&made].length) {
                    budget.leave(made);
                    budget.leave(id);
                    open.swap_remove(at);
                    moved = true;
                }
            }
            // One request of each class goes on beyond, with what is made of it.
            let bound = budget.bound(bytes_max / 2) + CLASSES * bytes_max / 2;
            assert!(budget.held() <= bound, "seed {seed}: {}", budget.held());
            idle = if moved { 0 } else { idle + 1 };
            assert!(idle < 10_000, "seed {seed}: {} wait for each other", open.len());
        }
        assert_eq!((budget.held(), budget.waiting.len(), budget.by_address.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_made_of_requests_never_keeps_others_from_being_completed() {
        for seed in 0..40 {
            check_all_made(seed, TOTAL);
            check_all_made(seed, 100_000);
        }
    }

    #[test]
    fn what_is_made_of_a_request_is_charged_at_once_and_nobody_waits_for_its_sender() {
        let (mut budget, start) = (Budget::new(TOTAL), Instant::now());
        let first = budget.enter_whole(client(1), 100 * MIB, None);
        assert_eq!((budget.want(first), budget.held()), (Standing::Holds(100 * MIB), 100 * MIB));
        let second = budget.enter_whole(client(1), 100 * MIB, None);
        assert_eq!((budget.want(second), budget.held()), (Standing::Waits, 100 * MIB));
        for step in 0..8 {
            assert!(budget.look(start + PACE_TIME * step).is_empty(), "it isn't slow but busy");
        }
        assert_eq!(budget.leave(first), [second]);
        assert_eq!(budget.standing(second), Standing::Holds(100 * MIB));
    }

    #[test]
    fn a_broker_has_what_no_client_can_take() {
        let mut budget = Budget::new(TOTAL);
        for last in 0..100 {
            for length in [100 * MIB, 16 * MIB, 2 * MIB, 64 << 10] {
                let id = budget.enter(client(last), length, 0);
                send(&mut budget, id, length - 1);
            }
        }
        let broker = Sender { broker: Some(BrokerId(2)), ..client(1) };
        let id = budget.enter(broker, BROKER_BYTES, 0);
        assert_eq!(budget.standing(id), Standing::Holds(BROKER_BYTES));
        let beyond = budget.enter(broker, MIB, 0);
        assert_eq!(budget.standing(beyond), Standing::Holds(0), "beyond its allowance it is a client");
        assert!(budget.leave(id).is_empty());
        let next = budget.enter(broker, BROKER_BYTES, 0);
        assert_eq!(budget.standing(next), Standing::Holds(BROKER_BYTES));
    }
}
