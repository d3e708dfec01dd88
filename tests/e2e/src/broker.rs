//! A broker: `countersign init` and `serve` in a temporary directory.

use std::{
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    binaries::binary,
    http::Client,
    process::{Process, Said},
};

/// The launch measurement of softtee's healthy guest.
pub const GOOD_MEASUREMENT: [u8; 48] = [0x4d; 48];

/// The workload that [`GOOD_MEASUREMENT`] identifies.
pub const WORKLOAD: &str = "web";

/// How a broker differs from what `countersign init` makes.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Under what guests reach it; 127.0.0.1 must be one of them.
    pub names: &'a [&'a str],
    /// Whether softtee's authorities are configured as trust anchors.
    pub trusts_softtee: bool,
    /// Whether the release policy is the built-in one without its line about simulated platforms.
    pub releases_to_simulated: bool,
    /// The alternatives of the reference set of [`WORKLOAD`] (JSON); default: softtee's healthy SNP guest.
    pub measurements: Option<&'a str>,
    /// Whether the endorsements of softtee's healthy guests lie in the broker's directory.
    pub has_endorsements: bool,
    /// Seconds that a nonce lives.
    pub nonce_seconds: u32,
    /// More lines of the configuration file; before the first table they are limits. `"{url}"` stands for the broker's own.
    pub more: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            names: &["127.0.0.1"],
            trusts_softtee: true,
            releases_to_simulated: true,
            measurements: None,
            has_endorsements: true,
            nonce_seconds: 300,
            more: "",
        }
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    // First: ends before its directory goes.
    process: Process,
    directory: TempDir,
    port: u16,
}

impl Broker {
    /// Starts a broker that knows softtee's healthy guest as [`WORKLOAD`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(setup: &Setup<'_>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let place = directory.path().join("broker");
        // Free a moment ago; nobody else on this machine picks ports of this range one after the other.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut init = Command::new(binary("countersign")?);
        init.arg("init").arg("--offline").arg("--dir").arg(&place).args(["--listen", &format!("127.0.0.1:{port}")]);
        init.args(setup.names.iter().flat_map(|name| ["--name", name]));
        Said::by(&mut init)?.done()?;
        let softtee = directory.path().join("softtee");
        let mut pki = Command::new(binary("softtee")?);
        Said::by(pki.arg("pki").arg("--out").arg(&softtee))?.done()?;
        configure(&place.join("countersign.toml"), setup, &softtee)?;
        let process = serve(&place, directory.path())?;
        let mut broker = Self { process, directory, port };
        broker.wait_ready()?;
        broker.add_reference_values(setup.measurements)?;
        if setup.releases_to_simulated {
            let policy = broker.directory.path().join("release.rego");
            fs::write(&policy, release_policy()?)?;
            let mut set = broker.admin(&["policy", "set", "release"])?;
            Said::by(set.arg(&policy))?.done()?;
        }
        Ok(broker)
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// What `countersign init` made.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        self.directory.path().join("broker")
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("broker/tls/ca.pem")
    }

    /// A client of its API.
    ///
    /// # Errors
    /// When the authority cannot be read.
    pub fn client(&self) -> Result<Client> {
        Client::new(self.port, &self.ca())
    }

    /// A client of its API with the administrator's certificate.
    ///
    /// # Errors
    /// When certificate or key cannot be read.
    pub fn administrator(&self) -> Result<Client> {
        Client::administrator(self.port, &self.ca(), &self.directory.path().join("broker/admin"))
    }

    /// `countersign ARGS --admin DIR`.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn admin(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("countersign")?);
        command.args(args).arg("--admin").arg(self.directory.path().join("broker/admin"));
        Ok(command)
    }

    /// Stores a secret for [`WORKLOAD`].
    ///
    /// # Errors
    /// When the broker does not say that it is stored.
    pub fn put_secret(&self, name: &str, value: &[u8]) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.directory.path())?;
        fs::write(file.path(), value)?;
        let mut put = self.admin(&["secrets", "put", name, "--workload", WORKLOAD])?;
        Said::by(put.arg("--file").arg(file.path()))?.done()?;
        Ok(())
    }

    /// What `countersign explain` says about a decision.
    ///
    /// # Errors
    /// When there is none.
    pub fn explain(&self, decision: &str) -> Result<String> {
        Said::by(&mut self.admin(&["explain", decision])?)?.done()
    }

    /// Everything it logged.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }

    /// Kills it (SIGKILL) and starts it again.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.process.crash()?;
        self.restart()
    }

    /// Stops it in order; see [`Broker::restart`].
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self) -> Result<()> {
        self.process.end()
    }

    /// Starts it again after [`Broker::stop`].
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&mut self) -> Result<()> {
        self.process = serve(&self.directory.path().join("broker"), self.directory.path())?;
        self.wait_ready()
    }

    /// Tells it (SIGHUP) to read trust anchors and endorsements again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hang_up(&self) -> Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Changes the text of its configuration file; see [`Broker::hang_up`].
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn reconfigure(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let file = self.directory.path().join("broker/countersign.toml");
        let (text, beside) = (fs::read_to_string(&file)?, file.with_extension("new"));
        fs::write(&beside, change(text))?;
        Ok(fs::rename(beside, file)?)
    }

    /// Its process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The directory of its store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("broker/data")
    }

    /// The directory of its configured endorsements.
    #[must_use]
    pub fn endorsements(&self) -> PathBuf {
        self.directory.path().join("softtee/endorsements")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let client = self.client()?;
        let begun = Instant::now();
        while !client.is_ready() {
            if let Some(status) = self.process.ended()? {
                bail!("expected the broker to serve, it ended with {status}: {}", self.log()?);
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "expected the broker to be ready: {}", self.log()?);
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Makes the paravisor with this launch measurement (JSON string of hex) known.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub fn add_paravisor(&self, launch: &str) -> Result<()> {
        let launch: Value = serde_json::from_str(launch)?;
        self.add_set(json!({
            "id": "paravisor-test",
            "version": 1,
            "kind": "paravisor",
            "workload": "paravisor",
            "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2100-01-01T00:00:00Z",
            "provenance": "softtee's paravisor",
            "measurements": [{"launch": launch}],
        }))
    }

    fn add_reference_values(&self, measurements: Option<&str>) -> Result<()> {
        let measurements: Value = match measurements {
            Some(json) => serde_json::from_str(json)?,
            None => json!([{"launch": hex::encode(GOOD_MEASUREMENT)}]),
        };
        self.add_set(json!({
            "id": "web-test",
            "version": 1,
            "workload": WORKLOAD,
            "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2100-01-01T00:00:00Z",
            "provenance": "softtee's healthy guest",
            "measurements": measurements,
        }))
    }

    fn add_set(&self, set: Value) -> Result<()> {
        let document = json!({"format": "countersign.reference-values/1", "sets": [set]});
        let file = self.directory.path().join("reference-values.json");
        fs::write(&file, document.to_string())?;
        let mut add = self.admin(&["reference-values", "add"])?;
        Said::by(add.arg(&file))?.done()?;
        Ok(())
    }
}

fn configure(file: &Path, setup: &Setup<'_>, softtee: &Path) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let directory = format!("endorsements = {:?}", softtee.join("endorsements"));
    let mut text = match setup.has_endorsements {
        true => text.replace("endorsements = \"endorsements\"", &directory),
        false => text,
    };
    // `[verification]` is the last table of the file.
    if setup.trusts_softtee {
        text.push_str(&format!("trust_anchors = [{:?}]\n", softtee.join("trust-anchors.pem")));
    }
    let url = text.lines().find_map(|line| line.strip_prefix("audience = ")).unwrap_or_default().to_owned();
    let more = setup.more.replace("\"{url}\"", &url);
    text.push_str(&format!("\n[limits]\nnonce_seconds = {}\n\n{}\n", setup.nonce_seconds, more));
    Ok(fs::write(file, text)?)
}

fn serve(place: &Path, directory: &Path) -> Result<Process> {
    let log: File = OpenOptions::new().create(true).append(true).open(directory.join("log"))?;
    let mut command = Command::new(binary("countersign")?);
    Process::start(command.arg("serve").arg("--config").arg(place.join("countersign.toml")).stderr(log))
}

/// The built-in policy as its source has it, but for the one line that stands between a simulated guest and a secret.
pub(crate) fn release_policy() -> Result<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../broker/verifier/src/policy/default_release.rego");
    let policy = fs::read_to_string(&source).with_context(|| format!("expected {}", source.display()))?;
    let kept: Vec<_> = policy.lines().filter(|line| !line.contains("the platform is simulated")).collect();
    ensure!(kept.len() < policy.lines().count(), "expected a line about simulated platforms in the release policy");
    Ok(kept.join("\n"))
}
