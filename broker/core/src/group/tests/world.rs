//! A shard over a log in memory, and scripts of what happens to it.
//!
//! A line of a script is what happens, ` => `, and all that is answered then, in order: first the request's
//! own answer, then those to earlier requests, each with its number. A line that begins with `#` is a
//! comment.
//!
//! | line | what happens |
//! |---|---|
//! | `join ID` | a member joins; `-` if it has no id. `i=` instance, `p=` protocols, `t=` protocol type, |
//! | | `s=`, `r=` time-outs in ms, `topics=` subscription, `old` knows no MEMBER_ID_REQUIRED, `noskip` |
//! | `sync ID GENERATION` | and `ID:TEXT` for each assignment; `i=`, `p=` protocol, `t=` protocol type |
//! | `beat ID GENERATION` | a heartbeat; `i=` |
//! | `leave ID …` | members leave; `/INSTANCE` and `ID/INSTANCE` too |
//! | `commit ID GENERATION` | and `TOPIC-PARTITION:OFFSET` for each; `m=` metadata size, `keep=` ms, `i=` |
//! | `fetch` | and `TOPIC-PARTITION` for each, or all; `stable` |
//! | `unoffset`, `forget` | and `TOPIC-PARTITION` for each |
//! | `delete`, `describe` | and each group |
//! | `list` | `states=`, `types=` |
//! | `tick MS` | time passes |
//! | `hold`, `go` | from now on nothing is committed; all is, at once |
//! | `refuse WHY` | the first uncommitted append is refused, and all after it |
//! | `failover` | another broker takes over with what is committed |
//! | `log` | what was appended since the last one |
//!
//! `g=` names another group than `g`.

use std::collections::VecDeque;

use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::said::{said, said_record};
use crate::coordinator::{Answer, AppendRefusal, CallId, Effects, Now, Shard, ShardLimits, Ticket};
use crate::group::*;

pub struct World {
    pub shard: Shard<Groups>,
    pub config: GroupConfig,
    pub now: Now,
    pub is_holding: bool,
    /// What is committed.
    pub log: Vec<Record>,
    /// What is appended.
    pub uncommitted: VecDeque<(Ticket, Vec<Record>)>,
    pub answers: Vec<Answer<Reply>>,
    pub last_call: u64,
    shown: Vec<String>,
}

/// Beside what [`GroupConfig`] says: no more than this at once.
pub const LIMITS: ShardLimits =
    ShardLimits { commit_timeout_ms: 5_000, uncommitted_bytes_max: 20 * 258, decision_bytes_max: 10_000 };

impl World {
    pub fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    pub fn with(config: GroupConfig) -> Self {
        let now = Now { ms: 1_000, wall_ms: 1_000_000 };
        let mut shard = Shard::new(LeaderEpoch(1), LIMITS, Groups::new(config.clone()));
        let effects = shard.on_loaded(now);
        assert!(effects.appends.is_empty() && effects.answers.is_empty());
        Self {
            shard,
            config,
            now,
            is_holding: false,
            log: Vec::new(),
            uncommitted: VecDeque::new(),
            answers: Vec::new(),
            last_call: 0,
            shown: Vec::new(),
        }
    }

    pub fn ask(&mut self, request: Request) -> CallId {
        self.last_call += 1;
        let call = CallId(self.last_call);
        let effects = self.shard.on_request(call, request, self.now);
        self.carry_out(effects);
        call
    }

    pub fn carry_out(&mut self, effects: Effects<Record, Reply>) {
        self.note(effects);
        if !self.is_holding {
            self.commit_all();
        }
    }

    pub fn commit_all(&mut self) {
        while let Some((ticket, records)) = self.uncommitted.pop_front() {
            self.log.extend(records);
            let effects = self.shard.on_committed(ticket, self.now);
            self.note(effects);
        }
    }

    fn note(&mut self, effects: Effects<Record, Reply>) {
        self.answers.extend(effects.answers);
        for append in effects.appends {
            assert_eq!(append.epoch, self.shard.epoch());
            let bytes: usize = append.records.iter().map(Record::log_bytes).sum();
            assert!(bytes <= LIMITS.decision_bytes_max, "{bytes} bytes don't fit into a batch");
            self.shown.extend(append.records.iter().map(said_record));
            self.uncommitted.push_back((append.ticket, append.records));
        }
        self.shard.machine().assert_consistent();
    }

    pub fn refuse(&mut self, why: AppendRefusal) {
        let (first, _) = *self.uncommitted.front().as_ref().expect("something is uncommitted");
        let first = *first;
        self.uncommitted.clear();
        let effects = self.shard.on_refused(first, why, self.now);
        self.carry_out(effects);
    }

    pub fn tick(&mut self, ms: u64) {
        let until = self.now.ms + ms;
        while let Some(at_ms) = self.shard.next_deadline_ms().filter(|at_ms| *at_ms <= until) {
            let step = at_ms.saturating_sub(self.now.ms);
            self.now = Now { ms: self.now.ms + step, wall_ms: self.now.wall_ms + step as i64 };
            let effects = self.shard.on_time(self.now);
            self.carry_out(effects);
            assert!(self.shard.next_deadline_ms().is_none_or(|next| next > self.now.ms), "it goes on");
        }
        let rest = until - self.now.ms;
        self.now = Now { ms: until, wall_ms: self.now.wall_ms + rest as i64 };
    }

    /// Another broker takes over what is committed.
    pub fn fail_over(&mut self) {
        let epoch = LeaderEpoch(self.shard.epoch().0 + 1);
        let next = Shard::new(epoch, LIMITS, Groups::new(self.config.clone()));
        let old = std::mem::replace(&mut self.shard, next);
        self.answers.extend(old.resign());
        self.uncommitted.clear();
        for record in &self.log {
            self.shard.load(record.clone());
        }
        let effects = self.shard.on_loaded(self.now);
        self.carry_out(effects);
    }

    /// Runs a script.
    #[track_caller]
    pub fn run(&mut self, script: &str) {
        let mut told = String::new();
        let mut expected = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            expected.push_str(&format!("{line}\n"));
            if line.starts_with('#') {
                told.push_str(&format!("{line}\n"));
                continue;
            }
            let happens = line.split(" =>").next().unwrap().trim();
            let answers = self.step(happens);
            let told_line = format!("{happens} => {answers}");
            told.push_str(&format!("{}\n", told_line.trim_end()));
        }
        assert!(told == expected, "\n--- expected\n{expected}\n--- told\n{told}");
    }

    /// Does what a line says, and leaves the answers.
    pub fn run_quietly(&mut self, line: &str) {
        let fresh_id = (self.last_call + 1).to_string();
        self.ask(Words::new(line).request(fresh_id));
    }

    fn step(&mut self, line: &str) -> String {
        let words = Words::new(line);
        let before = self.last_call;
        match words.verb {
            "tick" => self.tick(words.all[0].parse().unwrap()),
            "hold" => self.is_holding = true,
            "go" => {
                self.is_holding = false;
                self.commit_all();
            }
            "refuse" => self.refuse(match words.all[0] {
                "NotNow" => AppendRefusal::NotNow,
                "NotLeader" => AppendRefusal::NotLeader,
                _ => AppendRefusal::TooLarge,
            }),
            "failover" => self.fail_over(),
            "log" => return std::mem::take(&mut self.shown).join("; "),
            _ => {
                let fresh_id = (before + 1).to_string();
                self.ask(words.request(fresh_id));
            }
        }
        let asked = self.last_call;
        let mut answers: Vec<Answer<Reply>> = self.answers.drain(..).collect();
        answers.sort_by_key(|answer| (answer.call.0 <= before, answer.call));
        let own = |answer: &Answer<Reply>| answer.call.0 == asked && asked > before;
        let texts = answers.iter().map(|one| match own(one) {
            true => said(&one.reply),
            false => format!("#{} {}", one.call.0, said(&one.reply)),
        });
        texts.collect::<Vec<_>>().join("; ")
    }
}

/// A line of a script.
struct Words<'a> {
    verb: &'a str,
    /// Those without `=`.
    all: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let (mut all, mut named) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                Some(pair) => named.push(pair),
                None => all.push(word),
            }
        }
        Self { verb, all, named }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.named.iter().find(|(one, _)| *one == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(name).map(|value| value.parse().unwrap())
    }

    fn granted_bytes(&self) -> usize {
        self.number("granted").map_or(usize::MAX, |bytes| bytes as usize)
    }

    fn has(&self, word: &str) -> bool {
        self.all.contains(&word)
    }

    fn member(&self) -> Option<MemberId> {
        Some(self.all[0]).filter(|id| *id != "-").map(MemberId::from)
    }

    fn generation(&self) -> Generation {
        Generation(self.all[1].parse().unwrap())
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        self.all.iter().filter(|word| word.contains('-')).map(|word| partition(word)).collect()
    }

    fn request(&self, fresh_id: String) -> Request {
        let group = GroupId::from(self.get("g").unwrap_or("g"));
        let instance = self.get("i").map(InstanceId::from);
        let groups = || self.all.iter().map(|id| GroupId::from(*id)).collect();
        match self.verb {
            "join" => Request::JoinGroup(self.join(group, instance, fresh_id)),
            "sync" => {
                let pairs = self.all[2..].iter().map(|word| word.split_once(':').unwrap());
                Request::SyncGroup(SyncGroup {
                    group,
                    member: self.all[0].into(),
                    instance,
                    generation: self.generation(),
                    protocol_type: self.get("t").map(str::to_owned),
                    protocol: self.get("p").map(str::to_owned),
                    assignments: pairs.map(|(id, text)| (id.into(), text.as_bytes().into())).collect(),
                })
            }
            "beat" => {
                let (member, generation) = (self.all[0].into(), self.generation());
                Request::Heartbeat(Heartbeat { group, member, instance, generation })
            }
            "leave" => Request::LeaveGroup(LeaveGroup { group, members: self.leaving() }),
            "commit" => Request::OffsetCommit(self.commit(group, instance)),
            "fetch" => {
                let partitions = Some(self.partitions()).filter(|all| !all.is_empty());
                Request::OffsetFetch(OffsetFetch {
                    group,
                    partitions,
                    require_stable: self.has("stable"),
                    granted_bytes: self.granted_bytes(),
                })
            }
            "unoffset" => Request::OffsetDelete(OffsetDelete { group, partitions: self.partitions() }),
            "forget" => Request::ForgetPartitions(ForgetPartitions { partitions: self.partitions() }),
            "delete" => Request::DeleteGroups(DeleteGroups { groups: groups() }),
            "describe" => Request::DescribeGroups(DescribeGroups {
                groups: groups(),
                granted_bytes: self.granted_bytes(),
            }),
            "list" => {
                let filter = |name| self.get(name).into_iter().flat_map(|all| all.split(','));
                let (states, types) = (filter("states"), filter("types"));
                let (states, types) = (states.map(str::to_owned), types.map(str::to_owned));
                Request::ListGroups(ListGroups {
                    states: states.collect(),
                    types: types.collect(),
                    granted_bytes: self.granted_bytes(),
                })
            }
            other => panic!("what is {other}?"),
        }
    }

    fn join(&self, group: GroupId, instance: Option<InstanceId>, fresh_id: String) -> JoinGroup {
        let metadata = subscription(self.get("topics").unwrap_or("t"));
        let names = self.get("p").unwrap_or("range").split(',').filter(|name| !name.is_empty());
        JoinGroup {
            group,
            member: self.member(),
            instance,
            client: Client { id: "c".into(), host: "/h".into() },
            session_timeout_ms: self.number("s").unwrap_or(10_000),
            rebalance_timeout_ms: self.number("r").unwrap_or(60_000) as u64,
            protocol_type: self.get("t").unwrap_or("consumer").to_owned(),
            protocols: names.map(|name| Protocol { name: name.into(), metadata: metadata.clone() }).collect(),
            knows_member_id_required: !self.has("old"),
            knows_skip_assignment: !self.has("noskip"),
            fresh_id,
        }
    }

    fn leaving(&self) -> Vec<Leaving> {
        let words = self.all.iter().map(|word| {
            let (member, instance) = word.split_once('/').unwrap_or((word, ""));
            let given = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
            Leaving { member: given(member).map(Into::into), instance: given(instance).map(Into::into) }
        });
        words.collect()
    }

    fn commit(&self, group: GroupId, instance: Option<InstanceId>) -> OffsetCommit {
        let metadata = self.number("m").map(|length| "x".repeat(length as usize).into());
        let offsets = self.all[2..].iter().map(|word| {
            let (name, offset) = word.split_once(':').unwrap();
            let TopicPartition { topic, partition } = partition(name);
            OffsetToCommit {
                topic,
                topic_id: TopicId([7; 16]),
                partition,
                offset: Offset(offset.parse().unwrap()),
                leader_epoch: Some(LeaderEpoch(3)),
                metadata: metadata.clone(),
            }
        });
        OffsetCommit {
            group,
            member: self.member(),
            instance,
            generation: self.generation(),
            retention_ms: self.number("keep").map(|ms| ms as u64),
            offsets: offsets.collect(),
        }
    }
}

pub fn partition(name: &str) -> TopicPartition {
    let (topic, index) = name.rsplit_once('-').unwrap();
    TopicPartition {
        topic: TopicName::new(topic).unwrap(),
        partition: PartitionIndex(index.parse().unwrap()),
    }
}

/// A consumer's subscription, as it writes it. `?` is none.
fn subscription(topics: &str) -> std::sync::Arc<[u8]> {
    if topics == "?" {
        return b"?".as_slice().into();
    }
    let names: Vec<&str> = topics.split(',').filter(|name| !name.is_empty()).collect();
    let mut bytes = vec![0, 0];
    bytes.extend((names.len() as i32).to_be_bytes());
    for name in names {
        bytes.extend((name.len() as i16).to_be_bytes());
        bytes.extend(name.as_bytes());
    }
    bytes.extend([0; 4]);
    bytes.into()
}
