//! Sockets to listen at: handed over by systemd, or made here.

use std::{
    env, fs,
    io::{self, ErrorKind},
    os::{
        fd::{OwnedFd, RawFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt},
            net::{UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::Mode,
    io::Errno,
    net::{
        AddressFamily, SocketType,
        sockopt::{socket_acceptconn, socket_domain, socket_type},
    },
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open, umask},
};
use thiserror::Error;
use tokio::net::UnixListener;

/// The first descriptor that systemd hands over (sd_listen_fds(3)).
const FIRST: RawFd = 3;
/// Most sockets of one service.
const MOST: RawFd = 64;

/// Why there is no socket to serve a key at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Nobody handed one over.
    #[error("expected a socket from systemd (LISTEN_FDS)")]
    NotActivated,
    /// What was handed over is something else.
    #[error("expected descriptor {descriptor} to be a listening AF_UNIX stream socket")]
    Other {
        /// Which.
        descriptor: RawFd,
        /// Why it cannot be looked at.
        source: Option<io::Error>,
    },
    /// Somebody else serves at this path.
    #[error("expected nobody to serve at {}", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("expected to listen at {}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Sockets to listen at. Dropping them removes the one that was made here.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(super) sockets: Vec<UnixListener>,
    ours: Option<PathBuf>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
            // One that stays is stale, and the next start removes it.
            let _stale = fs::remove_file(path);
        }
    }
}

impl Listeners {
    /// Those that systemd handed over. Needs a runtime.
    pub(crate) fn from_systemd() -> Result<Self, SocketError> {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<RawFd>().ok());
        let ours = number("LISTEN_PID") == Some(getpid().as_raw_nonzero().get());
        let count = number("LISTEN_FDS").filter(|count| ours && (1..=MOST).contains(count));
        let count = count.ok_or(SocketError::NotActivated)?;
        let sockets = (FIRST..FIRST.saturating_add(count)).map(take).collect::<Result<_, _>>()?;
        Ok(Self { sockets, ours: None })
    }

    /// One at `path`, for root alone. A socket that nobody serves any more is replaced. Needs a runtime.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        remove_stale(path)?;
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = StdListener::bind(path);
        umask(before);
        let ours = Some(path.to_owned());
        Ok(Self { sockets: vec![listener(bound.map_err(failed)?).map_err(failed)?], ours })
    }
}

/// A stale socket makes systemd-cryptsetup fail hard ("Connection refused").
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => match StdStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
            Err(_) | Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        },
        Ok(_other) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Descriptor `descriptor` of this process, as one that we own.
fn take(descriptor: RawFd) -> Result<UnixListener, SocketError> {
    let unfit = |source: Option<io::Error>| SocketError::Other { descriptor, source };
    let taken = own(descriptor).map_err(|errno| unfit(Some(errno.into())))?;
    let fits = socket_domain(&taken) == Ok(AddressFamily::UNIX)
        && socket_type(&taken) == Ok(SocketType::STREAM)
        && socket_acceptconn(&taken) == Ok(true);
    if !fits {
        return Err(unfit(None));
    }
    listener(taken.into()).map_err(|source| unfit(Some(source)))
}

/// A duplicate of a descriptor that is known by number alone: by way of a process descriptor, because a bare number proves
/// nothing to the compiler.
fn own(descriptor: RawFd) -> Result<OwnedFd, Errno> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(this, descriptor, PidfdGetfdFlags::empty())
}

fn listener(socket: StdListener) -> io::Result<UnixListener> {
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/data.key");
        let first = Listeners::bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Listeners::bind(&path), Err(SocketError::InUse { .. })));
        drop(first);
        assert!(!path.exists());
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listeners::bind(&path).unwrap());
        fs::write(&path, b"a key that somebody keeps there").unwrap();
        assert!(matches!(Listeners::bind(&path), Err(SocketError::InUse { .. })));
    }

    #[tokio::test]
    async fn only_a_listening_unix_socket_is_taken() {
        use std::os::fd::AsRawFd;
        let directory = tempfile::tempdir().unwrap();
        let socket = StdListener::bind(directory.path().join("s")).unwrap();
        assert!(take(socket.as_raw_fd()).is_ok());
        let connected = StdStream::connect(directory.path().join("s")).unwrap();
        assert!(matches!(take(connected.as_raw_fd()), Err(SocketError::Other { source: None, .. })));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(take(tcp.as_raw_fd()), Err(SocketError::Other { source: None, .. })));
        assert!(matches!(take(9999), Err(SocketError::Other { source: Some(_), .. })));
    }

    #[tokio::test]
    async fn without_systemd_there_is_none() {
        assert!(matches!(Listeners::from_systemd(), Err(SocketError::NotActivated)));
    }
}
