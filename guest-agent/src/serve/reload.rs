//! Telling a program that its files changed.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::task::spawn_blocking;

use super::settings::Reload;
use crate::console;

/// Longest time for a command.
const LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
/// Where commands find others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
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

/// Sends SIGHUP to the process whose number is in a file.
fn hang_up(path: &Path) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("expected the number of a process"))?;
    Ok(pidfd_send_signal(pidfd_open(pid, PidfdFlags::empty())?, Signal::HUP)?)
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
}
