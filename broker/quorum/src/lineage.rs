//! Which quorum this node follows: minted when the quorum is formed, named in every message, remembered on
//! every node's disk beside the data, so that it outlives the quorum's own log.
//!
//! The rule is: whoever has followed a quorum follows no other one, but for a successor that an administrator
//! made of it (`recovery`) and that carries at least its metadata on. And nobody forms a quorum who knows of
//! one, by its own disk or by another broker's word. So the disks of all voters can be lost, and what the
//! others know still isn't replaced by an empty quorum of the same cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ottla_control::proto;
use ottla_log::{FolderName, parse_folder};
use ottla_store::{Disk, read_file, replace_file};
use ottla_types::{ClusterId, QuorumId};
use serde::{Deserialize, Serialize};

/// The file in the data folder.
const FILE: &str = "ottla-quorum";

/// The file and its content in a data folder that follows no quorum yet. It has to be there before the folder
/// counts as formatted: then a folder without the file is known to be from before there was one.
pub const NEW_FOLDER: (&str, &str) = (FILE, r#"{"lost":false}"#);

const FILE_BYTES_MAX: usize = 1 << 20;

/// For how long another quorum that was heard of is told of: whoever is of it says so every second.
const CONFLICT_SHOWN: Duration = Duration::from_secs(10);

/// How often it is logged.
const CONFLICT_LOGGED: Duration = Duration::from_secs(30);

/// A quorum and those that it succeeds, the last one first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The quorum.
    pub id: QuorumId,
    /// Those whose metadata it carries on, by an administrator's word.
    #[serde(default)]
    pub succeeds: Vec<Ancestor>,
}

/// A quorum that another one succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The quorum.
    pub id: QuorumId,
    /// Up to where its metadata is carried on.
    pub end: LogEnd,
}

/// The last entry of a metadata log; newer ones are greater, as Raft compares logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogEnd {
    /// Its term.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// What another node's quorum is to this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Same,
    /// It carries this one's metadata on, up to there.
    Successor(LogEnd),
    /// This one carries its metadata on.
    Predecessor,
    /// Another one.
    Foreign,
}

impl Lineage {
    /// A quorum that succeeds no other one.
    pub fn new(id: QuorumId) -> Self {
        Self { id, succeeds: Vec::new() }
    }

    /// The quorum of logs from before quorums had identities: one for each cluster.
    pub fn unnamed(cluster_id: ClusterId) -> Self {
        Self::new(QuorumId(cluster_id.0))
    }

    /// What `theirs` is to this one.
    pub fn relation(&self, theirs: &Self) -> Relation {
        if self.id == theirs.id {
            return Relation::Same;
        }
        if let Some(ancestor) = theirs.succeeds.iter().find(|ancestor| ancestor.id == self.id) {
            return Relation::Successor(ancestor.end);
        }
        let is_ours = self.succeeds.iter().any(|ancestor| ancestor.id == theirs.id);
        if is_ours { Relation::Predecessor } else { Relation::Foreign }
    }
}

impl From<&Lineage> for proto::Lineage {
    fn from(lineage: &Lineage) -> Self {
        let ancestor = |ancestor: &Ancestor| proto::Ancestor {
            id: ancestor.id.to_string(),
            term: ancestor.end.term,
            index: ancestor.end.index,
        };
        Self { id: lineage.id.to_string(), succeeds: lineage.succeeds.iter().map(ancestor).collect() }
    }
}

/// A lineage as it came in a message; what can't be read is nobody's.
pub fn from_proto(lineage: Option<&proto::Lineage>) -> Option<Lineage> {
    let lineage = lineage?;
    let ancestor = |ancestor: &proto::Ancestor| {
        let end = LogEnd { term: ancestor.term, index: ancestor.index };
        Some(Ancestor { id: ancestor.id.parse().ok()?, end })
    };
    let succeeds = lineage.succeeds.iter().map(ancestor).collect::<Option<_>>()?;
    Some(Lineage { id: lineage.id.parse().ok()?, succeeds })
}

impl std::fmt::Display for LogEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry {} of term {}", self.index, self.term)
    }
}

/// What a node has to do when it starts again; see `recovery`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// It makes its log that of a new quorum in which it alone votes.
    Rebuild {
        /// The new quorum.
        quorum: Lineage,
        /// The greatest term and the greatest index that any broker has.
        beyond: LogEnd,
    },
    /// It puts its log aside and follows another quorum.
    Follow {
        /// That quorum.
        quorum: Lineage,
        /// The last entry that this node's log may have: with a newer one it stays, as that would be lost.
        /// None by an administrator's word.
        #[serde(default)]
        up_to: Option<LogEnd>,
    },
}

impl std::fmt::Display for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rebuild { quorum, .. } => write!(f, "rebuilding the metadata quorum as {}", quorum.id),
            Self::Follow { quorum, .. } => write!(f, "following the metadata quorum {}", quorum.id),
        }
    }
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Quorum(Remembered),
    NoQuorum {
        /// The folder had a log, and nobody here knows of which quorum.
        lost: bool,
    },
}

/// The quorum that a node follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    quorum: Lineage,
    /// False while this node forms the quorum: nobody may ever have heard of it.
    formed: bool,
    /// What is to be done at the next start.
    #[serde(default)]
    next: Option<Next>,
}

/// Another quorum of this cluster, of which a node told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// That quorum.
    pub theirs: QuorumId,
    /// Who is of it, for people.
    pub told_by: String,
}

struct State {
    remembered: Option<Remembered>,
    /// The data folder has lost its log: a quorum was formed, and which one, nobody here knows.
    log_is_gone: bool,
    /// The quorum that others know of, while this node follows none.
    told: Option<QuorumId>,
    conflict: Option<(Conflict, Instant)>,
    logged: Option<Instant>,
}

/// What a node remembers of quorums.
pub struct Memory {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: Mutex<State>,
}

impl Memory {
    /// Reads what the data folder `dir`, which may not exist yet, remembers. `has_log` says whether there is
    /// a log of a quorum: one that was being formed and has none never came about. `formatted` says whether
    /// the folder was this broker's before.
    ///
    /// # Errors
    /// The disk's, and `InvalidData` when the file can't be read.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, has_log: bool, formatted: bool) -> io::Result<Self> {
        let path = dir.join(FILE);
        let content = match read_file(disk.as_ref(), &path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            content => Some(serde_json::from_slice(&content?).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
            })?),
        };
        let (remembered, log_is_gone) = match content {
            Some(Content::Quorum(remembered)) => {
                let is_one = remembered.formed || has_log;
                (is_one.then_some(Remembered { formed: true, ..remembered }), is_one && !has_log)
            }
            Some(Content::NoQuorum { lost }) => (None, lost && !has_log),
            // From before there was the file: who has partitions was told of them by a quorum.
            None => (None, formatted && !has_log && has_partitions(disk.as_ref(), dir)?),
        };
        let state = State { remembered, log_is_gone, told: None, conflict: None, logged: None };
        Ok(Self { disk, dir: dir.to_owned(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The quorum that this node follows, or is forming.
    pub fn lineage(&self) -> Option<Lineage> {
        self.lock().remembered.as_ref().map(|remembered| remembered.quorum.clone())
    }

    /// The quorum that this node follows; none while it is only forming one, which may never come about.
    pub fn followed(&self) -> Option<Lineage> {
        self.lock().remembered.as_ref().filter(|remembered| remembered.formed).map(|r| r.quorum.clone())
    }

    /// Whether this node knows of a quorum, its own or one that others follow: then it forms none.
    pub fn knows_of_one(&self) -> bool {
        let state = self.lock();
        state.remembered.as_ref().is_some_and(|r| r.formed) || state.log_is_gone || state.told.is_some()
    }

    /// Whether the data folder, when it was opened, remembered a quorum's log and had none.
    pub fn log_is_gone(&self) -> bool {
        self.lock().log_is_gone
    }

    /// Remembers durably that the data folder has lost the log of a quorum of which nobody here knows, if it
    /// has. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn remember_loss(&self) -> io::Result<()> {
        let state = self.lock();
        if !state.log_is_gone || state.remembered.is_some() {
            return Ok(());
        }
        self.write(&Content::NoQuorum { lost: true })
    }

    /// What is to be done at this start.
    pub fn next(&self) -> Option<Next> {
        self.lock().remembered.as_ref().and_then(|remembered| remembered.next.clone())
    }

    /// Has something done at the next start, durably, unless something else is to be done then: a second
    /// rebuild would pass over the successor that this node has heard of since. Only an administrator's word
    /// to follow takes its place. Blocks.
    ///
    /// # Errors
    /// The disk's, and `AlreadyExists` when something else is to be done.
    pub fn remember_next(&self, next: Next) -> io::Result<()> {
        let mut state = self.lock();
        let Some(remembered) = &state.remembered else {
            return Err(io::Error::other("there is no quorum yet"));
        };
        match &remembered.next {
            Some(decided) if *decided == next => return Ok(()),
            Some(decided) if !matches!(next, Next::Follow { up_to: None, .. }) => {
                let text = format!("this node starts again already: {decided}");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            _ => {}
        }
        let remembered = Remembered { next: Some(next), ..remembered.clone() };
        self.write(&Content::Quorum(remembered.clone()))?;
        state.remembered = Some(remembered);
        Ok(())
    }

    fn write(&self, content: &Content) -> io::Result<()> {
        replace_file(self.disk.as_ref(), &self.dir, FILE, &serde_json::to_vec(content)?)
    }

    /// Remembers durably that this node forms a quorum, and whether it may: it may not once it knows of one,
    /// which it may have been told of since it asked. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin_forming(&self, quorum: Lineage) -> io::Result<bool> {
        let mut state = self.lock();
        if state.told.is_some() || state.remembered.is_some() || state.log_is_gone {
            return Ok(false);
        }
        let remembered = Remembered { quorum, formed: false, next: None };
        self.write(&Content::Quorum(remembered.clone()))?;
        state.remembered = Some(remembered);
        Ok(true)
    }

    /// Remembers durably that this node follows a quorum, and that there is nothing to be done at the next
    /// start. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn remember(&self, quorum: Lineage) -> io::Result<()> {
        let mut state = self.lock();
        let remembered = Remembered { quorum, formed: true, next: None };
        if state.remembered.as_ref() == Some(&remembered) {
            return Ok(());
        }
        self.write(&Content::Quorum(remembered.clone()))?;
        tracing::info!(quorum = %remembered.quorum.id, "following this metadata quorum from now on");
        state.remembered = Some(remembered);
        Ok(())
    }

    /// A successor of this node's quorum lacks metadata that this node has.
    pub fn note_left_behind(&self, theirs: &Lineage, has: LogEnd, carried_on: LogEnd) {
        let mut state = self.lock();
        if let Some(ours) = state.remembered.as_ref().map(|remembered| remembered.quorum.id) {
            let told_by = format!("it carries ours on up to {carried_on}, and this node has {has}");
            state.conflict_with(ours, theirs.id, &told_by);
        }
    }

    /// A node said which quorum it follows.
    pub fn hear(&self, theirs: &Lineage, told_by: &str) {
        let mut state = self.lock();
        let Some(ours) = state.remembered.as_ref().map(|remembered| remembered.quorum.clone()) else {
            if state.told.replace(theirs.id) != Some(theirs.id) {
                tracing::info!(quorum = %theirs.id, told_by, "a metadata quorum exists already");
            }
            return;
        };
        if ours.relation(theirs) == Relation::Foreign {
            state.conflict_with(ours.id, theirs.id, told_by);
        }
    }

    /// The other quorum of this cluster that there is, if one was heard of lately.
    pub fn conflict(&self) -> Option<Conflict> {
        let state = self.lock();
        let (conflict, heard) = state.conflict.as_ref()?;
        (heard.elapsed() < CONFLICT_SHOWN).then(|| conflict.clone())
    }
}

/// Whether there are folders of partitions in the data folder `dir`, which may not exist.
fn has_partitions(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        entries => {
            Ok(entries?.iter().any(|entry| matches!(parse_folder(&entry.name), FolderName::Partition(..))))
        }
    }
}

impl State {
    fn conflict_with(&mut self, ours: QuorumId, theirs: QuorumId, told_by: &str) {
        let conflict = Conflict { theirs, told_by: told_by.to_owned() };
        let now = Instant::now();
        self.conflict = Some((conflict, now));
        if self.logged.is_none_or(|logged| now.duration_since(logged) > CONFLICT_LOGGED) {
            self.logged = Some(now);
            tracing::error!(
                %ours, %theirs, told_by,
                "there is another metadata quorum of this cluster, which this node doesn't follow: a broker has lost its \
                 disk and formed an empty one, or it belongs elsewhere. `ottla quorum recover` shows who knows what"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_store::RealDisk;

    use super::*;

    fn quorum(id: u8, succeeds: &[u8]) -> Lineage {
        let end = LogEnd { term: 3, index: 40 };
        let ancestor = |id: &u8| Ancestor { id: QuorumId([*id; 16]), end };
        Lineage { id: QuorumId([id; 16]), succeeds: succeeds.iter().map(ancestor).collect() }
    }

    #[test]
    fn only_a_quorum_that_names_ours_succeeds_it() {
        let end = LogEnd { term: 3, index: 40 };
        let check = |ours: Lineage, theirs: Lineage, expected| {
            assert_eq!(ours.relation(&theirs), expected, "{ours:?}, {theirs:?}");
        };
        check(quorum(1, &[]), quorum(1, &[]), Relation::Same);
        check(quorum(1, &[]), quorum(2, &[]), Relation::Foreign);
        check(quorum(1, &[]), quorum(2, &[1]), Relation::Successor(end));
        check(quorum(1, &[]), quorum(3, &[2, 1]), Relation::Successor(end));
        check(quorum(2, &[1]), quorum(1, &[]), Relation::Predecessor);
        check(quorum(2, &[1]), quorum(3, &[1]), Relation::Foreign);
    }

    #[test]
    fn newer_logs_are_greater_as_raft_compares_them() {
        let end = |term, index| LogEnd { term, index };
        assert!(end(2, 1) > end(1, 9) && end(2, 2) > end(2, 1));
    }

    #[test]
    fn what_was_followed_is_remembered_and_what_was_never_formed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = |has_log| Memory::open(Arc::new(RealDisk), dir.path(), has_log, true).unwrap();
        let memory = open(false);
        assert!(!memory.knows_of_one() && memory.lineage().is_none());
        assert!(memory.begin_forming(quorum(1, &[])).unwrap());
        assert!(!memory.knows_of_one() && memory.lineage().is_some(), "its first messages carry it");
        assert_eq!(memory.followed(), None, "others aren't told");
        assert!(!open(false).knows_of_one() && open(false).lineage().is_none());
        assert!(open(true).knows_of_one() && open(true).lineage() == Some(quorum(1, &[])));
        memory.remember(quorum(2, &[1])).unwrap();
        assert_eq!(memory.followed(), Some(quorum(2, &[1])));
        assert!(open(false).knows_of_one());
        assert_eq!(open(false).lineage(), Some(quorum(2, &[1])));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(Memory::open(Arc::new(RealDisk), dir.path(), false, true).is_err());
    }

    #[test]
    fn a_folder_that_lost_its_log_says_so_at_each_start_and_a_new_one_never_does() {
        let check = |file: Option<&str>, partition: bool, has_log: bool, formatted: bool, expected: bool| {
            let dir = tempfile::tempdir().unwrap();
            if let Some(content) = file {
                std::fs::write(dir.path().join(FILE), content).unwrap();
            }
            if partition {
                std::fs::create_dir(dir.path().join("orders-0")).unwrap();
            }
            // The first start makes the folder of a log, which changes nothing.
            std::fs::create_dir(dir.path().join(ottla_log::METADATA_FOLDER)).unwrap();
            for start in 0..3 {
                let memory = Memory::open(Arc::new(RealDisk), dir.path(), has_log, formatted).unwrap();
                let found = (memory.log_is_gone(), memory.knows_of_one());
                assert_eq!(found, (expected, expected), "{file:?}, start {start}");
                memory.remember_loss().unwrap();
                if expected {
                    // Its partitions' folders are known to the file from now on.
                    let _ = std::fs::remove_dir(dir.path().join("orders-0"));
                }
            }
        };
        let new = Some(NEW_FOLDER.1);
        check(new, false, false, true, false);
        check(new, false, false, false, false);
        check(None, false, false, false, false);
        check(None, false, false, true, false);
        check(None, true, true, true, false);
        check(None, true, false, true, true);
        check(Some(r#"{"lost":true}"#), false, false, true, true);
    }

    #[test]
    fn who_was_told_of_a_quorum_since_it_asked_forms_none() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Memory::open(Arc::new(RealDisk), dir.path(), false, true).unwrap();
        let memory = open();
        memory.hear(&quorum(1, &[]), "node 7");
        assert!(!memory.begin_forming(quorum(2, &[])).unwrap());
        assert!(memory.lineage().is_none());
        let memory = open();
        memory.remember(quorum(1, &[])).unwrap();
        assert!(!memory.begin_forming(quorum(2, &[])).unwrap());
        assert_eq!((memory.lineage(), open().lineage()), (Some(quorum(1, &[])), Some(quorum(1, &[]))));
    }

    #[test]
    fn what_is_to_be_done_at_the_next_start_gives_way_only_to_an_administrators_word_to_follow() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Memory::open(Arc::new(RealDisk), dir.path(), true, true).unwrap();
        let end = LogEnd { term: 3, index: 40 };
        let rebuild = |id| Next::Rebuild { quorum: quorum(id, &[1]), beyond: end };
        let follow = |id, up_to| Next::Follow { quorum: quorum(id, &[1]), up_to };
        for decided in [follow(2, Some(end)), rebuild(2)] {
            open().remember(quorum(1, &[])).unwrap();
            let memory = open();
            memory.remember_next(decided.clone()).unwrap();
            for other in [rebuild(3), follow(3, Some(end))] {
                let refused = memory.remember_next(other).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{refused}");
                assert_eq!((memory.next(), open().next()), (Some(decided.clone()), Some(decided.clone())));
            }
            // The same message comes every second until it has started again.
            memory.remember_next(decided).unwrap();
            memory.remember_next(follow(3, None)).unwrap();
            assert_eq!((memory.next(), open().next()), (Some(follow(3, None)), Some(follow(3, None))));
        }
    }

    #[test]
    fn who_is_told_of_a_quorum_forms_none_and_who_follows_one_names_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(Arc::new(RealDisk), dir.path(), false, false).unwrap();
        memory.hear(&quorum(1, &[]), "node 7");
        assert!(memory.knows_of_one() && memory.lineage().is_none() && memory.conflict().is_none());
        memory.remember(quorum(1, &[])).unwrap();
        for theirs in [quorum(1, &[]), quorum(2, &[1])] {
            memory.hear(&theirs, "node 7");
            assert_eq!(memory.conflict(), None);
        }
        memory.hear(&quorum(3, &[]), "node 8");
        assert_eq!(memory.conflict().unwrap().theirs, QuorumId([3; 16]));
    }

    #[test]
    fn a_lineage_is_the_same_after_a_message() {
        for lineage in [quorum(1, &[]), quorum(3, &[2, 1])] {
            assert_eq!(from_proto(Some(&(&lineage).into())), Some(lineage));
        }
        assert_eq!(from_proto(None), None);
        assert_eq!(from_proto(Some(&proto::Lineage::default())), None);
    }
}
