//! The rule by which requests take memory, against senders of every kind.

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
        && let HolderStanding::Holds(held) = budget.want_if_used_up(id)
        && held > budget.holders[&id].arrived
    {
        let more = (held - budget.holders[&id].arrived).min(bytes - sent);
        budget.arrived(id, more);
        sent += more;
    }
    sent
}

impl Budget {
    fn want_if_used_up(&mut self, id: HolderId) -> HolderStanding {
        match self.holders[&id].standing {
            HolderStanding::Holds(held) if held == self.holders[&id].arrived => self.want(id),
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
    assert!(budget.look(start + PACE_TIME * 2).is_empty(), "nobody waits: they may be as slow as they like");
    let waiting = budget.enter(client(6), 100 * MIB, 0);
    send(&mut budget, waiting, 100 * MIB);
    assert_eq!(budget.standing(waiting), HolderStanding::Waits);
    let mut slow = Vec::new();
    for step in 0..8 {
        send(&mut budget, steady, MIB);
        slow.extend(budget.look(start + PACE_TIME * 3 + LOOK_INTERVAL * step));
    }
    slow.sort_unstable();
    assert_eq!(slow, stalled);
    assert!(slow.iter().all(|id| budget.standing(*id) == HolderStanding::TooSlow));
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
        let stuck = || open.iter().all(|id| budget.standing(*id) == HolderStanding::Waits);
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
            if budget.want(made) == HolderStanding::Holds(budget.holders[&made].length) {
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
    assert_eq!((budget.want(first), budget.held()), (HolderStanding::Holds(100 * MIB), 100 * MIB));
    let second = budget.enter_whole(client(1), 100 * MIB, None);
    assert_eq!((budget.want(second), budget.held()), (HolderStanding::Waits, 100 * MIB));
    for step in 0..8 {
        assert!(budget.look(start + PACE_TIME * step).is_empty(), "it isn't slow but busy");
    }
    assert_eq!(budget.leave(first), [second]);
    assert_eq!(budget.standing(second), HolderStanding::Holds(100 * MIB));
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
    assert_eq!(budget.standing(id), HolderStanding::Holds(BROKER_BYTES));
    let beyond = budget.enter(broker, MIB, 0);
    assert_eq!(budget.standing(beyond), HolderStanding::Holds(0), "beyond its allowance it is a client");
    assert!(budget.leave(id).is_empty());
    let next = budget.enter(broker, BROKER_BYTES, 0);
    assert_eq!(budget.standing(next), HolderStanding::Holds(BROKER_BYTES));
}
