//! Leaders that may be gone: one whose stream just ended, while the controller hasn't said yet who leads
//! instead.
//!
//! Clients that lose a leader ask another broker at once, mostly before there is a new one. Told of the old
//! leader, or that there is none, some of them (librdkafka) look again only after a second. So an answer
//! waits for a moment while one is in doubt. Nothing else depends on it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ottla_core::metadata::MetadataImage;
use ottla_types::{BrokerEpoch, BrokerId};
use parking_lot::Mutex;

/// How long a doubt lasts. By then the controller has fenced who is gone; who isn't is reached by others, if
/// not by us.
const DOUBT_MAX: Duration = Duration::from_secs(2);

/// The leaders in doubt.
#[derive(Debug, Default)]
pub struct Doubts {
    /// The registration that was lost, and when.
    lost: Mutex<HashMap<BrokerId, (BrokerEpoch, Instant)>>,
}

impl Doubts {
    /// The stream from this registration of a leader was ended by the other side.
    pub fn lose(&self, leader: BrokerId, epoch: BrokerEpoch, now: Instant) {
        self.lost.lock().insert(leader, (epoch, now));
    }

    /// It was reached again.
    pub fn reach(&self, leader: BrokerId) {
        self.lost.lock().remove(&leader);
    }

    /// Those in doubt whose registration is still the one in `image`.
    pub fn now(&self, image: &MetadataImage, now: Instant) -> Vec<BrokerId> {
        let mut lost = self.lost.lock();
        lost.retain(|_, (_, since)| now.duration_since(*since) < DOUBT_MAX);
        let of_image = lost
            .iter()
            .filter(|(id, (epoch, _))| image.broker(**id).is_some_and(|broker| broker.epoch == *epoch));
        of_image.map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use ottla_core::metadata::{BrokerImage, IncarnationId, Record};
    use ottla_types::{ClusterId, DirectoryId};

    use super::*;

    fn image(epoch: i64) -> MetadataImage {
        let mut image = MetadataImage::new(ClusterId([1; 16]));
        image.replay(&Record::BrokerRegistered(BrokerImage {
            id: BrokerId(2),
            epoch: BrokerEpoch(epoch),
            incarnation: IncarnationId(1),
            directory_id: DirectoryId([1; 16]),
            listeners: Vec::new(),
            control_address: String::new(),
            rack: None,
            fenced: true,
            in_controlled_shutdown: false,
            draining: false,
        }));
        image
    }

    #[test]
    fn a_doubt_ends_with_an_answer_another_registration_or_time() {
        let (doubts, since) = (Doubts::default(), Instant::now());
        assert!(doubts.now(&image(1), since).is_empty());
        doubts.lose(BrokerId(2), BrokerEpoch(1), since);
        assert_eq!(doubts.now(&image(1), since), [BrokerId(2)]);
        assert!(doubts.now(&image(2), since).is_empty(), "it has registered again");
        assert_eq!(doubts.now(&image(1), since + DOUBT_MAX / 2), [BrokerId(2)]);
        assert!(doubts.now(&image(1), since + DOUBT_MAX).is_empty());
        doubts.lose(BrokerId(2), BrokerEpoch(1), since);
        doubts.reach(BrokerId(2));
        assert!(doubts.now(&image(1), since).is_empty());
    }
}
