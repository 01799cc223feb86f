//! Reading requests off a socket: a length of four bytes, then so many.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::limits::Limits;

/// What is read at once while the length of a frame isn't known, in bytes.
const READ_BYTES: usize = 8 << 10;
/// The time that a frame may take from its length to its end: this, and a second for each
/// [`FRAME_BYTES_PER_SECOND_MIN`], so that a slow sender can't hold the memory of others for ever.
const FRAME_TIME_MIN: Duration = Duration::from_secs(30);
const FRAME_BYTES_PER_SECOND_MIN: u64 = 100_000;

/// One request as it came, without its length. Its memory is accounted for until it is dropped.
#[derive(Debug)]
pub struct Frame {
    /// The bytes.
    pub bytes: Bytes,
    /// The memory that it holds.
    pub memory: OwnedSemaphorePermit,
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
    /// The frame took too long.
    #[error("a request of {length} bytes did not come in time")]
    TooSlow {
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

    /// Waits until the length of the next frame is here. Nothing if the connection was closed before it began.
    ///
    /// May be dropped and called again: nothing is lost.
    pub async fn next_length(&mut self, limits: &Limits) -> Result<Option<usize>, FrameError> {
        while self.buffer.len() < 4 {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
                self.socket.readable().await?;
            }
            self.buffer.reserve(READ_BYTES);
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                let received = self.buffer.len();
                return if received == 0 {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated { received, length: 4 })
                };
            }
        }
        let length = i32::from_be_bytes(self.buffer[..4].try_into().expect("four bytes"));
        let limit = limits.config().request_bytes_max;
        // The smallest request is a header: key, version, correlation id.
        match usize::try_from(length) {
            Ok(bytes) if (8..=limit).contains(&bytes) => Ok(Some(bytes)),
            _ => Err(FrameError::Length { length, limit }),
        }
    }

    /// Reads the frame whose length [`Self::next_length`] returned, once there is memory for it.
    pub async fn read(&mut self, length: usize, limits: &Limits) -> Result<Frame, FrameError> {
        let memory = limits.reserve(length).await;
        let time = FRAME_TIME_MIN + Duration::from_secs(length as u64 / FRAME_BYTES_PER_SECOND_MIN);
        timeout(time, self.fill(length)).await.map_err(|_| FrameError::TooSlow { length })??;
        self.buffer.advance(4);
        Ok(Frame { bytes: self.buffer.split_to(length).freeze(), memory })
    }

    async fn fill(&mut self, length: usize) -> Result<(), FrameError> {
        while self.buffer.len() < 4 + length {
            // The system commits pages only as they are written, so that an announced length costs nothing yet.
            let missing = 4 + length - self.buffer.len();
            self.buffer.reserve(missing);
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(FrameError::Truncated { received: self.buffer.len() - 4, length });
            }
        }
        Ok(())
    }
}
