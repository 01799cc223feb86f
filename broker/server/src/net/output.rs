//! Writing responses: encoded bytes, and ranges of files that go to the socket within the kernel.

use std::io::{self, IoSlice};
use std::time::Instant;

use bytes::Bytes;
use ottla_store::ReadSlice;
use ottla_wire::{EncodedFrame, Part};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::kept::KeptPart;
use super::progress::{Pace, Progress};

/// The most that one call of sendfile moves, so that one connection doesn't hold a thread for long.
const SENDFILE_BYTES_MAX: usize = 1 << 20;

/// A whole response: the encoded frame, and the ranges of files that its splices count.
#[derive(Debug, Default)]
pub struct Response {
    /// The frame, its length included.
    pub frame: EncodedFrame,
    /// What a splice's token is an index of.
    pub slices: Vec<ReadSlice>,
    /// The memory that it takes until the client has taken it, if that is much.
    pub kept: Option<KeptPart>,
}

impl Response {
    /// What it takes in memory, in bytes: what is sent from files takes none.
    pub fn memory_bytes(&self) -> usize {
        self.frame.length() - self.slices.iter().map(|slice| slice.len).sum::<usize>()
    }
}

/// A socket that is written to, and how its client takes what is written.
struct Writer<'a, C> {
    socket: &'a TcpStream,
    progress: Progress,
    clock: C,
}

/// Writes whole responses, one after the other, and returns how many bytes that were. What follows each other
/// in memory goes in one call. A slow client is waited for as long as it keeps `pace`.
///
/// # Errors
/// When the connection fails, the client is too slow, or a file is shorter than its range.
pub async fn write(responses: &[Response], socket: &TcpStream, pace: Pace) -> io::Result<usize> {
    write_by(responses, socket, pace, Instant::now).await
}

/// The same by another clock.
async fn write_by(
    responses: &[Response],
    socket: &TcpStream,
    pace: Pace,
    mut clock: impl FnMut() -> Instant,
) -> io::Result<usize> {
    let progress = Progress::new(pace, clock());
    let mut writer = Writer { socket, progress, clock };
    let mut bytes = Vec::new();
    for response in responses {
        for part in response.frame.parts() {
            match part {
                Part::Bytes(part) => bytes.push(part),
                Part::Splice(splice) => {
                    writer.send(&std::mem::take(&mut bytes), true).await?;
                    let slice = &response.slices[splice.token];
                    assert_eq!(slice.len, splice.length, "the splice was made for this slice");
                    writer.send_slice(slice).await?;
                }
            }
        }
    }
    writer.send(&bytes, false).await?;
    Ok(responses.iter().map(|response| response.frame.length()).sum())
}

impl<C: FnMut() -> Instant> Writer<'_, C> {
    /// Sends `parts`; `more` tells the kernel to wait for what follows instead of sending a small packet.
    async fn send(&mut self, parts: &[Bytes], more: bool) -> io::Result<()> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let socket = self.socket;
            let sent = self
                .some(|| {
                    rustix::net::sendmsg(socket, rest, &mut SendAncillaryBuffer::default(), flags)
                        .map_err(io::Error::from)
                })
                .await?;
            IoSlice::advance_slices(&mut rest, sent);
        }
        Ok(())
    }

    async fn send_slice(&mut self, slice: &ReadSlice) -> io::Result<()> {
        if slice.fd().is_none() {
            return self.send(&[slice.to_bytes()?], false).await;
        }
        let (mut position, mut left) = (slice.position, slice.len);
        while left > 0 {
            let (socket, count) = (self.socket, left.min(SENDFILE_BYTES_MAX));
            let sent = self
                .some(|| {
                    let mut offset = position;
                    let file = slice.fd().expect("a file keeps its descriptor");
                    rustix::fs::sendfile(socket, file, Some(&mut offset), count).map_err(io::Error::from)
                })
                .await?;
            if sent == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment is shorter than it was"));
            }
            position += sent as u64;
            left -= sent;
        }
        Ok(())
    }

    /// Sends as much as the client takes now, once it takes something, in the time that is left for it.
    async fn some(&mut self, send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "the client does not take its response");
        let left = self.progress.deadline().saturating_duration_since((self.clock)());
        if left.is_zero() {
            return Err(too_slow());
        }
        let sent = timeout(left, self.socket.async_io(Interest::WRITABLE, send));
        let sent = sent.await.map_err(|_| too_slow())??;
        self.progress.moved(sent, (self.clock)());
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::BytesMut;
    use ottla_log::BatchBuilder;
    use ottla_store::{
        Committer, Disk, DiskFile, LogConfig, OpenMode, PartitionLog, RealDisk, Store, StoreConfig, UpTo,
    };
    use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
    use ottla_wire::Encoder;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    const PACE: Pace = Pace { bytes: 32 << 10, interval: Duration::from_secs(120) };

    fn file(content: &[u8]) -> (tempfile::TempDir, Arc<dyn DiskFile>) {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("x"), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[content]).unwrap();
        (dir, file)
    }

    fn response(file: Arc<dyn DiskFile>, position: u64, len: usize) -> Response {
        let mut encoder = Encoder::for_frame(BytesMut::new());
        encoder.put(b"head");
        encoder.splice(len, 0);
        encoder.put(b"tail");
        let (base_offset, next_offset) = (Offset(0), Offset(1));
        let slice = ReadSlice { file, position, len, base_offset, next_offset, ends_file: true };
        Response { frame: encoder.finish_frame().unwrap(), slices: vec![slice], kept: None }
    }

    async fn connect() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_and_file_ranges_arrive_in_order() {
        let content: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        let (_dir, file) = file(&content);
        let response = response(file, 7, 2_500_000);
        let (mut client, server) = connect().await;
        let writer = tokio::spawn(async move { write(&[response], &server, PACE).await });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();

        assert_eq!(writer.await.unwrap().unwrap(), received.len());
        assert_eq!(received[..4], 2_500_008u32.to_be_bytes());
        assert_eq!(received[4..8], *b"head");
        assert_eq!(received[8..2_500_008], content[7..2_500_007]);
        assert_eq!(received[2_500_008..], *b"tail");
    }

    #[tokio::test]
    async fn responses_that_go_together_keep_their_order() {
        let (_dir, file) = file(b"0123456789");
        let plain = |text: &str| {
            let mut encoder = Encoder::for_frame(BytesMut::new());
            encoder.put(text.as_bytes());
            Response { frame: encoder.finish_frame().unwrap(), ..Response::default() }
        };
        let all = [plain("a"), plain("bc"), response(file, 2, 3), plain("d"), plain("e")];
        let (mut client, server) = connect().await;
        let sent = write(&all, &server, PACE).await.unwrap();
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"\0\0\0\x01a\0\0\0\x02bc\0\0\0\x0bhead234tail\0\0\0\x01d\0\0\0\x01e");
        assert_eq!(sent, received.len());
    }

    fn append(store: &Store, log: &Arc<PartitionLog>, epoch: i32, value: &str) {
        let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(1, None, Some(value.as_bytes()));
        log.append(&batch.build().into(), LeaderEpoch(epoch), 1).unwrap();
        store.commit_now().unwrap();
    }

    /// A response waits for its turn. The log is cut meanwhile, as by a leader that was deposed, and gets its
    /// successor's records in the same place.
    #[tokio::test]
    async fn a_response_holds_what_was_there_or_ends_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let cluster_id = Some(ClusterId([1; 16]));
        let config = StoreConfig {
            cluster_id,
            committer: Committer::Manual,
            ..StoreConfig::new(dir.path(), BrokerId(1))
        };
        let store = Store::open(config).unwrap();
        let name = TopicName::new("t").unwrap();
        let log = store.create_partition(name, TopicId([2; 16]), PartitionIndex(0), LogConfig::default());
        let log = log.unwrap();
        ["one", "two"].iter().for_each(|value| append(&store, &log, 1, value));
        let slice = log.read(Offset(0), 1 << 20, true, UpTo::End).unwrap().unwrap();
        let told = slice.to_bytes().unwrap();
        let response = response(Arc::clone(&slice.file), slice.position, slice.len);
        log.truncate_to(Offset(1)).unwrap();
        append(&store, &log, 2, "TWO");
        let (mut client, server) = connect().await;
        let error = write(&[response], &server, PACE).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert!(told.starts_with(&received[8..]), "the beginning of what was there, and no whole frame");
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_ends_the_connection() {
        let (_dir, file) = file(b"");
        let (_client, server) = connect().await;
        let error = write(&[response(file, 0, 10)], &server, PACE).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// Writes 32 MiB to a client that reads all, while `step` passes at each look at the clock.
    async fn check_slow_client(step: Duration) -> io::Result<usize> {
        let content = vec![7; 32 << 20];
        let (_dir, file) = file(&content);
        let (mut client, server) = connect().await;
        let reading = tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
        let mut now = Instant::now();
        let clock = move || {
            now += step;
            now
        };
        let written = write_by(&[response(file, 0, content.len())], &server, PACE, clock).await;
        drop(server);
        reading.await.unwrap().unwrap();
        written
    }

    #[tokio::test]
    async fn a_slow_client_is_waited_for_as_long_as_it_takes_something() {
        // It takes 32 calls at least, with two looks at the clock each: longer than the interval.
        assert_eq!(check_slow_client(PACE.interval / 40).await.unwrap(), 4 + 8 + (32 << 20));
        assert_eq!(check_slow_client(PACE.interval * 2).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
