//! Requests that keep a thread busy for long: none of those that serve connections does their work.
//!
//! A turn is for work and not for waiting: while such a request waits, for the quorum, say, it has neither a turn nor a
//! thread, so that those of others go on whatever it waits for.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ottla_quorum::Tasks;
use tokio::sync::Notify;

use super::call::{Begun, CallError};
use crate::net::{LargeTurn, Outcome};

/// Tells that a request that waited can go on.
#[derive(Debug, Default)]
struct CanGoOn(Notify);

impl Wake for CanGoOn {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Works on `begun` on threads for work that takes long, whenever it isn't waiting, each time with a turn that `turn` waits for.
///
/// # Errors
/// What `begun` ends with.
pub async fn work<F>(mut begun: Begun, tasks: &Tasks, turn: impl Fn() -> F) -> Result<Outcome, CallError>
where
    F: Future<Output = LargeTurn>,
{
    let can_go_on = Arc::new(CanGoOn::default());
    loop {
        let (turn, waker) = (turn().await, Waker::from(Arc::clone(&can_go_on)));
        let go_on = move || {
            let polled = begun.as_mut().poll(&mut Context::from_waker(&waker));
            drop(turn);
            (begun, polled)
        };
        match tasks.blocking("serve a large request", go_on).await {
            None => return Ok(Outcome::Close("the broker stops".to_owned())),
            Some((_, Poll::Ready(outcome))) => return outcome,
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
        let (turns, tasks, answer) = (Arc::new(Turns::new(1)), Tasks::default(), Arc::new(Notify::new()));
        let close = |text: &str| Ok(Outcome::Close(text.to_owned()));
        let waiting = {
            let (turns, tasks, answer) = (Arc::clone(&turns), tasks.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let begun: Begun = Box::pin(async move {
                    answer.notified().await;
                    close("waited")
                });
                work(begun, &tasks, || turns.turn(ADDRESSES[0])).await
            })
        };
        let others: Begun = Box::pin(async move { close("worked") });
        let worked = work(others, &tasks, || turns.turn(ADDRESSES[1])).await;
        assert!(matches!(worked, Ok(Outcome::Close(text)) if text == "worked"));
        answer.notify_one();
        assert!(matches!(waiting.await.unwrap(), Ok(Outcome::Close(text)) if text == "waited"));
    }

    #[tokio::test]
    async fn who_works_has_a_turn() {
        let (turns, tasks) = (Turns::new(1), Tasks::default());
        let begun: Begun = Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Outcome::Close(format!("{:?}", std::thread::current().id())))
        });
        let turn = turns.turn(ADDRESSES[0]).await;
        let mut working = std::pin::pin!(work(begun, &tasks, || turns.turn(ADDRESSES[1])));
        let early = tokio::time::timeout(Duration::from_millis(50), working.as_mut()).await;
        assert!(early.is_err(), "another has the turn");
        drop(turn);
        let Ok(Outcome::Close(thread)) = working.await else { panic!("it ends") };
        assert_ne!(
            thread,
            format!("{:?}", std::thread::current().id()),
            "not a thread that serves connections"
        );
    }
}
