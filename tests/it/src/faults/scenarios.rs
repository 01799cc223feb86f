//! Each fault as a function: one round does it, lasts for a while, and heals it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::copies::bytes;
use super::disk::Loss;
use super::world::{TOPIC, World};

/// A fault with a name.
pub struct Scenario {
    /// Its name, for `--scenario`.
    pub name: &'static str,
    /// What is done, in a line.
    pub about: &'static str,
    /// Does it once, and heals it.
    pub round: fn(&mut World) -> Result<()>,
    /// Brokers that it takes; at least 3.
    pub brokers: usize,
    /// Whether clients mustn't notice: every write is acknowledged, and read within seconds.
    pub unnoticed: bool,
    /// What a round takes at least.
    pub round_least: Duration,
}

const fn scenario(name: &'static str, about: &'static str, round: fn(&mut World) -> Result<()>) -> Scenario {
    Scenario { name, about, round, brokers: 3, unnoticed: false, round_least: Duration::ZERO }
}

const MINUTE: Duration = Duration::from_secs(60);

/// All of them; the quick ones first.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { unnoticed: true, ..scenario("no_fault", "nothing happens", no_fault) },
    scenario("kill_leader", "kill -9 of a leader", kill_leader),
    scenario("kill_controller", "kill -9 of the active controller", kill_controller),
    scenario("kill_some", "kill -9 of any brokers at once, up to all", kill_some),
    Scenario { unnoticed: true, ..scenario("restart", "controlled restarts of leaders", restart) },
    scenario("pause", "SIGSTOP of a leader", pause),
    Scenario {
        round_least: MINUTE,
        ..scenario("pause_minute", "SIGSTOP of a leader for 60 s", pause_minute)
    },
    scenario("unplug", "a leader's wire is pulled: nobody reaches it", unplug),
    scenario("cut", "a broker and the others don't hear each other; clients reach both", cut),
    scenario("cut_one_way", "a broker is heard and doesn't hear, or the other way round", cut_one_way),
    scenario("cut_bridge", "two brokers don't hear each other; a third one hears both", cut_bridge),
    scenario("reset", "all connections of a leader are reset, and new ones refused", reset),
    Scenario { brokers: 5, ..scenario("cut_five", "five brokers fall into two and three", cut_five) },
    scenario("power_loss", "a broker loses power, and what it hadn't synced", power_loss),
    scenario("power_loss_all", "all brokers lose power at once", power_loss_all),
    scenario("sync_fails", "a disk fails to sync (EIO)", sync_fails),
    scenario("disk_full", "a leader's disk is full", disk_full),
    scenario("controller_disk_full", "the active controller's disk is full", controller_disk_full),
    scenario("bit_flip", "bits of a replica's segments flip", bit_flip),
    scenario("truncated_segment", "a replica's segment is cut short", truncated_segment),
    scenario("stale_disk", "a broker returns with an older copy of its disk", stale_disk),
    scenario("wiped_disk", "a broker returns with an empty disk and its old id", wiped_disk),
    scenario("admin_churn", "topics come and go, under kill -9", admin_churn),
    scenario("mixed", "all of these, in any order", mixed),
];

fn no_fault(world: &mut World) -> Result<()> {
    world.rest(Duration::from_secs(5));
    world.did(1);
    Ok(())
}

/// Kills brokers that run.
fn kill_all(world: &mut World, ids: &[usize]) -> Result<()> {
    let running = ids.iter().filter(|id| world.broker(**id).runs()).count();
    world.did(running as u64);
    ids.iter().try_for_each(|id| world.broker(*id).kill())
}

fn kill(world: &mut World, what: &str, id: usize) -> Result<()> {
    world.note(format!("kill -9 of {what}, broker {id}"));
    kill_all(world, &[id])?;
    let away = world.between(0, 4000);
    world.rest(away);
    world.broker(id).start()
}

fn kill_leader(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    kill(world, "a leader", id)
}

fn kill_controller(world: &mut World) -> Result<()> {
    let id = world.cluster.controller()?;
    kill(world, "the active controller", id)
}

fn kill_some(world: &mut World) -> Result<()> {
    let ids = world.some_brokers();
    world.note(format!("kill -9 of brokers {ids:?}"));
    kill_all(world, &ids)?;
    let away = world.between(0, 3000);
    world.rest(away);
    world.cluster.start_all()
}

fn restart(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("SIGTERM of a leader, broker {id}"));
    let status = world.broker(id).stop(Duration::from_secs(30))?;
    ensure!(status.success(), "broker {id} stopped with {status}: {}", world.broker(id).last_words());
    world.did(1);
    world.broker(id).start()
}

fn pause_for(world: &mut World, time: Duration) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("SIGSTOP of a leader, broker {id}, for {:.1} s", time.as_secs_f64()));
    world.broker(id).pause()?;
    world.rest(time);
    let stopped = world.broker(id).is_stopped()?;
    world.did(u64::from(stopped));
    world.broker(id).resume()
}

fn pause(world: &mut World) -> Result<()> {
    let time = world.between(1000, 12_000);
    pause_for(world, time)
}

fn pause_minute(world: &mut World) -> Result<()> {
    pause_for(world, MINUTE)
}

/// Rests while a cut lasts, then heals it.
fn last_and_heal(world: &mut World) -> Result<()> {
    let time = world.between(2000, 10_000);
    world.rest(time);
    heal(world)
}

fn heal(world: &mut World) -> Result<()> {
    let kept_away = world.cluster.net.heal()?;
    world.did(kept_away);
    Ok(())
}

fn unplug(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("broker {id}, a leader, is unplugged"));
    world.cluster.net.unplug(id)?;
    world.did(1);
    last_and_heal(world)
}

fn cut(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    let others = world.cluster.others(id);
    world.note(format!("broker {id}, a leader, is cut off from {others:?}"));
    world.cluster.net.cut(&[id], &others)?;
    last_and_heal(world)
}

fn cut_one_way(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    let others = world.cluster.others(id);
    if world.random.chance(1, 2) {
        world.note(format!("broker {id}, a leader, no longer hears {others:?}"));
        world.cluster.net.deafen(id, &others)?;
    } else {
        world.note(format!("brokers {others:?} no longer hear {id}, a leader"));
        others.iter().try_for_each(|other| world.cluster.net.deafen(*other, &[id]))?;
    }
    last_and_heal(world)
}

fn cut_bridge(world: &mut World) -> Result<()> {
    let one = world.any_leader()?;
    let others = world.cluster.others(one);
    let other = world.random.pick(&others);
    world.note(format!("brokers {one} and {other} are cut off from each other only"));
    world.cluster.net.cut(&[one], &[other])?;
    last_and_heal(world)
}

fn reset(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("all connections of broker {id}, a leader, are reset"));
    world.cluster.net.reset(id)?;
    let time = world.between(100, 5000);
    world.rest(time);
    heal(world)
}

fn cut_five(world: &mut World) -> Result<()> {
    let mut ids = world.cluster.ids();
    world.random.shuffle(&mut ids);
    let (few, many) = ids.split_at(ids.len() / 2);
    world.note(format!("brokers {few:?} are cut off from {many:?}"));
    world.cluster.net.cut(few, many)?;
    last_and_heal(world)
}

fn lose_power(world: &mut World, ids: &[usize]) -> Result<()> {
    let loss = if world.random.chance(1, 3) { Loss::All } else { Loss::Some };
    world.note(format!("brokers {ids:?} lose power, and of what wasn't synced {loss:?}"));
    ids.iter().for_each(|id| world.broker(*id).disk.cut_power());
    ids.iter().try_for_each(|id| world.broker(*id).kill())?;
    let mut random = world.random.clone();
    for id in ids {
        let restored = world.broker(*id).disk.restore_power(loss, &mut random);
        world.did(restored.context("a disk can't be mounted again")?);
    }
    world.random = random;
    let away = world.between(0, 2000);
    world.rest(away);
    world.cluster.start_all()
}

fn power_loss(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    lose_power(world, &[id])
}

fn power_loss_all(world: &mut World) -> Result<()> {
    let ids = world.cluster.ids();
    lose_power(world, &ids)
}

fn sync_fails(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("broker {id}, a leader, can't sync its disk"));
    world.broker(id).disk.volume().sync_fails = true;
    let ended = world.broker(id).wait(Duration::from_secs(30))?;
    let words = world.broker(id).last_words();
    let status = ended.with_context(|| format!("broker {id} goes on though it can't sync:\n{words}"))?;
    ensure!(!status.success(), "broker {id} can't sync and says that all is well:\n{words}");
    world.did(1);
    // Not a power loss: but what the disk had refused is read from the disk now, and isn't there.
    world.broker(id).disk.remount(|volume| volume.sync_fails = false)?;
    world.broker(id).start()
}

fn disk_full(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    let before = fill_disk(world, id);
    world.note(format!("the disk of broker {id}, a leader, is full"));
    let time = world.between(2000, 6000);
    world.rest(time);
    make_room(world, id, before)
}

/// Metadata can't be written there either: another controller has to take over, and nothing may end.
fn controller_disk_full(world: &mut World) -> Result<()> {
    let id = world.cluster.controller()?;
    let before = fill_disk(world, id);
    world.note(format!("the disk of broker {id}, the active controller, is full"));
    let others = world.cluster.others(id);
    let mut topics = Vec::new();
    // Each needs some of a page more; the last page isn't full yet.
    while world.cluster.controller()? == id {
        ensure!(topics.len() < 100, "broker {id} has no room and is still the active controller");
        topics.push(format!("small-{}", topics.len()));
        world.cluster.create_topic(&topics[topics.len() - 1], 6, &others, &[])?;
    }
    world.tell(&format!("another controller after {} topics", topics.len()));
    world.cluster.create_topic("without-it", 6, &others, &[])?;
    make_room(world, id, before)?;
    for topic in topics.iter().map(String::as_str).chain(["without-it"]) {
        world.cluster.wait_whole(topic, super::world::WHOLE)?;
        world.cluster.delete_topic(topic)?;
    }
    Ok(())
}

/// Leaves a broker's disk no room for more. Says how large it was.
fn fill_disk(world: &mut World, id: usize) -> u64 {
    let mut volume = world.broker(id).disk.volume();
    let before = volume.capacity;
    volume.capacity = volume.used();
    volume.refusals = 0;
    before
}

/// Gives the broker's disk its room again; it has to have lived without.
fn make_room(world: &mut World, id: usize, capacity: u64) -> Result<()> {
    let lives = world.broker(id).runs();
    ensure!(lives, "a full disk ended broker {id}:\n{}", world.broker(id).last_words());
    let refusals = {
        let mut volume = world.broker(id).disk.volume();
        volume.capacity = capacity;
        volume.refusals
    };
    world.did(refusals);
    Ok(())
}

/// What was done to a disk: how much of it, and in words.
type Done = (u64, String);

/// Kills a broker, changes its disk while nothing uses it, and starts it.
fn change_disk(
    world: &mut World,
    id: usize,
    change: impl FnOnce(&mut super::disk::Volume, &mut super::random::Random) -> Result<Done>,
) -> Result<()> {
    world.note(format!("kill -9 of broker {id}, to change its disk"));
    world.broker(id).kill()?;
    let mut random = world.random.clone();
    let mut changed = Ok(Done::default());
    world.broker(id).disk.remount(|volume| changed = change(volume, &mut random))?;
    world.random = random;
    let (count, what) = changed?;
    world.did(count);
    world.tell(&format!("broker {id}: {what}"));
    world.broker(id).start()
}

/// A segment of the topic under load that has something in it.
fn any_segment(
    volume: &super::disk::Volume,
    random: &mut super::random::Random,
) -> Result<(String, u64, u64)> {
    let of_topic = |path: &str| path.contains(&format!("/{TOPIC}-")) && path.ends_with(".log");
    let mut found = volume.find(of_topic);
    found.retain(|(_, _, size)| *size > 4096);
    ensure!(!found.is_empty(), "the broker has no segment yet");
    let at = random.below(found.len() as u64) as usize;
    Ok(found.swap_remove(at))
}

fn bit_flip(world: &mut World) -> Result<()> {
    let id = world.damaged_broker();
    change_disk(world, id, |volume, random| {
        let (path, number, size) = any_segment(volume, random)?;
        let bits: Vec<u64> = (0..3).map(|_| random.below(size * 8)).collect();
        bits.iter().for_each(|bit| volume.flip(number, *bit));
        Ok((bits.len() as u64, format!("bits {bits:?} of {path} ({size} bytes) flip")))
    })
}

fn truncated_segment(world: &mut World) -> Result<()> {
    let id = world.damaged_broker();
    change_disk(world, id, |volume, random| {
        let (path, number, size) = any_segment(volume, random)?;
        let left = random.below(size);
        volume.resize(number, left)?;
        volume.sync(number)?;
        Ok((size - left, format!("{path} is cut from {size} to {left} bytes")))
    })
}

fn stale_disk(world: &mut World) -> Result<()> {
    let id = world.any_broker();
    let copy = world.broker(id).disk.volume().synced_copy();
    let time = world.between(1000, 4000);
    world.rest(time);
    let partitions = world.plan.partitions;
    change_disk(world, id, |volume, _| {
        let missing = bytes(volume, TOPIC, partitions).saturating_sub(bytes(&copy, TOPIC, partitions));
        *volume = copy;
        Ok((missing, format!("its disk is as it was a while ago, with {missing} bytes of records less")))
    })
}

fn wiped_disk(world: &mut World) -> Result<()> {
    let id = world.any_broker();
    change_disk(world, id, |volume, _| {
        let used = volume.used();
        volume.wipe();
        Ok((used, "its disk is empty".to_owned()))
    })
}

/// Topics that are made, deleted and made again while a broker is away. None may be left half made, and the
/// broker that returns must not take the new one for the old.
fn admin_churn(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    let (all, others) = (world.cluster.ids(), world.cluster.others(id));
    world.cluster.create_topic("churn-again", 6, &all, &[])?;
    world.note(format!("kill -9 of broker {id} while topics come and go"));
    kill_all(world, &[id])?;
    world.cluster.create_topic("churn-new", 6, &others, &[])?;
    world.cluster.delete_topic("churn-again")?;
    world.cluster.create_topic("churn-again", 3, &others, &[])?;
    world.broker(id).start()?;
    for topic in ["churn-again", "churn-new"] {
        world.cluster.wait_whole(topic, super::world::WHOLE)?;
        world.cluster.delete_topic(topic)?;
    }
    Ok(())
}

fn mixed(world: &mut World) -> Result<()> {
    let quick = |s: &&Scenario| s.brokers <= world.plan.shape.brokers;
    let choices: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(quick)
        .filter(|s| !["mixed", "pause_minute", "no_fault"].contains(&s.name))
        .collect();
    let chosen = world.random.pick(&choices);
    (chosen.round)(world)
}
