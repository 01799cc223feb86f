//! Three brokers in this process: records are acknowledged by as many as are promised, and outlive a leader.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ottla_core::metadata::{Command, MetadataImage, RegisterBroker};
use ottla_ports::free_port;
use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::{Client, batch, fetch_request, produce_request, values};
use crate::harness::TestBroker;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Three brokers with the ids 1 to 3, all of them voters; one may be away.
pub struct TestCluster {
    brokers: Vec<Option<TestBroker>>,
}

/// A partition as brokers tell of it: leader, and those in sync.
pub type View = (i32, Vec<i32>);

impl TestCluster {
    pub async fn start(overrides: &[&str]) -> Self {
        Self::start_with(|_| overrides.iter().map(|text| (*text).to_owned()).collect()).await
    }

    /// Starts them and creates `t`; with it, who leads it.
    pub async fn start_with_topic() -> (Self, i32) {
        let cluster = Self::start(&[]).await;
        cluster.create_topic("t", &[]).await;
        let leader = cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
        (cluster, leader)
    }

    /// Starts them with settings of their own, by id.
    pub async fn start_with(overrides: impl Fn(i32) -> Vec<String>) -> Self {
        let ports = [free_port(), free_port(), free_port()];
        let voters: Vec<String> =
            (1..).zip(ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let voters = format!("controller.quorum.voters={}", voters.join(","));
        let one = |index: usize| {
            let id = index as i32 + 1;
            let mut all = vec![format!("node.id={id}"), format!("broker.rack=rack-{id}"), voters.clone()];
            all.extend(overrides(id));
            TestBroker::start_on(ports[index], all)
        };
        let (one, two, three) = tokio::join!(one(0), one(1), one(2));
        Self { brokers: vec![Some(one), Some(two), Some(three)] }
    }

    pub fn broker(&self, id: i32) -> &TestBroker {
        self.brokers[id as usize - 1].as_ref().expect("it is here")
    }

    pub async fn client(&self, id: i32) -> Client {
        self.broker(id).connect().await
    }

    /// A client of any broker that is here.
    async fn any(&self) -> Client {
        self.brokers.iter().flatten().next().expect("one is here").connect().await
    }

    pub async fn stop(&mut self, id: i32) -> StoppedBroker {
        let broker = self.brokers[id as usize - 1].take().expect("it is here");
        StoppedBroker { id, stopped: broker.stop_for_now().await }
    }

    pub async fn start_again(&mut self, broker: StoppedBroker) {
        self.brokers[broker.id as usize - 1] = Some(broker.stopped.start().await);
    }

    pub async fn create_topic(&self, name: &str, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| NamedConfig { name, value: Some(value) });
        let topic = CreatableTopic {
            name,
            num_partitions: 1,
            replication_factor: 3,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = self.any().await.call::<apis::CreateTopics>(7, &request).await;
        let response = answer.decode::<apis::CreateTopics>();
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    }

    /// Sets a configuration, or takes it back; of a topic or, with no name, of all brokers.
    async fn set(&self, resource_type: i8, resource_name: &str, name: &str, value: Option<&str>) {
        let config_operation = if value.is_some() { CONFIG_SET } else { CONFIG_DELETE };
        let configs = vec![IncrementalAlterConfig { name, config_operation, value }];
        let resource = IncrementalAlterConfigsResource { resource_type, resource_name, configs };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let answer = self.any().await.call::<apis::IncrementalAlterConfigs>(1, &request).await;
        let response = &answer.decode::<apis::IncrementalAlterConfigs>().responses[0];
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    }

    pub async fn view(&self, topic: &str) -> View {
        view_of(&mut self.any().await, topic).await
    }

    /// Waits until the partition is as it should be, and returns its leader.
    pub async fn wait(&self, topic: &str, what: &str, is_so: impl Fn(&View) -> bool) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.view(topic).await;
            if is_so(&view) {
                return view.0;
            }
            assert!(Instant::now() < deadline, "{what} doesn't come: {view:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Produces with acks=all until it is acknowledged or refused for good.
    pub async fn produce(&self, topic: &str, value: &str) -> i64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.wait(topic, "a leader", |view| view.0 > 0).await;
            let (error, offset) = self.client(leader).await.produce(topic, 0, &batch(&[value])).await;
            match error {
                ErrorCode::None => return offset,
                error => assert!(error.is_retriable() && Instant::now() < deadline, "{error}"),
            }
        }
    }

    /// What a consumer reads from the leader. A value that was sent again, as [`Self::produce`] does after an
    /// error that left open whether it is there, may be there twice.
    async fn values(&self, topic: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.wait(topic, "a leader", |view| view.0 > 0).await;
            let (error, (_, mut found)) = read(&mut self.client(leader).await, topic, 0, "").await;
            found.dedup();
            if error == ErrorCode::None && found.len() >= count {
                return found;
            }
            assert!(Instant::now() < deadline, "{error}, {found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn end(self) {
        let all = self.brokers.into_iter().flatten().map(TestBroker::stop);
        let all: Vec<_> = all.map(tokio::spawn).collect();
        for one in all {
            one.await.unwrap();
        }
    }
}

/// The topic's only partition as a broker tells of it.
pub async fn view_of(client: &mut Client, topic: &str) -> View {
    let topics = Some(vec![MetadataRequestTopic { name: Some(topic), ..Default::default() }]);
    let request = MetadataRequest { topics, ..Default::default() };
    let answer = client.call::<apis::Metadata>(12, &request).await;
    let response = answer.decode::<apis::Metadata>();
    let mut partitions = response.topics[0].partitions.iter();
    partitions.next().map_or((-1, Vec::new()), |p| {
        let mut isr = p.isr_nodes.clone();
        isr.sort_unstable();
        (p.leader_id, isr)
    })
}

pub struct StoppedBroker {
    id: i32,
    stopped: crate::harness::StoppedBroker,
}

/// The error, and the replica to read from instead with the values.
async fn read(
    client: &mut Client,
    topic: &str,
    offset: i64,
    rack_id: &str,
) -> (ErrorCode, (i32, Vec<String>)) {
    let request = FetchRequest { rack_id, ..fetch_request(topic, 0, offset) };
    let answer = client.call::<apis::Fetch>(11, &request).await;
    let response = answer.decode::<apis::Fetch>();
    let data = &response.responses[0].partitions[0];
    let found = values(data.records.bytes().unwrap_or_default());
    (ErrorCode::from_wire(data.error_code), (data.preferred_read_replica, found))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_outlive_their_leaders() {
    let mut cluster = TestCluster::start(&["min.insync.replicas=2"]).await;
    cluster.create_topic("t", &[]).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        let whole = |view: &View| view.1 == [1, 2, 3];
        let leader = cluster.wait("t", "all in sync", whole).await;
        for number in 0..5 {
            let value = format!("{round}-{number}");
            cluster.produce("t", &value).await;
            expected.push(value);
        }
        let away = cluster.stop(leader).await;
        cluster.wait("t", "another leader", |view| view.0 > 0 && view.0 != leader).await;
        let value = format!("{round}-without");
        cluster.produce("t", &value).await;
        expected.push(value);
        assert_eq!(cluster.values("t", expected.len()).await, expected);
        cluster.start_again(away).await;
    }
    cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_minimum_nothing_is_acknowledged_and_nothing_lost() {
    let mut cluster = TestCluster::start(&["min.insync.replicas=3"]).await;
    cluster.create_topic("t", &[("min.insync.replicas", "3")]).await;
    let leader = cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
    cluster.produce("t", "before").await;
    let follower = if leader == 1 { 2 } else { 1 };
    let away = cluster.stop(follower).await;
    cluster.wait("t", "two in sync", |view| view.1.len() == 2).await;
    let leader = cluster.wait("t", "a leader", |view| view.0 > 0).await;
    let mut client = cluster.client(leader).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The leader hears of it a moment after the controller.
        match client.produce("t", 0, &batch(&["refused"])).await.0 {
            ErrorCode::NotEnoughReplicas => break,
            error => assert!(
                error == ErrorCode::NotEnoughReplicasAfterAppend && Instant::now() < deadline,
                "{error}"
            ),
        }
    }
    // With acks=1 it is appended, and not shown before it is on three disks.
    let answer = client.call::<apis::Produce>(9, &produce_request("t", 0, &batch(&["one"]), 1)).await;
    let response = answer.decode::<apis::Produce>();
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert!(!read(&mut client, "t", 0, "").await.1.1.contains(&"one".to_owned()));
    cluster.start_again(away).await;
    cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
    cluster.produce("t", "after").await;
    let found = cluster.values("t", 3).await;
    assert_eq!((&*found[0], &*found[found.len() - 1]), ("before", "after"));
    assert!(found.contains(&"one".to_owned()));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_read_in_their_rack() {
    let (cluster, leader) = TestCluster::start_with_topic().await;
    cluster.produce("t", "a").await;
    let near = if leader == 3 { 2 } else { 3 };
    let rack = format!("rack-{near}");
    let mut client = cluster.client(leader).await;
    let sent_on = read(&mut client, "t", 0, &rack).await;
    assert_eq!(sent_on, (ErrorCode::None, (near, vec![])));
    let own = read(&mut client, "t", 0, &format!("rack-{leader}")).await;
    assert_eq!(own, (ErrorCode::None, (-1, vec!["a".to_owned()])));
    let mut client = cluster.client(near).await;
    let deadline = Instant::now() + PATIENCE;
    while read(&mut client, "t", 0, &rack).await != (ErrorCode::None, (-1, vec!["a".to_owned()])) {
        assert!(Instant::now() < deadline, "the follower hears of the high watermark");
    }
    assert_eq!(read(&mut client, "t", 9, &rack).await.0, ErrorCode::OffsetNotAvailable);
    let request = produce_request("t", 0, b"", -1);
    let topic_id = client.topic_id("t").await;
    let records = batch(&["b"]);
    let mut request = ProduceRequest { topic_data: request.topic_data, ..request };
    request.topic_data[0].topic_id = topic_id;
    request.topic_data[0].partition_data[0].records = ottla_wire::Records::from(&records[..]);
    let answer = client.call::<apis::Produce>(13, &request).await;
    let response = answer.decode::<apis::Produce>();
    let refused = &response.responses[0].partition_responses[0];
    assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower.code());
    assert_eq!(refused.current_leader.leader_id, leader);
    let told = &response.node_endpoints[0];
    assert_eq!((told.node_id, told.port), (leader, i32::from(cluster.broker(leader).address().port())));
    cluster.end().await;
}

/// The partition's replicas move from three brokers to one: the others delete theirs, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_moved_away_is_deleted_once_others_have_it() {
    let (cluster, leader) = TestCluster::start_with_topic().await;
    cluster.produce("t", "a").await;
    let target = if leader == 1 { 2 } else { 1 };
    let partitions = vec![ReassignablePartition { partition_index: 0, replicas: Some(vec![target]) }];
    let request = AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic { name: "t", partitions }],
        allow_replication_factor_change: true,
        ..Default::default()
    };
    let answer = cluster.any().await.call::<apis::AlterPartitionReassignments>(1, &request).await;
    let response = answer.decode::<apis::AlterPartitionReassignments>();
    assert_eq!(response.responses[0].partitions[0].error_code, 0, "{response:?}");
    cluster.wait("t", "the move", |view| *view == (target, vec![target])).await;
    assert_eq!(cluster.values("t", 1).await, ["a"]);
    let has_copy = |id: i32| cluster.broker(id).folder().join("data/t-0").exists();
    let deadline = Instant::now() + PATIENCE;
    while (1..=3).filter(|id| has_copy(*id)).count() > 1 {
        assert!(Instant::now() < deadline, "the copies are deleted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(has_copy(target));
    cluster.produce("t", "b").await;
    assert_eq!(cluster.values("t", 2).await, ["a", "b"]);
    cluster.end().await;
}

/// After a cut the controller has a broker register again. The streams that it has to its leaders may go on,
/// and what it said in them was said by its former registration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_again_joins_again() {
    let (cluster, leader) = TestCluster::start_with_topic().await;
    let follower = if leader == 3 { 2 } else { 3 };
    let server = cluster.broker(follower).server();
    let me = server.image().broker(follower.into()).expect("it is registered").as_ref().clone();
    let again = RegisterBroker {
        listeners: me.listeners,
        control_address: me.control_address,
        rack: me.rack,
        ..RegisterBroker::new(me.id, me.incarnation, me.directory_id)
    };
    server.quorum.submit(Command::RegisterBroker(again)).await.unwrap();
    let is_known = |image: &MetadataImage| image.broker(follower.into()).is_some_and(|b| b.epoch > me.epoch);
    assert!(is_known(&server.image()));
    cluster.wait("t", "all in sync again", |view| view.1 == [1, 2, 3]).await;
    cluster.produce("t", "after").await;
    cluster.end().await;
}

/// A bit flips in a follower's segment while it is away, and in the leader's: the scrub finds both, and each
/// is repaired from the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_are_repaired_from_a_peer() {
    let mut cluster = TestCluster::start(&[]).await;
    cluster.create_topic("t", &[]).await;
    for value in ["a", "b", "c"] {
        cluster.produce("t", value).await;
    }
    for id in [1, 2] {
        let leader = cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
        let id = if id == 1 { leader } else { leader % 3 + 1 };
        let file = cluster.broker(id).files("t-0", ".log").remove(0);
        let away = cluster.stop(id).await;
        let whole = std::fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 3 * 2 - 3] ^= 4;
        std::fs::write(&file, &flipped).unwrap();
        cluster.start_again(away).await;
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read(&file).unwrap() != whole {
            assert!(Instant::now() < deadline, "it is repaired");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(cluster.values("t", 3).await, ["a", "b", "c"]);
    cluster.end().await;
}

/// Segments that are gone, more of them than are fetched at once, are repaired piece by piece, and into
/// segments again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_segments_are_repaired_piece_by_piece() {
    const SEGMENT_BYTES: usize = 2 << 20;
    let mut cluster = TestCluster::start(&[]).await;
    cluster.create_topic("t", &[("segment.bytes", &SEGMENT_BYTES.to_string())]).await;
    cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
    let values: Vec<String> = (0..26).map(|at| at.to_string().repeat(400_000)).collect();
    for value in &values {
        cluster.produce("t", value).await;
    }
    let leader = cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
    let id = leader % 3 + 1;
    let folder = cluster.broker(id).files("t-0", ".log")[0].parent().unwrap().to_owned();
    let all = || -> Vec<PathBuf> {
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|end| end == "log")).collect();
        files.sort();
        files
    };
    let before = all();
    let content = |files: &[PathBuf]| files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let whole: Vec<u8> = content(&before);
    let lost = &before[1..before.len() - 1];
    assert!(lost.len() >= 6, "{before:?}");
    let away = cluster.stop(id).await;
    for file in lost {
        std::fs::remove_file(file).unwrap();
    }
    cluster.start_again(away).await;
    let deadline = Instant::now() + PATIENCE;
    while content(&all()) != whole {
        assert!(Instant::now() < deadline, "it is repaired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for file in all() {
        assert!(
            file.metadata().unwrap().len() <= SEGMENT_BYTES as u64,
            "{file:?} is as large as any segment"
        );
    }
    cluster.end().await;
}

/// Who catches up is held to the rate of its leaders and to its own; what no setting names goes on beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_replica_catches_up_no_faster_than_it_may() {
    let mut cluster = TestCluster::start(&[]).await;
    for side in ["leader", "follower"] {
        let (rate, throttled, free) = (
            format!("{side}.replication.throttled.rate"),
            format!("{side}-throttled"),
            format!("{side}-free"),
        );
        for topic in [&throttled, &free] {
            cluster.create_topic(topic, &[]).await;
            cluster.wait(topic, "all in sync", |view| view.1 == [1, 2, 3]).await;
        }
        let away = cluster.stop(3).await;
        for topic in [&throttled, &free] {
            cluster.wait(topic, "two in sync", |view| view.1 == [1, 2]).await;
            cluster.produce(topic, "missed").await;
        }
        let replicas = format!("{side}.replication.throttled.replicas");
        cluster.set(RESOURCE_TOPIC, &throttled, &replicas, Some("0:1,0:2,0:3")).await;
        cluster.set(RESOURCE_BROKER, "", &rate, Some("0")).await;
        cluster.start_again(away).await;
        cluster.wait(&free, "all in sync", |view| view.1 == [1, 2, 3]).await;
        for value in ["a", "b", "c"] {
            cluster.produce(&free, value).await;
        }
        assert_eq!(cluster.view(&throttled).await.1, [1, 2], "{side}: it got what it may not");
        cluster.produce(&throttled, "those in sync are not held back").await;
        cluster.set(RESOURCE_BROKER, "", &rate, None).await;
        cluster.wait(&throttled, "all in sync again", |view| view.1 == [1, 2, 3]).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_create_the_topic_of_groups_at_once_create_one() {
    let cluster = TestCluster::start(&["offsets.topic.num.partitions=6"]).await;
    let asked: Vec<_> = (0..12)
        .map(|number| {
            let broker = std::sync::Arc::clone(cluster.broker(number % 3 + 1).server());
            tokio::spawn(async move { ottla_server::handlers::create_offsets_topic(&broker).await })
        })
        .collect();
    for one in asked {
        assert!(one.await.unwrap(), "each finds it");
    }
    let mut told = Vec::new();
    for id in 1..=3 {
        let image = cluster.broker(id).server().image();
        let topic = image.topic("__consumer_offsets").expect("each broker has it");
        let replicas: Vec<usize> =
            topic.partitions.iter().map(|partition| partition.replicas.len()).collect();
        told.push((topic.id, replicas));
    }
    assert_eq!(told[0].1, [3; 6]);
    assert!(told.iter().all(|one| *one == told[0]), "it is one topic: {told:?}");
    cluster.end().await;
}
