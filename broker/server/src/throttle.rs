//! Replication throttling: limits the rate at which replicas that aren't in sync catch up, so that a
//! reassignment of partitions leaves room for clients.
//!
//! As in Apache Kafka the settings of a topic name the replicas and those of a broker the rates. A replica in
//! sync is never throttled: it would fall out of the ISR, or delay producers that wait for it. The bytes are
//! spread evenly over a second, without bursts.

use std::collections::HashSet;
use std::time::Duration;

use ottla_core::metadata::MetadataImage;
use ottla_types::BrokerId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::partitions::PartitionKey;

/// The throttles of one broker.
#[derive(Debug, Default)]
pub struct Throttles {
    /// For what followers fetch from it (`leader.replication.throttled.rate`).
    pub leader: Throttle,
    /// For what it fetches from leaders (`follower.replication.throttled.rate`).
    pub follower: Throttle,
}

impl Throttles {
    /// Takes over the rates that `image` has for the broker `me`.
    pub fn on_image(&self, image: &MetadataImage, me: BrokerId) {
        let rate = |name| image.broker_config(me, name).trim().parse().unwrap_or(UNLIMITED);
        self.leader.set_rate(rate("leader.replication.throttled.rate"));
        self.follower.set_rate(rate("follower.replication.throttled.rate"));
    }
}

/// What the settings' default means, in bytes a second.
const UNLIMITED: i64 = i64::MAX;
/// The longest until it is looked at again whether the rate is still what it was.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A limit on bytes a second.
#[derive(Debug)]
pub struct Throttle(Mutex<ThrottleState>);

#[derive(Debug)]
struct ThrottleState {
    /// Bytes a second.
    rate: i64,
    /// Until when the bytes that have passed use up the rate; none before any has.
    paid_at: Option<Instant>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self(Mutex::new(ThrottleState { rate: UNLIMITED, paid_at: None }))
    }
}

impl Throttle {
    fn set_rate(&self, rate: i64) {
        let mut state = self.0.lock();
        if state.rate != rate {
            *state = ThrottleState { rate, paid_at: None };
        }
    }

    /// When to look again whether more may pass; none if it may now.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        let state = self.0.lock();
        let paid_at = match state.rate {
            UNLIMITED => return None,
            0 => now + LOOK_AGAIN,
            _ => state.paid_at?,
        };
        (paid_at > now).then(|| paid_at.min(now + LOOK_AGAIN))
    }

    /// Takes note of bytes that have passed.
    pub fn spend(&self, bytes: usize, now: Instant) {
        let mut state = self.0.lock();
        if state.rate == UNLIMITED || state.rate == 0 {
            return;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / state.rate as f64);
        state.paid_at = Some(state.paid_at.map_or(now, |paid_at| paid_at.max(now)) + cost);
    }
}

/// The partitions that a throttle holds back for now.
#[derive(Debug, Default)]
pub struct HeldBack {
    partitions: HashSet<PartitionKey>,
    until: Option<Instant>,
}

impl HeldBack {
    /// Holds one back; all are looked at again when the first of them is due.
    pub fn hold(&mut self, key: PartitionKey, until: Instant) {
        self.partitions.insert(key);
        self.until = Some(self.until.map_or(until, |earlier| earlier.min(until)));
    }

    /// When to look again; none if nothing is held back.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Lets all of them go, once it is time.
    pub fn release(&mut self, now: Instant) -> impl Iterator<Item = PartitionKey> {
        let is_due = self.until.is_some_and(|until| until <= now);
        let released = if is_due { std::mem::take(self).partitions } else { HashSet::new() };
        released.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_a_second_pass() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        throttle.spend(1 << 30, start);
        assert_eq!(throttle.held_until(start), None, "nothing is limited");
        throttle.set_rate(1_000);
        assert_eq!(throttle.held_until(start), None);
        throttle.spend(300, start);
        throttle.spend(200, start);
        assert_eq!(throttle.held_until(start), Some(at(500)));
        assert_eq!(throttle.held_until(at(500)), None);
        throttle.spend(100, at(2_000));
        assert_eq!(
            throttle.held_until(at(2_000)),
            Some(at(2_100)),
            "time in which nothing passed is not kept"
        );
        throttle.spend(1 << 20, at(2_000));
        assert_eq!(throttle.held_until(at(2_000)), Some(at(3_000)), "the rate may change meanwhile");
        throttle.set_rate(1_000);
        assert!(throttle.held_until(at(2_000)).is_some());
        throttle.set_rate(2_000);
        assert_eq!(throttle.held_until(at(2_000)), None, "a new rate begins anew");
        throttle.set_rate(0);
        assert_eq!(throttle.held_until(at(9_000)), Some(at(10_000)));
        throttle.set_rate(UNLIMITED);
        assert_eq!(throttle.held_until(at(9_000)), None);
    }
}
