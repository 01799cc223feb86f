//! The socket of a running cluster: `up` answers, `apply`, `get` and `delete` ask.

use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::folder::{DataFolder, FolderError};
use crate::protocol::{Refusal, Reply, Request};

/// The longest request, in bytes: manifests as JSON, which is longer than YAML.
const REQUEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The longest reply, in bytes.
const REPLY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many requests are answered at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a request may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reply may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// What fits a socket's address on every system, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Why a running cluster could not be asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// No `up` runs there.
    #[error("no local cluster runs on {}", folder.display())]
    NotRunning {
        /// The data folder.
        folder: PathBuf,
    },
    /// The conversation broke off.
    #[error("the local cluster on {} gave no answer: {source}", folder.display())]
    Io {
        /// The data folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It refused.
    #[error("{}", .0.reasons.join("\n"))]
    Refused(Refusal),
}

impl AskError {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotRunning { .. } => {
                "start one with `ottla up`, or name its folder with --data DIR".to_owned()
            }
            Self::Io { .. } => "see whether `ottla up` still runs there, and try again".to_owned(),
            Self::Refused(refusal) => refusal.remedy.clone(),
        }
    }
}

/// Asks the cluster that runs on `folder`.
///
/// # Errors
/// [`AskError`]: nobody runs there, the conversation broke, or the request was refused.
pub async fn ask(folder: &DataFolder, request: &Request) -> Result<Reply, AskError> {
    let failed = |source| AskError::Io { folder: folder.root().to_owned(), source };
    let near = Near::to(&folder.socket()).map_err(|error| absent_or(error, folder))?;
    let stream = UnixStream::connect(&near.path).await.map_err(|error| absent_or(error, folder))?;
    let reply = timeout(REPLY_TIMEOUT, converse(stream, request))
        .await
        .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    match reply {
        Reply::Refused(refusal) => Err(AskError::Refused(refusal)),
        reply => Ok(reply),
    }
}

fn absent_or(error: io::Error, folder: &DataFolder) -> AskError {
    let folder = folder.root().to_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning { folder },
        _ => AskError::Io { folder, source: error },
    }
}

async fn converse(mut stream: UnixStream, request: &Request) -> io::Result<Reply> {
    write_line(&mut stream, request).await?;
    let line = read_line(&mut stream, REPLY_BYTES_MAX).await?;
    serde_json::from_str(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Binds the socket of `folder`, for this user alone. The folder's lock must be held.
pub(crate) fn bind(folder: &DataFolder) -> Result<UnixListener, FolderError> {
    let path = folder.socket();
    let new = path.with_extension("sock.new");
    let listen = || {
        // Left behind by one that was killed; the lock says that nobody uses them.
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&Near::to(&new)?.path)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, &path)?;
        Ok(listener)
    };
    listen().map_err(|source| FolderError::Io { path: path.clone(), source })
}

/// Answers requests until it is dropped.
pub(crate) async fn serve<F, A>(listener: UnixListener, answer: A)
where
    A: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send,
{
    let answer = Arc::new(answer);
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = free.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, say: others may free some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            // One that goes away without its answer is its own affair.
            let _ = serve_one(stream, &*answer).await;
            drop(permit);
        });
    }
}

async fn serve_one<F: Future<Output = Reply>>(
    mut stream: UnixStream,
    answer: impl Fn(Request) -> F,
) -> io::Result<()> {
    let line = timeout(READ_TIMEOUT, read_line(&mut stream, REQUEST_BYTES_MAX)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => answer(request).await,
        Err(error) => Reply::Refused(Refusal {
            reasons: vec![format!("the request is not understood: {error}")],
            remedy: "use the same version of `ottla` for both".into(),
            invalid: false,
        }),
    };
    write_line(&mut stream, &reply).await
}

async fn write_line(stream: &mut UnixStream, message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn read_line(stream: &mut UnixStream, bytes_max: u64) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream).take(bytes_max).read_line(&mut line).await?;
    if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A path to a socket that is short enough for its address, however deep its folder lies.
struct Near {
    path: PathBuf,
    _folder: Option<File>,
}

impl Near {
    fn to(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = File::open(parent)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(request: Request) -> impl Future<Output = Reply> + Send {
        std::future::ready(match request {
            Request::Get { kind, .. } => Reply::Objects { objects: vec![kind.into()] },
            _ => Reply::Refused(Refusal {
                reasons: vec!["no".into()],
                remedy: "ask less".into(),
                invalid: false,
            }),
        })
    }

    async fn check(folder: DataFolder) {
        fs::create_dir_all(folder.root()).unwrap();
        let server = tokio::spawn(serve(bind(&folder).unwrap(), echo));
        let mode = fs::metadata(folder.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let get = Request::Get { kind: "Topic".into(), name: None };
        assert_eq!(ask(&folder, &get).await.unwrap(), Reply::Objects { objects: vec!["Topic".into()] });
        let refused = ask(&folder, &Request::Cluster).await.unwrap_err();
        assert_eq!((refused.to_string().as_str(), refused.remedy().as_str()), ("no", "ask less"));
        server.abort();
        let _ = server.await;
        nobody_answers(&folder, &get).await;
        bind(&folder).unwrap();
    }

    /// A program that another test starts holds this one's sockets between its fork and its exec: the last
    /// listener may be gone a moment later.
    async fn nobody_answers(folder: &DataFolder, request: &Request) {
        loop {
            match ask(folder, request).await.unwrap_err() {
                AskError::NotRunning { .. } => return,
                AskError::Io { .. } => tokio::task::yield_now().await,
                AskError::Refused(refusal) => panic!("answered: {refusal:?}"),
            }
        }
    }

    #[tokio::test]
    async fn questions_are_answered_refused_and_refused_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        check(DataFolder::new(dir.path())).await;
    }

    #[tokio::test]
    async fn a_path_longer_than_a_sockets_address_works_too() {
        let dir = tempfile::tempdir().unwrap();
        check(DataFolder::new(dir.path().join("long".repeat(40)).join("data"))).await;
    }

    #[tokio::test]
    async fn an_absent_folder_is_no_running_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(dir.path().join("none"));
        let error = ask(&folder, &Request::Cluster).await.unwrap_err();
        assert!(error.to_string().starts_with("no local cluster runs on "), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(dir.path());
        let server = tokio::spawn(serve(bind(&folder).unwrap(), echo));
        let mut stream = UnixStream::connect(folder.socket()).await.unwrap();
        stream.write_all(b"{\"request\":\"dance\"}\n").await.unwrap();
        let line = read_line(&mut stream, REPLY_BYTES_MAX).await.unwrap();
        assert!(line.contains("not understood"), "{line}");
        server.abort();
    }
}
