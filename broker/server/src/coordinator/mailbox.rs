//! What is asked of a shard and isn't decided yet, bounded by count and bytes.
//!
//! Putting something in never waits: a request that isn't polled, as its connection has no turn for it, holds
//! up nobody.

use std::any::Any;
use std::collections::VecDeque;

use ottla_core::coordinator::Unavailable;
use ottla_core::group::{Reply, Request};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// So many requests may wait for their shard to decide.
pub const MESSAGES_MAX: usize = 8_192;
/// And so many bytes of them.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// What a request keeps until it is decided: the memory that is charged for it.
pub type Kept = Box<dyn Any + Send>;

/// A request on its way to its shard.
pub struct Message {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. Nobody may be there any more.
    pub answer: oneshot::Sender<Reply>,
    /// What the request takes up in memory, in bytes.
    pub bytes: usize,
    /// What is given back once it is decided.
    pub kept: Kept,
}

/// A request that wasn't taken, and why.
pub struct Returned {
    /// What was asked.
    pub request: Request,
    /// What it is told. NOT_COORDINATOR: the shard is gone, or goes.
    pub why: Unavailable,
}

/// One shard's mailbox: many put in, and its task takes out.
#[derive(Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    notify: Notify,
}

#[derive(Default)]
struct Inner {
    state: State,
    queue: VecDeque<Message>,
    /// Invariant: the sum of those in the queue.
    bytes: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Loading,
    Open,
    /// It stays so.
    Closed,
}

impl Mailbox {
    /// Puts a request in.
    ///
    /// # Errors
    /// When the shard is still loading or goes, or too much waits.
    pub fn push(&self, message: Message) -> Result<(), Box<Returned>> {
        {
            let mut inner = self.inner.lock();
            let is_full =
                inner.queue.len() >= MESSAGES_MAX || inner.bytes + message.bytes > MESSAGE_BYTES_MAX;
            let refused = match inner.state {
                State::Loading => Some(Unavailable::Loading),
                State::Closed => Some(Unavailable::NotCoordinator),
                // A largest request fits if there is no other.
                State::Open if is_full && !inner.queue.is_empty() => Some(Unavailable::NotAvailable),
                State::Open => None,
            };
            if let Some(why) = refused {
                return Err(Box::new(Returned { request: message.request, why }));
            }
            inner.bytes += message.bytes;
            inner.queue.push_back(message);
        }
        self.notify.notify_one();
        Ok(())
    }

    /// Takes the next one out.
    pub fn pop(&self) -> Option<Message> {
        let mut inner = self.inner.lock();
        let message = inner.queue.pop_front()?;
        inner.bytes -= message.bytes;
        Some(message)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.inner.lock().queue.is_empty()
    }

    /// From now on requests are taken, unless it is closed.
    pub fn open(&self) {
        let mut inner = self.inner.lock();
        if inner.state == State::Loading {
            inner.state = State::Open;
        }
    }

    /// From now on none are. Whoever takes out is told, and answers what waits.
    pub fn close(&self) {
        self.inner.lock().state = State::Closed;
        self.notify.notify_one();
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().state == State::Closed
    }

    /// Waits until something was put in, or it was closed, since the last wait. Only one may wait.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use ottla_core::group::ListGroups;

    use super::*;

    fn push(mailbox: &Mailbox) -> Option<Unavailable> {
        let (answer, _) = oneshot::channel();
        let request = Request::ListGroups(ListGroups::default());
        mailbox.push(Message { request, answer, bytes: 1, kept: Box::new(()) }).err().map(|it| it.why)
    }

    /// Who puts something in while its owner goes is told, as nobody takes it out any more.
    #[test]
    fn requests_are_taken_while_it_is_open_and_never_again() {
        let mailbox = Mailbox::default();
        assert_eq!(push(&mailbox), Some(Unavailable::Loading));
        mailbox.open();
        assert_eq!((push(&mailbox), mailbox.is_empty()), (None, false));
        mailbox.close();
        mailbox.open();
        assert_eq!((push(&mailbox), mailbox.is_closed()), (Some(Unavailable::NotCoordinator), true));
        assert!(mailbox.pop().is_some() && mailbox.pop().is_none());
    }
}
