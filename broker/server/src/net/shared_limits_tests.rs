//! What connections share, over many courses of events: counts are right whatever comes and goes in whatever
//! order, nobody has more than he may, and all is given back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::connections::{ConnectionSlot, Connections, ConnectionsMax, Refusal};
use super::{KeptBytes, KeptPart, LargeTurn, Limits, RequestMemory, Sender, Turns};
use crate::config::ConnectionLimits;

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// One of few addresses, now and then as IPv6 has it.
    fn address(&mut self) -> (usize, IpAddr) {
        let last = self.below(6);
        let address = IpAddr::from([10, 0, 0, last as u8]);
        let IpAddr::V4(four) = address else { unreachable!("it was made of four bytes") };
        (last, if self.below(2) == 0 { address } else { IpAddr::V6(four.to_ipv6_mapped()) })
    }
}

/// How many of these are each address's.
fn counted<T>(held: &[(usize, T)]) -> HashMap<usize, usize> {
    let mut counts = HashMap::new();
    for (address, _) in held {
        *counts.entry(*address).or_default() += 1;
    }
    counts
}

#[test]
fn connections_are_counted_whatever_comes_and_goes() {
    for seed in 0..40 {
        let (mut draw, connections) = (Draw(seed), Arc::new(Connections::default()));
        let of_address = (seed % 3 == 0).then_some(5);
        let max = ConnectionsMax { in_all: 20, of_address };
        let mut clients: Vec<(usize, ConnectionSlot)> = Vec::new();
        let mut on_trial: Vec<(usize, ConnectionSlot)> = Vec::new();
        for _ in 0..600 {
            let (last, address) = draw.address();
            let has = counted(&clients).get(&last).copied().unwrap_or(0);
            match draw.below(5) {
                0..2 => match connections.admit(address, max) {
                    Ok(slot) => {
                        assert!(!slot.is_on_trial());
                        clients.push((last, slot));
                    }
                    Err(Refusal::Connections(in_all)) => assert_eq!((in_all, clients.len()), (20, 20)),
                    Err(Refusal::ConnectionsOfAddress(most)) => {
                        assert_eq!((Some(most), most), (of_address, has));
                    }
                    Err(Refusal::KeptForOthers(count)) => {
                        assert!(of_address.is_none() && count == has && has >= 1, "seed {seed}");
                        assert!(clients.len() >= 15, "seed {seed}: there is room, of {}", clients.len());
                    }
                },
                2 => on_trial.extend(connections.admit_on_trial(address).map(|slot| (last, slot))),
                3 if !clients.is_empty() => drop(clients.swap_remove(draw.below(clients.len()))),
                4 if !on_trial.is_empty() => drop(on_trial.swap_remove(draw.below(on_trial.len()))),
                _ => {}
            }
            assert_eq!(connections.count(), clients.len() + on_trial.len(), "seed {seed}");
            let most = counted(&clients).into_values().max().unwrap_or(0);
            assert!(clients.len() <= 20 && of_address.is_none_or(|limit| most <= limit), "seed {seed}");
        }
        drop((clients, on_trial));
        assert_eq!(connections.count(), 0, "seed {seed}");
        // What was given back is there for one as for many.
        let again = (0..20).map_while(|_| connections.admit(IpAddr::from([10, 0, 0, 9]), max).ok());
        assert_eq!(again.collect::<Vec<_>>().len(), of_address.unwrap_or(15), "seed {seed}");
    }
}

#[test]
fn a_limit_that_is_lowered_ends_nothing_and_counts_from_then_on() {
    let limits = limits(40);
    let address = |last| IpAddr::from([10, 0, 0, last]);
    let open: Vec<_> = (0..20).map(|last| limits.admit(address(last)).unwrap()).collect();
    for (in_all, of_address) in [(Some(20), None), (Some(3), None), (None, Some(1)), (Some(3), Some(1))] {
        limits.set_connections_max(in_all, of_address);
        assert_eq!(limits.connections(), 20, "those that are open stay");
        let refused = limits.admit(address(0)).unwrap_err();
        match in_all {
            Some(most) => assert_eq!(refused, Refusal::Connections(most)),
            None => assert_eq!(refused, Refusal::ConnectionsOfAddress(1)),
        }
        assert!(limits.admit_on_trial(address(0)).is_some(), "another broker has room beyond");
    }
    // What was configured counts again.
    limits.set_connections_max(None, None);
    let _one_more = limits.admit(address(0)).unwrap();
    drop(open);
    assert_eq!(limits.connections(), 1);
}

#[test]
fn bytes_that_are_kept_are_counted_whatever_comes_and_goes() {
    const MAX: usize = 1_000;
    for seed in 0..40 {
        let (mut draw, kept) = (Draw(seed), KeptBytes::new(MAX));
        let mut parts: Vec<(usize, (usize, KeptPart))> = Vec::new();
        for _ in 0..600 {
            let (last, address) = draw.address();
            if draw.below(3) > 0 {
                let most = if draw.below(10) == 0 { 2_000 } else { 200 };
                let bytes = 1 + draw.below(most);
                let total: usize = parts.iter().map(|part| part.1.0).sum();
                let own = parts.iter().filter(|part| part.0 == last);
                let own: usize = own.map(|part| part.1.0).sum();
                let fits = total + bytes <= MAX && own + bytes <= MAX / 2;
                // One thing of any size, where not all is used up.
                let is_first = own == 0 && total <= MAX;
                let part = kept.keep(address, bytes);
                assert_eq!(part.is_some(), fits || is_first, "seed {seed}: {bytes}, {own} of {total}");
                parts.extend(part.map(|part| (last, (bytes, part))));
            } else if !parts.is_empty() {
                parts.swap_remove(draw.below(parts.len()));
            }
            assert_eq!(kept.total(), parts.iter().map(|part| part.1.0).sum::<usize>(), "seed {seed}");
        }
        drop(parts);
        assert_eq!(kept.total(), 0, "seed {seed}");
    }
}

/// Room for four requests of the largest size.
fn limits(queued_bytes_max: usize) -> Arc<Limits> {
    Limits::new(ConnectionLimits {
        request_bytes_max: queued_bytes_max / 4,
        queued_bytes_max,
        connections_max: 100,
        connections_per_address_max: None,
        idle_max: None,
        backlog: 1,
        send_buffer_bytes: None,
        receive_buffer_bytes: None,
    })
}

/// Whether it is there without waiting.
async fn is_ready<T>(wanted: impl Future<Output = T>) -> Option<T> {
    tokio::select! { biased;
        done = wanted => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// Requests end at any point: when they were announced, half sent, while they wait, or served.
#[tokio::test]
async fn memory_of_requests_is_given_back_wherever_they_end() {
    for seed in 0..40 {
        let (mut draw, limits) = (Draw(seed), limits(4_000));
        let mut requests: Vec<RequestMemory> = Vec::new();
        for _ in 0..300 {
            tokio::task::yield_now().await;
            let (_, address) = draw.address();
            let sender = Sender { address, broker: None };
            match draw.below(4) {
                0 => requests.push(limits.request(sender, 1 + draw.below(1_000), 0)),
                1 => requests.extend(is_ready(limits.memory(sender, 1 + draw.below(500), None)).await),
                2 if !requests.is_empty() => {
                    let at = draw.below(requests.len());
                    let granted = requests[at].granted();
                    if is_ready(requests[at].more()).await.is_some() {
                        assert!(requests[at].granted() >= granted, "seed {seed}: what is given stays");
                        requests[at].arrived(requests[at].granted() - granted);
                    }
                }
                3 if !requests.is_empty() => drop(requests.swap_remove(draw.below(requests.len()))),
                _ => {}
            }
            let granted: usize = requests.iter().map(RequestMemory::granted).sum();
            // Who was served while nobody asked learns of it later.
            assert!(granted <= limits.queued_bytes(), "seed {seed}");
            assert!(limits.queued_bytes() <= 4_000 + 4 * 1_000, "seed {seed}: one of each class beyond");
        }
        // Half of them end, and all who are left are served in the end, whoever ends next.
        while let Some(mut request) = requests.pop() {
            if requests.len().is_multiple_of(2) {
                requests.truncate(requests.len() / 2);
            }
            if requests.is_empty() {
                let served = is_ready(request.more()).await;
                assert!(served.is_some_and(|served| served.is_ok()), "seed {seed}: nobody else is there");
            }
        }
        assert_eq!(limits.queued_bytes(), 0, "seed {seed}");
    }
}

#[tokio::test]
async fn turns_are_few_and_one_of_each_address_and_who_gives_up_keeps_none() {
    const AT_A_TIME: usize = 3;
    for seed in 0..40 {
        let (mut draw, turns) = (Draw(seed), Turns::new(AT_A_TIME));
        let mut held: Vec<(usize, LargeTurn)> = Vec::new();
        for _ in 0..300 {
            // Or the runtime has this task wait, who asks so often.
            tokio::task::yield_now().await;
            let (last, address) = draw.address();
            if draw.below(2) == 0 {
                let is_free = held.len() < AT_A_TIME && held.iter().all(|turn| turn.0 != last);
                // Who doesn't get one at once gives up, and has taken nothing from others.
                let turn = is_ready(turns.turn(address)).await;
                assert_eq!(turn.is_some(), is_free, "seed {seed}");
                held.extend(turn.map(|turn| (last, turn)));
            } else if !held.is_empty() {
                held.swap_remove(draw.below(held.len()));
            }
        }
    }
}
