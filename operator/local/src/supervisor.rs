//! Keeps one broker's process running: starts it, watches its readiness, starts it again when it dies.
//!
//! As a kubelet does: the wait before a restart doubles up to a limit, and starts over once the
//! process has run for a while. One that dies before it was ever ready, which is likely to happen
//! again, waits longer than one that had served.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::child::{Launch, Running, describe};
use crate::event::{Events, LocalEvent};
use crate::probe::{Readiness, readiness};

const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The longest wait after a process that had been ready.
const BACKOFF_SERVED_MAX: Duration = Duration::from_secs(1);
/// A process that ran this long is as good as new.
const BACKOFF_FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// How long a broker may take to end when asked.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const PROBE_PAUSE_STARTING: Duration = Duration::from_millis(20);
const PROBE_PAUSE_READY: Duration = Duration::from_secs(1);
/// So many probes in a row a broker that was ready may leave unanswered, as on a busy machine, and is ready
/// still.
const PROBES_UNANSWERED_MAX: u32 = 2;

/// How a broker's process is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Not started yet.
    #[default]
    Pending,
    /// It runs but isn't ready, for this reason.
    NotReady(String),
    /// It takes requests.
    Ready,
    /// It died and waits to be started again.
    BackOff(String),
    /// It was asked to stop and did.
    Stopped,
}

/// What is known of a broker's process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProcessState {
    /// How it is doing.
    pub phase: Phase,
    /// The process id, while there is one.
    pub pid: Option<u32>,
    /// How often it was started again after it died.
    pub restarts: u32,
}

enum Order {
    Restart(Box<Launch>),
    Stop,
}

/// A broker that is kept running by a task of its own.
pub(crate) struct Supervisor {
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<ProcessState>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Starts the broker and keeps it running; `changed` is told of each change of its state.
    pub fn start(launch: Launch, events: Events, changed: Arc<Notify>) -> Self {
        let (orders, inbox) = mpsc::channel(4);
        let (publish, state) = watch::channel(ProcessState::default());
        let keeper = ProcessKeeper::new(launch, events, publish, changed, inbox);
        Self { orders, state, task: tokio::spawn(keeper.run()) }
    }

    /// How the process is doing, now and after each change.
    pub fn state(&self) -> watch::Receiver<ProcessState> {
        self.state.clone()
    }

    /// Stops the process and starts it as `launch` says.
    pub async fn restart(&self, launch: Launch) {
        // The task ends only by `stop`, which takes the supervisor.
        let _ = self.orders.send(Order::Restart(Box::new(launch))).await;
    }

    /// Stops the process for good.
    pub async fn stop(self) {
        let _ = self.orders.send(Order::Stop).await;
        let _ = self.task.await;
    }
}

struct ProcessKeeper {
    launch: Launch,
    events: Events,
    publish: watch::Sender<ProcessState>,
    changed: Arc<Notify>,
    inbox: mpsc::Receiver<Order>,
    backoff: Duration,
    /// Whether the process that runs now has been ready.
    served: bool,
    /// How many probes in a row it has left unanswered.
    unanswered: u32,
}

/// Why a broker's process isn't watched any more.
enum RunEnd {
    Ended(std::io::Result<ExitStatus>),
    Ordered(Order),
}

impl ProcessKeeper {
    fn new(
        launch: Launch,
        events: Events,
        publish: watch::Sender<ProcessState>,
        changed: Arc<Notify>,
        inbox: mpsc::Receiver<Order>,
    ) -> Self {
        let backoff = BACKOFF_FIRST;
        Self { launch, events, publish, changed, inbox, backoff, served: false, unanswered: 0 }
    }

    async fn run(mut self) {
        loop {
            let order = match self.launch.start() {
                Ok(running) => self.keep(running).await,
                Err(error) => {
                    let (why, again_in) = (error.to_string(), self.next_backoff());
                    self.tell(LocalEvent::NotStarted {
                        broker: self.launch.broker,
                        why: why.clone(),
                        again_in,
                    });
                    self.wait(why, again_in).await
                }
            };
            match order {
                None => {}
                Some(Order::Restart(launch)) => self.launch = *launch,
                Some(Order::Stop) => {
                    self.set(Phase::Stopped, None);
                    return;
                }
            }
        }
    }

    /// Watches a process until it ends and its back-off is over, or an order comes.
    async fn keep(&mut self, mut running: Running) -> Option<Order> {
        let (broker, pid, since) = (self.launch.broker, running.pid(), Instant::now());
        self.served = false;
        self.tell(LocalEvent::Started { broker, pid });
        self.set(Phase::NotReady("starting".into()), Some(pid));
        match self.watch(&mut running, since).await {
            RunEnd::Ordered(order) => {
                if matches!(order, Order::Restart(_)) {
                    self.tell(LocalEvent::Restarting { broker });
                }
                self.set(Phase::NotReady("stopping".into()), Some(pid));
                let killed = running.stop(STOP_PATIENCE).await;
                self.tell(if killed {
                    LocalEvent::Killed { broker, after: STOP_PATIENCE }
                } else {
                    LocalEvent::Stopped { broker }
                });
                Some(order)
            }
            RunEnd::Ended(status) => {
                if since.elapsed() >= BACKOFF_FORGOTTEN_AFTER {
                    self.backoff = BACKOFF_FIRST;
                } else if self.served {
                    self.backoff = self.backoff.min(BACKOFF_SERVED_MAX);
                }
                let how = status.map_or_else(|error| error.to_string(), describe);
                let again_in = self.next_backoff();
                // One that was killed had no time for any.
                let last_words = if how.starts_with("signal") { None } else { running.last_words() };
                let why = last_words.as_ref().map_or_else(|| how.clone(), |words| format!("{how}: {words}"));
                self.tell(LocalEvent::Died { broker, how, last_words, again_in });
                self.publish.send_modify(|state| state.restarts += 1);
                self.wait(why, again_in).await
            }
        }
    }

    async fn watch(&mut self, running: &mut Running, since: Instant) -> RunEnd {
        let pid = running.pid();
        loop {
            let pause = match self.publish.borrow().phase {
                Phase::Ready => PROBE_PAUSE_READY,
                _ => PROBE_PAUSE_STARTING,
            };
            let probe = async {
                sleep(pause).await;
                readiness(self.launch.http_port).await
            };
            tokio::select! {
                status = running.ended() => return RunEnd::Ended(status),
                order = self.inbox.recv() => return RunEnd::Ordered(order.unwrap_or(Order::Stop)),
                answer = probe => self.note(answer, pid, since),
            }
        }
    }

    fn note(&mut self, answer: Readiness, pid: u32, since: Instant) {
        let was_ready = self.publish.borrow().phase == Phase::Ready;
        self.unanswered = if answer == Readiness::Silent { self.unanswered + 1 } else { 0 };
        let phase = match answer {
            Readiness::Ready => Phase::Ready,
            Readiness::NotReady(reason) => Phase::NotReady(reason),
            Readiness::Silent if was_ready && self.unanswered <= PROBES_UNANSWERED_MAX => Phase::Ready,
            Readiness::Silent if self.served => Phase::NotReady("it doesn't answer any more".into()),
            Readiness::Silent => Phase::NotReady("it doesn't answer yet".into()),
        };
        if phase == Phase::Ready && !was_ready {
            let (broker, address) = (self.launch.broker, self.launch.address.clone());
            let after = if self.served { None } else { Some(since.elapsed()) };
            self.served = true;
            self.tell(LocalEvent::Ready { broker, address, after });
        }
        self.set(phase, Some(pid));
    }

    /// Waits before a restart; an order cuts it short.
    async fn wait(&mut self, why: String, pause: Duration) -> Option<Order> {
        self.set(Phase::BackOff(why), None);
        tokio::select! {
            () = sleep(pause) => None,
            order = self.inbox.recv() => Some(order.unwrap_or(Order::Stop)),
        }
    }

    fn next_backoff(&mut self) -> Duration {
        let pause = self.backoff;
        self.backoff = (pause * 2).min(BACKOFF_MAX);
        pause
    }

    fn tell(&self, event: LocalEvent) {
        // Nobody may be listening any more, which changes nothing here.
        let _ = self.events.send(event);
    }

    fn set(&self, phase: Phase, pid: Option<u32>) {
        let changed = self.publish.send_if_modified(|state| {
            let changed = state.phase != phase || state.pid != pid;
            state.phase = phase;
            state.pid = pid;
            changed
        });
        if changed {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn script(dir: &std::path::Path, text: &str) -> Launch {
        Launch {
            broker: 7,
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), text.into()],
            log: dir.join("broker.log"),
            address: "127.0.0.1:9092".into(),
            http_port: 1,
        }
    }

    async fn next(events: &mut mpsc::UnboundedReceiver<LocalEvent>) -> LocalEvent {
        timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("an event")
    }

    #[tokio::test]
    async fn one_that_dies_is_started_again_later_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        let supervisor =
            Supervisor::start(script(dir.path(), "echo out of luck; exit 3"), sender, Arc::default());
        let mut pauses = Vec::new();
        while pauses.len() < 3 {
            if let LocalEvent::Died { broker, how, last_words, again_in } = next(&mut events).await {
                assert_eq!((broker, how.as_str()), (7, "exit code 3"));
                assert_eq!(last_words.as_deref(), Some("out of luck"));
                pauses.push(again_in);
            }
        }
        assert_eq!(pauses, [BACKOFF_FIRST, BACKOFF_FIRST * 2, BACKOFF_FIRST * 4]);
        assert_eq!(supervisor.state().borrow().restarts, 3);
        supervisor.stop().await;
    }

    #[tokio::test]
    async fn stopping_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        let supervisor = Supervisor::start(script(dir.path(), "exec sleep 600"), sender, Arc::default());
        let LocalEvent::Started { pid, .. } = next(&mut events).await else { panic!("not started") };
        supervisor.stop().await;
        assert_eq!(next(&mut events).await, LocalEvent::Stopped { broker: 7 });
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        assert_eq!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    }

    #[test]
    fn a_broker_that_was_ready_may_miss_some_probes() {
        let dir = tempfile::tempdir().unwrap();
        let ((events, mut told), (_orders, inbox)) = (mpsc::unbounded_channel(), mpsc::channel(1));
        let publish = watch::channel(ProcessState::default()).0;
        let mut keeper = ProcessKeeper::new(script(dir.path(), ""), events, publish, Arc::default(), inbox);
        let mut phase_after = |answer: Readiness| {
            keeper.note(answer, 1, Instant::now());
            keeper.publish.borrow().phase.clone()
        };
        assert_eq!(phase_after(Readiness::Silent), Phase::NotReady("it doesn't answer yet".into()));
        for _ in 0..3 {
            assert_eq!(phase_after(Readiness::Ready), Phase::Ready);
            assert_eq!(phase_after(Readiness::Silent), Phase::Ready);
            assert_eq!(phase_after(Readiness::Silent), Phase::Ready);
        }
        assert_eq!(phase_after(Readiness::Silent), Phase::NotReady("it doesn't answer any more".into()));
        let busy = Readiness::NotReady("its disk is full".into());
        assert_eq!(phase_after(Readiness::Ready), Phase::Ready);
        assert_eq!(phase_after(busy), Phase::NotReady("its disk is full".into()));
        let mut readied = 0;
        while told.try_recv().is_ok() {
            readied += 1;
        }
        assert_eq!(readied, 2, "ready, and ready again after three that weren't answered");
    }

    #[tokio::test]
    async fn a_process_sees_its_lifeline_close_when_its_keeper_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let text = format!("cat; echo done > {}", mark.display());
        let mut running = script(dir.path(), &text).start().unwrap();
        // Waiting and giving up must not close it.
        assert!(timeout(Duration::from_millis(50), running.ended()).await.is_err());
        assert!(!mark.exists());
        assert!(timeout(PATIENCE, running.close_lifeline()).await.unwrap().unwrap().success());
        assert!(mark.exists());
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_told_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut launch = script(dir.path(), "");
        launch.program = dir.path().join("missing");
        let supervisor = Supervisor::start(launch, sender, Arc::default());
        assert!(matches!(next(&mut events).await, LocalEvent::NotStarted { broker: 7, .. }));
        supervisor.restart(script(dir.path(), "exec sleep 600")).await;
        assert!(matches!(next(&mut events).await, LocalEvent::Started { broker: 7, .. }));
        supervisor.stop().await;
    }
}
