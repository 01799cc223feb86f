//! Who is the active controller: replaced when it is lost, kept when somebody else comes back.

use std::time::{Duration, Instant};

use ottla_control::proto::{self, control_client::ControlClient};
use ottla_quorum::{QuorumConfig, SubmitError, Tuning};
use ottla_types::BrokerId;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{
    Place, Running, all_equal, create, create_topic, in_service, leader_of, live, places, poll, start_all,
    voters_of, within,
};
use crate::ways::Ways;

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3_600);

/// Nobody stands because of silence, however slow the machine is.
fn patient() -> Tuning {
    Tuning { election_timeout_min: FOREVER, election_timeout_max: FOREVER, ..Tuning::default() }
}

async fn three(tuning: Tuning) -> (Vec<Place>, Vec<Running>) {
    let places = places(3);
    let voters = voters_of(&places);
    let config = |place: &Place| QuorumConfig { tuning: tuning.clone(), ..place.config(voters.clone()) };
    let nodes = start_all(&places, config).await;
    in_service(&nodes, 3).await;
    (places, nodes)
}

/// Three whose ways to each other can be cut.
async fn three_apart(tuning: Tuning) -> (Vec<Place>, Ways, Vec<Running>) {
    let places = places(3);
    let ways = Ways::between(&places).await;
    let config =
        |place: &Place| QuorumConfig { tuning: tuning.clone(), ..place.config(ways.seen_from(place.id)) };
    let nodes = start_all(&places, config).await;
    in_service(&nodes, 3).await;
    (places, ways, nodes)
}

async fn stop(nodes: Vec<Running>) {
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_comes_back_again_and_again_changes_no_term() {
    let (places, mut nodes) = three(patient()).await;
    let voters = voters_of(&places);
    let leader = leader_of(&nodes).await;
    let (leader_id, follower) = (nodes[leader].id, (leader + 1) % 3);
    let term = nodes[leader].describe().await.term;
    for _ in 0..20 {
        nodes.remove(follower).crash().await;
        let config = QuorumConfig { tuning: patient(), ..places[follower].config(voters.clone()) };
        nodes.insert(follower, places[follower].start(config).await);
        let node = &nodes[follower];
        poll("the active controller to be known", || node.quorum.active_controller()).await;
        node.until("the broker to be in service again", |image| live(image) == 3).await;
    }
    let after = nodes[leader].describe().await;
    assert_eq!((after.term, after.leader), (term, leader_id));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_cut_off_changes_no_term() {
    let places = places(3);
    let ways = Ways::between(&places).await;
    let hasty = BrokerId(2);
    let config = |place: &Place| {
        let mut tuning = patient();
        if place.id == hasty {
            // Whoever is fenced for its silence has long run out of this.
            tuning.election_timeout_min = Duration::from_millis(100);
            tuning.election_timeout_max = Duration::from_millis(200);
        }
        QuorumConfig { tuning, ..place.config(ways.seen_from(place.id)) }
    };
    let nodes = start_all(&places, config).await;
    in_service(&nodes, 3).await;
    let leader = leader_of(&nodes).await;
    assert_ne!(nodes[leader].id, hasty);
    let term = nodes[leader].describe().await.term;
    for _ in 0..2 {
        ways.isolate(hasty, &places);
        nodes[leader].until("the broker to be fenced", |image| live(image) == 2).await;
        ways.heal();
        in_service(&nodes, 3).await;
    }
    assert_eq!(nodes[leader].describe().await.term, term);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_cut_off_commits_nothing_and_follows_afterwards() {
    let (places, ways, nodes) = three_apart(Tuning::default()).await;
    let leader = leader_of(&nodes).await;
    let (old, other) = (&nodes[leader], &nodes[(leader + 1) % 3]);
    ways.isolate(old.id, &places);
    let outcome = old.submit_within(create("lost", 1), Duration::from_millis(1_500)).await;
    assert!(matches!(outcome, Err(SubmitError::TimedOut(_))), "{outcome:?}");
    poll("another active controller", || other.quorum.active_controller().filter(|id| *id != old.id)).await;
    create_topic(other, "kept", 1).await;
    other.until("the one that is cut off to be fenced", |image| live(image) == 2).await;
    ways.heal();
    in_service(&nodes, 3).await;
    all_equal(&nodes).await;
    let image = old.image();
    assert!(image.topic("kept").is_some() && image.topic("lost").is_none());
    assert_ne!(old.quorum.active_controller(), Some(old.id));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_freezes_is_replaced_and_follows_afterwards() {
    let (_places, nodes) = three(Tuning::default()).await;
    let leader = leader_of(&nodes).await;
    let (old, other) = (&nodes[leader], &nodes[(leader + 1) % 3]);
    let frozen = old.freeze();
    let began = Instant::now();
    create_topic(other, "meanwhile", 1).await;
    println!("a write succeeded {} ms after the active controller froze", began.elapsed().as_millis());
    other.until("the frozen one to be fenced", |image| live(image) == 2).await;
    drop(frozen);
    in_service(&nodes, 3).await;
    all_equal(&nodes).await;
    assert_ne!(old.quorum.active_controller(), Some(old.id));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_stops_hands_over_first() {
    // By silence it would take longer.
    let long = Duration::from_secs(10);
    let tuning = Tuning { election_timeout_min: long, election_timeout_max: long, ..Tuning::default() };
    let (_places, mut nodes) = three(tuning).await;
    let leader = nodes.remove(leader_of(&nodes).await);
    let began = Instant::now();
    // Its port goes on accepting connections: nobody takes it for gone.
    leader.stop_quorum().await;
    println!("an active controller stopped in order in {} ms", began.elapsed().as_millis());
    let knows_another = |node: &Running| node.quorum.active_controller().is_some_and(|id| id != leader.id);
    assert!(nodes.iter().any(knows_another), "it was replaced before it went");
    for node in &nodes {
        poll("another active controller", || knows_another(node).then_some(())).await;
    }
    create_topic(&nodes[0], "afterwards", 1).await;
    leader.crash().await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_ones_that_stop_wait_for_nobody() {
    let (_places, nodes) = three(Tuning::default()).await;
    let began = Instant::now();
    within("all to stop", futures::future::join_all(nodes.into_iter().map(Running::stop))).await;
    println!("three nodes stopped together in {} ms", began.elapsed().as_millis());
}

/// What clients miss when the active controller is killed, fifty times. Figures, no limits: those are for
/// real processes on a quiet machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_of_the_active_controller() {
    let (places, mut nodes) = three(Tuning::default()).await;
    let voters = voters_of(&places);
    let (mut writes_ms, mut fenced_ms) = (Vec::new(), Vec::new());
    for round in 0..50 {
        let leader = leader_of(&nodes).await;
        let id = nodes[leader].id;
        nodes.remove(leader).crash().await;
        let killed = Instant::now();
        let survivor = &nodes[round % 2];
        create_topic(survivor, &format!("topic-{round}"), 1).await;
        writes_ms.push(killed.elapsed().as_millis());
        survivor
            .until("the killed one to be fenced", |image| image.broker(id).is_some_and(|b| b.fenced))
            .await;
        fenced_ms.push(killed.elapsed().as_millis());
        let config = places[leader].config(voters.clone());
        nodes.insert(leader, places[leader].start(config).await);
        in_service(&nodes, 3).await;
    }
    for (what, figures) in [("written", &mut writes_ms), ("fenced", &mut fenced_ms)] {
        figures.sort_unstable();
        println!(
            "{what} after: median {} ms, 49th of 50 {} ms, longest {} ms",
            figures[25], figures[48], figures[49]
        );
    }
    all_equal(&nodes).await;
    let topics = nodes[0].image().topics.len();
    assert_eq!(topics, 50, "every write that was acknowledged is there");
    stop(nodes).await;
}

/// Cuts, one-way ones too, drawn from a seed, while commands go to all nodes: what was acknowledged stays,
/// everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_commands_survive_cuts_in_any_order() {
    let (places, ways, nodes) = three_apart(Tuning::default()).await;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let mut acknowledged = Vec::new();
    for round in 0..15 {
        let pairs = (0..draw(5)).map(|_| (places[draw(3)].id, places[draw(3)].id)).collect::<Vec<_>>();
        ways.cut(pairs);
        let names: Vec<String> = (0..3).map(|node| format!("topic-{round}-{node}")).collect();
        let submitted = nodes
            .iter()
            .zip(&names)
            .map(|(node, name)| node.submit_within(create(name, 1), Duration::from_millis(400)));
        let outcomes = futures::future::join_all(submitted).await;
        acknowledged.extend(names.into_iter().zip(outcomes).filter(|(_, o)| o.is_ok()).map(|(name, _)| name));
    }
    ways.heal();
    in_service(&nodes, 3).await;
    create_topic(&nodes[0], "at-the-end", 1).await;
    all_equal(&nodes).await;
    println!("{} of 45 commands were acknowledged", acknowledged.len());
    for name in &acknowledged {
        assert!(nodes[1].image().topic(name).is_some(), "{name} was acknowledged");
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_act_upon_is_not_told_by_a_controller_that_was_deposed() {
    let (places, ways, nodes) = three_apart(Tuning::default()).await;
    let leader = leader_of(&nodes).await;
    let (old, other) = (&nodes[leader], &nodes[(leader + 1) % 3]);
    let mut asked = Vec::new();
    for place in &places {
        asked.push(ControlClient::connect(format!("http://{}", place.address)).await.unwrap());
    }
    let confirmed = proto::GetClusterRequest { confirmed: true };
    ways.isolate(old.id, &places);
    poll("another active controller", || other.quorum.active_controller().filter(|id| *id != old.id)).await;
    create_topic(other, "kept", 1).await;
    // It may not know yet that it is none any more: what it tells unconfirmed is old news.
    let view = asked[leader].get_cluster(proto::GetClusterRequest::default()).await.unwrap().into_inner();
    assert!(view.topics.is_empty());
    let refused = within("an answer", asked[leader].get_cluster(confirmed)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    for (position, client) in asked.iter_mut().enumerate().filter(|(position, _)| *position != leader) {
        let view = client.get_cluster(confirmed).await.unwrap().into_inner();
        assert_eq!(view.topics.len(), 1, "node {position} has all that was committed");
    }
    ways.heal();
    let view = poll_confirmed(&mut asked[leader], confirmed).await;
    assert_eq!(view.topics.len(), 1);
    stop(nodes).await;
}

async fn poll_confirmed(
    client: &mut ControlClient<Channel>,
    request: proto::GetClusterRequest,
) -> proto::ClusterView {
    let answered = async {
        loop {
            if let Ok(view) = client.get_cluster(request).await {
                return view.into_inner();
            }
        }
    };
    within("a confirmed view", answered).await
}
