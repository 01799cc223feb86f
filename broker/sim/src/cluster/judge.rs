//! The judge sees all brokers and all disks at once and checks the promises at every step.
//!
//! What any replica's high watermark has passed is *true* from then on: it may have been acknowledged and
//! seen. It stays at its offset with its bytes, on the disk of everybody who may lead. Only an
//! administrator's unclean election takes something back, and only what the named replica hasn't on its disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::metadata::{MetadataImage, PartitionImage, TopicImage};
use ottla_core::partition::RoleKind;
use ottla_types::{BrokerId, LeaderEpoch, PartitionIndex};

use super::Key;
use super::batch::{Mark, marks_of, values_of};
use super::node::{Node, Shadow};
use crate::Violation;
use crate::shadow::demand;

#[derive(Default)]
pub(super) struct Judge {
    pub(super) truths: BTreeMap<Key, Truth>,
    /// Which partition each record was sent to, by its number.
    pub(super) sent: Vec<Key>,
    pub(super) elections: u64,
    pub(super) unclean: u64,
}

/// What is true of one partition.
#[derive(Default)]
pub(super) struct Truth {
    pub(super) marks: Vec<Mark>,
    /// Who led in which epoch.
    leaders: BTreeMap<i32, BrokerId>,
    /// Epochs before this one ended in an unclean election: what their leaders still say counts for nothing.
    pub(super) unclean_epoch: i32,
    /// Up to here replicas have let go what was old.
    let_go: i64,
    /// Producers' epochs, next sequences, and the ends of their last batches.
    producers: BTreeMap<i64, (i16, i32, i64)>,
}

/// Producers with such ids wait for the leader only; what they were told may be lost.
pub(super) const LOSSY: i64 = 1_000_000;

impl Truth {
    pub(super) fn end(&self) -> i64 {
        self.marks.last().map_or(0, |mark| mark.next)
    }

    fn at(&self, base: i64) -> Option<&Mark> {
        self.marks.binary_search_by_key(&base, |mark| mark.base).ok().map(|at| &self.marks[at])
    }

    /// Takes the next batch for true, if its producer may have written it there.
    fn push(&mut self, key: Key, mark: Mark, is_damaged: bool) -> Result<(), Violation> {
        demand!(mark.base == self.end(), "{key:?}: {mark:?} leaves a gap after {}", self.end());
        // What a damaged batch said of its producer may be gone, so that one is sent again.
        let after_loss = self.unclean_epoch > 0 || mark.producer >= LOSSY;
        let next = self.producers.get(&mark.producer).copied();
        // A replica that began where the others' logs begin has never seen what tells of this producer.
        let is_forgotten = next.is_some_and(|(.., end)| end <= self.let_go);
        let follows = match next {
            Some((epoch, next, _)) if epoch == mark.producer_epoch => {
                mark.sequence == next || (after_loss && mark.sequence > next)
            }
            Some((epoch, ..)) if epoch > mark.producer_epoch => false,
            _ => mark.sequence == 0 || after_loss,
        };
        demand!(
            follows || is_damaged || is_forgotten,
            "{key:?}: {mark:?} is doubled, reordered or after a gap: {next:?} is next"
        );
        let count = mark.count();
        self.producers.insert(mark.producer, (mark.producer_epoch, mark.sequence + count, mark.next));
        self.marks.push(mark);
        Ok(())
    }

    /// An administrator gave up what isn't in `kept`.
    fn cut(&mut self, kept: usize, epoch: i32) {
        self.unclean_epoch = epoch;
        self.producers.clear();
        for mark in std::mem::take(&mut self.marks).into_iter().take(kept) {
            let count = mark.count();
            self.producers.insert(mark.producer, (mark.producer_epoch, mark.sequence + count, mark.next));
            self.marks.push(mark);
        }
    }
}

impl Shadow {
    /// How many of the first of `marks` are on the disk, or were let go.
    fn holds(&self, marks: &[Mark]) -> usize {
        let gone = marks.iter().take_while(|mark| mark.next <= self.start).count();
        let marks = &marks[gone..];
        let Some(first) = marks.first() else { return gone };
        let at = self.marks.partition_point(|mark| mark.base < first.base);
        let same = self.marks[at..]
            .iter()
            .zip(marks)
            .take_while(|(own, mark)| own == mark && own.next <= self.durable);
        gone + same.count()
    }
}

fn node(nodes: &[Node], broker: BrokerId) -> &Node {
    &nodes[super::node_of(broker)]
}

fn partition(image: &MetadataImage, key: Key) -> Option<&PartitionImage> {
    image.topics.get(&key.0)?.partition(key.1)
}

/// Checks that a replica that may lead has `marks` on its disk, if it has the disk that is recorded.
fn check_holds(
    nodes: &[Node],
    key: Key,
    partition: &PartitionImage,
    broker: BrokerId,
    marks: &[Mark],
    why: &str,
) -> Result<(), Violation> {
    let node = node(nodes, broker);
    if node.directory.is_none() || node.directory != partition.directory_of(broker) {
        return Ok(());
    }
    let missing = match node.shadows.get(&key) {
        Some(shadow) if shadow.is_damaged => None,
        Some(shadow) => marks.get(shadow.holds(marks)),
        None => marks.first(),
    };
    demand!(missing.is_none(), "{key:?}: broker {broker} {why} and lacks {missing:?}, or has it not synced");
    Ok(())
}

impl Judge {
    /// A replica's high watermark has advanced.
    pub(super) fn on_high_watermark(
        &mut self,
        nodes: &mut [Node],
        image: &MetadataImage,
        n: usize,
        key: Key,
    ) -> Result<(), Violation> {
        let Some(hosted) = nodes[n].hosted(key) else { return Ok(()) };
        let (reached, epoch, role) =
            (hosted.replica.high_watermark().0, hosted.replica.leader_epoch().0, hosted.replica.role());
        let shown = std::mem::replace(&mut hosted.shown, reached);
        demand!(reached >= shown, "{key:?}: the high watermark of broker {} fell in its epoch", nodes[n].id);
        let is_damaged =
            nodes.iter().any(|node| node.shadows.get(&key).is_some_and(|shadow| shadow.is_damaged));
        let truth = self.truths.entry(key).or_default();
        if epoch < truth.unclean_epoch {
            return Ok(());
        }
        let shadow = &nodes[n].shadows[&key];
        let from = shadow.marks.partition_point(|mark| mark.base < shown);
        let known = truth.marks.len();
        // What was let go before this replica could show it, others have shown.
        let mut end = shown.max(shadow.start.min(truth.let_go).min(reached));
        for mark in shadow.marks[from..].iter().take_while(|mark| mark.next <= reached) {
            end = mark.next;
            if mark.base < truth.end() {
                let is_same = truth.at(mark.base) == Some(mark);
                demand!(
                    is_same,
                    "{key:?}: broker {} shows {mark:?}, not {:?}",
                    nodes[n].id,
                    truth.at(mark.base)
                );
            } else {
                demand!(role == RoleKind::Leader, "{key:?}: follower {} shows {mark:?} first", nodes[n].id);
                truth.push(key, *mark, is_damaged)?;
            }
        }
        demand!(
            end == reached || shadow.is_damaged,
            "{key:?}: broker {} shows up to {reached} and has {end}",
            nodes[n].id
        );
        if let Some(partition) = partition(image, key)
            && role == RoleKind::Leader
        {
            for member in &partition.isr {
                check_holds(nodes, key, partition, *member, &truth.marks[known..], "is in sync")?;
            }
        }
        Ok(())
    }

    /// A replica has a role by an image.
    pub(super) fn on_role(&mut self, nodes: &[Node], n: usize, key: Key) -> Result<(), Violation> {
        let Some(hosted) = nodes[n].process.as_ref().and_then(|process| process.hosted.get(&key)) else {
            return Ok(());
        };
        if hosted.replica.role() == RoleKind::Leader {
            let (id, epoch) = (nodes[n].id, hosted.replica.leader_epoch());
            let elected = self.truths.get(&key).and_then(|truth| truth.leaders.get(&epoch.0));
            demand!(
                elected == Some(&id),
                "{key:?}: broker {id} leads in epoch {epoch}, {elected:?} was elected"
            );
            self.take_back(&nodes[n], key, epoch.0, hosted.shown)?;
        }
        Ok(())
    }

    /// Two unclean elections in a row may bring back what the first has given up: the second's replica was
    /// away meanwhile, and what it had shown before, and shows again as the leader, is true again. Without
    /// such elections no leader begins with more than is true.
    fn take_back(&mut self, node: &Node, key: Key, epoch: i32, shown: i64) -> Result<(), Violation> {
        let truth = self.truths.entry(key).or_default();
        let shadow = &node.shadows[&key];
        if epoch < truth.unclean_epoch || shown <= truth.end() || shadow.is_damaged {
            return Ok(());
        }
        let (id, end) = (node.id, truth.end());
        demand!(
            truth.unclean_epoch > 0,
            "{key:?}: broker {id} begins to lead at {shown}, true is up to {end}"
        );
        let from = shadow.marks.partition_point(|mark| mark.base < end);
        for mark in shadow.marks[from..].iter().take_while(|mark| mark.next <= shown) {
            truth.push(key, *mark, false)?;
        }
        demand!(
            truth.end() == shown,
            "{key:?}: broker {id} begins to lead at {shown} and has {}",
            truth.end()
        );
        Ok(())
    }

    /// The metadata has changed.
    pub(super) fn on_commit(
        &mut self,
        nodes: &[Node],
        old: &MetadataImage,
        new: &MetadataImage,
    ) -> Result<(), Violation> {
        for topic in new.topics.values() {
            for (index, partition) in topic.numbered() {
                let before = old.topics.get(&topic.id).and_then(|topic| topic.partition(index));
                if before != Some(partition) {
                    self.on_change(nodes, topic, index, before, partition)?;
                }
            }
        }
        Ok(())
    }

    fn on_change(
        &mut self,
        nodes: &[Node],
        topic: &TopicImage,
        index: PartitionIndex,
        before: Option<&PartitionImage>,
        now: &PartitionImage,
    ) -> Result<(), Violation> {
        let key = (topic.id, index);
        let truth = self.truths.entry(key).or_default();
        let is_unclean = before.is_some_and(|before| before.unclean != now.unclean);
        if let Some(leader) = now.leader {
            let elected = *truth.leaders.entry(now.leader_epoch.0).or_insert(leader);
            demand!(
                elected == leader,
                "{key:?}: epoch {} has two leaders, {elected} and {leader}",
                now.leader_epoch
            );
            let is_new = before.is_none_or(|before| before.leader_epoch != now.leader_epoch);
            self.elections += u64::from(is_new);
            if let Some(before) = before.filter(|_| is_new && !is_unclean) {
                // One that joins by the leader's word may take over in the same step.
                let joins = before.leader.is_some() && now.isr.contains(&leader);
                let is_same_disk = before.directory_of(leader) == now.directory_of(leader);
                let may = (before.is_complete(leader) || joins) && is_same_disk;
                demand!(may, "{key:?}: {leader} leads, neither in sync nor eligible, or on another disk");
            }
            if is_unclean {
                self.unclean += 1;
                let kept =
                    node(nodes, leader).shadows.get(&key).map_or(0, |shadow| shadow.holds(&truth.marks));
                truth.cut(kept, now.leader_epoch.0);
            }
            check_holds(nodes, key, now, leader, &truth.marks, "leads")?;
        }
        for member in now.isr.iter().chain(&now.elr) {
            check_holds(nodes, key, now, *member, &truth.marks, "is in sync or eligible")?;
        }
        Ok(())
    }

    /// A producer is told that a batch is safe.
    pub(super) fn on_acknowledged(
        &mut self,
        nodes: &[Node],
        newest: &MetadataImage,
        n: usize,
        key: Key,
        (base, last): (i64, i64),
        epoch: LeaderEpoch,
    ) -> Result<(), Violation> {
        let id = nodes[n].id;
        let Some(process) = &nodes[n].process else { return Ok(()) };
        let Some(hosted) = process.hosted.get(&key) else { return Ok(()) };
        let leads = hosted.replica.role() == RoleKind::Leader && hosted.replica.leader_epoch() == epoch;
        demand!(leads, "{key:?}: broker {id} acknowledges {base} and doesn't lead in epoch {epoch} any more");
        let truth = self.truths.entry(key).or_default();
        if epoch.0 < truth.unclean_epoch {
            return Ok(());
        }
        let mark = truth.at(base).copied();
        demand!(
            mark.is_some_and(|mark| mark.next == last + 1),
            "{key:?}: {base}..={last} is acknowledged and isn't true: {mark:?} of {:?}",
            truth.end()
        );
        let Some(image) = &process.image else {
            return Err(Violation(format!("{key:?}: broker {id} leads and has no image")));
        };
        let Some(topic) = image.topics.get(&key.0) else { return Ok(()) };
        let Some(partition) = topic.partition(key.1) else { return Ok(()) };
        // Who was moved away meanwhile needn't have it any more.
        let now = newest.topics.get(&key.0).and_then(|topic| Some((topic, topic.partition(key.1)?)));
        let Some((topic_now, partition_now)) = now else { return Ok(()) };
        let minimum = image.min_insync_replicas(topic, partition);
        let minimum = minimum.min(newest.min_insync_replicas(topic_now, partition_now));
        let wiped = nodes.iter().filter(|node| node.wipes > 0).count();
        let holders = nodes
            .iter()
            .filter(|node| {
                node.shadows
                    .get(&key)
                    .is_some_and(|shadow| shadow.is_damaged || shadow.holds(mark.as_slice()) == 1)
            })
            .count();
        demand!(
            holders + wiped >= minimum,
            "{key:?}: {base} is acknowledged and on {holders} of {minimum} disks"
        );
        Ok(())
    }

    /// A log begins later than it did: what is gone was acknowledged, and no replica needs it any more.
    pub(super) fn on_log_start(
        &mut self,
        key: Key,
        id: BrokerId,
        start: i64,
        is_damaged: bool,
    ) -> Result<(), Violation> {
        let truth = self.truths.entry(key).or_default();
        let is_true = start <= truth.end() || truth.unclean_epoch > 0 || is_damaged;
        demand!(is_true, "{key:?}: broker {id} lets go up to {start}, acknowledged is up to {}", truth.end());
        truth.let_go = truth.let_go.max(start);
        Ok(())
    }

    /// A consumer is told that what it asks for is gone.
    pub(super) fn on_skipped(&self, key: Key, start: i64) -> Result<(), Violation> {
        let let_go = self.truths.get(&key).map_or(0, |truth| truth.let_go);
        demand!(start <= let_go, "{key:?}: a consumer is sent to {start}, gone is what lies below {let_go}");
        Ok(())
    }

    /// A follower is about to cut its log.
    pub(super) fn on_truncation(
        &self,
        id: BrokerId,
        key: Key,
        shadow: &Shadow,
        kept: i64,
    ) -> Result<(), Violation> {
        let Some(truth) = self.truths.get(&key) else { return Ok(()) };
        // What lies below was let go elsewhere: a follower that is behind that begins anew.
        let kept = kept.max(truth.let_go);
        let cut = shadow.marks.iter().find(|mark| mark.next > kept && truth.at(mark.base) == Some(mark));
        demand!(
            cut.is_none() || shadow.is_damaged,
            "{key:?}: broker {id} cuts {cut:?}, which was shown, at {kept}"
        );
        Ok(())
    }

    /// A consumer was answered; returns where it goes on.
    pub(super) fn on_read(
        &self,
        key: Key,
        bytes: &Bytes,
        epoch: LeaderEpoch,
        from: BrokerId,
    ) -> Result<Option<i64>, Violation> {
        let truth = self.truths.get(&key);
        for (offset, value) in values_in(bytes) {
            let sent = usize::try_from(value).ok().and_then(|value| self.sent.get(value));
            demand!(
                sent == Some(&key),
                "{key:?}: broker {from} shows {value} at {offset}, which was sent to {sent:?}"
            );
        }
        let marks = marks_of(bytes);
        if truth.is_some_and(|truth| epoch.0 >= truth.unclean_epoch) {
            // What was given up may be shown by a follower until it hears of that.
            for mark in
                marks.iter().filter(|mark| truth.is_some_and(|truth| mark.epoch >= truth.unclean_epoch))
            {
                let known = truth.and_then(|truth| truth.at(mark.base));
                demand!(known == Some(mark), "{key:?}: broker {from} shows {mark:?}, {known:?} is true");
            }
        }
        Ok(marks.last().map(|mark| mark.next))
    }
}

fn values_in(bytes: &Bytes) -> Vec<(i64, u64)> {
    let batches = ottla_log::Batches::new(bytes).map_while(Result::ok);
    batches.flat_map(|(_, batch)| values_of(batch)).collect()
}
