//! A machine of one number: what becomes of decisions, and of who waits for them.

use ottla_types::LeaderEpoch;

use super::*;

/// A value that requests set; `Get` waits until it is committed.
#[derive(Default)]
struct Register {
    value: Pending<i64>,
    refused: Vec<Ticket>,
    overdue: Vec<i64>,
}

#[derive(Debug)]
enum Request {
    Set(i64),
    Get,
    Park,
}

type Reply = Result<Option<i64>, Unavailable>;

impl Machine for Register {
    type Record = i64;
    type After = i64;
    type Request = Request;
    type Reply = Reply;
    type Config = ();

    fn config(&self) -> &() {
        &()
    }

    fn load(&mut self, record: i64) {
        self.value = Pending::committed_as(record);
    }

    fn on_loaded(&mut self, _now: Now, _out: &mut Out<Self>) {}

    fn on_request(&mut self, call: CallId, request: Request, _now: Now, out: &mut Out<Self>) {
        match request {
            Request::Set(value) => {
                let ticket = out.decide(vec![value, value], value);
                self.value.set(ticket, Some(value), |_| {});
                out.answer_when_committed(call, Ok(Some(value)));
            }
            Request::Get => out.read_when_committed(call, Request::Get),
            Request::Park => {}
        }
    }

    fn read(&self, _request: &Request) -> Reply {
        Ok(self.value.committed().copied())
    }

    fn needs_records(request: &Request) -> bool {
        matches!(request, Request::Set(_))
    }

    fn bytes_of(_record: &i64) -> usize {
        8
    }

    fn on_committed(&mut self, ticket: Ticket, _after: i64, _now: Now, _out: &mut Out<Self>) {
        self.value.commit(ticket, |_| {});
    }

    fn on_refused(&mut self, refused: Refused<i64>, _now: Now, _out: &mut Out<Self>) {
        self.value.refuse(refused.ticket, |_| {});
        self.refused.push(refused.ticket);
    }

    fn on_overdue(&mut self, _ticket: Ticket, after: &i64, _now: Now, _out: &mut Out<Self>) {
        self.overdue.push(*after);
    }

    fn on_time(&mut self, _now: Now, _out: &mut Out<Self>) {}

    fn next_deadline_ms(&self) -> Option<u64> {
        None
    }

    fn waiting(&self) -> Vec<Answer<Reply>> {
        vec![Answer { call: CallId(99), reply: Ok(None) }]
    }

    fn unserved(_config: &(), _request: &Request, why: Unavailable) -> Reply {
        Err(why)
    }

    fn failed(_reply: Reply, why: Unavailable) -> Reply {
        Err(why)
    }
}

const LIMITS: ShardLimits =
    ShardLimits { commit_timeout_ms: 100, uncommitted_bytes_max: 48, decision_bytes_max: 1_000 };

fn at(ms: u64) -> Now {
    Now { ms, wall_ms: 0 }
}

fn loaded() -> Shard<Register> {
    let mut shard = Shard::new(LeaderEpoch(7), LIMITS, Register::default());
    shard.load(1);
    let _ = shard.on_loaded(at(0));
    shard
}

/// Asks, and tells which decision came of it.
fn set(shard: &mut Shard<Register>, call: u64, value: i64, now_ms: u64) -> Ticket {
    let effects = shard.on_request(CallId(call), Request::Set(value), at(now_ms));
    assert_eq!(effects.answers, [], "it waits");
    let [append] = &effects.appends[..] else { panic!("{effects:?}") };
    assert_eq!((append.epoch, &append.records[..]), (LeaderEpoch(7), &[value, value][..]));
    append.ticket
}

fn told(answers: &[Answer<Reply>]) -> Vec<(u64, Reply)> {
    answers.iter().map(|answer| (answer.call.0, answer.reply)).collect()
}

#[test]
fn answers_are_released_in_order_once_their_records_are_committed() {
    let mut shard = loaded();
    let (first, second) = (set(&mut shard, 1, 10, 0), set(&mut shard, 2, 20, 0));
    assert!(first < second);
    assert_eq!(
        shard.on_request(CallId(3), Request::Get, at(0)).answers,
        [],
        "what it rests on isn't committed"
    );
    assert_eq!(told(&shard.on_committed(first, at(1)).answers), [(1, Ok(Some(10)))]);
    assert_eq!(told(&shard.on_committed(first, at(1)).answers), [], "told again, it does nothing");
    let last = shard.on_committed(second, at(2));
    assert_eq!(told(&last.answers), [(2, Ok(Some(20))), (3, Ok(Some(20)))]);
    assert_eq!(told(&shard.on_request(CallId(4), Request::Get, at(3)).answers), [(4, Ok(Some(20)))]);
}

#[test]
fn who_waits_to_read_holds_no_reply_and_reads_what_is_committed_then() {
    let mut shard = loaded();
    let first = set(&mut shard, 1, 10, 0);
    let _ = shard.on_request(CallId(2), Request::Get, at(0));
    let second = set(&mut shard, 3, 20, 0);
    let effects = shard.on_committed(first, at(1));
    assert_eq!(told(&effects.answers), [(1, Ok(Some(10))), (2, Ok(Some(10)))], "20 isn't committed");
    let _ = shard.on_request(CallId(4), Request::Get, at(2));
    let refused = shard.on_refused(second, AppendRefusal::NotNow, at(3));
    let late = Err(Unavailable::NotAvailable);
    assert_eq!(told(&refused.answers), [(3, late), (4, late)]);
}

#[test]
fn a_refusal_takes_all_back_that_was_decided_since_the_newest_first() {
    let mut shard = loaded();
    let first = set(&mut shard, 1, 10, 0);
    let (second, third) = (set(&mut shard, 2, 20, 0), set(&mut shard, 3, 30, 0));
    let effects = shard.on_refused(second, AppendRefusal::NotLeader, at(1));
    let lost = Err(Unavailable::NotCoordinator);
    assert_eq!(told(&effects.answers), [(3, lost), (2, lost)]);
    assert_eq!(shard.machine().refused, [third, second]);
    assert_eq!(shard.machine().value.newest(), Some(&10));
    let fourth = set(&mut shard, 4, 40, 2);
    assert!(fourth > third, "a ticket is used once");
    assert_eq!(told(&shard.on_committed(fourth, at(3)).answers), [(1, Ok(Some(10))), (4, Ok(Some(40)))]);
    assert!(first < fourth);
}

#[test]
#[should_panic(expected = "isn't on its way")]
fn what_is_committed_is_not_refused() {
    let mut shard = loaded();
    let first = set(&mut shard, 1, 10, 0);
    let _ = shard.on_committed(first, at(1));
    set(&mut shard, 2, 20, 0);
    let _ = shard.on_refused(first, AppendRefusal::NotNow, at(2));
}

#[test]
#[should_panic(expected = "isn't decided yet")]
fn what_is_not_decided_is_not_committed() {
    let _ = loaded().on_committed(Ticket(1), at(0));
}

#[test]
#[should_panic(expected = "doesn't serve")]
fn a_shard_that_serves_is_not_loaded() {
    loaded().load(2);
}

#[test]
fn nobody_waits_longer_than_the_limit_and_the_decision_stands() {
    let mut shard = loaded();
    let first = set(&mut shard, 1, 10, 0);
    let second = set(&mut shard, 2, 20, 50);
    assert_eq!(shard.next_deadline_ms(), Some(100));
    assert_eq!(told(&shard.on_time(at(99)).answers), []);
    let late = Err(Unavailable::NotAvailable);
    assert_eq!(told(&shard.on_time(at(100)).answers), [(1, late)]);
    assert_eq!(told(&shard.on_time(at(100)).answers), [], "once");
    assert_eq!((&shard.machine().overdue[..], shard.next_deadline_ms()), (&[10][..], Some(150)));
    assert_eq!(told(&shard.on_time(at(150)).answers), [(2, late)]);
    assert_eq!(told(&shard.on_request(CallId(3), Request::Get, at(151)).answers), [(3, late)]);
    assert_eq!(shard.machine().value.committed(), Some(&1));
    assert_eq!(told(&shard.on_committed(second, at(200)).answers), []);
    assert_eq!(shard.machine().value.committed(), Some(&20));
    assert!(first < second);
}

#[test]
fn only_so_many_records_are_uncommitted() {
    let mut shard = loaded();
    for call in 1..=3 {
        set(&mut shard, call, 10, 0);
    }
    assert_eq!(shard.uncommitted_bytes(), 48);
    let effects = shard.on_request(CallId(4), Request::Set(1), at(0));
    assert_eq!(told(&effects.answers), [(4, Err(Unavailable::NotAvailable))]);
    assert_eq!(effects.appends, []);
    assert_eq!(told(&shard.on_request(CallId(5), Request::Get, at(0)).answers), [], "it needs none");
    let _ = shard.on_committed(Ticket(1), at(1));
    set(&mut shard, 6, 10, 1);
}

#[test]
fn whoever_asks_while_it_loads_is_told_so() {
    let mut shard = Shard::new(LeaderEpoch(7), LIMITS, Register::default());
    let effects = shard.on_request(CallId(1), Request::Get, at(0));
    assert_eq!(told(&effects.answers), [(1, Err(Unavailable::Loading))]);
    assert!(!shard.is_loaded());
}

#[test]
fn who_loses_the_epoch_tells_all_who_wait() {
    let mut shard = loaded();
    set(&mut shard, 1, 10, 0);
    let _ = shard.on_request(CallId(99), Request::Park, at(0));
    let lost = Err(Unavailable::NotCoordinator);
    assert_eq!(told(&shard.resign()), [(1, lost), (99, lost)]);
}

#[test]
fn a_value_is_known_as_committed_and_as_newest() {
    let mut value = Pending::committed_as(1);
    let mut dropped = Vec::new();
    value.set(Ticket(3), Some(3), |one| dropped.push(one));
    value.set(Ticket(3), Some(33), |one| dropped.push(one));
    value.set(Ticket(5), None, |one| dropped.push(one));
    value.set(Ticket(7), Some(7), |one| dropped.push(one));
    assert_eq!((value.committed(), value.newest()), (Some(&1), Some(&7)));
    value.refuse(Ticket(6), |one| dropped.push(one));
    assert_eq!((value.committed(), value.newest()), (Some(&1), None));
    value.commit(Ticket(4), |one| dropped.push(one));
    assert_eq!((value.committed(), value.newest()), (Some(&33), None));
    assert!(!value.is_nothing());
    value.commit(Ticket(5), |one| dropped.push(one));
    assert!(value.is_nothing());
    assert_eq!(dropped, [3, 7, 1, 33], "each value that was there, once");
}

#[test]
#[should_panic(expected = "was decided before")]
fn values_are_decided_in_order() {
    let mut value = Pending::committed_as(1);
    value.set(Ticket(3), Some(3), |_| {});
    value.set(Ticket(2), Some(2), |_| {});
}

#[test]
fn many_that_are_on_their_way_are_settled_one_by_one() {
    // If each were found by walking all, this would take minutes.
    let mut value = Pending::default();
    let tickets = 1..=300_000;
    tickets.clone().for_each(|ticket| value.set(Ticket(ticket), Some(ticket), |_| {}));
    (1..=150_000).for_each(|ticket| value.commit(Ticket(ticket), |_| {}));
    (150_002..=300_000).rev().for_each(|ticket| value.refuse(Ticket(ticket), |_| {}));
    assert_eq!((value.committed(), value.newest()), (Some(&150_000), Some(&150_001)));
}

#[test]
fn overdue_ones_are_counted_while_they_are_settled() {
    let mut shard = loaded();
    let (first, second) = (set(&mut shard, 1, 10, 0), set(&mut shard, 2, 20, 10));
    let third = set(&mut shard, 3, 30, 20);
    let late = Err(Unavailable::NotAvailable);
    assert_eq!(told(&shard.on_time(at(110)).answers), [(1, late), (2, late)]);
    assert_eq!(shard.next_deadline_ms(), Some(120));
    let _ = shard.on_committed(first, at(111));
    assert_eq!(shard.next_deadline_ms(), Some(120));
    let _ = shard.on_refused(second, AppendRefusal::NotNow, at(112));
    assert_eq!(shard.next_deadline_ms(), None);
    let fourth = set(&mut shard, 4, 40, 113);
    assert_eq!(shard.next_deadline_ms(), Some(213), "none of those before counts for it");
    let _ = shard.on_request(CallId(5), Request::Get, at(114));
    assert_eq!(told(&shard.on_committed(fourth, at(115)).answers), [(4, Ok(Some(40))), (5, Ok(Some(40)))]);
    assert!(third < fourth);
}
