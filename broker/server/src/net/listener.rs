//! Listening sockets, and accepting connections within the limits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ottla_quorum::Tasks;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::connection::{Connection, ConnectionContext, Service};
use super::limits::Limits;
use super::rate::RateLimit;
use crate::config::{ConnectionLimits, HostPort};

/// How long to wait after a failed accept (as when file descriptors are used up).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long open connections have to be answered when the broker stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (listener {name}): {reason}")]
pub struct BindError {
    /// The listener.
    pub name: String,
    /// The address.
    pub address: String,
    /// What the system said, and what helps.
    pub reason: String,
}

/// A listener whose socket is bound.
#[derive(Debug)]
pub struct BoundListener {
    name: Arc<str>,
    socket: TcpListener,
}

impl BoundListener {
    /// Binds the listener `name` to `address`; an empty host means all interfaces.
    ///
    /// # Errors
    /// When the name can't be resolved or the address can't be bound.
    pub async fn bind(name: &str, address: &HostPort, limits: &ConnectionLimits) -> Result<Self, BindError> {
        let socket = bind(address, limits).await.map_err(|error| BindError {
            name: name.to_owned(),
            address: address.to_string(),
            reason: match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "another process listens there: stop it, or change listeners".to_owned()
                }
                _ => error.to_string(),
            },
        })?;
        Ok(Self { name: name.into(), socket })
    }

    /// The port that is bound.
    pub fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }

    /// The socket, for another protocol than Kafka's.
    pub fn into_socket(self) -> TcpListener {
        self.socket
    }

    /// Serves connections until `stopping` is true and those that are open are answered.
    pub async fn serve<S: Service>(
        self,
        service: Arc<S>,
        limits: Arc<Limits>,
        tasks: Tasks,
        mut stopping: watch::Receiver<bool>,
    ) {
        let refusals = RateLimit::new(1);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                _ = stopping.wait_for(|stopping| *stopping) => break,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(listener = %self.name, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let admitted = limits.admit(peer.ip()).or_else(|refusal| {
                let beyond = match service.expects_brokers(&self.name) {
                    true => limits.admit_on_trial(peer.ip()),
                    false => None,
                };
                beyond.ok_or(refusal)
            });
            let slot = match admitted {
                Ok(slot) => slot,
                Err(refusal) => {
                    service.count_refusal(refusal);
                    if let Some(before) = refusals.allow() {
                        warn!(listener = %self.name, %peer, %refusal, not_logged = before, "connection refused");
                    }
                    continue;
                }
            };
            set_options(&socket, limits.config());
            let context = ConnectionContext { peer, listener: Arc::clone(&self.name), since: Instant::now() };
            let (service, limits, stopping) = (Arc::clone(&service), Arc::clone(&limits), stopping.clone());
            let connection = Connection { service, context, limits, slot, stopping };
            tasks.spawn_in(
                &mut connections,
                &Handle::current(),
                "serve a connection",
                connection.serve(socket),
            );
        }
        drop(self.socket);
        let answered = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME, answered).await.is_err() {
            warn!(listener = %self.name, connections = connections.len(), "closing connections that are not answered");
        }
    }
}

async fn bind(address: &HostPort, limits: &ConnectionLimits) -> io::Result<TcpListener> {
    if address.host.is_empty() {
        let all = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, address.port));
        let fallback = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, address.port));
        return bind_one(all, limits).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Err(error),
            _ => bind_one(fallback, limits),
        });
    }
    let mut candidates: Vec<_> = lookup_host((address.host.as_str(), address.port)).await?.collect();
    // Clients that are told a name mostly try IPv4 first.
    candidates.sort_by_key(SocketAddr::is_ipv6);
    let mut last = io::Error::other("the name has no address");
    for candidate in candidates {
        match bind_one(candidate, limits) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_one(address: SocketAddr, limits: &ConnectionLimits) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    if let Some(bytes) = limits.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits.backlog)?;
    TcpListener::from_std(socket.into())
}

/// Options that make a connection faster; one that can't be set does no harm.
fn set_options(socket: &TcpStream, limits: &ConnectionLimits) {
    let _ = socket.set_nodelay(true);
    let reference = SockRef::from(socket);
    let _ = reference.set_keepalive(true);
    if let Some(bytes) = limits.send_buffer_bytes {
        let _ = reference.set_send_buffer_size(bytes);
    }
}
