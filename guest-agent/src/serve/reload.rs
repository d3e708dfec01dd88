//! Telling a program that its files changed.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal},
};
use tokio::task::spawn_blocking;

use super::settings::Reload;
use crate::console;

/// Longest time for a command.
const LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
/// Where commands find others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most bytes of a file with the number of a process.
const NUMBER: u64 = 32;
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// Does it, and says so when it fails. The files stay as they are.
pub(crate) async fn run(reload: &Reload) {
    let reload = reload.clone();
    let done = spawn_blocking(move || match &reload {
        Reload::Command(argv) => command(argv),
        Reload::PidFile(path) => hang_up(path),
        Reload::Unit(unit) => {
            let argv = [SYSTEMCTL, "kill", "--kill-whom=main", "--signal=HUP", unit];
            command(&argv.map(str::to_owned))
        }
    });
    let outcome = done.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
    if let Err(error) = outcome {
        console::say(&format!("nobody was told of the new files: {error}"));
    }
}

/// Runs a program without our environment, and ends it when it takes too long.
fn command(argv: &[String]) -> io::Result<()> {
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PATH).current_dir("/");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    match wait(&mut child)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("{program} ended with {status}"))),
        None => {
            child.kill()?;
            child.wait()?;
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(LOOK);
    }
    Ok(None)
}

/// Sends SIGHUP to the process whose number is in a file. Whoever owns the file names processes of their own only: otherwise
/// they could have us signal any process of this machine.
fn hang_up(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let owner = file.metadata()?.uid();
    let mut text = String::new();
    file.take(NUMBER).read_to_string(&mut text)?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("expected the number of a process"))?;
    // The signal goes to the process that this handle means, or to none: what is read in between is of that one.
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let trusted = owner == 0 || owner == geteuid().as_raw();
    if !trusted && user_of(pid)? != Some(owner) {
        return Err(io::Error::other("expected a process of the user that the file belongs to"));
    }
    Ok(pidfd_send_signal(process, Signal::HUP)?)
}

/// The real user of a process, who may signal it anyway (kill(2)).
fn user_of(pid: Pid) -> io::Result<Option<u32>> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    Ok(users.and_then(|users| users.split_ascii_whitespace().next()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_command_gets_its_arguments_and_nothing_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let script = format!("printf '%s|' \"$1\" \"$(env | grep -c CARGO)\" > {}", out.display());
        command(&["/bin/sh", "-c", &script, "sh", "a b; c"].map(str::to_owned)).unwrap();
        assert_eq!(fs::read_to_string(out).unwrap(), "a b; c|0|");
        assert!(command(&["/bin/false".to_owned()]).is_err());
        assert!(command(&["/nonexistent".to_owned()]).is_err());
    }

    #[test]
    fn the_process_of_a_file_gets_a_signal() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        fs::write(&file, format!("{}\n", child.id())).unwrap();
        hang_up(&file).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(1));
        for wrong in ["", "0", "1", "-1", "x"] {
            fs::write(&file, wrong).unwrap();
            assert!(hang_up(&file).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_names_processes_of_its_own_only() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("pid"), directory.path().join("link"));
        fs::write(&file, child.id().to_string()).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(hang_up(&link).is_err(), "a link may lead to anybody's file");
        if std::os::unix::fs::chown(&file, Some(4321), None).is_ok() {
            assert!(hang_up(&file).is_err(), "the file is somebody else's");
        } else {
            console::say("this test cannot give files away: only the link was tried");
        }
        assert!(child.try_wait().unwrap().is_none(), "nobody got a signal");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
