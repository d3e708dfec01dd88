//! Child processes that end with their owner.

use std::{
    process::{Child, Command, ExitStatus, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end when asked to.
const GRACE: Duration = Duration::from_secs(10);

/// A process of ours. Dropping it asks it to end, then ends it.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("expected to start {command:?}"))?))
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn crash(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Whether it ended, and how.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("expected a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it to end, and ends it when it does not.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn end(&mut self) -> Result<()> {
        if self.0.try_wait()?.is_some() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(Duration::from_millis(10));
        }
        self.crash()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The test has its verdict already.
        let _already_gone = self.end();
    }
}

/// What a command that ran to its end said.
#[derive(Debug)]
pub struct Said {
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn by(command: &mut Command) -> Result<Self> {
        let Output { status, stdout, stderr } =
            command.output().with_context(|| format!("expected to run {command:?}"))?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Ok(Self { status: status.code().unwrap_or(-1), stdout, stderr })
    }

    /// Standard output of a command that must succeed.
    ///
    /// # Errors
    /// When it failed; says what it said.
    pub fn done(self) -> Result<String> {
        if self.status != 0 {
            bail!("status {}: {}", self.status, self.stderr);
        }
        Ok(String::from_utf8(self.stdout)?)
    }
}
