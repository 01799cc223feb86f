//! What a broker sends of its logs: answers name places in files, and the bytes are read when they are sent,
//! which may be much later. The log may have been cut meanwhile, and have grown again.

use bytes::Bytes;
use ottla_core::partition::FetchAnswer;
use ottla_store::ReadSlice;
use ottla_types::LeaderEpoch;

use super::Key;
use super::net::{Message, Party};
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;
use crate::shadow::demand;

/// How long an answer may wait for its turn at most.
const QUEUED_MS_MAX: u64 = 400;

/// An answer with a place in a file.
#[derive(Debug)]
pub(super) struct Queued {
    key: Key,
    number: u64,
    what: Answer,
    slice: Option<ReadSlice>,
    /// What is there when the answer is made.
    expected: Bytes,
}

/// Whose answer it is.
#[derive(Debug)]
pub(super) enum Answer {
    Follower(FetchAnswer),
    Consumer(LeaderEpoch),
}

impl Cluster {
    /// Sends an answer, now or when the connection has room for it.
    pub(super) fn send_slice(
        &mut self,
        n: usize,
        to: Party,
        (key, number): (Key, u64),
        what: Answer,
        slice: Option<ReadSlice>,
    ) -> Result<(), Violation> {
        // Whoever can't read it now can't later.
        let Ok(expected) = slice.as_ref().map_or(Ok(Bytes::new()), ReadSlice::to_bytes) else {
            return Ok(());
        };
        let queued = Queued { key, number, what, slice, expected };
        let process = self.nodes[n].process_number();
        if self.rng.percent(85) {
            return self.send_queued(n, process, to, queued);
        }
        let delay = self.rng.below(QUEUED_MS_MAX);
        self.after(delay, Event::Send { from: n, process, to, queued: Box::new(queued) });
        Ok(())
    }

    /// It is an answer's turn.
    pub(super) fn send_queued(
        &mut self,
        n: usize,
        process: u64,
        to: Party,
        queued: Queued,
    ) -> Result<(), Violation> {
        // The connection went with the process.
        if self.nodes[n].process_number() != process {
            return Ok(());
        }
        let Queued { key, number, what, slice, expected } = queued;
        let Ok(bytes) = slice.as_ref().map_or(Ok(Bytes::new()), ReadSlice::to_bytes) else {
            say!(self, "broker {} has no {slice:?} any more and closes the connection", self.nodes[n].id);
            return Ok(());
        };
        demand!(
            bytes == expected,
            "{key:?}: broker {} answered {what:?} with {slice:?} and sends something else",
            self.nodes[n].id
        );
        let message = match what {
            Answer::Follower(answer) => Message::Fetched { key, number, answer: Some((answer, bytes)) },
            Answer::Consumer(epoch) => {
                Message::Polled { key, number, bytes: Some(bytes), epoch, from: n, start: 0 }
            }
        };
        self.send(Party::Broker(n), to, message);
        Ok(())
    }
}
