//! Brokers that were in service a moment ago. Clients are still told where they are.
//!
//! A client learns who leads now from the answer in which the former leader would be missing. librdkafka
//! (seen with 2.16.0) then ends that broker's thread, which on its way out takes back the partitions that
//! were just given to the new leader; they stand still until its next look at all topics, up to a second
//! later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_core::metadata::MetadataImage;
use ottla_types::{BrokerEpoch, BrokerId};
use parking_lot::Mutex;

/// For how long. Longer than clients need to notice that a leader is gone; short, as new clients may try it
/// in vain.
const SHOWN: Duration = Duration::from_secs(10);

/// Who went out of service lately.
#[derive(Debug, Default)]
pub struct Absences {
    state: Mutex<AbsenceState>,
}

#[derive(Debug, Default)]
struct AbsenceState {
    newest: Option<Arc<MetadataImage>>,
    /// The registration that was fenced, and when that was seen.
    gone: HashMap<BrokerId, (BrokerEpoch, Instant)>,
}

impl Absences {
    /// The brokers that `image` has fenced and that were in service a moment ago. To be called with each
    /// image.
    pub fn look(&self, image: &Arc<MetadataImage>, now: Instant) -> Vec<BrokerId> {
        let mut state = self.state.lock();
        let AbsenceState { newest, gone } = &mut *state;
        if newest.as_ref().is_none_or(|newest| newest.version < image.version) {
            let before = newest.replace(Arc::clone(image));
            let was_live = before.iter().flat_map(|before| before.live_brokers());
            for broker in was_live.filter(|broker| is_fenced(image, broker.id, broker.epoch)) {
                gone.insert(broker.id, (broker.epoch, now));
            }
        }
        gone.retain(|_, (_, since)| now.duration_since(*since) < SHOWN);
        gone.iter().filter(|(id, (epoch, _))| is_fenced(image, **id, *epoch)).map(|(id, _)| *id).collect()
    }
}

/// Whether the registration is still the broker's, and fenced.
fn is_fenced(image: &MetadataImage, id: BrokerId, epoch: BrokerEpoch) -> bool {
    image.broker(id).is_some_and(|broker| broker.fenced && broker.epoch == epoch)
}

#[cfg(test)]
mod tests {
    use ottla_core::metadata::{Command, FenceBroker, IncarnationId, RegisterBroker, UnfenceBroker};
    use ottla_types::{ClusterId, DirectoryId, MetadataVersion};

    use super::*;

    const BROKER: BrokerId = BrokerId(2);

    fn after(image: &MetadataImage, command: Command) -> Arc<MetadataImage> {
        let records = image.decide(&command).records;
        let mut image = image.clone();
        image.apply(MetadataVersion(image.version.0 + 1), &records);
        Arc::new(image)
    }

    fn registered(image: &MetadataImage) -> Arc<MetadataImage> {
        let register = RegisterBroker::new(BROKER, IncarnationId(1), DirectoryId([1; 16]));
        after(image, Command::RegisterBroker(register))
    }

    #[test]
    fn who_was_in_service_is_shown_for_a_while() {
        let (absences, start) = (Absences::default(), Instant::now());
        let new = registered(&MetadataImage::new(ClusterId([1; 16])));
        let epoch = new.broker(BROKER).unwrap().epoch;
        let live = after(&new, Command::UnfenceBroker(UnfenceBroker { id: BROKER, epoch }));
        let fenced = after(&live, Command::FenceBroker(FenceBroker { id: BROKER, epoch }));
        assert!(absences.look(&new, start).is_empty(), "it never was in service");
        assert!(absences.look(&live, start).is_empty());
        assert_eq!(absences.look(&fenced, start + SHOWN), [BROKER]);
        assert!(absences.look(&live, start + SHOWN).is_empty(), "an older image has it in service");
        assert_eq!(absences.look(&fenced, start + SHOWN + SHOWN / 2), [BROKER]);
        assert!(
            absences.look(&registered(&fenced), start + SHOWN + SHOWN / 2).is_empty(),
            "it is another one"
        );
        assert!(absences.look(&fenced, start + 2 * SHOWN).is_empty());
    }
}
