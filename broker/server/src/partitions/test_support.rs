//! What this room's tests share: a data folder's partitions, and metadata as commands make it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::config::BrokerDefaults;
use ottla_core::metadata::{Command, IncarnationId, MetadataImage, RegisterBroker, UnfenceBroker};
use ottla_store::{Committer, Store, StoreConfig};
use ottla_types::{BrokerEpoch, BrokerId, ClusterId, DirectoryId, MetadataVersion};

use super::{Partitions, Streams};

/// The cluster of these tests.
pub const CLUSTER: ClusterId = ClusterId([1; 16]);
const PROCESS: IncarnationId = IncarnationId(1);

/// A broker's store in this folder, and its partitions, of which none is open yet.
pub fn open(folder: &Path, id: BrokerId) -> (Arc<Store>, Partitions) {
    let config = StoreConfig {
        cluster_id: Some(CLUSTER),
        committer: Committer::Manual,
        ..StoreConfig::new(folder, id)
    };
    let store = Arc::new(Store::open(config).unwrap());
    let (streams, _opened) = Streams::new();
    let (defaults, lag_max) = (BrokerDefaults::default(), Duration::from_secs(3));
    let partitions =
        Partitions::new((id, PROCESS), Arc::clone(&store), folder.to_owned(), defaults, lag_max, streams);
    (store, partitions)
}

/// The metadata after a command, which has to succeed.
pub fn after(image: &MetadataImage, command: &Command) -> MetadataImage {
    let decision = image.decide(command);
    decision.outcome.unwrap();
    let mut image = image.clone();
    image.apply(MetadataVersion(image.version.0 + 1), &decision.records);
    image
}

/// The metadata once a broker has registered, the first time and as the `epoch`th, and was unfenced.
pub fn with_live_broker(
    image: &MetadataImage,
    id: BrokerId,
    epoch: i64,
    directory_id: DirectoryId,
) -> MetadataImage {
    let register = RegisterBroker { clean_shutdown: true, ..RegisterBroker::new(id, PROCESS, directory_id) };
    let registered = after(image, &Command::RegisterBroker(register));
    after(&registered, &Command::UnfenceBroker(UnfenceBroker { id, epoch: BrokerEpoch(epoch) }))
}
