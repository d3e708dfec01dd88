//! A guest: a directory that softtee serves as configfs-tsm, and the real agent.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use evidence_formats::binding::Nonce;
use evidence_formats::bundle::Bundle;
use keys::jwk::TeePublicKey;
use tempfile::TempDir;

use crate::{
    binaries::binary,
    broker::Broker,
    process::{Process, Said},
};

/// A running guest. Dropping it unmounts its configfs-tsm.
#[derive(Debug)]
pub struct Guest {
    // First: ends, and with it the mount, before the directory goes.
    _softtee: Process,
    directory: TempDir,
}

/// Whether this machine can mount; says so once when it cannot.
#[must_use]
pub fn can_mount() -> bool {
    let there = Path::new("/dev/fuse").exists();
    if !there {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("/dev/fuse is not here: skipped");
        }
    }
    there
}

impl Guest {
    /// Starts a guest whose softtee state (TOML) is `state`; empty is a healthy Milan guest.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(state: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mount = directory.path().join("tsm");
        fs::create_dir(&mount)?;
        let registers = directory.path().join("registers");
        fs::create_dir(&registers)?;
        let state_file = directory.path().join("state.toml");
        fs::write(&state_file, state)?;
        let mut command = Command::new(binary("softtee")?);
        command.arg("tsm").arg("--mount").arg(&mount).arg("--registers").arg(&registers);
        command.arg("--state").arg(&state_file).stdout(Stdio::null());
        let mut softtee = Process::start(&mut command)?;
        let begun = Instant::now();
        while !is_mount(&mount)? || !is_mount(&registers)? {
            ensure!(softtee.ended()?.is_none(), "expected softtee to serve");
            ensure!(begun.elapsed() < Duration::from_secs(20), "expected softtee to mount");
            sleep(Duration::from_millis(20));
        }
        Ok(Self { _softtee: softtee, directory })
    }

    /// Changes what the guest is from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn becomes(&self, state: &str) -> Result<()> {
        let (file, beside) = (self.directory.path().join("state.toml"), self.directory.path().join("state.new"));
        fs::write(&beside, state)?;
        Ok(fs::rename(beside, file)?)
    }

    /// Leaves the event log of the guest's boot (TDX) where its firmware would.
    ///
    /// # Errors
    /// When there is none.
    pub fn leave_event_log(&self) -> Result<()> {
        let mut command = Command::new(binary("softtee")?);
        command.arg("event-log").arg("--state").arg(self.path("state.toml")).arg("--out").arg(self.path("ccel"));
        Said::by(&mut command)?.done()?;
        Ok(())
    }

    /// The guest's own directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The agent, with the guest's hardware.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn agent(&self) -> Result<Command> {
        let mut command = Command::new(binary("countersign-agent")?);
        command
            .args(["--tpm-address", "none"])
            .arg("--tsm-root")
            .arg(self.path("tsm"))
            .arg("--cc-event-log")
            .arg(self.path("ccel"));
        command.arg("--measurement-registers").arg(self.path("registers"));
        command.arg("--runtime-event-log").arg(self.path("runtime-eventlog"));
        command.current_dir(self.directory.path());
        Ok(command)
    }

    /// `countersign-agent get NAME` from `broker`, to standard output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn get(&self, broker: &Broker, name: &str, more: &[&str]) -> Result<Said> {
        let mut command = self.agent()?;
        command.args(["get", name, "--timeout", "20", "--broker", &broker.url(), "--broker-ca"]).arg(broker.ca());
        Said::by(command.args(more))
    }

    /// Evidence that binds `nonce` and `tee_key`, gathered by the agent.
    ///
    /// # Errors
    /// When there is none.
    pub fn evidence(&self, nonce: &Nonce, tee_key: &TeePublicKey) -> Result<Bundle> {
        let key = self.path("tee-key.json");
        fs::write(&key, serde_json::to_vec(tee_key)?)?;
        let mut command = self.agent()?;
        command.arg("evidence").arg(format!("--nonce={nonce}")).arg("--tee-key").arg(&key);
        let bundle = Said::by(&mut command)?.done()?;
        Bundle::parse_json(bundle.as_bytes()).context("expected a bundle")
    }
}

fn is_mount(path: &Path) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let path = path.to_str().context("expected a plain path")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(path)))
}
