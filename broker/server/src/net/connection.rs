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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
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
    /// It is done and wants no answer.
    Silent,
    /// The connection is to be closed after the answers to earlier requests, for this reason.
    Close(String),
}

/// A request that is begun, and its place among those that are.
struct Begun {
    response: LaterResponse,
    _place: OwnedSemaphorePermit,
}

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
        loop {
            let frame = match self.next_frame(&mut reader, unanswered, is_on_trial).await {
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
            let (response, is_brief): (LaterResponse, _) =
                match self.service.begin(&self.context, frame).await {
                    Outcome::Respond(response) => {
                        count = places_of(&response);
                        let Some(response) = self.answers().keep(response) else {
                            return ReadingEnded::ByBroker;
                        };
                        (Box::pin(std::future::ready(Some(response))), false)
                    }
                    Outcome::Later(later) => {
                        let answers = self.answers();
                        (Box::pin(async move { answers.keep(later.await?) }), false)
                    }
                    Outcome::LaterBrief(later) => (later, true),
                    Outcome::Silent => continue,
                    Outcome::Close(reason) => return self.refuse(&reason),
                };
            unanswered.fetch_add(1, Ordering::Relaxed);
            let place = self.limits.place(&places, is_brief, count).await;
            if sender.send(Begun { response, _place: place }).await.is_err() {
                return ReadingEnded::ByBroker;
            }
        }
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

    /// The next request, or why there is none: the client closed, was idle for too long, or the broker stops.
    async fn next_frame(
        &self,
        reader: &mut FrameReader,
        unanswered: &AtomicUsize,
        is_on_trial: bool,
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
    use tokio::io::AsyncWriteExt;
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
            sender.send(Begun { response, _place: place }).await.unwrap();
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

    /// Begins requests and never answers them.
    struct Unanswered {
        begun: watch::Sender<usize>,
    }

    impl Service for Unanswered {
        async fn begin(&self, _: &ConnectionContext, _: Frame) -> Outcome {
            self.begun.send_modify(|begun| *begun += 1);
            Outcome::LaterBrief(Box::pin(std::future::pending()))
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

    #[tokio::test]
    async fn many_brief_requests_wait_together() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (accepted, peer) = socket.accept().await.unwrap();
        let limits = limits(1, 1);
        let (begun, mut counted) = watch::channel(0);
        let (_stop, stopping) = watch::channel(false);
        let connection = Connection {
            service: Arc::new(Unanswered { begun }),
            context: ConnectionContext { peer, listener: "test".into(), since: Instant::now() },
            slot: limits.admit(peer.ip()).unwrap(),
            limits,
            stopping,
        };
        let serving = tokio::spawn(connection.serve(accepted));
        let many = BRIEF_PIPELINE_MAX / 2;
        let frame = [&10_u32.to_be_bytes()[..], &[0; 10]].concat();
        client.write_all(&frame.repeat(many)).await.unwrap();
        let all = timeout(Duration::from_secs(30), counted.wait_for(|begun| *begun == many)).await.is_ok();
        assert!(all, "only {} of {many} were begun", *counted.borrow());
        drop(client);
        serving.await.unwrap();
    }
}
