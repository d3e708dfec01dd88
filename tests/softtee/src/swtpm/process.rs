//! The process of a software TPM.
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to listen, and to end when asked to.
const GRACE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// `swtpm socket`; ended by its process id when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    /// Starts it over `directory/state`, on the socket `directory/tpm`, already started up (TPM2_Startup CLEAR).
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let (state, socket) = (directory.join("state"), directory.join("tpm"));
        std::fs::create_dir_all(&state)?;
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let log = File::create(directory.join("log"))?;
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("expected to start swtpm (Debian: apt-get install swtpm)")?;
        let mut process = Self { child, socket };
        process.wait_listening(directory)?;
        Ok(process)
    }

    fn wait_listening(&mut self, directory: &Path) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < GRACE {
            if self.has_ended()? {
                let said = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
                bail!("expected swtpm to serve: {said}");
            }
            if self.socket.exists() && UnixStream::connect(&self.socket).is_ok() {
                return Ok(());
            }
            sleep(POLL);
        }
        bail!("expected swtpm to listen")
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Asks it to end, and waits: its state must be whole before somebody copies it.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.has_ended()? {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("expected a process id")?;
        kill_process(pid, Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if self.has_ended()? {
                return Ok(());
            }
            sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()?;
        ensure!(self.has_ended()?, "expected swtpm to end");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The test has its verdict already.
        let _already_gone = self.end();
    }
}
