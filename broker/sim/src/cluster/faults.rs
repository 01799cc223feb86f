//! What goes wrong: processes, machines, disks, cables and the controller.

use std::path::PathBuf;

use ottla_core::metadata::{Command, ControlledShutdown};
use ottla_log::FileKind;
use ottla_store::Disk;

use super::net::{Message, Party};
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cure {
    Network,
    /// There is room on this broker's disk again.
    Room(usize),
    /// A broker that handed its partitions over closes its disk and stops.
    Stop(usize, u64),
}

impl Cluster {
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        if self.is_healed {
            return Ok(());
        }
        let pace = self.plan.fault_every_ms;
        let delay = pace / 2 + self.rng.below(pace);
        self.after(delay, Event::Fault);
        self.report.faults += 1;
        let n = self.rng.below(self.nodes.len() as u64) as usize;
        match self.rng.below(100) {
            0..14 => self.take_down(n, false),
            14..24 => self.take_down(n, true),
            24..27 => (0..self.nodes.len()).for_each(|n| self.take_down(n, true)),
            27..35 => self.nodes[n].disk.crash_after(self.rng.below(60)),
            35..45 => {
                let until = self.now + 100 + self.rng.below(2_500);
                say!(self, "broker {} is stopped until {until}", self.nodes[n].id);
                self.nodes[n].paused_until = until;
                self.after(until - self.now, Event::Resume(n));
            }
            45..67 => self.break_network(n),
            67..71 => self.fill_disk(n),
            71..75 => self.nodes[n].disk.fail_sync_after(self.rng.below(4)),
            75..83 => {
                let stall_ms = self.rng.below(1_500);
                self.change_controller(stall_ms)?;
            }
            83..88 => self.wipe(n),
            88..91 => self.nodes[n].clock_ms = self.rng.below(7_200_000) as i64 - 3_600_000,
            91..97 => self.shut_down(n),
            _ if self.plan.is_rotting => self.flip(n),
            _ => self.take_down(n, true),
        }
        Ok(())
    }

    pub(super) fn take_down(&mut self, n: usize, power_loss: bool) {
        if self.nodes[n].process.is_none() {
            return;
        }
        self.end(n, power_loss);
        let delay = 30 + self.rng.below(1_500);
        self.after(delay, Event::Start(n));
        if self.rng.percent(40) {
            self.tell_gone(self.nodes[n].id);
        }
    }

    fn break_network(&mut self, n: usize) {
        let (me, count) = (Party::Broker(n), self.nodes.len());
        let others: Vec<Party> = (0..count).filter(|other| *other != n).map(Party::Broker).collect();
        let other = others[self.rng.below(others.len() as u64) as usize];
        let kind = self.rng.below(9);
        match kind {
            0 => self.net.cut_both(me, other),
            1 => self.net.cut(me, other),
            2 => self.net.cut_both(me, Party::Quorum),
            3 => self.net.cut(me, Party::Quorum),
            4 => self.net.cut(Party::Quorum, me),
            5 => others.iter().chain(&[Party::Quorum]).for_each(|other| self.net.cut_both(me, *other)),
            // A bridge: only this one reaches both sides.
            6 => {
                let (left, right) = others.split_at(others.len() / 2);
                for (one, other) in left.iter().flat_map(|one| right.iter().map(move |other| (one, other))) {
                    self.net.cut_both(*one, *other);
                }
            }
            7 => self.net.slow_percent = 30,
            _ => self.net.lossy_percent = 10,
        }
        say!(self, "the network breaks at broker {}, kind {kind}", self.nodes[n].id);
        let delay = 200 + self.rng.below(2_500);
        self.after(delay, Event::Cure(Cure::Network));
    }

    fn fill_disk(&mut self, n: usize) {
        let room = self.rng.below(2_000);
        let disk = &self.nodes[n].disk;
        disk.set_bytes_max(Some(disk.bytes() + room));
        say!(self, "the disk of broker {} has room for {room}", self.nodes[n].id);
        let delay = 300 + self.rng.below(1_500);
        self.after(delay, Event::Cure(Cure::Room(n)));
    }

    /// Wipes a disk, if all that it has is elsewhere too, or nobody cares.
    fn wipe(&mut self, n: usize) {
        let id = self.nodes[n].id;
        let image = self.quorum.committed();
        let is_elsewhere = self.nodes[n].shadows.keys().all(|key| {
            let partition = image.topics.get(&key.0).and_then(|topic| topic.partition(key.1));
            partition.is_none_or(|partition| {
                partition.isr.iter().chain(&partition.elr).any(|other| {
                    *other != id
                        && self.nodes[super::node_of(*other)].directory == partition.directory_of(*other)
                })
            })
        });
        if !self.plan.is_reckless && !is_elsewhere {
            return;
        }
        let is_voter = self.plan.sole_voter == Some(n);
        if is_voter && !self.may_lose_quorum(n) || self.is_all_that_is_left_of_quorum(n) {
            return;
        }
        self.end(n, false);
        self.nodes[n].wipe();
        if is_voter {
            self.lose_quorum();
        }
        say!(self, "the disk of broker {id} is wiped");
        let delay = 30 + self.rng.below(1_500);
        self.after(delay, Event::Start(n));
    }

    /// A broker stops in order.
    fn shut_down(&mut self, n: usize) {
        let (number, id) = (self.next_number(), self.nodes[n].id);
        let Some(process) = &mut self.nodes[n].process else { return };
        let Some(epoch) = process.epoch else { return };
        process.is_stopping = true;
        let command = Box::new(Command::ControlledShutdown(ControlledShutdown { id, epoch }));
        say!(self, "broker {id} is to stop");
        let process = self.nodes[n].process_number();
        self.send(Party::Broker(n), Party::Quorum, Message::Command { number, command });
        let delay = 50 + self.rng.below(400);
        self.after(delay, Event::Cure(Cure::Stop(n, process)));
    }

    /// Flips a bit of something that is on the platter and won't be looked at by a recovery.
    fn flip(&mut self, n: usize) {
        let Some(process) = &self.nodes[n].process else { return };
        if process.store.checkpoint().is_err() {
            return;
        }
        let keys: Vec<_> = process.hosted.keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.rng.below(keys.len() as u64) as usize];
        let name = process.hosted[&key].log.topic_partition().to_string();
        let folder = PathBuf::from("/data").join(name);
        let Ok(files) = self.nodes[n].disk.list(&folder) else { return };
        let is_log = |name: &str| matches!(FileKind::parse(name), Some((FileKind::Log, _)));
        let logs: Vec<_> = files.into_iter().filter(|file| is_log(&file.name) && file.bytes > 0).collect();
        if logs.is_empty() {
            return;
        }
        let file = &logs[self.rng.below(logs.len() as u64) as usize];
        let (at, bit) = (self.rng.below(file.bytes), self.rng.below(8) as u8);
        // What was read and checked before is in the page cache, which ends with the machine.
        self.take_down(n, true);
        let node = &mut self.nodes[n];
        if let Some(shadow) = node.shadows.get_mut(&key)
            && node.disk.flip_bit(&folder.join(&file.name), at, bit)
        {
            shadow.is_damaged = true;
            say!(self, "a bit of {}/{} on broker {} flips", folder.display(), file.name, self.nodes[n].id);
        }
    }

    pub(super) fn cure(&mut self, cure: Cure) -> Result<(), Violation> {
        match cure {
            Cure::Network => self.net.heal(),
            Cure::Room(n) => self.nodes[n].disk.set_bytes_max(None),
            Cure::Stop(n, number) if self.nodes[n].process_number() == number => {
                let node = &mut self.nodes[n];
                let is_clean = node.process.as_ref().is_some_and(|process| process.store.close().is_ok());
                node.is_clean = is_clean;
                self.end(n, false);
                let delay = 30 + self.rng.below(800);
                self.after(delay, Event::Start(n));
            }
            Cure::Stop(..) => {}
        }
        Ok(())
    }
}
