//! The listeners beside those for clients, for control and for health: how many connections they have, and
//! for how long.
//!
//! What is said on them is carried by HTTP, whose libraries take any number of connections, and wait for them
//! for ever.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::warn;

use super::connections::{ConnectionSlot, Connections, ConnectionsMax};
use super::rate::RateLimit;

/// How long to wait after a failed accept (as when file descriptors are used up).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a listener bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideLimits {
    /// Connections in all. The last quarter is kept for addresses that have few.
    pub connections_max: usize,
    /// For how long neither side may say anything.
    pub idle_max: Duration,
    /// For how long a connection may last; none: for ever.
    pub life_max: Option<Duration>,
}

/// A listener within its limits.
#[derive(Debug)]
pub struct SideListener {
    name: &'static str,
    socket: TcpListener,
    limits: SideLimits,
    connections: Arc<Connections>,
    refusals: RateLimit,
    /// After an accept that failed.
    pause: Option<Pin<Box<Sleep>>>,
}

/// A connection of such a listener.
#[derive(Debug)]
pub struct SideStream {
    socket: TcpStream,
    idle_max: Duration,
    ends: Option<Instant>,
    over: Pin<Box<Sleep>>,
    _slot: ConnectionSlot,
}

impl SideListener {
    /// Accepts from `socket`; `name` is for logs.
    pub fn new(name: &'static str, socket: TcpListener, limits: SideLimits) -> Self {
        Self { name, socket, limits, connections: Arc::default(), refusals: RateLimit::new(1), pause: None }
    }

    fn poll_accepted(&mut self, context: &mut Context<'_>) -> Poll<(SideStream, SocketAddr)> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.socket.poll_accept(context)) {
                Ok((socket, peer)) => {
                    if let Some(stream) = self.admit(socket, peer) {
                        return Poll::Ready((stream, peer));
                    }
                }
                Err(error) => {
                    warn!(listener = self.name, %error, "cannot accept a connection");
                    self.pause = Some(Box::pin(sleep(ACCEPT_RETRY)));
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) -> Option<SideStream> {
        let max = ConnectionsMax { in_all: self.limits.connections_max, of_address: None };
        match self.connections.admit(peer.ip(), max) {
            Ok(slot) => Some(SideStream::new(socket, self.limits, slot)),
            Err(refusal) => {
                if let Some(not_logged) = self.refusals.allow() {
                    warn!(listener = self.name, %peer, %refusal, not_logged, "connection refused");
                }
                None
            }
        }
    }
}

impl Listener for SideListener {
    type Io = SideStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (SideStream, SocketAddr) {
        poll_fn(|context| self.poll_accepted(context)).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Stream for SideListener {
    type Item = io::Result<SideStream>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<SideStream>>> {
        self.poll_accepted(context).map(|(stream, _)| Some(Ok(stream)))
    }
}

impl SideStream {
    fn new(socket: TcpStream, limits: SideLimits, slot: ConnectionSlot) -> Self {
        // It makes a connection faster; one that can't be set does no harm.
        let _ = socket.set_nodelay(true);
        let now = Instant::now();
        let mut stream = Self {
            socket,
            idle_max: limits.idle_max,
            ends: limits.life_max.map(|life| now + life),
            over: Box::pin(sleep_until(now)),
            _slot: slot,
        };
        stream.moved();
        stream
    }

    /// Something was said: the other side has time again.
    fn moved(&mut self) {
        let until = self.until(Instant::now());
        self.over.as_mut().reset(until);
    }

    /// When the connection ends if nothing is said after `now`.
    fn until(&self, now: Instant) -> Instant {
        let idle = now + self.idle_max;
        self.ends.map_or(idle, |ends| ends.min(idle))
    }

    /// What came of waiting: an error once that takes too long.
    fn checked<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.moved();
                Poll::Ready(done)
            }
            Poll::Pending => {
                ready!(self.over.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the connection was idle for too long",
                )))
            }
        }
    }
}

impl AsyncRead for SideStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.checked(context, polled)
    }
}

impl AsyncWrite for SideStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.checked(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.checked(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl Connected for SideStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const LIMITS: SideLimits =
        SideLimits { connections_max: 4, idle_max: Duration::from_secs(30), life_max: None };

    async fn listener(limits: SideLimits) -> (SideListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        (SideListener::new("test", socket, limits), address)
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_closed_and_the_last_quarter_is_for_others() {
        let (mut listener, address) = listener(LIMITS).await;
        let mut served = Vec::new();
        for _ in 0..3 {
            let client = TcpStream::connect(address).await.unwrap();
            served.push((client, listener.accept().await));
        }
        let mut refused = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        tokio::select! {
            _ = listener.accept() => panic!("an address has the last quarter"),
            read = refused.read(&mut byte) => assert!(matches!(read, Ok(0) | Err(_))),
        }
        served.pop();
        let _another = TcpStream::connect(address).await.unwrap();
        listener.accept().await;
    }

    #[tokio::test]
    async fn who_says_nothing_for_too_long_is_closed() {
        let (mut listener, address) =
            listener(SideLimits { idle_max: Duration::from_millis(10), ..LIMITS }).await;
        let _client = TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        let error = stream.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// For how long a connection is borne that says something now and then for an hour.
    async fn borne(life_max: Option<Duration>) -> Duration {
        let (mut listener, address) = listener(SideLimits { life_max, ..LIMITS }).await;
        let _client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await;
        let now = Instant::now();
        stream.until(now + Duration::from_secs(3_600)) - now
    }

    #[tokio::test]
    async fn who_trickles_is_borne_only_as_long_as_a_connection_may_last() {
        assert_eq!(borne(None).await, Duration::from_secs(3_600) + LIMITS.idle_max);
        let most = Duration::from_secs(300);
        assert!(borne(Some(most)).await <= most);
    }
}
