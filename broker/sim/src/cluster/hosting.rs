//! What a broker makes of an image: logs are opened, replicas get their roles, partitions go.
//!
//! A broker acts only upon images that hold its present registration: what an older one says of it was said
//! of another process.

use std::collections::BTreeMap;

use ottla_core::metadata::MetadataImage;
use ottla_core::partition::{Assignment, Replica};
use ottla_store::StoreError;

use super::Key;
use super::node::{Hosted, facts};
use super::plan::LAG_MAX_MS;
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;

impl Cluster {
    pub(super) fn take_images(&mut self, n: usize) -> Result<(), Violation> {
        let newest = self.quorum.images.len() - 1;
        let Some(process) = &mut self.nodes[n].process else { return Ok(()) };
        if process.seen >= newest {
            return Ok(());
        }
        // A broker may see each version, or only the last of several.
        let ahead = (newest - process.seen) as u64;
        let next =
            if self.rng.percent(60) { newest } else { process.seen + 1 + self.rng.below(ahead) as usize };
        if next < newest {
            let delay = 1 + self.rng.below(20);
            self.after(delay, Event::Images(n));
        }
        let image = self.quorum.images[next].clone();
        let node = &mut self.nodes[n];
        node.metadata = node.metadata.max(next);
        let Some(process) = &mut node.process else { return Ok(()) };
        let is_mine = image.broker(node.id).is_some_and(|broker| Some(broker.epoch) == process.epoch);
        if !is_mine {
            return Ok(());
        }
        process.seen = next;
        self.apply(n, image)
    }

    /// Makes of the hosted partitions what the image says.
    pub(super) fn apply(&mut self, n: usize, image: MetadataImage) -> Result<(), Violation> {
        say!(self, "broker {} follows image {}", self.nodes[n].id, image.version);
        let Some(process) = &mut self.nodes[n].process else { return Ok(()) };
        process.image = Some(image.clone());
        process.lacks_logs = false;
        let here: Option<BTreeMap<Key, Assignment>> = image
            .partitions_on(super::broker_id(n), process.directory)
            .map(|(topic, index, _)| Some(((topic.id, index), Assignment::of(&image, topic, index)?)))
            .collect();
        let Some(here) = here else {
            return Err(Violation(format!("broker {} holds what its image lacks", self.nodes[n].id)));
        };
        let gone: Vec<Key> = process.hosted.keys().filter(|key| !here.contains_key(key)).copied().collect();
        for key in gone {
            let is_deleted = !image.topics.contains_key(&key.0);
            self.let_go(n, key, is_deleted)?;
        }
        for (key, assignment) in here {
            if !self.host(n, key, &image)? {
                if let Some(process) = &mut self.nodes[n].process {
                    process.lacks_logs = true;
                }
                continue;
            }
            let now = self.now;
            let Some(hosted) = self.nodes[n].hosted(key) else { continue };
            let change = hosted.replica.on_image(assignment, facts(&hosted.log), now);
            if change.role {
                hosted.asked = None;
                hosted.appended.clear();
                hosted.note_end(now, true);
            }
            self.judge.on_role(&self.nodes, n, key)?;
            self.after_change(n, key, &change)?;
            self.ask(n, key);
        }
        Ok(())
    }

    /// Opens the log of a partition, unless it is. Whether it is here then.
    fn host(&mut self, n: usize, key: Key, image: &MetadataImage) -> Result<bool, Violation> {
        let config = self.log_config();
        let node = &mut self.nodes[n];
        let Some(process) = &mut node.process else { return Ok(false) };
        if process.hosted.contains_key(&key) {
            return Ok(true);
        }
        let name = image.topics[&key.0].name.clone();
        let mut created = process.store.create_partition(name.clone(), key.0, key.1, config.clone());
        if let Err(StoreError::ForeignTopic { found, .. }) = created {
            node.shadows.remove(&(found, key.1));
            let _ = process.store.put_aside(found, key.1);
            created = process.store.create_partition(name, key.0, key.1, config);
        }
        let log = match created {
            Ok(log) => log,
            // A full or failing disk; the next image or restart tries again.
            Err(_) => return Ok(false),
        };
        let saved = node.saved.get(&key).copied().unwrap_or_default();
        let saved = saved.in_log(|offset| log.epoch_of(offset));
        let replica = Replica::new(node.id, saved, facts(&log), LAG_MAX_MS);
        let shown = replica.high_watermark().0;
        // What lay here unhosted was synced with all else.
        node.shadows.entry(key).or_default().durable = facts(&log).synced.0;
        process.hosted.insert(
            key,
            Hosted {
                log,
                replica,
                waiting: Vec::new(),
                parked: Vec::new(),
                asked: None,
                appended: Vec::new(),
                proposed_at: 0,
                shown,
                ends: Vec::new(),
                furthest: BTreeMap::new(),
            },
        );
        Ok(true)
    }

    /// The partition isn't this broker's any more.
    fn let_go(&mut self, n: usize, key: Key, is_deleted: bool) -> Result<(), Violation> {
        say!(self, "broker {} lets {:?} go", self.nodes[n].id, super::Named(key));
        let node = &mut self.nodes[n];
        let Some(process) = &mut node.process else { return Ok(()) };
        let Some(hosted) = process.hosted.remove(&key) else { return Ok(()) };
        for waiting in hosted.waiting {
            let (client, number) = (waiting.client, waiting.produce.number);
            self.answer_produce(n, client, number, super::net::Produced::Unknown);
        }
        if is_deleted || self.rng.percent(50) {
            let node = &mut self.nodes[n];
            node.shadows.remove(&key);
            node.saved.remove(&key);
            if let Some(process) = &node.process {
                // A failure shows in the store, which ends the process.
                let _ = process.store.delete_partition(key.0, key.1);
            }
        }
        Ok(())
    }
}
