//! Through this everything is begun that runs beside its caller: a task or thread that panics ends the
//! broker.
//!
//! A part that is gone without a word is worse than a broker that is gone: others take over what that one
//! led. So a panic is told to whoever holds [`Tasks::panicked`], with the task's name. Not here: what is to
//! be done about it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A task or thread ended by a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bug ended the broker's part \"{task}\": {reason}")]
pub struct Panicked {
    /// The task.
    pub task: String,
    /// What the panic said.
    pub reason: String,
}

/// The tasks and threads of one broker.
#[derive(Debug, Clone)]
pub struct Tasks {
    first: Arc<watch::Sender<Option<Panicked>>>,
    #[cfg(debug_assertions)]
    planted: Arc<watch::Sender<String>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            first: Arc::new(watch::Sender::new(None)),
            #[cfg(debug_assertions)]
            planted: Arc::default(),
        }
    }
}

impl Tasks {
    /// The first panic, once there is one.
    pub async fn panicked(&self) -> Panicked {
        let mut first = self.first.subscribe();
        let panicked = first.wait_for(Option::is_some).await.map(|panicked| panicked.clone());
        panicked.ok().flatten().expect("the sender is held here, and it waited for one")
    }

    /// Begins a task.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        tokio::spawn(self.watched(name, work))
    }

    /// Begins a task on the threads of `runtime` that ends with `set`.
    pub fn spawn_in<T: Send + 'static>(
        &self,
        set: &mut JoinSet<T>,
        runtime: &Handle,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) {
        set.spawn_on(self.watched(name, work), runtime);
    }

    /// Begins work that blocks, among the runtime's threads for that.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let tasks = self.clone();
        tokio::task::spawn_blocking(move || tasks.run(name, work))
    }

    /// Does work that blocks, among the runtime's threads for that, and waits for it. Its panic goes on in
    /// the caller; none if the runtime ends.
    ///
    /// # Panics
    /// When `work` does.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self.spawn_blocking(name, work).await {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    /// Does work that blocks, among the runtime's threads for that, and waits for it: its outcome is needed.
    ///
    /// # Panics
    /// When `work` does, or the runtime doesn't outlive it.
    pub async fn blocking_to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.blocking(name, work).await.expect("who waits for it runs on that runtime")
    }

    /// Begins a thread of that name.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<T>> {
        let tasks = self.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || tasks.run(name, work))
    }

    /// `work`, whose panic is told and goes on.
    pub fn watched<F: Future>(
        &self,
        name: &'static str,
        work: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let tasks = self.clone();
        async move {
            #[cfg(debug_assertions)]
            let work = tasks.with_plant(name, work);
            let mut work = pin!(work);
            poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                Ok(polled) => polled,
                Err(panic) => tasks.tell(name, panic),
            })
            .await
        }
    }

    fn run<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let work = || {
            #[cfg(debug_assertions)]
            assert!(*self.planted.borrow() != name, "planted");
            work()
        };
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| self.tell(name, panic))
    }

    fn tell(&self, name: &'static str, panic: Box<dyn Any + Send>) -> ! {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let reason = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason").to_owned();
        tracing::error!(task = name, reason, "a part of the broker panicked");
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(Panicked { task: name.to_owned(), reason });
            is_first
        });
        resume_unwind(panic)
    }
}

#[cfg(debug_assertions)]
impl Tasks {
    /// Has the tasks of this name panic, those that run and those that begin later: for tests, and not in a
    /// release.
    pub fn plant(&self, name: &str) {
        self.planted.send_replace(name.to_owned());
    }

    async fn with_plant<F: Future>(&self, name: &'static str, work: F) -> F::Output {
        let mut planted = self.planted.subscribe();
        tokio::select! {
            biased;
            Ok(_) = planted.wait_for(|planted| planted == name) => panic!("planted"),
            output = work => output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panicked(task: &str, reason: &str) -> Panicked {
        Panicked { task: task.to_owned(), reason: reason.to_owned() }
    }

    #[tokio::test]
    async fn a_panic_of_each_kind_is_told_with_its_name_and_reason() {
        let tasks = Tasks::default();
        let nobody: Vec<u32> = Vec::new();
        let first = async move { *nobody.first().expect("there is one") };
        assert!(tasks.spawn("a task", first).await.is_err());
        assert_eq!(tasks.panicked().await, panicked("a task", "there is one"));

        let tasks = Tasks::default();
        let mut set = JoinSet::new();
        tasks.spawn_in(&mut set, &Handle::current(), "one of a set", async { panic!("number {}", 7) });
        assert!(set.join_next().await.is_some_and(|ended: Result<(), _>| ended.is_err()));
        assert_eq!(tasks.panicked().await, panicked("one of a set", "number 7"));

        let tasks = Tasks::default();
        let work = || -> u32 { panic!("no") };
        assert!(tasks.spawn_blocking("blocking work", work).await.is_err());
        assert_eq!(tasks.panicked().await, panicked("blocking work", "no"));

        let tasks = Tasks::default();
        let work = || -> u32 { panic!("never") };
        assert!(tasks.spawn_thread("a thread", work).unwrap().join().is_err());
        assert_eq!(tasks.panicked().await, panicked("a thread", "never"));
    }

    #[tokio::test]
    async fn what_blocks_is_waited_for_and_its_panic_goes_on_in_the_caller() {
        let tasks = Tasks::default();
        assert_eq!(tasks.blocking("work", || 9).await, Some(9));
        let of_caller = tasks.clone();
        let caller = async move { of_caller.blocking("work", || -> u32 { panic!("no") }).await };
        assert!(tasks.spawn("the caller", caller).await.is_err_and(|error| error.is_panic()));
        assert_eq!(tasks.panicked().await, panicked("work", "no"));
    }

    #[tokio::test]
    async fn the_first_panic_is_the_reason() {
        let tasks = Tasks::default();
        for reason in ["first", "second"] {
            assert!(
                tasks.spawn("a task", async move { assert!(reason.is_empty(), "{reason}") }).await.is_err()
            );
        }
        assert_eq!(tasks.panicked().await.reason, "first");
    }

    #[tokio::test]
    async fn what_ends_well_is_no_panic() {
        let tasks = Tasks::default();
        assert_eq!(tasks.spawn("a task", async { 7 }).await.unwrap(), 7);
        assert_eq!(tasks.spawn_blocking("work", || 8).await.unwrap(), 8);
        tokio::select! { biased;
            panicked = tasks.panicked() => panic!("{panicked}"),
            () = std::future::ready(()) => {}
        }
    }

    #[tokio::test]
    async fn a_planted_panic_ends_who_waits_for_something_else() {
        let tasks = Tasks::default();
        let waits = tasks.spawn("waits", std::future::pending::<()>());
        tasks.plant("waits");
        assert!(waits.await.is_err());
        assert_eq!(tasks.panicked().await, panicked("waits", "planted"));
    }
}
