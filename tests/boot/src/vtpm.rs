//! The machine's TPM: swtpm as QEMU wants it, certified by softtee's manufacturer.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use e2e::process::Process;
use softtee::swtpm::SwTpm;
use tempfile::TempDir;

/// A TPM that waits for the machine to switch it on.
#[derive(Debug)]
pub struct Vtpm {
    // First: ends before its directory goes.
    _process: Process,
    directory: TempDir,
}

impl Vtpm {
    /// A new one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let made = SwTpm::at(directory.path())?;
        made.connect()?.shutdown()?;
        drop(made);
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--terminate", "--tpmstate"]);
        command.arg(format!("dir={}", directory.path().join("state").display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}", socket(directory.path()).display()));
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let begun = Instant::now();
        while !socket(directory.path()).exists() {
            ensure!(process.ended()?.is_none(), "expected swtpm to serve");
            ensure!(begun.elapsed() < Duration::from_secs(20), "expected swtpm to listen");
            sleep(Duration::from_millis(20));
        }
        Ok(Self { _process: process, directory })
    }

    /// Where the machine reaches it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(self.directory.path())
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("control")
}
