//! What goes on in a broker besides serving: it follows the metadata and other brokers, and keeps house.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::metadata::MetadataImage;
use ottla_quorum::Tasks;
use ottla_store::Store;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::broker::Broker;
use crate::partitions::Opened;
use crate::replication::{follow_leaders, keep_in_sync, propose, repair, scrub};

/// How often high watermarks are saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// Where tasks are begun that end with the broker.
pub struct Background<'a> {
    /// What begins them.
    pub tasks: &'a Tasks,
    /// What ends them.
    pub set: &'a mut JoinSet<()>,
}

impl Background<'_> {
    /// What follows other brokers and keeps house.
    pub fn all_on(&mut self, threads: &Handle, broker: &Arc<Broker>, store: &Arc<Store>, opened: Opened) {
        let (broker, store) = (|| Arc::clone(broker), || Arc::clone(store));
        let stopping = broker().stopping.clone();
        let coordinators = Arc::clone(&broker().coordinators);
        self.on(threads, "host group coordinators", coordinators.run(broker().stopping.clone()));
        self.on(threads, "follow the leaders", follow_leaders(broker(), opened));
        let crowds = Arc::clone(broker().partitions.crowds());
        self.on(threads, "wake those who wait", async move { crowds.wake().await });
        self.on(threads, "propose changes of the ISR", propose(broker()));
        self.on(threads, "look for lagging followers", keep_in_sync(broker()));
        self.on(threads, "repair damage", repair(broker()));
        self.on(threads, "look for damage", scrub(broker(), store()));
        self.on(threads, "save high watermarks", save_high_watermarks(broker()));
        self.on(threads, "keep house", keep_house(broker(), store(), stopping));
    }

    /// Begins one of them on `threads`.
    pub fn on(
        &mut self,
        threads: &Handle,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn_in(self.set, threads, name, work);
    }
}

/// Brings the partitions in step with each new image.
pub async fn follow_metadata(broker: Arc<Broker>) {
    const LOOK_AGAIN: Duration = Duration::from_millis(500);
    let mut images = broker.images.clone();
    let mut before: Option<Arc<MetadataImage>> = None;
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        broker.throttles.on_image(&image, broker.config.node_id);
        limit_connections(&broker, &image);
        broker.absences.look(&image, std::time::Instant::now());
        let settle = !broker.partitions.is_settled() && broker.is_in_service(&image).is_ok();
        broker.partitions.begin_to_apply();
        let partitions = Arc::clone(&broker.partitions);
        let (old, new) = (before.take(), Arc::clone(&image));
        let apply = broker.quorum.tasks().spawn_blocking("apply the metadata", move || {
            partitions.apply(old.as_deref(), &new);
            if settle {
                partitions.settle(&new);
            }
        });
        // What is half done can't be gone on with: the broker ends.
        if apply.await.is_err() {
            return;
        }
        before = Some(image);
        let changed = if broker.partitions.is_settled() {
            images.changed().await
        } else {
            // What makes the metadata complete may be known a moment after the image.
            tokio::time::timeout(LOOK_AGAIN, images.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Takes over how many connections there may be, if that was set while brokers run.
fn limit_connections(broker: &Broker, image: &MetadataImage) {
    let set = |name: &str| image.set_on_broker(broker.config.node_id, name)?.trim().parse().ok();
    broker.limits.set_connections_max(set("max.connections"), set("max.connections.per.ip"));
}

/// Saves the high watermarks now and then, until it is dropped.
async fn save_high_watermarks(broker: Arc<Broker>) {
    let mut timer = tokio::time::interval(SAVE_INTERVAL);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let partitions = Arc::clone(&broker.partitions);
        if broker
            .quorum
            .tasks()
            .spawn_blocking("write high watermarks", move || partitions.save_high_watermarks())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Deletes old segments and forgets silent producers now and then: one timer for all partitions.
async fn keep_house(broker: Arc<Broker>, store: Arc<Store>, mut stopping: watch::Receiver<bool>) {
    let mut timer = tokio::time::interval(broker.config.retention_check_interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let (swept, store) = (Arc::clone(&broker), Arc::clone(&store));
        match broker
            .quorum
            .tasks()
            .spawn_blocking("delete old segments", move || {
                let now_ms = crate::clock::now_ms();
                store.forget_silent_producers(now_ms);
                swept.partitions.enforce_retention(now_ms)
            })
            .await
        {
            Ok(0) => {}
            Ok(deleted) => info!(segments = deleted, "old segments deleted"),
            Err(_) => return,
        }
    }
}
