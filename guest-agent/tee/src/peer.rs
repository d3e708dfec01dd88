//! Who is at the other end of a Unix socket: a handle that stays with that process.
#![expect(unsafe_code, reason = "the socket option is in no safe interface yet")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

/// A pidfd of the process that connected, or made the listening end (`SO_PEERPIDFD`, Linux 6.5).
///
/// Unlike the number that `SO_PEERCRED` gives, it never comes to mean another process.
///
/// # Errors
/// When the kernel is older, or the process was reaped already.
pub fn peer_process(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    // 4, the size of a C int.
    let mut length: libc::socklen_t = 4;
    // SAFETY: the option writes one `c_int` to the pointer and the length that it wrote to the other; both are live locals of
    // that type, and the length says the size of the first.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            ptr::from_mut(&mut pidfd).cast(),
            ptr::from_mut(&mut length),
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    if pidfd < 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: the kernel made this descriptor for us (close-on-exec) and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs, os::fd::AsFd, os::unix::net::UnixStream, process};

    use super::*;

    #[test]
    fn the_process_at_the_other_end_is_named_by_a_handle() {
        let (here, _there) = UnixStream::pair().unwrap();
        match peer_process(here.as_fd()) {
            Ok(pidfd) => {
                let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
                let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap();
                assert_eq!(pid.trim(), process::id().to_string());
            }
            // Older than Linux 6.5.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT)),
        }
        assert!(peer_process(fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
