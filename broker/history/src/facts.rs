//! What the operations showed, gathered key by key as they are pushed; [`crate::checks`] judges it.

use std::collections::BTreeMap;

use crate::log::Log;
use crate::operation::{Operation, Outcome, Step};
use crate::report::Findings;

/// What is known of a value's writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Nobody is known to have sent it.
    Nobody,
    /// An operation that ended so.
    Ended(Outcome),
}

/// What became of one value.
#[derive(Debug)]
pub struct Fact {
    /// Its lowest and highest offset; none while both are unknown.
    pub offsets: Option<(i64, i64)>,
    /// Who sent it.
    pub writer: Writer,
    /// By which process, by number, and when it was called.
    pub sent: (usize, u64),
    /// Whether a successful poll returned it.
    pub read: bool,
    /// Whether the reading at the end did.
    pub read_at_end: bool,
    /// When its acknowledgement was known, in nanoseconds.
    pub acknowledged_ns: u64,
    /// When it was first read, other than at the end.
    pub first_read_ns: Option<u64>,
}

impl Fact {
    fn new() -> Fact {
        Fact {
            offsets: None,
            writer: Writer::Nobody,
            sent: (0, 0),
            read: false,
            read_at_end: false,
            acknowledged_ns: 0,
            first_read_ns: None,
        }
    }

    fn seen_at(&mut self, offset: i64) {
        let (low, high) = self.offsets.unwrap_or((offset, offset));
        self.offsets = Some((low.min(offset), high.max(offset)));
    }

    /// Whether it was acknowledged.
    pub fn acknowledged(&self) -> bool {
        self.writer == Writer::Ended(Outcome::Ok)
    }
}

/// What is known of one key.
#[derive(Debug, Default)]
pub struct KeyFacts {
    /// Its name.
    pub name: String,
    /// Which value each offset showed.
    pub log: Log,
    /// What became of each value.
    pub values: BTreeMap<u64, Fact>,
    /// Whether it was read at the end.
    pub read_at_end: bool,
}

/// A step from one offset of a key to another that isn't the next.
#[derive(Debug, Clone, Copy)]
pub struct Jump {
    /// Which key, by number.
    pub key: usize,
    /// Which process, by number.
    pub process: usize,
    /// The offset before.
    pub from: i64,
    /// The offset after.
    pub to: i64,
    /// Whether both belong to one operation.
    pub internal: bool,
}

/// Numbers for names.
#[derive(Debug, Default)]
struct Names {
    numbers: BTreeMap<String, usize>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }
}

/// A position of a process in a key: the last offset, and the operation that it belongs to.
type Positions = BTreeMap<(usize, usize), (i64, u64)>;

/// What many operations showed.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) operations: u64,
    /// By outcome: acknowledged, failed, unknown.
    pub(crate) outcomes: [u64; 3],
    pub(crate) records_read: u64,
    processes: Names,
    key_names: Names,
    keys: Vec<KeyFacts>,
    polled: Positions,
    sent: Positions,
    pub(crate) poll_jumps: Vec<Jump>,
    pub(crate) send_jumps: Vec<Jump>,
    /// Found while pushing: what only the pair of an earlier and a later operation shows.
    pub(crate) conflicts: Findings,
    pub(crate) sent_twice: Findings,
    pub(crate) own_sends: Findings,
    /// By which process, by number, and when sends under way got new numbers.
    renumbered: Vec<(usize, u64)>,
    /// Operations of unknown outcome with several sends, which are all or nothing.
    torn: Vec<Vec<(usize, u64)>>,
}

impl History {
    /// A history without operations.
    pub fn new() -> History {
        History::default()
    }

    /// Adds an operation.
    pub fn push(&mut self, operation: &Operation) {
        self.operations += 1;
        let process = self.processes.number(&operation.process);
        for name in &operation.rebalanced {
            let key = self.key(name);
            self.polled.remove(&(process, key));
        }
        let mut sent = Vec::new();
        for step in &operation.steps {
            match step {
                Step::Send(name, value, offset) => {
                    let key = self.key(name);
                    self.send(operation, process, key, *value, *offset);
                    sent.push((key, *value));
                }
                Step::Poll(keys) => {
                    for (name, records) in keys {
                        let key = self.key(name);
                        self.poll(operation, process, key, records);
                        self.find_own_sends(&operation.process, &sent, key, records);
                    }
                }
                Step::Renumbered => self.renumbered.push((process, operation.start)),
            }
        }
        if operation.outcome == Outcome::Unknown && sent.len() > 1 {
            self.torn.push(sent);
        }
    }

    fn key(&mut self, name: &str) -> usize {
        let number = self.key_names.number(name);
        if number == self.keys.len() {
            self.keys.push(KeyFacts { name: name.to_owned(), ..KeyFacts::default() });
        }
        number
    }

    fn send(&mut self, operation: &Operation, process: usize, key: usize, value: u64, offset: Option<i64>) {
        self.outcomes[operation.outcome as usize] += 1;
        let facts = &mut self.keys[key];
        let fact = facts.values.entry(value).or_insert_with(Fact::new);
        if fact.writer != Writer::Nobody {
            self.sent_twice.add(|| format!("{}: value {value} is sent twice", facts.name));
            return;
        }
        fact.writer = Writer::Ended(operation.outcome);
        fact.sent = (process, operation.start);
        fact.acknowledged_ns = operation.end;
        if operation.outcome == Outcome::Fail {
            return; // An offset here would be one that it didn't get.
        }
        let Some(offset) = offset else { return };
        fact.seen_at(offset);
        if let Some(other) = facts.log.note(offset, value) {
            self.conflicts.add(|| conflict(&facts.name, offset, other, value, &operation.process));
        }
        let number = self.operations;
        let before = self.sent.insert((process, key), (offset, number));
        if let Some((from, of)) = before
            && of == number
            && offset <= from
        {
            self.send_jumps.push(Jump { key, process, from, to: offset, internal: true });
        }
    }

    fn poll(&mut self, operation: &Operation, process: usize, key: usize, records: &[(i64, u64)]) {
        let successful = operation.outcome == Outcome::Ok;
        let number = self.operations;
        let facts = &mut self.keys[key];
        facts.read_at_end |= operation.is_final && successful;
        let mut position = self.polled.get(&(process, key)).copied();
        for &(offset, value) in records {
            self.records_read += 1;
            let fact = facts.values.entry(value).or_insert_with(Fact::new);
            fact.seen_at(offset);
            fact.read |= successful;
            fact.read_at_end |= successful && operation.is_final;
            if !operation.is_final && successful {
                let first = fact.first_read_ns.unwrap_or(u64::MAX);
                fact.first_read_ns = Some(first.min(operation.end));
            }
            if let Some(other) = facts.log.note(offset, value) {
                self.conflicts.add(|| conflict(&facts.name, offset, other, value, &operation.process));
            }
            if let Some((from, of)) = position
                && from.checked_add(1) != Some(offset)
            {
                self.poll_jumps.push(Jump { key, process, from, to: offset, internal: of == number });
            }
            position = Some((offset, number));
        }
        // After a poll that failed a client may stand anywhere.
        match position.filter(|_| successful) {
            Some(position) => self.polled.insert((process, key), position),
            None => self.polled.remove(&(process, key)),
        };
    }

    fn find_own_sends(&mut self, process: &str, sent: &[(usize, u64)], key: usize, records: &[(i64, u64)]) {
        if sent.is_empty() {
            return;
        }
        for (offset, value) in records.iter().filter(|(_, value)| sent.contains(&(key, *value))) {
            let name = &self.keys[key].name;
            self.own_sends.add(|| {
                format!(
                    "{name}: {process} read its own value {value} at offset {offset} before it was committed"
                )
            });
        }
    }

    /// Whether the value's client numbered it anew while it was under way, so that nobody can know it again.
    pub(crate) fn was_renumbered(&self, fact: &Fact) -> bool {
        let (process, start) = fact.sent;
        let under_way = start..=fact.acknowledged_ns;
        fact.writer != Writer::Nobody
            && self.renumbered.iter().any(|(whose, at)| *whose == process && under_way.contains(at))
    }

    /// All keys.
    pub(crate) fn keys(&self) -> &[KeyFacts] {
        &self.keys
    }

    /// How many processes there are.
    pub(crate) fn processes(&self) -> usize {
        self.processes.names.len()
    }

    /// A process's name.
    pub(crate) fn process(&self, number: usize) -> &str {
        &self.processes.names[number]
    }

    /// Values of unknown outcome that must be there, as another of the same operation was read.
    pub(crate) fn implied(&self) -> impl Iterator<Item = (&KeyFacts, u64, &Fact)> {
        let torn = self.torn.iter().filter(move |sends| {
            sends.iter().filter_map(|(key, value)| self.keys[*key].values.get(value)).any(|f| f.read)
        });
        torn.flatten().filter_map(move |(key, value)| {
            Some((&self.keys[*key], *value, self.keys[*key].values.get(value)?))
        })
    }
}

fn conflict(key: &str, offset: i64, first: u64, then: u64, process: &str) -> String {
    format!("{key}: offset {offset} showed value {first}, then {then} to {process}")
}
