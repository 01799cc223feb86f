//! What each step came to, shared by the two lanes: one waits here for what the other does.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::tally::Tally;

/// How a step ended.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Why it failed.
    pub error: Option<String>,
    /// Its tests.
    pub tally: Tally,
    /// How long it took.
    pub took: Duration,
    /// Its runner's closing lines.
    pub lines: Vec<String>,
    /// What failed, and why.
    pub failures: Vec<String>,
    /// All that it printed.
    pub output: String,
}

impl Outcome {
    /// A step that couldn't be run.
    pub fn not_run(why: String) -> Outcome {
        Outcome { error: Some(why), ..Outcome::default() }
    }
}

/// The outcomes so far, by the step's name; `None` while it hasn't ended.
pub struct Board {
    outcomes: Mutex<BTreeMap<&'static str, Option<Outcome>>>,
    changed: Condvar,
}

impl Board {
    /// A board on which nothing has ended.
    pub fn new(names: impl Iterator<Item = &'static str>) -> Board {
        Board { outcomes: Mutex::new(names.map(|n| (n, None)).collect()), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<Outcome>>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a step ended.
    pub fn put(&self, name: &'static str, outcome: Outcome) {
        self.lock().insert(name, Some(outcome));
        self.changed.notify_all();
    }

    /// Waits until a step has ended; true if it passed. A step that isn't on the board has failed.
    pub fn wait(&self, name: &str) -> bool {
        let mut outcomes = self.lock();
        loop {
            match outcomes.get(name) {
                None => return false,
                Some(Some(outcome)) => return outcome.error.is_none(),
                Some(None) => outcomes = self.changed.wait(outcomes).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// How a step ended; not run if it didn't.
    pub fn get(&self, name: &str) -> Outcome {
        let ended = self.lock().get(name).cloned().flatten();
        ended.unwrap_or_else(|| Outcome::not_run("not run".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_waits_for_the_other() {
        let board = Board::new(["slow", "bad"].into_iter());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| board.wait("slow"));
            board.put("slow", Outcome::default());
            assert!(waiting.join().unwrap());
        });
        board.put("bad", Outcome::not_run("no".to_owned()));
        assert!(!board.wait("bad") && !board.wait("unknown"));
        assert!(board.get("bad").error.is_some());
    }
}
