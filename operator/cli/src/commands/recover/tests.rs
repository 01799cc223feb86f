//! What a rebuild of the metadata quorum would lose, and what comes of it when an answer is lost.

use super::*;

fn found(id: i32, quorum: &str, last_term: u64, last_index: u64, trouble: &str) -> Found {
    let quorum = (!quorum.is_empty()).then(|| proto::Lineage { id: quorum.to_owned(), succeeds: vec![] });
    let copy = MetadataCopy {
        node_id: id,
        quorum,
        last_term,
        last_index,
        topics: 2,
        votes: id == 1,
        trouble: trouble.to_owned(),
        applied_index: Some(last_index),
        ..MetadataCopy::default()
    };
    Found { address: format!("b{id}:9093"), copy }
}

/// One that started again without an active controller: it applies nothing of its log.
fn uncounted(mut found: Found) -> Found {
    (found.copy.topics, found.copy.applied_index) = (0, Some(0));
    found
}

#[test]
fn what_each_broker_has_and_no_advice_without_need() {
    let all = [found(0, "", 0, 0, ""), found(1, "Q", 3, 40, ""), uncounted(found(2, "Q", 3, 40, ""))];
    let mut out = Vec::new();
    table(&all).write(&mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "BROKER   QUORUM   LAST ENTRY   TERM   TOPICS      VOTES   ADDRESS\n\
         0        <none>   0            0      2           no      b0:9093\n\
         1        Q        40           3      2           yes     b1:9093\n\
         2        Q        40           3      0 or more   no      b2:9093\n"
    );
    assert!(advice(&all).starts_with("No broker"));
}

#[test]
fn the_broker_with_the_newest_metadata_is_named() {
    let check = |all: &[Found], expected: i32, different: bool| {
        let advice = advice(all);
        assert!(advice.contains(&format!("--from-broker {expected}\n")), "{advice}");
        assert_eq!(advice.contains("different quorums"), different, "{advice}");
    };
    check(
        &[found(1, "Q", 2, 50, "no voter"), found(2, "Q", 3, 40, "no voter"), found(0, "", 0, 0, "")],
        2,
        false,
    );
    check(&[found(0, "E", 9, 7, "another one"), found(1, "Q", 3, 40, ""), found(2, "Q", 3, 39, "")], 1, true);
}

/// What `check` says: "rebuild", "lives", or why not.
fn verdict(all: &[Found], id: i32, flags: &str) -> String {
    let asked = QuorumRecoverArgs {
        controllers: (0..3).map(|id| format!("b{id}:9093")).collect(),
        from_broker: Some(id),
        lose_later_metadata: flags.contains("later"),
        lose_unseen_metadata: flags.contains("unseen"),
    };
    match check(all, &asked, id) {
        Ok(Check::Rebuild(chosen)) => {
            assert_eq!(chosen.copy.node_id, id);
            "rebuild".to_owned()
        }
        Ok(Check::Lives(_)) => "lives".to_owned(),
        Err(failure) => format!("{failure:?}"),
    }
}

fn led(mut found: Found) -> Found {
    found.copy.active_controller = Some(0);
    found
}

const LOST: &str = "hears of no active controller";

#[test]
fn a_quorum_that_lives_elsewhere_is_not_rebuilt() {
    let cut_off = || found(2, "Q", 3, 39, LOST);
    let all = [led(found(0, "Q", 3, 40, "")), led(found(1, "Q", 3, 40, "")), cut_off()];
    for flags in ["", "later unseen"] {
        let said = verdict(&all, 2, flags);
        assert!(said.contains("the metadata quorum lives: broker 0 (b0:9093)"), "{said}");
    }
    // Nor one that was rebuilt already, and lives.
    let mut rebuilt = led(found(0, "R", 1003, 1_000_040, ""));
    let ancestor = proto::Ancestor { id: "Q".to_owned(), term: 3, index: 40 };
    rebuilt.copy.quorum.as_mut().unwrap().succeeds.push(ancestor);
    let said = verdict(&[rebuilt, found(1, "Q", 3, 40, LOST), cut_off()], 2, "later unseen");
    assert!(said.contains("the metadata quorum lives"), "{said}");
    // Where broker 2 is in touch with it, others may be told to follow.
    let all = [led(found(0, "Q", 3, 40, "")), found(1, "E", 1, 7, ""), led(found(2, "Q", 3, 40, ""))];
    assert_eq!(verdict(&all, 2, ""), "lives");
}

#[test]
fn what_would_be_lost_is_named_unless_it_is_given_up() {
    let lost = |id, index| found(id, "Q", 3, index, LOST);
    let all = [found(0, "", 0, 0, ""), lost(1, 40), lost(2, 39)];
    assert_eq!(verdict(&all, 1, ""), "rebuild");
    let said = verdict(&all, 2, "unseen");
    assert!(
        said.contains("broker 1 has later metadata than broker 2") && said.contains("entry 40"),
        "{said}"
    );
    assert_eq!(verdict(&all, 2, "later"), "rebuild");
    // One that doesn't answer.
    let two = [lost(1, 40), lost(2, 39)];
    let said = verdict(&two, 1, "later");
    assert!(said.contains("b0:9093 doesn't answer") && said.contains("--lose-unseen-metadata"), "{said}");
    assert_eq!(verdict(&two, 1, "unseen"), "rebuild");
    // A quorum that was formed beside it is short; the other way round much would be lost.
    let beside = [led(found(0, "E", 9, 7, "")), lost(1, 40), lost(2, 40)];
    assert_eq!(verdict(&beside, 1, ""), "rebuild");
    let mut empty = found(0, "E", 9, 7, "another one");
    empty.copy.topics = 0;
    let said = verdict(&[empty, led(found(1, "Q", 3, 40, "")), led(found(2, "Q", 3, 40, ""))], 0, "");
    assert!(said.contains("broker 2 has later metadata than broker 0"), "{said}");
}

#[test]
fn topics_that_are_not_counted_are_not_taken_for_none() {
    let (formed_beside, lost) =
        (|| led(found(0, "E", 9, 7, "")), |id| uncounted(found(id, "Q", 3, 40, LOST)));
    let all = [formed_beside(), lost(1), lost(2)];
    let said = verdict(&all, 1, "");
    assert!(
        said.contains("that of broker 1 has 0 or more topics") && !said.contains("later metadata"),
        "{said}"
    );
    assert_eq!(verdict(&all, 1, "later"), "rebuild");
    assert!(advice(&all).contains("\"Or more\" topics"));
    // Nor where the other one's aren't: it may have more than broker 0, which was formed beside it.
    let living = |id| led(uncounted(found(id, "Q", 3, 40, "")));
    let said = verdict(&[found(0, "E", 9, 7, "another one"), living(1), living(2)], 0, "");
    assert!(said.contains("broker 2 has later metadata than broker 0: 0 or more topics"), "{said}");
    // An older broker doesn't say.
    let mut older = found(1, "Q", 3, 40, LOST);
    older.copy.applied_index = None;
    assert_eq!(older.topics(), "2 or more");
}

#[test]
fn who_has_nothing_or_does_not_answer_is_not_chosen() {
    let all = [found(0, "", 0, 0, ""), found(1, "Q", 3, 40, LOST)];
    assert!(verdict(&all, 0, "unseen").contains("has nothing of the metadata"));
    assert!(verdict(&all, 2, "unseen").contains("isn't among those that answer"));
}

/// A broker that is told to rebuild its quorum and starts again before its answer has left.
struct LostAnswer {
    /// What it leads afterwards.
    after: MetadataCopy,
    asked: std::sync::atomic::AtomicBool,
}

#[tonic::async_trait]
impl proto::recovery_server::Recovery for LostAnswer {
    async fn describe_metadata(
        &self,
        _: tonic::Request<proto::DescribeMetadataRequest>,
    ) -> Result<tonic::Response<MetadataCopy>, Status> {
        assert!(self.asked.load(std::sync::atomic::Ordering::SeqCst), "nobody looks before it asks");
        Ok(tonic::Response::new(self.after.clone()))
    }

    async fn recover_quorum(
        &self,
        _: tonic::Request<proto::RecoverQuorumRequest>,
    ) -> Result<tonic::Response<proto::RecoverQuorumResponse>, Status> {
        self.asked.store(true, std::sync::atomic::Ordering::SeqCst);
        Err(Status::unknown("transport error"))
    }

    async fn follow_quorum(
        &self,
        _: tonic::Request<proto::FollowQuorumRequest>,
    ) -> Result<tonic::Response<proto::FollowQuorumResponse>, Status> {
        unreachable!("it is the one that the others are to follow")
    }
}

/// What comes of a rebuild of the quorum `Q` whose answer is lost, when its broker 1 then leads this.
async fn rebuilt(after: MetadataCopy) -> Result<proto::Lineage, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut chosen = found(1, "Q", 3, 40, LOST);
    chosen.address = listener.local_addr().unwrap().to_string();
    let broker = LostAnswer { after, asked: false.into() };
    let service = proto::recovery_server::RecoveryServer::new(broker);
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
    let server = tokio::spawn(server);
    let end = rebuild(&chosen, &[], LOOK_INTERVAL * 2).await;
    server.abort();
    end
}

#[tokio::test]
async fn a_rebuild_whose_answer_is_lost_is_known_by_its_quorum() {
    let leads = |quorum: &str, succeeds: &[&str], active: i32| {
        let mut copy = found(1, quorum, 1003, 1_000_040, "").copy;
        let ancestor = |id: &&str| proto::Ancestor { id: (*id).to_owned(), term: 3, index: 40 };
        copy.quorum.as_mut().unwrap().succeeds = succeeds.iter().map(ancestor).collect();
        copy.active_controller = Some(active);
        copy
    };
    assert_eq!(rebuilt(leads("R", &["Q"], 1)).await.unwrap().id, "R");
    // Still the old quorum, one that has nothing to do with it, and one that somebody else leads.
    for other in [leads("Q", &[], 1), leads("E", &[], 1), leads("R", &["Q"], 0)] {
        let said = format!("{:?}", rebuilt(other).await.unwrap_err());
        assert!(said.contains("broker 1 gave no answer, and leads no rebuilt quorum"), "{said}");
    }
}
