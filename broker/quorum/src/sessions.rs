//! Who was heard from: the active controller fences brokers that are silent for too long.
//!
//! Times are of a monotonic clock and only decide when to try; whether a broker is fenced is in the metadata.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ottla_core::metadata::MetadataImage;
use ottla_types::{BrokerEpoch, BrokerId};

/// When each broker was last heard from, while this node is the active controller.
pub struct Sessions {
    limit: Duration,
    state: Mutex<State>,
}

struct State {
    heard: HashMap<BrokerId, (BrokerEpoch, Instant)>,
    checked: Instant,
}

impl Sessions {
    /// Nobody was heard from yet. A broker is silent too long after `limit`.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, state: Mutex::new(State { heard: HashMap::new(), checked: now }) }
    }

    /// A broker was heard from.
    pub fn hear(&self, id: BrokerId, epoch: BrokerEpoch, now: Instant) {
        self.lock().heard.insert(id, (epoch, now));
    }

    /// Whether the broker was heard from after `since`.
    pub fn heard_since(&self, id: BrokerId, epoch: BrokerEpoch, since: Instant) -> bool {
        self.lock().heard.get(&id).is_some_and(|(heard, at)| *heard == epoch && *at > since)
    }

    /// The brokers in service of which nothing was heard for too long. Call it often while this node is the
    /// active controller.
    ///
    /// A broker that is new to this node, and everybody after this node itself was stopped for a while (or
    /// wasn't the active controller), gets the whole time from now on: the silence was here.
    pub fn silent(&self, image: &MetadataImage, now: Instant) -> Vec<(BrokerId, BrokerEpoch)> {
        let mut state = self.lock();
        if now.saturating_duration_since(state.checked) > self.limit / 2 {
            state.heard.clear();
        }
        state.checked = now;
        let mut silent = Vec::new();
        state.heard.retain(|id, _| image.broker(*id).is_some());
        for broker in image.live_brokers() {
            let entry = state.heard.entry(broker.id).or_insert((broker.epoch, now));
            if entry.0 != broker.epoch {
                *entry = (broker.epoch, now);
            }
            if now.saturating_duration_since(entry.1) > self.limit {
                silent.push((broker.id, broker.epoch));
            }
        }
        silent
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ottla_core::metadata::{Command, UnfenceBroker};
    use ottla_types::{ClusterId, MetadataVersion};

    use super::*;
    use crate::test_commands::register;

    const LIMIT: Duration = Duration::from_secs(2);
    const TICK: Duration = Duration::from_millis(100);

    fn image_with_a_live_broker() -> MetadataImage {
        let mut image = MetadataImage::new(ClusterId([1; 16]));
        let id = BrokerId(7);
        let unfence = UnfenceBroker { id, epoch: BrokerEpoch(1) };
        for command in [Command::RegisterBroker(register(id)), Command::UnfenceBroker(unfence)] {
            let records = image.decide(&command).records;
            image.apply(MetadataVersion(image.version.0 + 1), &records);
        }
        image
    }

    fn tick_until(sessions: &Sessions, image: &MetadataImage, from: Instant, until: Instant) -> bool {
        let mut now = from;
        while now < until {
            now += TICK;
            if !sessions.silent(image, now).is_empty() {
                return true;
            }
        }
        false
    }

    #[test]
    fn a_silent_broker_is_found_after_the_limit_and_not_before() {
        let (image, start) = (image_with_a_live_broker(), Instant::now());
        let sessions = Sessions::new(LIMIT, start);
        assert!(!tick_until(&sessions, &image, start, start + LIMIT));
        assert!(tick_until(&sessions, &image, start + LIMIT, start + LIMIT + 3 * TICK));
    }

    #[test]
    fn a_heartbeat_starts_the_time_again() {
        let (image, start) = (image_with_a_live_broker(), Instant::now());
        let sessions = Sessions::new(LIMIT, start);
        assert!(!tick_until(&sessions, &image, start, start + LIMIT));
        sessions.hear(BrokerId(7), BrokerEpoch(1), start + LIMIT);
        assert!(!tick_until(&sessions, &image, start + LIMIT, start + LIMIT * 2));
    }

    #[test]
    fn after_a_pause_of_this_node_nobody_is_blamed() {
        let (image, start) = (image_with_a_live_broker(), Instant::now());
        let sessions = Sessions::new(LIMIT, start);
        assert!(!tick_until(&sessions, &image, start, start + TICK));
        assert_eq!(sessions.silent(&image, start + LIMIT * 50), []);
    }
}
