//! Ways to a TPM: one command out, one response back.

use std::{
    fmt,
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, openat},
    io::{Errno, read, write},
};
use zeroize::Zeroizing;

use super::{TpmAddress, TpmError, response::HEADER_BYTES};

/// Largest command and response (MAX_COMMAND_SIZE and MAX_RESPONSE_SIZE of the PC Client profile).
pub(super) const MAX_BYTES: usize = 4096;

/// Longest wait for a response: a hardware TPM may take a minute and more for an RSA key.
const LIMIT: Duration = Duration::from_secs(150);
/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Carries commands to a TPM.
pub trait Transport: fmt::Debug + Send {
    /// Sends one whole command and returns one whole response of at most 4096 bytes.
    ///
    /// # Errors
    /// [`TpmError`] when there is no whole response in time. The connection is of no use afterwards.
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError>;
}

/// Opens what `address` names.
pub(super) fn open(address: &TpmAddress) -> Result<Box<dyn Transport>, TpmError> {
    let refused = |error: std::io::Error| refused_by(address, errno(&error));
    match address {
        TpmAddress::Device(path) => {
            Ok(Box::new(Device { file: open_device(path).map_err(|errno| refused_by(address, errno))? }))
        }
        TpmAddress::Unix(path) => {
            let stream = UnixStream::connect(path).map_err(refused)?;
            stream.set_read_timeout(Some(LIMIT)).and(stream.set_write_timeout(Some(LIMIT))).map_err(refused)?;
            Ok(Box::new(Socket { stream }))
        }
        TpmAddress::Tcp(authority) => {
            let stream = connect(authority).map_err(refused)?;
            stream.set_read_timeout(Some(LIMIT)).and(stream.set_write_timeout(Some(LIMIT))).map_err(refused)?;
            stream.set_nodelay(true).map_err(refused)?;
            Ok(Box::new(Socket { stream }))
        }
    }
}

fn refused_by(address: &TpmAddress, errno: Errno) -> TpmError {
    TpmError::Open { address: address.clone(), errno }
}

fn connect(authority: &str) -> Result<TcpStream, std::io::Error> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Non-blocking: the kernel works on the command while we wait with a limit.
fn open_device(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
}

fn errno(error: &std::io::Error) -> Errno {
    // A socket whose time is up says EAGAIN.
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => Errno::TIMEDOUT,
        Some(errno) => errno,
        None => Errno::IO,
    }
}

/// The kernel's device: one `write` is one command, one `read` is one response.
#[derive(Debug)]
struct Device {
    file: OwnedFd,
}

impl Transport for Device {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let broken = |errno| TpmError::Transport { errno };
        let written = retrying(|| write(&self.file, command)).map_err(broken)?;
        if written != command.len() {
            return Err(broken(Errno::IO));
        }
        self.wait().map_err(broken)?;
        // One byte more than a response may have shows one that is too long.
        let mut response = Zeroizing::new(vec![0; MAX_BYTES.saturating_add(1)]);
        let count = retrying(|| read(&self.file, response.as_mut_slice())).map_err(broken)?;
        if count > MAX_BYTES {
            return Err(TpmError::ResponseSize { size: count });
        }
        response.truncate(count);
        Ok(response)
    }
}

impl Device {
    fn wait(&self) -> Result<(), Errno> {
        let limit = Timespec::try_from(LIMIT).or(Err(Errno::INVAL))?;
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        match retrying(|| poll(&mut ready, Some(&limit)))? {
            0 => Err(Errno::TIMEDOUT),
            _ready => Ok(()),
        }
    }
}

fn retrying<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The data channel of a software TPM: commands and responses as they are, one after the other.
#[derive(Debug)]
struct Socket<S> {
    stream: S,
}

impl<S: Read + Write + fmt::Debug + Send> Transport for Socket<S> {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let broken = |error: std::io::Error| TpmError::Transport { errno: errno(&error) };
        self.stream.write_all(command).map_err(broken)?;
        self.stream.flush().map_err(broken)?;
        let mut response = Zeroizing::new(vec![0; HEADER_BYTES]);
        self.stream.read_exact(&mut response).map_err(broken)?;
        let size = response.get(2..6).and_then(|size| <[u8; 4]>::try_from(size).ok()).map(u32::from_be_bytes);
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
        if !(HEADER_BYTES..=MAX_BYTES).contains(&size) {
            return Err(TpmError::ResponseSize { size });
        }
        response.resize(size, 0);
        let body = response.get_mut(HEADER_BYTES..).unwrap_or_default();
        self.stream.read_exact(body).map_err(broken)?;
        Ok(response)
    }
}
