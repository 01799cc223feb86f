//! Reading requests off a socket: a length of four bytes, then so many.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, timeout_at};

use super::budget::Sender;
use super::limits::{Limits, RequestMemory, TooSlow};
use super::progress::{Pace, Progress};

/// What is read at once while the length of a frame isn't known, in bytes. So much each connection has for
/// itself: a request that isn't larger never waits for the memory of others.
const OWN_BYTES: usize = 8 << 10;
/// A buffer for so many bytes is made at once, as untouched memory costs nothing; a larger one grows with
/// what arrives.
const WHOLE_BYTES_MAX: usize = 4 << 20;
/// The pace at which a request has to come once it has begun, even if nobody waits for its memory.
const PACE: Pace = Pace { bytes: 32 << 10, interval: Duration::from_secs(30) };

/// One request as it came, without its length. Its memory is accounted for until it is dropped.
#[derive(Debug)]
pub struct Frame {
    /// The bytes.
    pub bytes: Bytes,
    /// The memory that it holds; none if it is so small that the connection's own is enough.
    pub memory: Option<RequestMemory>,
}

/// Why no further frame can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The length is negative or larger than a request may be.
    #[error("a request of {length} bytes is not between 8 and socket.request.max.bytes ({limit})")]
    Length {
        /// The length that was read.
        length: i32,
        /// The largest that is allowed.
        limit: usize,
    },
    /// The other side closed the connection within a frame.
    #[error("the connection was closed within a request: {received} of {length} bytes came")]
    Truncated {
        /// Bytes that came.
        received: usize,
        /// Bytes that were announced.
        length: usize,
    },
    /// Too little of the frame came for too long, or for a moment while others waited for its memory.
    #[error("a request came too slowly: {received} of {length} bytes are here")]
    TooSlow {
        /// Bytes that came.
        received: usize,
        /// Bytes that were announced.
        length: usize,
    },
}

/// Reads frames. Holds no memory while it waits for one to begin.
#[derive(Debug)]
pub struct FrameReader {
    socket: OwnedReadHalf,
    buffer: BytesMut,
}

impl FrameReader {
    /// Reads from `socket`.
    pub fn new(socket: OwnedReadHalf) -> Self {
        Self { socket, buffer: BytesMut::new() }
    }

    /// Waits until the length of the next frame is here. Nothing if the connection was closed before it
    /// began.
    ///
    /// May be dropped and called again: nothing is lost.
    pub async fn next_length(&mut self, limits: &Limits) -> Result<Option<usize>, FrameError> {
        let length = loop {
            if let Some(length) = self.buffer.first_chunk() {
                break i32::from_be_bytes(*length);
            }
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
                self.socket.readable().await?;
            }
            self.buffer.reserve(OWN_BYTES);
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                let received = self.buffer.len();
                return if received == 0 {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated { received, length: 4 })
                };
            }
        };
        let limit = limits.config().request_bytes_max;
        // The smallest request is a header: key, version, correlation id.
        match usize::try_from(length) {
            Ok(bytes) if (8..=limit).contains(&bytes) => Ok(Some(bytes)),
            _ => Err(FrameError::Length { length, limit }),
        }
    }

    /// Waits until the other side closes the connection, while the next frame isn't wanted yet. What comes is
    /// kept, but no more than a connection has memory of its own for: beyond that nobody notices a close.
    ///
    /// May be dropped and called again: nothing is lost.
    pub async fn closed(&mut self) -> io::Result<()> {
        loop {
            let room = OWN_BYTES.saturating_sub(self.buffer.len());
            if room == 0 {
                return std::future::pending().await;
            }
            if self.socket.read_buf(&mut (&mut self.buffer).limit(room)).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Reads the frame whose length [`Self::next_length`] returned, as far as there is memory for it.
    /// `sender` says who sends a frame that begins with these bytes.
    pub async fn read(
        &mut self,
        length: usize,
        limits: &Arc<Limits>,
        sender: impl Fn(&[u8]) -> Sender,
    ) -> Result<Frame, FrameError> {
        let mut memory: Option<RequestMemory> = None;
        let mut progress = Progress::new(PACE, Instant::now().into_std());
        while self.received() < length {
            let granted = memory.as_ref().map_or(0, RequestMemory::granted).max(OWN_BYTES - 4).min(length);
            if self.received() >= granted {
                let received = self.received();
                let memory =
                    memory.get_or_insert_with(|| limits.request(sender(&self.buffer[4..]), length, received));
                // Memory is asked for once there is something to fill it with.
                let too_slow = || FrameError::TooSlow { received, length };
                tokio::select! {
                    ready = timeout_at(progress.deadline().into(), self.socket.readable()) => {
                        ready.map_err(|_| too_slow())??;
                    }
                    TooSlow = memory.too_slow() => return Err(too_slow()),
                }
                memory.more().await.map_err(|TooSlow| too_slow())?;
                progress.restart(Instant::now().into_std());
                continue;
            }
            let bytes = self.fill(length, granted, &progress, memory.as_ref()).await?;
            progress.moved(bytes, Instant::now().into_std());
            if let Some(memory) = &memory {
                memory.arrived(bytes);
            }
        }
        self.buffer.advance(4);
        Ok(Frame { bytes: self.buffer.split_to(length).freeze(), memory })
    }

    /// Bytes of the frame that are here, and perhaps of those behind it.
    fn received(&self) -> usize {
        self.buffer.len() - 4
    }

    /// Reads what there is of a frame, up to `granted` of its bytes, in the time that is left for it. Returns
    /// how many came.
    async fn fill(
        &mut self,
        length: usize,
        granted: usize,
        progress: &Progress,
        memory: Option<&RequestMemory>,
    ) -> Result<usize, FrameError> {
        let received = self.received();
        let room = length.min(WHOLE_BYTES_MAX.max(2 * received).max(granted));
        self.buffer.reserve(room - received);
        let mut rest = (&mut self.buffer).limit(granted - received);
        let pressed = async {
            match memory {
                Some(memory) => memory.too_slow().await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            read = timeout_at(progress.deadline().into(), self.socket.read_buf(&mut rest)) => read,
            TooSlow = pressed => return Err(FrameError::TooSlow { received, length }),
        };
        match read.map_err(|_| FrameError::TooSlow { received, length })?? {
            0 => Err(FrameError::Truncated { received, length }),
            bytes => Ok(bytes),
        }
    }
}
