//! One connection: versions agreed on, requests pipelined, responses by correlation id.
//!
//! A task writes and a task reads; both end with the connection. Dropping the last handle closes it.

use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ottla_wire::messages::ApiVersionsRequest;
use ottla_wire::{
    Api, ApiKey, Decoder, EncodedFrame, ErrorCode, ResponseHeader, apis, encode_request, frame_length,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::outgoing::Outgoing;
use crate::{ClientConfig, ClientError};

/// Requests that may wait to be written.
const QUEUE_MAX: usize = 256;
/// Requests that one write takes along at most.
const WRITE_BATCH_MAX: usize = 32;
/// Room made for the next read.
const READ_BYTES: usize = 64 << 10;

/// A request on its way to the writer.
struct Request {
    frame: EncodedFrame,
    spliced: Vec<Bytes>,
    /// Who waits for the response, by correlation id; nobody for a Produce with `acks` 0.
    waiter: Option<Waiter>,
}

struct Waiter {
    correlation_id: i32,
    reply: oneshot::Sender<Bytes>,
}

/// Who waits for responses, in the order of the requests: Kafka answers in that order.
#[derive(Default)]
struct Waiters {
    queue: Mutex<VecDeque<Waiter>>,
    closed: AtomicBool,
}

impl Waiters {
    /// Lets it wait, unless the connection is closed: then it knows at once, as its sender is dropped.
    fn push(&self, waiter: Waiter) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_closed() {
            queue.push_back(waiter);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn pop(&self) -> Option<Waiter> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Marks the connection as closed and lets all waiters know, as their senders are dropped.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection to one broker.
pub struct Connection {
    address: String,
    client_id: String,
    request_timeout: Duration,
    versions: HashMap<i16, (i16, i16)>,
    next_correlation_id: AtomicI32,
    requests: mpsc::Sender<Request>,
    waiters: Arc<Waiters>,
    tasks: [AbortHandle; 2],
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The writer ends by itself, once it has written what is in line.
        self.tasks[0].abort();
    }
}

/// A response's frame, decoded on demand so that it can borrow from it.
#[derive(Debug, Clone)]
pub struct Reply<A: Api> {
    frame: Bytes,
    version: i16,
    api: PhantomData<fn() -> A>,
}

impl<A: Api> Reply<A> {
    /// The response.
    ///
    /// # Errors
    /// When the bytes aren't such a response.
    pub fn body(&self) -> Result<A::Response<'_>, ClientError> {
        let wrong = |error| ClientError::Decode { api: A::KEY, error };
        let mut decoder = Decoder::new(&self.frame);
        ResponseHeader::decode(&mut decoder, A::response_header_version(self.version)).map_err(wrong)?;
        A::decode_response(decoder, self.version).map_err(wrong)
    }

    /// The frame that the response borrows from.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The version that was agreed on.
    pub fn version(&self) -> i16 {
        self.version
    }
}

impl Connection {
    /// Connects to `address` (`host:port`) and agrees on the versions.
    ///
    /// # Errors
    /// When nobody answers there in time, or not as a Kafka broker would.
    pub async fn connect(address: &str, config: &ClientConfig) -> Result<Self, ClientError> {
        let failed = |reason: String| ClientError::Connection { address: address.to_owned(), reason };
        let connecting = tokio::time::timeout(config.connect_timeout, TcpStream::connect(address));
        let stream = match connecting.await {
            Ok(connected) => connected.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(format!("no connection within {:?}", config.connect_timeout))),
        };
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (reader, writer) = stream.into_split();
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let waiters = Arc::new(Waiters::default());
        let reading = tokio::spawn(read(reader, waiters.clone(), config.frame_bytes_max, address.to_owned()));
        let writing = tokio::spawn(write(
            writer,
            receiver,
            waiters.clone(),
            config.request_timeout,
            address.to_owned(),
        ));
        let mut connection = Self {
            address: address.to_owned(),
            client_id: config.client_id.clone(),
            request_timeout: config.request_timeout,
            versions: HashMap::new(),
            next_correlation_id: AtomicI32::new(0),
            requests: sender,
            waiters,
            tasks: [reading.abort_handle(), writing.abort_handle()],
        };
        connection.versions = connection.negotiate().await?;
        Ok(connection)
    }

    /// Asks for the broker's versions: first in our newest version, then in 0, which every broker has.
    async fn negotiate(&self) -> Result<HashMap<i16, (i16, i16)>, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: env!("CARGO_PKG_NAME"),
            client_software_version: env!("CARGO_PKG_VERSION"),
        };
        let newest = *apis::ApiVersions::VERSIONS.end();
        for version in [newest, 0] {
            let mut reply: Reply<apis::ApiVersions> =
                self.exchange(version, &request, Vec::new(), self.request_timeout).await?;
            // A broker that doesn't know our version answers with version 0 of the response.
            let is_refused =
                reply.frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes()[..]);
            if is_refused {
                reply.version = 0;
            }
            let body = reply.body()?;
            if is_refused && body.api_keys.len() <= 1 {
                continue;
            }
            let known = body.api_keys.iter();
            return Ok(known.map(|api| (api.api_key, (api.min_version, api.max_version))).collect());
        }
        Err(ClientError::Unsupported { address: self.address.clone(), api: ApiKey::ApiVersions })
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.waiters.is_closed()
    }

    /// The newest version of an API that both sides have.
    ///
    /// # Errors
    /// When there is none.
    pub fn version<A: Api>(&self) -> Result<i16, ClientError> {
        let common = self.versions.get(&A::KEY.code()).and_then(|&(first, last)| {
            let newest = last.min(*A::VERSIONS.end());
            (newest >= first.max(*A::VERSIONS.start())).then_some(newest)
        });
        common.ok_or_else(|| ClientError::Unsupported { address: self.address.clone(), api: A::KEY })
    }

    /// Sends a request in the newest common version and waits for the response.
    ///
    /// # Errors
    /// When there is no common version, the connection breaks, or no response comes in time (the connection
    /// is closed then, as responses come in order).
    pub async fn call<A: Api>(&self, request: &A::Request<'_>) -> Result<Reply<A>, ClientError> {
        self.call_within(request, Vec::new(), Duration::ZERO).await
    }

    /// As [`Connection::call`], with bytes for the request's splices (by token), and for requests that the
    /// broker may hold back: `held_back` is added to the time-out.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_within<A: Api>(
        &self,
        request: &A::Request<'_>,
        spliced: Vec<Bytes>,
        held_back: Duration,
    ) -> Result<Reply<A>, ClientError> {
        self.exchange(self.version::<A>()?, request, spliced, self.request_timeout + held_back).await
    }

    /// Sends a request that has no response: a Produce with `acks` 0.
    ///
    /// # Errors
    /// When there is no common version or the connection has ended.
    pub async fn send_only<A: Api>(
        &self,
        request: &A::Request<'_>,
        spliced: Vec<Bytes>,
    ) -> Result<(), ClientError> {
        let frame = self.encode::<A>(self.correlation_id(), self.version::<A>()?, request)?;
        self.requests.send(Request { frame, spliced, waiter: None }).await.map_err(|_| self.broken())
    }

    /// Puts a request in line, after all before it, and returns what waits for its response.
    ///
    /// # Errors
    /// When there is no common version or the connection has ended.
    pub async fn start<A: Api>(
        self: &Arc<Self>,
        request: &A::Request<'_>,
        spliced: Vec<Bytes>,
        held_back: Duration,
    ) -> Result<impl Future<Output = Result<Reply<A>, ClientError>> + Send + Sync + 'static, ClientError>
    {
        let version = self.version::<A>()?;
        let replied = self.enqueue::<A>(version, request, spliced).await?;
        let connection = self.clone();
        Ok(async move { connection.wait(version, replied, connection.request_timeout + held_back).await })
    }

    async fn exchange<A: Api>(
        &self,
        version: i16,
        request: &A::Request<'_>,
        spliced: Vec<Bytes>,
        timeout: Duration,
    ) -> Result<Reply<A>, ClientError> {
        let replied = self.enqueue::<A>(version, request, spliced).await?;
        self.wait(version, replied, timeout).await
    }

    async fn enqueue<A: Api>(
        &self,
        version: i16,
        request: &A::Request<'_>,
        spliced: Vec<Bytes>,
    ) -> Result<oneshot::Receiver<Bytes>, ClientError> {
        let correlation_id = self.correlation_id();
        let frame = self.encode::<A>(correlation_id, version, request)?;
        let (reply, replied) = oneshot::channel();
        let request = Request { frame, spliced, waiter: Some(Waiter { correlation_id, reply }) };
        self.requests.send(request).await.map_err(|_| self.broken())?;
        Ok(replied)
    }

    async fn wait<A: Api>(
        &self,
        version: i16,
        replied: oneshot::Receiver<Bytes>,
        timeout: Duration,
    ) -> Result<Reply<A>, ClientError> {
        match tokio::time::timeout(timeout, replied).await {
            Ok(Ok(frame)) => Ok(Reply { frame, version, api: PhantomData }),
            Ok(Err(_)) => Err(self.broken()),
            Err(_) => {
                // Responses come in order: none behind this one can be told apart any more.
                self.waiters.close();
                self.tasks.iter().for_each(AbortHandle::abort);
                let timeout_ms = timeout.as_millis() as u64;
                Err(ClientError::Timeout { address: self.address.clone(), api: A::KEY, timeout_ms })
            }
        }
    }

    fn correlation_id(&self) -> i32 {
        self.next_correlation_id.fetch_add(1, Ordering::Relaxed)
    }

    fn encode<A: Api>(
        &self,
        correlation_id: i32,
        version: i16,
        request: &A::Request<'_>,
    ) -> Result<EncodedFrame, ClientError> {
        let buffer = BytesMut::with_capacity(256);
        Ok(encode_request::<A>(buffer, correlation_id, Some(&self.client_id), version, request)?)
    }

    fn broken(&self) -> ClientError {
        ClientError::Connection { address: self.address.clone(), reason: "the connection was closed".into() }
    }
}

/// Writes requests until the connection or the last handle ends.
async fn write(
    mut writer: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Request>,
    waiters: Arc<Waiters>,
    timeout: Duration,
    address: String,
) {
    let mut batch = Vec::with_capacity(WRITE_BATCH_MAX);
    let mut outgoing = Outgoing::default();
    while requests.recv_many(&mut batch, WRITE_BATCH_MAX).await > 0 {
        // The other side may have ended what it sends, and what is written would still go out.
        if waiters.is_closed() {
            break;
        }
        for request in batch.drain(..) {
            outgoing.push(&request.frame, &request.spliced);
            request.waiter.into_iter().for_each(|waiter| waiters.push(waiter));
        }
        match tokio::time::timeout(timeout, writer.write_all_buf(&mut outgoing)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "a connection can't be written");
                break;
            }
            Err(_) => {
                tracing::debug!(%address, "a broker doesn't read what is sent to it");
                break;
            }
        }
    }
    waiters.close();
}

/// Reads responses until the connection ends or something comes that wasn't asked for.
async fn read(mut reader: OwnedReadHalf, waiters: Arc<Waiters>, frame_bytes_max: usize, address: String) {
    let mut buffer = BytesMut::new();
    loop {
        match next_frame(&mut reader, &mut buffer, frame_bytes_max).await {
            Ok(Some(frame)) => {
                let Some(waiter) = waiters.pop() else { break };
                if frame.get(..4) != Some(&waiter.correlation_id.to_be_bytes()[..]) {
                    tracing::debug!(%address, "a response has an unexpected correlation id");
                    break;
                }
                // Who asked may have given up.
                let _ = waiter.reply.send(frame);
            }
            Ok(None) => break,
            Err(reason) => {
                tracing::debug!(%address, reason, "a connection can't be read");
                break;
            }
        }
    }
    waiters.close();
}

/// The next frame without its length; none at the connection's end.
async fn next_frame(
    reader: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    frame_bytes_max: usize,
) -> Result<Option<Bytes>, String> {
    loop {
        let mut needed = ottla_wire::LENGTH_BYTES;
        if let Some(prefix) = buffer.first_chunk() {
            let length = frame_length(*prefix, frame_bytes_max).map_err(|error| error.to_string())?;
            needed += length;
            if buffer.len() >= needed {
                buffer.advance(ottla_wire::LENGTH_BYTES);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
        }
        buffer.reserve((needed - buffer.len()).max(READ_BYTES));
        match reader.read_buf(buffer).await {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
