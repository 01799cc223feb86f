//! Hand-made histories: each violates one rule and no other, and stands beside one that is just within it.

use std::fmt::Write as _;

use crate::{Check, History, Operation, Outcome, Step};

/// A history in a shorthand, one operation a line:
/// `PROCESS OUTCOME[!] STEP…`, where a step is `key=value@offset` (a send; `@?`: unknown) or
/// `key:offset=value,…` (a poll), `~key` tells that the process was given another position, and `!` marks the
/// reading at the end.
fn parse(text: &str) -> History {
    let mut history = History::new();
    for (at, line) in text.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let mut words = line.split_whitespace();
        let (process, outcome) = (words.next().unwrap(), words.next().unwrap());
        let mut operation = Operation {
            process: process.to_owned(),
            start: at as u64 * 10,
            end: at as u64 * 10 + 5,
            outcome: match outcome.trim_end_matches('!') {
                "ok" => Outcome::Ok,
                "fail" => Outcome::Fail,
                _ => Outcome::Unknown,
            },
            steps: Vec::new(),
            rebalanced: Vec::new(),
            is_final: outcome.ends_with('!'),
        };
        for word in words {
            match word.strip_prefix('~') {
                Some(key) => operation.rebalanced.push(key.to_owned()),
                None => operation.steps.push(step(word)),
            }
        }
        // What is checked is what a file would hold.
        history.push(&Operation::from_line(&operation.to_line().unwrap()).unwrap());
    }
    history
}

fn step(word: &str) -> Step {
    if let Some((key, records)) = word.split_once(':') {
        let record = |text: &str| {
            let (offset, value) = text.split_once('=').unwrap();
            (offset.parse().unwrap(), value.parse().unwrap())
        };
        let records = records.split(',').filter(|r| !r.is_empty()).map(record).collect();
        return Step::Poll([(key.to_owned(), records)].into());
    }
    let (key, rest) = word.split_once('=').unwrap();
    let (value, offset) = rest.split_once('@').unwrap();
    Step::Send(key.to_owned(), value.parse().unwrap(), offset.parse().ok())
}

/// `bad` violates `check` and nothing else, and says so with `words`; `good` violates nothing.
#[track_caller]
fn check(check: Check, words: &str, bad: &str, good: &str) {
    let report = parse(bad).check();
    let mut told = String::new();
    report.findings().for_each(|finding| writeln!(told, "{finding}").unwrap());
    for checked in &report.checks {
        let expected = u64::from(checked.check == check);
        assert_eq!(checked.findings.count, expected, "{:?}, found:\n{told}", checked.check);
    }
    assert!(told.contains(words), "{told}");
    let fine = parse(good).check();
    assert_eq!(fine.violations(), 0, "{:?}", fine.findings().collect::<Vec<_>>());
}

#[test]
fn an_offset_that_shows_two_values() {
    check(
        Check::InconsistentOffsets,
        "a: offset 1 showed value 2, then 3 to r2",
        "w ok a=2@1
         x unknown a=3@?
         r2 fail a:1=3",
        "w ok a=2@1
         w ok b=3@1
         r2 fail a:1=2 b:1=3",
    );
}

#[test]
fn an_acknowledgement_that_disagrees_with_another() {
    check(
        Check::InconsistentOffsets,
        "showed value 1, then 2",
        "w ok a=1@7
         x ok a=2@7",
        "w ok a=1@7
         x fail a=2@7",
    );
}

#[test]
fn a_value_at_two_offsets() {
    check(
        Check::Duplicate,
        "a: value 1 is at offset 0 and at 1",
        "w ok a=1@0
         r ok a:0=1,1=1",
        "w ok a=1@0
         w ok b=1@1
         r ok a:0=1 b:1=1",
    );
}

#[test]
fn a_lost_write() {
    check(
        Check::LostWrite,
        "a: value 1 was acknowledged at offset 0 and never read, though 1 was",
        "w ok a=1@0
         w ok a=2@1
         r ok a:1=2",
        "w ok a=1@0
         w ok a=2@1
         w ok a=3@2
         w unknown a=4@?
         r ok a:0=1,1=2",
    );
}

#[test]
fn a_torn_transaction() {
    check(
        Check::LostWrite,
        "value 1",
        "w unknown a=1@0 a=2@1
         r ok a:1=2",
        "w unknown a=1@0 a=2@1
         r ok a:0=1,1=2
         w unknown a=3@2 a=4@3",
    );
}

#[test]
fn a_read_of_a_failed_send() {
    check(
        Check::AbortedRead,
        "a: value 1 was read at offset 0, but its send failed",
        "w fail a=1@?
         r ok a:0=1",
        "w unknown a=1@?
         w fail a=2@?
         r ok a:0=1
         r fail a:1=2",
    );
}

#[test]
fn a_transaction_that_reads_itself() {
    check(
        Check::PrecommittedRead,
        "w read its own value 1",
        "w ok a=1@0 a:0=1",
        "w ok a=1@0
         w ok a:0=1",
    );
}

#[test]
fn a_poll_that_skips() {
    check(
        Check::PollSkip,
        "a: r read offset 0, then 2, and not 1",
        "w ok a=1@0 a=2@1 a=3@2
         s ok a:0=1,1=2,2=3
         r ok a:0=1
         r ok a:2=3",
        "w ok a=1@0 a=2@1 a=3@9
         s ok a:0=1,1=2,9=3
         r ok a:0=1
         r ok ~a a:9=3
         t ok a:1=2
         t ok a:9=3",
    );
}

#[test]
fn a_poll_that_goes_back() {
    check(
        Check::NonmonotonicPoll,
        "a: r read offset 1, then 0",
        "w ok a=1@0 a=2@1
         r ok a:0=1,1=2
         r ok a:0=1",
        "w ok a=1@0 a=2@1
         r ok a:0=1,1=2
         s ok a:0=1,1=2
         r ok ~a a:0=1
         s fail a:
         s ok a:0=1",
    );
}

#[test]
fn one_poll_that_skips() {
    check(
        Check::InternalPollSkip,
        "and not 1",
        "w ok a=1@0 a=2@1 a=3@2
         s ok a:0=1,1=2,2=3
         r ok a:0=1,2=3",
        "w ok a=1@0 a=2@1 a=3@3
         s ok a:0=1,1=2,3=3
         r ok a:1=2,3=3",
    );
}

#[test]
fn one_poll_that_goes_back() {
    check(
        Check::InternalNonmonotonicPoll,
        "r read offset 1, then 0",
        "w ok a=1@0 a=2@1
         r ok a:1=2,0=1",
        "w ok a=1@0 a=2@1
         r ok a:0=1,1=2",
    );
}

#[test]
fn sends_that_change_their_order() {
    check(
        Check::NonmonotonicSend,
        "w sent offset 5, then 4",
        "w ok a=1@5
         w ok a=2@4",
        "w ok a=1@5
         x ok a=2@4
         w ok b=3@3
         w unknown a=4@?
         w ok a=5@9",
    );
    check(Check::NonmonotonicSend, "w sent offset 5, then 4", "w ok a=1@5 a=2@4", "w ok a=1@4 a=2@5");
}

#[test]
fn a_producer_may_learn_late_of_an_early_record() {
    let send = |value, offset, start, end| Operation {
        process: "w".to_owned(),
        start,
        end,
        outcome: Outcome::Ok,
        steps: vec![Step::Send("a".to_owned(), value, Some(offset))],
        rebalanced: Vec::new(),
        is_final: false,
    };
    let found = |operations: &[Operation]| {
        let mut history = History::new();
        operations.iter().for_each(|operation| history.push(operation));
        history.check().violations()
    };
    // Called at 10 and at 20; the first one's answer came last.
    assert_eq!(found(&[send(2, 6, 20, 21), send(1, 5, 10, 30)]), 0);
    assert_eq!(found(&[send(1, 6, 10, 30), send(2, 5, 20, 21)]), 1);
    assert_eq!(found(&[send(1, 6, 10, 30), send(2, 5, 10, 21)]), 0, "at the same time");
}

#[test]
fn a_read_of_what_nobody_sent() {
    check(
        Check::UnsentRead,
        "a: value 9 was read at offset 0, but nobody sent it",
        "r ok a:0=9",
        "r ok a:0=9
         w unknown a=9@?",
    );
    check(Check::UnsentRead, "value 1 is sent twice", "w ok a=1@0\nw ok a=1@1", "w ok a=1@0\nw ok b=1@0");
}

#[test]
fn an_acknowledged_record_that_is_not_there_at_the_end() {
    check(
        Check::Unseen,
        "a: value 2 was acknowledged at offset 1, and isn't there at the end",
        "w ok a=1@0
         w ok a=2@1
         f ok! a:0=1",
        "w ok a=1@0
         w ok a=2@1
         w unknown a=3@?
         r ok a:0=1
         f ok! a:0=1
         f ok! a:1=2",
    );
}

#[test]
fn a_record_that_was_shown_and_is_not_there_at_the_end() {
    check(
        Check::Unseen,
        "a: value 1 was read before at offset 0",
        "w unknown a=1@?
         r ok a:0=1
         f ok! a:",
        "w unknown a=1@?
         r ok a:0=1
         f ok! a:0=1",
    );
}

#[test]
fn a_key_that_nobody_read_at_the_end() {
    check(
        Check::Unseen,
        "b: value 2",
        "w ok a=1@0
         w ok b=2@0
         f ok! a:0=1",
        "w ok a=1@0
         w ok b=2@0
         f ok! a:0=1 b:0=2",
    );
}

#[test]
fn without_a_reading_at_the_end_nothing_is_unseen() {
    let report = parse("w ok a=1@0").check();
    let unseen = report.checks.iter().find(|c| c.check == Check::Unseen).unwrap();
    assert!(!unseen.applies && unseen.findings.count == 0);
}

#[test]
fn the_lag_is_from_acknowledgement_to_first_read() {
    // Acknowledged at 5 and 15, read at 25 and 35; what is read at the end doesn't count.
    let report = parse("w ok a=1@0\nw ok a=2@1\nr ok a:0=1\ns ok a:0=1,1=2\nf ok! a:0=1,1=2").check();
    assert_eq!((report.lag.records, report.lag.p50_ns, report.lag.max_ns), (2, 20, 20));
    // Read before the acknowledgement was known.
    assert_eq!(parse("r ok a:0=1\nw ok a=1@0").check().lag.max_ns, 0);
}

#[test]
fn every_check_is_listed_once() {
    let mut all = Check::ALL.to_vec();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), Check::ALL.len());
    assert_eq!(all.len(), Check::Unseen as usize + 1, "the last variant is in the list, and so are all");
}

#[test]
fn many_findings_are_counted_and_the_first_told() {
    let mut text = String::new();
    (0..1000).for_each(|at| writeln!(text, "r ok a:{at}={at}").unwrap());
    let report = parse(&text).check();
    assert_eq!(report.violations(), 1000);
    assert_eq!(report.findings().count(), 20);
}

#[test]
fn a_line_that_is_no_operation_is_refused() {
    for line in ["", "{}", r#"{"process":"a","start":1,"end":2,"outcome":"maybe","steps":[]}"#] {
        assert!(Operation::from_line(line).is_err(), "{line}");
    }
    let line = r#"{"process":"j","start":1,"end":2,"outcome":"ok","steps":[{"send":["a-0",5,null]},{"poll":{"a-0":[[0,1]]}}]}"#;
    let operation = Operation::from_line(line).unwrap();
    assert_eq!(operation.to_line().unwrap(), line);
    assert_eq!(operation.steps[0], Step::Send("a-0".to_owned(), 5, None));
}

/// A client that numbers anew what is under way sends it as something new: no broker can know it again.
#[test]
fn what_its_client_numbered_anew_may_be_there_twice() {
    let duplicates = |process: &str, at_ns: u64| {
        let operation = |process: &str, start, end, step| Operation {
            process: process.to_owned(),
            start,
            end,
            outcome: Outcome::Ok,
            steps: vec![step],
            rebalanced: Vec::new(),
            is_final: false,
        };
        let mut history = History::new();
        history.push(&operation("p", 10, 50, Step::Send("k".to_owned(), 5, Some(2))));
        history.push(&operation(process, at_ns, at_ns, Step::Renumbered));
        history.push(&operation("c", 60, 70, Step::Poll([("k".to_owned(), vec![(1, 5), (2, 5)])].into())));
        history.check().violations()
    };
    assert_eq!([10, 30, 50].map(|at| duplicates("p", at)), [0; 3], "it was under way");
    assert_eq!([9, 51].map(|at| duplicates("p", at)), [1; 2], "it was not, or not any more");
    assert_eq!(duplicates("q", 30), 1, "that was another's");
}
