//! Room on the disk for the metadata: who writes waits for it.
//!
//! A full disk is no failure: nothing was acknowledged, and there will be room again. Meanwhile openraft
//! stands still, as it waits for its log; so nothing more is handed to it than it was waiting for (see
//! [`Room::is_short`]), and others take over what this node did.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use ottla_store::is_no_space;
use tokio::sync::watch;

/// How long until a write that found no room is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Who waits for room.
#[derive(Debug)]
pub struct Room {
    /// For how many openraft waits.
    waiting: watch::Sender<usize>,
    closed: Mutex<bool>,
    closing: Condvar,
}

impl Default for Room {
    fn default() -> Self {
        Self { waiting: watch::Sender::new(0), closed: Mutex::new(false), closing: Condvar::new() }
    }
}

impl Room {
    /// Whether openraft waits for somebody who waits.
    pub fn is_short(&self) -> bool {
        *self.waiting.borrow() > 0
    }

    /// For how many openraft waits, now and after each change.
    pub fn waiting(&self) -> watch::Receiver<usize> {
        self.waiting.subscribe()
    }

    /// Nobody waits any more: whoever finds no room fails at once.
    pub fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closing.notify_all();
    }

    /// Does the work, for which openraft waits, again and again as long as it finds no room. So it must be of
    /// a kind that can be begun again; a sync is not. Blocks.
    ///
    /// # Errors
    /// The work's, that there is no room only once this is closed.
    pub fn wait_for<T>(&self, what: &str, work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.wait(what, 1, work)
    }

    /// The same for work for which nobody waits.
    ///
    /// # Errors
    /// As above.
    pub fn wait_aside<T>(&self, what: &str, work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.wait(what, 0, work)
    }

    fn wait<T>(&self, what: &str, counts: usize, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let no_room = match work() {
            Err(error) if is_no_space(&error) => error,
            outcome => return outcome,
        };
        tracing::warn!(error = %no_room, "{what} waits for room on the disk");
        self.waiting.send_modify(|waiting| *waiting += counts);
        let outcome = loop {
            let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.closing.wait_timeout_while(closed, PAUSE, |closed| !*closed);
            let closed = *waited.unwrap_or_else(PoisonError::into_inner).0;
            match work() {
                Err(error) if is_no_space(&error) && !closed => {}
                outcome => break outcome,
            }
        };
        self.waiting.send_modify(|waiting| *waiting -= counts);
        if outcome.is_ok() {
            tracing::info!("{what} found room on the disk");
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    #[test]
    fn work_is_done_once_there_is_room() {
        let room = Room::default();
        let tries = AtomicUsize::new(0);
        let done = room.wait_for("a test", || {
            assert_eq!(room.is_short(), tries.load(Ordering::Relaxed) > 0);
            if tries.fetch_add(1, Ordering::Relaxed) < 3 { Err(full()) } else { Ok(7) }
        });
        assert_eq!((done.unwrap(), tries.into_inner(), room.is_short()), (7, 4, false));
    }

    #[test]
    fn nobody_is_held_up_by_what_waits_aside() {
        let room = Room::default();
        let mut tries = 0;
        let done = room.wait_aside("a test", || {
            tries += 1;
            assert!(!room.is_short());
            if tries < 3 { Err(full()) } else { Ok(()) }
        });
        assert!(done.is_ok());
    }

    #[test]
    fn other_errors_are_nothing_to_wait_for() {
        let room = Room::default();
        let outcome: io::Result<()> = room.wait_for("a test", || Err(io::Error::other("broken")));
        assert_eq!(outcome.unwrap_err().to_string(), "broken");
        assert!(!room.is_short());
    }

    #[test]
    fn nobody_waits_once_it_is_closed() {
        let room = Arc::new(Room::default());
        let waits = room.clone();
        let waiter = std::thread::spawn(move || waits.wait_for("a test", || Err::<(), _>(full())));
        while !room.is_short() {
            std::thread::yield_now();
        }
        room.close();
        assert!(is_no_space(&waiter.join().unwrap().unwrap_err()));
        assert!(!room.is_short());
    }
}
