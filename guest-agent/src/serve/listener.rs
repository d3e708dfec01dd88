//! The socket: where it comes from, who may connect, and how connections end.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs, io,
    os::unix::{fs::FileTypeExt, fs::PermissionsExt, net},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, codegen::Service};

use super::{
    api::Api, authority::PlainAuthority, peer::Peer, proto::spiffe_workload_api_server::SpiffeWorkloadApiServer,
    settings::Limits,
};
use crate::console;

/// Calls of one connection at once.
const CALLS: u32 = 16;
/// Bytes of one request: a token is the largest thing in one.
const REQUEST: usize = 64 * 1024;
/// How long a connection without a call is kept.
const IDLE: Duration = Duration::from_secs(300);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(30);
/// How long open calls have to end.
const GRACE: Duration = Duration::from_secs(5);
/// The mode of the socket: everybody may connect, the entries decide.
const MODE: u32 = 0o666;
/// The name of the socket in the unit file.
const NAME: &str = "workload";

/// A listening socket.
pub(crate) struct Socket {
    listener: UnixListener,
    /// Where it is, when it was made here and is to be removed in the end.
    made: Option<PathBuf>,
}

impl Socket {
    /// The one that the service manager handed over, else a new one at `path`. Must be called within the runtime, before
    /// there are other threads.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(listener) = handed_over()? {
            listener.set_nonblocking(true)?;
            return Ok(Self { listener: UnixListener::from_std(listener)?, made: None });
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        Ok(Self { listener, made: Some(path.to_owned()) })
    }

    /// Serves until `stop`, then lets calls end.
    pub(crate) async fn serve(self, api: Api, limits: Limits, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(limits.connections));
        let users = Arc::new(Users::default());
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for connections to end.
                    console::say(&format!("a connection cannot be accepted: {error}"));
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(peer) = Peer::of(&stream) else { continue };
            // Whoever is too many is cut at once: a place that is waited for would let one user keep all others out.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let Some(turn) = Users::enter(&users, peer.uid, limits.per_user) else { continue };
            let (api, stop) = (api.clone(), stop.clone());
            connections.spawn(async move {
                serve_connection(stream, peer, api, stop).await;
                drop((place, turn));
            });
        }
        connections.close();
        let _deadline = timeout(GRACE, connections.wait()).await;
        if let Some(path) = self.made {
            // Whoever comes next removes it as well.
            let _left_behind = fs::remove_file(path);
        }
    }
}

/// The socket of the service manager (`sd_listen_fds(3)`): the one called `workload`, or the only one.
fn handed_over() -> io::Result<Option<net::UnixListener>> {
    let names: Vec<String> = match sd_notify::listen_fds_with_names() {
        Ok(sockets) => sockets.map(|(_, name)| name).collect(),
        Err(_none) => Vec::new(),
    };
    let place = match names.iter().position(|name| name == NAME) {
        Some(place) => place,
        None if names.len() == 1 => 0,
        None if names.is_empty() => return Ok(None),
        None => return Err(io::Error::other("expected a socket with FileDescriptorName=workload")),
    };
    // Marks it close-on-exec besides: programs that are run after a change of files get no socket.
    listenfd::ListenFd::from_env().take_unix_listener(place)
}

/// Removes the socket of an agent that was killed; nothing else, and not that of one that runs.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match net::UnixStream::connect(path) {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            Err(_nobody_listens) => fs::remove_file(path),
        },
    }
}

/// How many connections each user has.
#[derive(Debug, Default)]
struct Users(Mutex<HashMap<u32, usize>>);

/// One of them. Dropping it counts it out.
#[derive(Debug)]
struct Turn {
    users: Arc<Users>,
    uid: u32,
}

impl Users {
    fn enter(users: &Arc<Self>, uid: u32, most: usize) -> Option<Turn> {
        let mut counts = users.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid).or_default();
        if *count >= most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Turn { users: Arc::clone(users), uid })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

/// The calls of one connection: how many are open, and when the last one changed.
#[derive(Debug)]
struct Activity {
    open: AtomicUsize,
    started: Instant,
    /// Milliseconds after `started`.
    changed: AtomicU64,
}

impl Activity {
    fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.changed.store(now, Ordering::Relaxed);
    }

    /// What becomes of a connection; `told` when its end was announced already.
    fn look(&self, told: bool) -> Look {
        let since = Duration::from_millis(self.changed.load(Ordering::Relaxed));
        let idle = self.open.load(Ordering::Relaxed) == 0 && self.started.elapsed().saturating_sub(since) > IDLE;
        match (idle, told) {
            (false, false | true) => Look::Keep,
            (true, false) => Look::Tell,
            (true, true) => Look::Cut,
        }
    }
}

/// What becomes of a connection that is looked at now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It stays.
    Keep,
    /// It has no call for too long: HTTP/2 announces the end.
    Tell,
    /// That did not end it: it never spoke HTTP/2, or does not read.
    Cut,
}

/// A call that is open until its answer was sent.
struct Open(Arc<Activity>);

impl Open {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        activity.touch();
        Self(Arc::clone(activity))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.touch();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_connection(stream: UnixStream, peer: Peer, api: Api, stop: CancellationToken) {
    let peer = Arc::new(peer);
    let server = SpiffeWorkloadApiServer::new(api).max_decoding_message_size(REQUEST);
    let activity =
        Arc::new(Activity { open: AtomicUsize::new(0), started: Instant::now(), changed: AtomicU64::new(0) });
    let calls = Arc::clone(&activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (mut server, open) = (server.clone(), Open::new(&calls));
        request.extensions_mut().insert(Arc::clone(&peer));
        async move {
            let answer: Result<hyper::Response<Body>, Infallible> = server.call(request).await;
            answer.map(|answer| answer.map(|body| Held { body, _open: open }))
        }
    });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(CALLS)
        .initial_stream_window_size(16 * 1024)
        .initial_connection_window_size(64 * 1024)
        .max_header_list_size(16 * 1024)
        .max_send_buf_size(16 * 1024)
        .max_pending_accept_reset_streams(16);
    let connection = http.serve_connection(TokioIo::new(PlainAuthority::new(stream)), service);
    tokio::pin!(connection);
    let mut look = interval(LOOK);
    let (mut ending, mut told) = (false, false);
    loop {
        tokio::select! {
            // How a connection ends is the workload's business.
            _ended = &mut connection => return,
            () = stop.cancelled(), if !ending => {
                connection.as_mut().graceful_shutdown();
                ending = true;
            }
            _tick = look.tick(), if !ending => match activity.look(told) {
                Look::Keep => {}
                Look::Tell => {
                    connection.as_mut().graceful_shutdown();
                    told = true;
                }
                Look::Cut => return,
            },
        }
    }
}

/// A body that counts as an open call for as long as it is sent.
struct Held {
    body: Body,
    _open: Open,
}

impl hyper::body::Body for Held {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_user_has_so_many_connections_and_no_more() {
        let users = Arc::new(Users::default());
        let first = Users::enter(&users, 1, 2).unwrap();
        let _second = Users::enter(&users, 1, 2).unwrap();
        assert!(Users::enter(&users, 1, 2).is_none());
        assert!(Users::enter(&users, 2, 2).is_some(), "another user's");
        drop(first);
        assert!(Users::enter(&users, 1, 2).is_some());
    }

    #[test]
    fn a_connection_without_a_call_is_told_once_and_cut_then() {
        let activity = |open: usize, ago: Duration| Activity {
            open: AtomicUsize::new(open),
            started: Instant::now().checked_sub(ago).unwrap(),
            changed: AtomicU64::new(0),
        };
        let long = IDLE + LOOK;
        for (activity, told, then) in [
            (activity(0, IDLE / 2), false, Look::Keep),
            (activity(1, long), false, Look::Keep),
            (activity(0, long), false, Look::Tell),
            (activity(0, long), true, Look::Cut),
        ] {
            assert_eq!(activity.look(told), then, "{activity:?}");
        }
        let spoke = activity(0, long);
        spoke.touch();
        assert_eq!(spoke.look(false), Look::Keep);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stale_socket_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let open = Socket::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
        assert!(Socket::open(&path).is_err(), "another agent runs");
        drop(open.listener);
        assert!(path.exists() && Socket::open(&path).is_ok());
        let file = directory.path().join("file");
        fs::write(&file, b"x").unwrap();
        assert!(Socket::open(&file).is_err() && file.exists());
    }
}
