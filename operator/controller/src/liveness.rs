//! Whether the watches live: an operator that no longer hears of anything must not say that it is ready.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For how long a watch may fail before the operator isn't ready.
const FAILING_MAX: Duration = Duration::from_secs(60);
/// A watch without an error for so long works: the longest pause between tries, and a try's own time. What is
/// watched may not change for hours, so there is no better sign.
const QUIET: Duration = Duration::from_secs(100);

/// Every watch, by what it watches.
#[derive(Debug, Default)]
pub struct Watches(Mutex<BTreeMap<String, Watch>>);

#[derive(Debug, Default)]
struct Watch {
    synced: bool,
    failing: Option<Failing>,
}

/// Errors that followed each other without success.
#[derive(Debug)]
struct Failing {
    first: Instant,
    last: Instant,
    said: String,
}

impl Watches {
    /// A watch that has yet to list what there is.
    pub(crate) fn begin(&self, name: &str) {
        self.0.lock().insert(name.to_owned(), Watch::default());
    }

    /// It holds all that there was.
    pub(crate) fn synced(&self, name: &str) {
        self.change(name, |watch| *watch = Watch { synced: true, failing: None });
    }

    /// It was told of something.
    pub(crate) fn heard(&self, name: &str) {
        self.change(name, |watch| watch.failing = None);
    }

    /// It failed, and is tried again.
    pub(crate) fn failed(&self, name: &str, said: &str, now: Instant) {
        self.change(name, |watch| {
            let first = watch.failing.as_ref().filter(|f| now.duration_since(f.last) <= QUIET);
            let first = first.map_or(now, |failing| failing.first);
            watch.failing = Some(Failing { first, last: now, said: said.to_owned() });
        });
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Watch)) {
        if let Some(watch) = self.0.lock().get_mut(name) {
            change(watch);
        }
    }

    /// What keeps the operator from hearing of changes, in words; none if every watch lives.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        self.0.lock().iter().find_map(|(name, watch)| watch.trouble(name, now))
    }
}

impl Watch {
    fn trouble(&self, name: &str, now: Instant) -> Option<String> {
        let failing = self.failing.as_ref().filter(|f| now.duration_since(f.last) <= QUIET);
        match failing {
            Some(f) if !self.synced || now.duration_since(f.first) >= FAILING_MAX => {
                let seconds = now.duration_since(f.first).as_secs();
                Some(format!("the watch of {name} has failed for {seconds} s: {}", f.said))
            }
            None if !self.synced => Some(format!("the watch of {name} has not seen yet what there is")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_watch_lives_once_it_has_synced_and_until_it_has_failed_for_long() {
        let (watches, start) = (Watches::default(), Instant::now());
        assert_eq!(watches.trouble(start), None, "who stands by watches nothing");
        watches.begin("pods");
        assert!(watches.trouble(start).is_some_and(|t| t.contains("not seen yet")));
        watches.failed("pods", "cannot decode", start);
        let trouble = watches.trouble(start + seconds(3)).unwrap_or_default();
        assert_eq!(trouble, "the watch of pods has failed for 3 s: cannot decode");
        watches.synced("pods");
        assert_eq!(watches.trouble(start), None);
        for at in [10, 40, 69] {
            watches.failed("pods", "refused", start + seconds(at));
            assert_eq!(watches.trouble(start + seconds(at)), None, "after {at} s it may pass yet");
        }
        watches.failed("pods", "refused", start + seconds(75));
        assert!(watches.trouble(start + seconds(75)).is_some_and(|t| t.contains("for 65 s: refused")));
        watches.heard("pods");
        assert_eq!(watches.trouble(start + seconds(76)), None);
    }

    #[test]
    fn a_watch_that_hears_nothing_is_alive_again_some_time_after_its_last_error() {
        let (watches, start) = (Watches::default(), Instant::now());
        watches.begin("pods");
        watches.synced("pods");
        watches.failed("pods", "refused", start);
        watches.failed("pods", "refused", start + seconds(61));
        assert!(watches.trouble(start + seconds(62)).is_some());
        assert_eq!(watches.trouble(start + seconds(61) + QUIET + seconds(1)), None);
        // Nor do errors add up that are far apart.
        watches.failed("pods", "refused", start + seconds(200));
        assert_eq!(watches.trouble(start + seconds(201)), None);
    }
}
