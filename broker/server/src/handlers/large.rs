//! Requests that keep a thread busy for long: none of those that serve connections does their work.
//!
//! A turn is for work and not for waiting: while such a request waits, for the quorum, say, it has neither a
//! turn nor a thread, so that those of others go on whatever it waits for. A future without a turn isn't
//! polled: a permit granted to it then would be kept from everyone, so who needs one waits for it in a task
//! of its own. So what serves a request waits for such in a task of its own, as
//! [`crate::partitions::Openings`] does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ottla_quorum::Tasks;
use tokio::sync::Notify;

use crate::net::LargeTurn;
use crate::request::CallError;

/// Tells that a request that waited can go on.
#[derive(Debug, Default)]
struct CanGoOn(Notify);

impl Wake for CanGoOn {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Works on `begun` on threads for work that takes long, whenever it isn't waiting, each time with a turn
/// that `turn` waits for.
///
/// # Errors
/// When the broker stops before it is done.
pub async fn work<T, F>(
    mut begun: Pin<Box<dyn Future<Output = T> + Send>>,
    tasks: &Tasks,
    turn: impl Fn() -> F,
) -> Result<T, CallError>
where
    T: Send + 'static,
    F: Future<Output = LargeTurn>,
{
    let can_go_on = Arc::new(CanGoOn::default());
    loop {
        let (turn, waker) = (turn().await, Waker::from(Arc::clone(&can_go_on)));
        match tasks
            .blocking("serve a large request", move || {
                let polled = begun.as_mut().poll(&mut Context::from_waker(&waker));
                drop(turn);
                (begun, polled)
            })
            .await
        {
            None => return Err(CallError::Stops),
            Some((_, Poll::Ready(done))) => return Ok(done),
            Some((waiting, Poll::Pending)) => begun = waiting,
        }
        can_go_on.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::net::Turns;

    const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))];

    #[tokio::test]
    async fn who_waits_has_no_turn() {
        let (turns, tasks) = (Arc::new(Turns::new(1)), Tasks::default());
        let (began, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waiting = {
            let (turns, tasks) = (Arc::clone(&turns), tasks.clone());
            let (began, answer) = (Arc::clone(&began), Arc::clone(&answer));
            tokio::spawn(async move {
                let begun = Box::pin(async move {
                    began.notify_one();
                    answer.notified().await;
                    "waited"
                });
                work(begun, &tasks, || turns.turn(ADDRESSES[0])).await
            })
        };
        began.notified().await;
        let worked = work(Box::pin(async { "worked" }), &tasks, || turns.turn(ADDRESSES[1]));
        let worked = tokio::time::timeout(Duration::from_secs(30), worked).await;
        assert!(matches!(worked, Ok(Ok("worked"))), "it has to wait for who waits: {worked:?}");
        answer.notify_one();
        assert!(matches!(waiting.await.unwrap(), Ok("waited")));
    }

    #[tokio::test]
    async fn who_works_has_a_turn() {
        let (turns, tasks) = (Turns::new(1), Tasks::default());
        let begun = Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::thread::current().id()
        });
        let turn = turns.turn(ADDRESSES[0]).await;
        let mut working = std::pin::pin!(work(begun, &tasks, || turns.turn(ADDRESSES[1])));
        let early = tokio::time::timeout(Duration::from_millis(50), working.as_mut()).await;
        assert!(early.is_err(), "another has the turn");
        drop(turn);
        let thread = working.await.unwrap();
        assert_ne!(thread, std::thread::current().id(), "not a thread that serves connections");
    }
}
