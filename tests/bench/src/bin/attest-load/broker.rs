//! The broker process: made by `countersign init` in a temporary directory, ended with this program.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use time::{Duration as Days, OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, sleep, timeout};
use verifier::policy::ReleasePolicy;

use crate::{client::Endpoint, guest::Fleet};

/// The workload whose guests attest.
const WORKLOAD: &str = "bench";

/// A broker, and everything it needs.
pub(crate) struct Broker {
    directory: TempDir,
    command: Command,
    process: Option<Child>,
    endpoint: Endpoint,
    measurement: String,
}

/// What the process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Processor time, user and system.
    pub(crate) processor: Duration,
    /// Resident memory at the moment, MB.
    pub(crate) memory_mb: f64,
}

impl Usage {
    pub(crate) const fn since(self, before: &Self) -> Self {
        Self { processor: self.processor.saturating_sub(before.processor), memory_mb: self.memory_mb }
    }
}

impl Broker {
    /// Makes a broker that trusts the fleet's made-up roots and is bounded by nothing but the processor.
    pub(crate) fn prepare(program: &Path, fleet: &Fleet) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let home = directory.path().join("broker");
        let address = free_address()?;
        let listen = address.to_string();
        admin(Command::new(program).args(["init", "--offline", "--listen", &listen, "--dir"]).arg(&home))?;
        for (name, bytes) in fleet.endorsements() {
            fs::write(home.join("endorsements").join(name), bytes)?;
        }
        fs::write(home.join("anchors.pem"), fleet.anchors())?;
        let config = home.join("countersign.toml");
        let limits = "[limits]\nrequests_per_second = 1000000\nattestations = 4096\n";
        let text = fs::read_to_string(&config)?
            .replace("[verification]\n", "[verification]\ntrust_anchors = [\"anchors.pem\"]\n");
        ensure!(text.contains("anchors.pem"), "expected a [verification] table in {}", config.display());
        fs::write(&config, format!("{text}\n{limits}"))?;
        let mut command = Command::new(program);
        // As a service manager starts it: what a developer sets for a shell would be measured as well.
        command.env_clear().args(["serve", "--log", "error", "--config"]).arg(&config).stdin(Stdio::null());
        let endpoint = Endpoint::new(address, &home.join("tls/ca.pem"))?;
        Ok(Self { directory, command, process: None, endpoint, measurement: fleet.measurement() })
    }

    /// Starts the process and waits until it is ready: how long that took.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.process = Some(self.command.spawn()?);
        timeout(Duration::from_secs(20), async {
            loop {
                if let Ok(mut client) = self.endpoint.connect().await
                    && client.ready().await.is_ok()
                {
                    return;
                }
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .context("the broker did not become ready")?;
        let taken = begun.elapsed();
        sleep(Duration::from_secs(1)).await;
        Ok(taken)
    }

    /// Stores the secret, the reference values and a release policy for simulated guests.
    pub(crate) fn fill(&self, program: &Path) -> Result<()> {
        let home = self.directory.path();
        let administrator = home.join("broker/admin");
        let write = |name: &str, content: &[u8]| -> Result<PathBuf> {
            let path = home.join(name);
            fs::write(&path, content)?;
            Ok(path)
        };
        let secret = write("secret", &[7; 64])?;
        let values = write("reference-values.json", reference_values(&self.measurement)?.as_bytes())?;
        let policy = write("release.rego", simulated_release().as_bytes())?;
        let run = |arguments: &[&str], file: &Path| {
            admin(Command::new(program).args(arguments).arg(file).arg("--admin").arg(&administrator))
        };
        run(&["reference-values", "add"], &values)?;
        run(&["policy", "set", "release"], &policy)?;
        run(&["secrets", "put", "disk-key", "--workload", WORKLOAD, "--file"], &secret)
    }

    /// Where it is.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Resident memory, MB.
    pub(crate) fn memory_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(self.proc("status")?)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("expected VmRSS")?;
        let kib: u32 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(f64::from(kib) * 1024.0 / 1e6)
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        // proc_pid_stat(5): after the name in parentheses, utime and stime are the 12th and 13th field.
        let stat = fs::read_to_string(self.proc("stat")?)?;
        let (_, fields) = stat.rsplit_once(')').context("expected a name in parentheses")?;
        let ticks: Result<Vec<u32>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
        let ticks = f64::from(ticks?.into_iter().fold(0, u32::saturating_add));
        let per_second = f64::from(u32::try_from(rustix::param::clock_ticks_per_second())?);
        Ok(Usage { processor: Duration::from_secs_f64(ticks / per_second), memory_mb: self.memory_mb()? })
    }

    fn proc(&self, file: &str) -> Result<PathBuf> {
        let id = self.process.as_ref().context("expected a running broker")?.id();
        Ok(PathBuf::from(format!("/proc/{id}/{file}")))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Nothing can be done about a process that is gone already.
            let _gone = process.kill();
            let _reaped = process.wait();
        }
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Runs an administrator's command to its end.
fn admin(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn reference_values(measurement: &str) -> Result<String> {
    let now = OffsetDateTime::now_utc();
    let at = |time: OffsetDateTime| time.format(&Rfc3339);
    let set = json!({
        "id": WORKLOAD, "version": 1, "workload": WORKLOAD, "provenance": "software TEE",
        "not_before": at(now.saturating_sub(Days::days(1)))?, "not_after": at(now.saturating_add(Days::days(1)))?,
        "measurements": [{"launch": measurement}],
    });
    Ok(json!({"format": "countersign.reference-values/1", "sets": [set]}).to_string())
}

/// The built-in policy without its refusal of simulated platforms.
fn simulated_release() -> String {
    let lines = ReleasePolicy::BUILT_IN_SOURCE.lines().filter(|line| !line.contains("the platform is simulated"));
    lines.collect::<Vec<_>>().join("\n")
}
