//! Slow disks: syncs take as long as a test likes, and the quorum goes on, but for what needs them.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla_quorum::{QuorumConfig, SubmitError, Tuning};
use ottla_store::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, RealDisk};
use tokio::task::JoinHandle;

use crate::harness::{
    DEADLINE, Place, Running, all_equal, create, create_topic, in_service, leader_of, places, poll,
    start_all, voters_of, within,
};

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3_600);

/// How often the active controller is asked while something waits.
const QUESTIONS: usize = 5;

/// A gate that syncs pass only while it is open.
#[derive(Clone)]
struct Gate(tokio::sync::watch::Sender<bool>);

impl Gate {
    fn shut(&self) {
        self.0.send_replace(false);
    }

    fn open(&self) {
        self.0.send_replace(true);
    }

    /// Blocks until it is open.
    fn pass(&self) {
        let mut open = self.0.subscribe();
        futures::executor::block_on(open.wait_for(|open| *open)).unwrap();
    }
}

/// A disk whose syncs of files wait at a gate.
struct SlowDisk(Gate);

struct SlowFile(Gate, Arc<dyn DiskFile>);

impl Disk for SlowDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(self.0.clone(), RealDisk.open(path, mode)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
    fn random_id(&self) -> io::Result<[u8; 16]> {
        RealDisk.random_id()
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.1.read_at(position, buffer)
    }
    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()> {
        self.1.write_at(position, buffers)
    }
    fn bytes(&self) -> io::Result<u64> {
        self.1.bytes()
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.1.truncate(bytes)
    }
    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.1.preallocate(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.pass();
        self.1.sync()
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.1.drop_cache()
    }
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.1.fd()
    }
}

/// Nobody stands because of silence, however slow the machine is.
fn patient() -> Tuning {
    Tuning {
        election_timeout_min: FOREVER,
        election_timeout_max: FOREVER,
        disk_patience: FOREVER,
        ..Tuning::default()
    }
}

/// Three nodes, where they are, the gates of their disks, and which of them is the active controller.
async fn three(tuning: Tuning) -> (Vec<Place>, Vec<Running>, Vec<Gate>, usize) {
    let mut places = places(3);
    let gates: Vec<Gate> = places.iter().map(|_| Gate(tokio::sync::watch::Sender::new(true))).collect();
    for (place, gate) in places.iter_mut().zip(&gates) {
        place.disk = Arc::new(SlowDisk(gate.clone()));
    }
    let voters = voters_of(&places);
    let config = |place: &Place| QuorumConfig { tuning: tuning.clone(), ..place.config(voters.clone()) };
    let nodes = start_all(&places, config).await;
    in_service(&nodes, 3).await;
    let leader = leader_of(&nodes).await;
    // Everything that they have to write is written.
    create_topic(&nodes[leader], "before", 1).await;
    all_equal(&nodes).await;
    (places, nodes, gates, leader)
}

fn submit(node: &Running, name: &str) -> JoinHandle<Result<(), SubmitError>> {
    let (quorum, command) = (node.quorum.clone(), create(name, 1));
    tokio::spawn(async move { quorum.submit_within(command, DEADLINE).await.map(|_| ()) })
}

/// Waits until the active controller knows that all of these have all of its log.
async fn until_stored(leader: &Running, by: &[&Running]) {
    within("the entry to be stored", async {
        loop {
            let quorum = leader.describe().await;
            let end = |node: &Running| {
                quorum.voters.iter().find(|voter| voter.id == node.id).map(|voter| voter.log_end_offset)
            };
            if end(leader) > Some(quorum.high_watermark) && by.iter().all(|node| end(node) == end(leader)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn nobody_has(nodes: &[Running], topic: &str) {
    for node in nodes {
        assert!(node.image().topic(topic).is_none(), "node {} shows it", node.id);
    }
}

async fn stop(nodes: Vec<Running>) {
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_controller_answers_while_its_log_is_synced_and_commits_nothing_before() {
    let (_places, nodes, gates, leader) = three(patient()).await;
    let followers: Vec<&Running> = (0..3).filter(|at| *at != leader).map(|at| &nodes[at]).collect();
    let term = nodes[leader].describe().await.term;
    gates[leader].shut();
    let submitted = submit(followers[0], "slow");
    until_stored(&nodes[leader], &followers).await;
    // Each of these goes to a majority and back, with what is committed.
    for _ in 0..QUESTIONS {
        assert_eq!(followers[1].describe().await.term, term);
    }
    nobody_has(&nodes, "slow");
    assert!(!submitted.is_finished());
    gates[leader].open();
    within("the topic", submitted).await.unwrap().unwrap();
    for node in &nodes {
        node.until("the topic", |image| image.topic("slow").is_some()).await;
    }
    assert_eq!(nodes[leader].describe().await.term, term);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_hears_the_active_controller_while_its_log_is_synced() {
    let (_places, nodes, gates, leader) = three(patient()).await;
    let slow = (leader + 1) % 3;
    gates[slow].shut();
    // The others are enough.
    create_topic(&nodes[leader], "without-it", 1).await;
    let answered = async || {
        let quorum = nodes[leader].describe().await;
        quorum.voters.iter().find(|voter| voter.id == nodes[slow].id).unwrap().last_fetch_ms
    };
    for _ in 0..QUESTIONS {
        let before = answered().await;
        within("an answer", async {
            while answered().await == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
    nobody_has(&nodes[slow..=slow], "without-it");
    gates[slow].open();
    all_equal(&nodes).await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_counts_on_a_follower_once_it_is_durable_there() {
    let (_places, nodes, gates, leader) = three(patient()).await;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    gates[one].shut();
    gates[other].shut();
    let submitted = submit(&nodes[leader], "slow");
    for _ in 0..QUESTIONS {
        nodes[leader].describe().await;
    }
    nobody_has(&nodes, "slow");
    assert!(!submitted.is_finished());
    gates[one].open();
    within("the topic", submitted).await.unwrap().unwrap();
    nobody_has(&nodes[other..=other], "slow");
    gates[other].open();
    all_equal(&nodes).await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_controller_whose_disk_stands_still_is_replaced() {
    let tuning = Tuning { disk_patience: Duration::from_millis(500), ..Tuning::default() };
    let (_places, nodes, gates, leader) = three(tuning).await;
    let others: Vec<&Running> = (0..3).filter(|at| *at != leader).map(|at| &nodes[at]).collect();
    gates[leader].shut();
    let submitted = submit(others[0], "slow");
    let other_leads = |node: &Running| {
        node.quorum.active_controller().is_some_and(|controller| controller != nodes[leader].id)
    };
    poll("another controller", || others.iter().all(|node| other_leads(node)).then_some(())).await;
    within("the topic", submitted).await.unwrap().unwrap();
    gates[leader].open();
    nodes[leader].until("the topic", |image| image.topic("slow").is_some()).await;
    all_equal(&nodes).await;
    stop(nodes).await;
}
