//! One connection: requests are read and begun one after the other, responses written in the same order.
//!
//! A request's beginning (for Produce: its append) is over before the next one begins; what it still waits
//! for (for Produce: the disk) may go on beside that. So a client's pipelined requests keep their order and
//! still share one sync. Not here: what requests mean.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use ottla_types::BrokerId;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::budget::Sender;
use super::connections::{ConnectionSlot, Refusal};
use super::frame::{Frame, FrameError, FrameReader};
use super::limits::Limits;
use super::output::{self, Response};
use super::progress::Pace;

/// Requests of one connection that may be begun and not yet answered.
const PIPELINE_MAX: u32 = 32;
/// Those of one connection when what they wait with is brief. A client that sends each partition's batch by
/// itself, as librdkafka does, has a few of each partition on the way: with fewer places the disk's syncs are
/// of a few each.
const BRIEF_PIPELINE_MAX: usize = 1_024;
/// Responses are written together up to about so many bytes: a large one goes alone.
const TOGETHER_BYTES_MAX: usize = 64 << 10;
/// A response that takes more memory than so many bytes counts as several requests, one for each so many: a
/// client that takes nothing has a MiB and one response waiting for it at most.
const PLACE_BYTES: usize = (1 << 20) / PIPELINE_MAX as usize;
/// In this time a connection beyond the limits has to show whose it is.
const TRIAL_TIME: Duration = Duration::from_secs(5);
/// The pace at which a client has to take what it asked for.
const WRITE_PACE: Pace = Pace { bytes: 32 << 10, interval: Duration::from_secs(120) };

/// What is known of a connection.
#[derive(Debug, Clone)]
pub struct ConnectionContext {
    /// The client's address.
    pub peer: SocketAddr,
    /// The name of the listener that it came by.
    pub listener: Arc<str>,
    /// When it was accepted.
    pub since: Instant,
}

/// A response that isn't there yet; none closes the connection.
pub type LaterResponse = Pin<Box<dyn Future<Output = Option<Response>> + Send>>;

/// What has become of a request.
pub enum Outcome {
    /// It is answered.
    Respond(Response),
    /// It is begun; the answer follows.
    Later(LaterResponse),
    /// As `Later`, and neither what waits nor the answer takes more than about a KiB: many may wait.
    LaterBrief(LaterResponse),
    /// As `Later`, and the next request isn't read before it is answered: what that one is about may be what
    /// this one waits for.
    Alone(LaterResponse),
    /// It is done and wants no answer.
    Silent,
    /// The connection is to be closed after the answers to earlier requests, for this reason.
    Close(String),
}

/// A request that is begun, and its place among those that are.
struct Begun {
    response: LaterResponse,
    _place: OwnedSemaphorePermit,
    /// Of one that is alone: it is gone once that is answered, and then the next one is read.
    _alone: Option<oneshot::Sender<()>>,
}

/// Ends once the request before is answered, if that one is alone.
type Answered = Option<oneshot::Receiver<()>>;

/// What requests are given to.
pub trait Service: Send + Sync + 'static {
    /// Begins a request.
    fn begin(&self, context: &ConnectionContext, frame: Frame) -> impl Future<Output = Outcome> + Send;
    /// The other broker that sends a request which begins with these bytes, as far as can be told; none if a
    /// client does.
    fn broker(&self, context: &ConnectionContext, head: &[u8]) -> Option<BrokerId>;
    /// Whether other brokers may come by the listener of this name.
    fn expects_brokers(&self, listener: &str) -> bool;
    /// Whether another broker sends a first request which begins with these bytes, as far as can be told.
    fn is_broker(&self, context: &ConnectionContext, head: &[u8]) -> bool;
    /// Counts bytes that came and bytes that went.
    fn count_bytes(&self, received: usize, sent: usize);
    /// A connection ends because of what its client sent.
    fn refuse(&self, context: &ConnectionContext, reason: &str);
    /// A connection was closed as soon as it was accepted.
    fn count_refusal(&self, refusal: Refusal);
}

/// Who ended the reading of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadingEnded {
    /// The client closed it.
    ByClient,
    /// The broker wants no more: bad input, an idle client, or it stops.
    ByBroker,
}

/// An accepted connection.
pub(super) struct Connection<S> {
    pub(super) service: Arc<S>,
    pub(super) context: ConnectionContext,
    pub(super) limits: Arc<Limits>,
    /// Counts this connection as long as it lives.
    pub(super) slot: ConnectionSlot,
    /// True once the broker stops.
    pub(super) stopping: watch::Receiver<bool>,
}

impl<S: Service> Connection<S> {
    /// Serves `socket` until either side ends it.
    pub(super) async fn serve(self, socket: TcpStream) {
        let (read_half, write_half) = socket.into_split();
        let (sender, receiver) = mpsc::channel(BRIEF_PIPELINE_MAX);
        let unanswered = AtomicUsize::new(0);
        let read = self.read_requests(FrameReader::new(read_half), sender, &unanswered);
        let write = self.write_responses(write_half, receiver, &unanswered);
        let (mut read, mut write) = (std::pin::pin!(read), std::pin::pin!(write));
        // When writing ends, nothing is left to do. When reading ends, what is begun is still answered,
        // unless nobody is there to read it: a long poll of a client that is gone must not keep its place.
        tokio::select! {
            () = &mut write => {}
            ended = &mut read => if ended == ReadingEnded::ByBroker { write.await },
        }
        debug!(peer = %self.context.peer, "connection closed");
    }

    async fn read_requests(
        &self,
        mut reader: FrameReader,
        sender: mpsc::Sender<Begun>,
        unanswered: &AtomicUsize,
    ) -> ReadingEnded {
        let places = Arc::new(Semaphore::new(PIPELINE_MAX as usize));
        // One that is beyond the limits has to show with its first request that it is another broker's.
        let mut is_on_trial = self.slot.is_on_trial();
        let mut answered: Answered = None;
        loop {
            let next = self.next_frame(&mut reader, unanswered, is_on_trial, answered.take()).await;
            let frame = match next {
                Ok(Ok(frame)) => frame,
                Ok(Err(ended)) => return ended,
                Err(FrameError::Io(error)) => {
                    debug!(peer = %self.context.peer, %error, "connection failed");
                    return ReadingEnded::ByClient;
                }
                Err(error) => return self.refuse(&error.to_string()),
            };
            if is_on_trial && !self.service.is_broker(&self.context, &frame.bytes) {
                return self.refuse("max.connections is reached, and it isn't another broker");
            }
            is_on_trial = false;
            self.service.count_bytes(frame.bytes.len() + 4, 0);
            let mut count = 1;
            let mut alone = None;
            let (response, is_brief): (LaterResponse, _) =
                match self.service.begin(&self.context, frame).await {
                    Outcome::Respond(response) => {
                        count = places_of(&response);
                        let Some(response) = self.answers().keep(response) else {
                            return ReadingEnded::ByBroker;
                        };
                        (Box::pin(std::future::ready(Some(response))), false)
                    }
                    Outcome::Later(later) => (self.kept(later), false),
                    Outcome::Alone(later) => {
                        let (guard, end) = oneshot::channel();
                        (alone, answered) = (Some(guard), Some(end));
                        (self.kept(later), false)
                    }
                    Outcome::LaterBrief(later) => (later, true),
                    Outcome::Silent => continue,
                    Outcome::Close(reason) => return self.refuse(&reason),
                };
            unanswered.fetch_add(1, Ordering::Relaxed);
            let place = self.limits.place(&places, is_brief, count).await;
            if sender.send(Begun { response, _place: place, _alone: alone }).await.is_err() {
                return ReadingEnded::ByBroker;
            }
        }
    }

    /// An answer that is charged for once it is there.
    fn kept(&self, later: LaterResponse) -> LaterResponse {
        let answers = self.answers();
        Box::pin(async move { answers.keep(later.await?) })
    }

    fn answers(&self) -> Answers<S> {
        Answers {
            service: Arc::clone(&self.service),
            context: self.context.clone(),
            limits: Arc::clone(&self.limits),
        }
    }

    fn refuse(&self, reason: &str) -> ReadingEnded {
        self.service.refuse(&self.context, reason);
        ReadingEnded::ByBroker
    }

    /// The next request, once the one before it is `answered`, or why there is none: the client closed, was
    /// idle for too long, or the broker stops.
    async fn next_frame(
        &self,
        reader: &mut FrameReader,
        unanswered: &AtomicUsize,
        is_on_trial: bool,
        answered: Answered,
    ) -> Result<Result<Frame, ReadingEnded>, FrameError> {
        let mut stopping = self.stopping.clone();
        loop {
            let idle_max = self.limits.config().idle_max.unwrap_or(Duration::from_secs(86_400));
            let idle_max = if is_on_trial { idle_max.min(TRIAL_TIME) } else { idle_max };
            let idle = Instant::now() + idle_max;
            let length = tokio::select! {
                length = timeout_at(idle, reader.next_length(&self.limits)) => length,
                _ = stopping.wait_for(|stopping| *stopping) => return Ok(Err(ReadingEnded::ByBroker)),
            };
            match length {
                Ok(Ok(Some(length))) => {
                    if let Some(answered) = answered {
                        tokio::select! {
                            _ = answered => {}
                            closed = reader.closed() => {
                                return closed.map(|()| Err(ReadingEnded::ByClient)).map_err(FrameError::from);
                            }
                            _ = stopping.wait_for(|stopping| *stopping) => {
                                return Ok(Err(ReadingEnded::ByBroker));
                            }
                        }
                    }
                    return reader
                        .read(length, &self.limits, |head| Sender {
                            address: self.context.peer.ip().to_canonical(),
                            broker: self.service.broker(&self.context, head),
                        })
                        .await
                        .map(Ok);
                }
                Ok(Ok(None)) => return Ok(Err(ReadingEnded::ByClient)),
                Ok(Err(error)) => return Err(error),
                // A client that waits for an answer isn't idle.
                Err(_)
                    if unanswered.load(Ordering::Relaxed) > 0
                        || (self.limits.config().idle_max.is_none() && !is_on_trial) => {}
                Err(_) => {
                    debug!(peer = %self.context.peer, "closing an idle connection");
                    return Ok(Err(ReadingEnded::ByBroker));
                }
            }
        }
    }

    async fn write_responses(
        &self,
        socket: OwnedWriteHalf,
        mut receiver: mpsc::Receiver<Begun>,
        unanswered: &AtomicUsize,
    ) {
        let mut waiting = None;
        loop {
            let Some((responses, closes)) = next_responses(&mut receiver, &mut waiting).await else { return };
            match output::write(&responses, socket.as_ref(), WRITE_PACE).await {
                Ok(sent) => self.service.count_bytes(0, sent),
                Err(error) => return debug!(peer = %self.context.peer, %error, "cannot write a response"),
            }
            if closes {
                return;
            }
            unanswered.fetch_sub(responses.len(), Ordering::Relaxed);
        }
    }
}

/// What a connection's answers are charged to.
struct Answers<S> {
    service: Arc<S>,
    context: ConnectionContext,
    limits: Arc<Limits>,
}

impl<S: Service> Answers<S> {
    /// Charges for an answer that takes much memory. None, which closes the connection, if there is no room
    /// for it.
    fn keep(&self, mut response: Response) -> Option<Response> {
        let bytes = response.memory_bytes();
        if bytes > PLACE_BYTES {
            response.kept = self.limits.answers.keep(self.context.peer.ip(), bytes);
            if response.kept.is_none() {
                self.service.refuse(&self.context, "too much is answered that clients do not take");
                return None;
            }
        }
        Some(response)
    }
}

/// The places that a response takes until it is sent.
fn places_of(response: &Response) -> u32 {
    u32::try_from(response.memory_bytes() / PLACE_BYTES)
        .map_or(PIPELINE_MAX, |places| places.clamp(1, PIPELINE_MAX))
}

/// The next response, and those after it that are there already, as one sync may have been what all waited
/// for; and whether the connection is to be closed after them. None if there will be none. `waiting` is one
/// that was taken from `receiver` and isn't there yet.
async fn next_responses(
    receiver: &mut mpsc::Receiver<Begun>,
    waiting: &mut Option<Begun>,
) -> Option<(Vec<Response>, bool)> {
    let first = match waiting.take() {
        Some(first) => first,
        None => receiver.recv().await?,
    };
    let mut responses = vec![first.response.await?];
    let mut bytes = responses[0].frame.length();
    while bytes < TOGETHER_BYTES_MAX
        && let Ok(mut next) = receiver.try_recv()
    {
        match poll_fn(|context| Poll::Ready(next.response.as_mut().poll(context))).await {
            Poll::Ready(Some(response)) => {
                bytes += response.frame.length();
                responses.push(response);
            }
            Poll::Ready(None) => return Some((responses, true)),
            Poll::Pending => {
                *waiting = Some(next);
                break;
            }
        }
    }
    Some((responses, false))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use ottla_wire::Encoder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::net::limits::tests::limits;

    fn response(bytes: usize) -> Response {
        let mut encoder = Encoder::for_frame(BytesMut::new());
        encoder.put(&vec![7; bytes]);
        Response { frame: encoder.finish_frame().unwrap(), ..Response::default() }
    }

    async fn queue(laters: Vec<LaterResponse>) -> mpsc::Receiver<Begun> {
        let (sender, receiver) = mpsc::channel(PIPELINE_MAX as usize);
        let places = Arc::new(Semaphore::new(PIPELINE_MAX as usize));
        for response in laters {
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            sender.send(Begun { response, _place: place, _alone: None }).await.unwrap();
        }
        receiver
    }

    fn now(bytes: usize) -> LaterResponse {
        Box::pin(std::future::ready(Some(response(bytes))))
    }

    #[tokio::test]
    async fn what_is_there_goes_together_and_what_is_not_waits() {
        let (sender, late) = oneshot::channel();
        let late: LaterResponse = Box::pin(async { Some(late.await.unwrap()) });
        let mut receiver = queue(vec![now(1), now(2), late, now(4)]).await;
        let mut waiting = None;
        let (first, closes) = next_responses(&mut receiver, &mut waiting).await.unwrap();
        assert_eq!((first.len(), closes), (2, false));
        assert!(waiting.is_some(), "it keeps its place");
        sender.send(response(3)).unwrap();
        let (second, _) = next_responses(&mut receiver, &mut waiting).await.unwrap();
        let lengths: Vec<usize> = second.iter().map(|response| response.frame.length() - 4).collect();
        assert_eq!(lengths, [3, 4]);
        assert!(next_responses(&mut receiver, &mut waiting).await.is_none());
    }

    #[tokio::test]
    async fn a_large_one_goes_alone_and_what_closes_comes_last() {
        let mut receiver =
            queue(vec![now(TOGETHER_BYTES_MAX), now(1), Box::pin(std::future::ready(None)), now(2)]).await;
        let mut waiting = None;
        let (large, closes) = next_responses(&mut receiver, &mut waiting).await.unwrap();
        assert_eq!((large.len(), closes), (1, false));
        let (last, closes) = next_responses(&mut receiver, &mut waiting).await.unwrap();
        assert_eq!((last.len(), closes), (1, true));
    }

    /// What it is told to do with a request by the first byte of it.
    const NOW: u8 = 0;
    const LATER: u8 = 1;
    const ALONE: u8 = 2;
    const BRIEF: u8 = 3;

    /// Begins requests as their first bytes say, and answers those that wait once it is released.
    struct Scripted {
        /// What happened, in this order: requests that were begun, by their second byte; and, from 100 on,
        /// those of them that were answered.
        events: watch::Sender<Vec<u8>>,
        released: watch::Receiver<bool>,
    }

    impl Service for Scripted {
        async fn begin(&self, _: &ConnectionContext, frame: Frame) -> Outcome {
            let (kind, number) = (frame.bytes[0], frame.bytes[1]);
            self.events.send_modify(|events| events.push(number));
            let (events, mut released) = (self.events.clone(), self.released.clone());
            let later: LaterResponse = Box::pin(async move {
                released.wait_for(|released| *released).await.ok()?;
                events.send_modify(|events| events.push(100 + number));
                Some(response(usize::from(number)))
            });
            match kind {
                LATER => Outcome::Later(later),
                ALONE => Outcome::Alone(later),
                BRIEF => Outcome::LaterBrief(later),
                _ => Outcome::Respond(response(usize::from(number))),
            }
        }
        fn broker(&self, _: &ConnectionContext, _: &[u8]) -> Option<BrokerId> {
            None
        }
        fn expects_brokers(&self, _: &str) -> bool {
            false
        }
        fn is_broker(&self, _: &ConnectionContext, _: &[u8]) -> bool {
            false
        }
        fn count_bytes(&self, _: usize, _: usize) {}
        fn refuse(&self, _: &ConnectionContext, _: &str) {}
        fn count_refusal(&self, _: Refusal) {}
    }

    /// A connection that is served, and the client's end of it.
    struct Served {
        client: TcpStream,
        serving: tokio::task::JoinHandle<()>,
        events: watch::Receiver<Vec<u8>>,
        release: watch::Sender<bool>,
        stop: watch::Sender<bool>,
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    impl Served {
        async fn start() -> Self {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
            let (accepted, peer) = socket.accept().await.unwrap();
            let limits = limits(1, 1);
            let (events, seen) = watch::channel(Vec::new());
            let (release, released) = watch::channel(false);
            let (stop, stopping) = watch::channel(false);
            let connection = Connection {
                service: Arc::new(Scripted { events, released }),
                context: ConnectionContext { peer, listener: "test".into(), since: Instant::now() },
                slot: limits.admit(peer.ip()).unwrap(),
                limits,
                stopping,
            };
            let serving = tokio::spawn(connection.serve(accepted));
            Self { client, serving, events: seen, release, stop }
        }

        /// Sends requests of ten bytes each, all at once.
        async fn send(&mut self, requests: &[(u8, u8)]) {
            let frame = |(kind, number): &(u8, u8)| [&[0, 0, 0, 10, *kind, *number][..], &[0; 8]].concat();
            let frames: Vec<u8> = requests.iter().flat_map(frame).collect();
            self.client.write_all(&frames).await.unwrap();
        }

        async fn wait(&mut self, expected: &[u8]) {
            let seen = timeout(PATIENCE, self.events.wait_for(|events| events == expected)).await.is_ok();
            assert!(seen, "{expected:?} doesn't come, only {:?}", *self.events.borrow());
        }

        /// Time enough for whoever could go on, though it shouldn't.
        async fn let_others_go_on(&self) {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }

        async fn ends(self) {
            timeout(PATIENCE, self.serving).await.expect("it ends").unwrap();
        }
    }

    #[tokio::test]
    async fn many_brief_requests_wait_together() {
        let mut served = Served::start().await;
        let many = BRIEF_PIPELINE_MAX / 2;
        served.send(&vec![(BRIEF, 7); many]).await;
        served.wait(&vec![7; many]).await;
        drop(served.client);
        served.serving.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_pipelined_goes_on_beside_one_that_waits() {
        let mut served = Served::start().await;
        served.send(&[(LATER, 1), (NOW, 2)]).await;
        served.wait(&[1, 2]).await;
        served.release.send(true).unwrap();
        served.wait(&[1, 2, 101]).await;
    }

    #[tokio::test]
    async fn behind_one_that_is_alone_nothing_is_begun_before_it_is_answered() {
        let mut served = Served::start().await;
        served.send(&[(LATER, 1), (ALONE, 2), (ALONE, 3), (NOW, 4), (LATER, 5)]).await;
        served.wait(&[1, 2]).await;
        served.let_others_go_on().await;
        assert_eq!(*served.events.borrow(), [1, 2], "it waits for the second's answer");
        served.release.send(true).unwrap();
        served.wait(&[1, 2, 101, 102, 3, 103, 4, 5, 105]).await;
        let mut answers = [0; 5 * 4 + 1 + 2 + 3 + 4 + 5];
        timeout(PATIENCE, served.client.read_exact(&mut answers)).await.expect("all answers").unwrap();
        let mut rest = &answers[..];
        for number in 1..=5_u8 {
            let (answer, behind) = rest.split_at(4 + usize::from(number));
            assert_eq!(answer[..4], u32::from(number).to_be_bytes(), "in their order");
            rest = behind;
        }
        // One that comes only after the answer is read at once.
        served.send(&[(NOW, 6)]).await;
        served.wait(&[1, 2, 101, 102, 3, 103, 4, 5, 105, 6]).await;
    }

    #[tokio::test]
    async fn a_client_that_is_gone_while_one_is_alone_ends_its_connection() {
        // With something pipelined behind it, and with nothing.
        for behind in [vec![(NOW, 2)], vec![]] {
            let mut served = Served::start().await;
            served.send(&[&[(ALONE, 1)][..], &behind].concat()).await;
            served.wait(&[1]).await;
            served.client.shutdown().await.unwrap();
            let events = served.events.clone();
            served.ends().await;
            assert_eq!(*events.borrow(), [1], "nobody waits for what was behind it");
        }
    }

    #[tokio::test]
    async fn much_behind_one_that_is_alone_takes_no_memory_and_is_not_lost() {
        let mut served = Served::start().await;
        let many = 4_096;
        served.send(&[&[(ALONE, 1)][..], &vec![(BRIEF, 7); many]].concat()).await;
        served.wait(&[1]).await;
        served.let_others_go_on().await;
        assert_eq!(*served.events.borrow(), [1]);
        served.release.send(true).unwrap();
        let begun = |events: &Vec<u8>| events.iter().filter(|event| **event == 7).count() == many;
        timeout(PATIENCE, served.events.wait_for(begun)).await.expect("all are begun").unwrap();
    }

    #[tokio::test]
    async fn a_stop_is_heard_while_one_is_alone() {
        let mut served = Served::start().await;
        served.send(&[(ALONE, 1), (NOW, 2)]).await;
        served.wait(&[1]).await;
        served.stop.send(true).unwrap();
        served.let_others_go_on().await;
        served.release.send(true).unwrap();
        let mut answers = Vec::new();
        timeout(PATIENCE, served.client.read_to_end(&mut answers)).await.expect("the end").unwrap();
        assert_eq!(answers.len(), 5, "what was begun is answered, and no more");
        let events = served.events.clone();
        served.ends().await;
        assert_eq!(*events.borrow(), [1, 101]);
    }
}
