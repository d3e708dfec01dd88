//! An Azure confidential VM: a TPM behind softtee's paravisor, its metadata service, and the real agent.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use evidence_formats::{binding::Nonce, bundle::Bundle};
use keys::jwk::TeePublicKey;
use tee::tpm::{Tpm, TpmAddress};
use tempfile::TempDir;

use crate::{
    binaries::binary,
    broker::Broker,
    process::{Process, Said},
};

/// A running VM.
#[derive(Debug)]
pub struct AzureGuest {
    // First: ends before its directory goes.
    _softtee: Process,
    directory: TempDir,
    metadata: String,
}

impl AzureGuest {
    /// Starts a VM whose softtee state (TOML) is `state`; empty is a healthy one on SNP.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(state: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let state_file = directory.path().join("state.toml");
        fs::write(&state_file, state)?;
        let mut command = Command::new(binary("softtee")?);
        command.arg("paravisor").arg("--dir").arg(directory.path()).arg("--state").arg(&state_file);
        let mut softtee = Process::start(command.stdout(Stdio::null()))?;
        let ready = directory.path().join("metadata");
        let begun = Instant::now();
        while !ready.exists() {
            ensure!(softtee.ended()?.is_none(), "expected softtee to serve");
            ensure!(begun.elapsed() < Duration::from_secs(20), "expected softtee to be ready");
            sleep(Duration::from_millis(20));
        }
        let metadata = fs::read_to_string(&ready)?;
        Ok(Self { _softtee: softtee, directory, metadata })
    }

    /// Changes what the VM is from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn becomes(&self, state: &str) -> Result<()> {
        let (file, beside) = (self.path("state.toml"), self.path("state.new"));
        fs::write(&beside, state)?;
        Ok(fs::rename(beside, file)?)
    }

    /// Leaves another event log where the kernel has the firmware's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn leave_boot_log(&self, log: &[u8]) -> Result<()> {
        Ok(fs::write(self.path("boot-log"), log)?)
    }

    /// A connection to its TPM.
    ///
    /// # Errors
    /// When it is away.
    pub fn tpm(&self) -> Result<Tpm> {
        Ok(Tpm::open(&TpmAddress::Unix(self.path("tpm")))?)
    }

    /// The agent, on a kernel that offers a TPM only.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn agent(&self) -> Result<Command> {
        let mut command = Command::new(binary("countersign-agent")?);
        command.arg("--tsm-root").arg(self.path("no-tsm")).arg("--sev-guest-device").arg(self.path("no-device"));
        command.arg("--tpm-address").arg(format!("unix:{}", self.path("tpm").display()));
        command.arg("--tpm-event-log").arg(self.path("boot-log")).arg("--tpm-ima-log").arg(self.path("no-list"));
        command.arg("--metadata-service").arg(&self.metadata).current_dir(self.directory.path());
        Ok(command)
    }

    /// `countersign-agent get NAME` from `broker`, to standard output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn get(&self, broker: &Broker, name: &str) -> Result<Said> {
        let mut command = self.agent()?;
        command.args(["get", name, "--timeout", "20", "--broker", &broker.url(), "--broker-ca"]).arg(broker.ca());
        Said::by(&mut command)
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
        Bundle::parse_json(Said::by(&mut command)?.done()?.as_bytes()).context("expected a bundle")
    }

    /// What the metadata service answers to a POST of `body` to `path`.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn post_metadata(&self, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.metadata.trim_start_matches("http://"))?;
        write!(stream, "POST {path} HTTP/1.1\r\nMetadata: true\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("expected a whole answer")?;
        Ok(body.to_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
