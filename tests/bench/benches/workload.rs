//! What the Workload API of the agent costs: the time of a fetch, and the memory of an agent with a thousand streams.
//! Fails above the limits.

use std::{
    fs,
    os::unix::net::UnixStream,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Process,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spiffe::WorkloadApiClient;
use tokio_stream::StreamExt;

/// Workloads with a stream each.
const WORKLOADS: usize = 1000;
/// Most kilobytes of resident memory with all of them.
const MEMORY: u64 = 64 * 1024;
/// Fetches that are timed.
const FETCHES: usize = 5000;
/// Longest time of 99 of 100 of them.
const P99: Duration = Duration::from_millis(1);

const IDENTITY: &str = "[identity]\ntrust_domain = \"example.org\"\n[[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\n\
    audiences = [\"db.example\"]\nttl_seconds = 900\n";

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() -> Result<()> {
    if !can_mount() {
        return Ok(());
    }
    // One descriptor for each workload, here and in the agent.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most.map(|most| most.min(16 * 1024)), maximum: most })?;
    let broker = Broker::start(&Setup { more: IDENTITY, ..Setup::default() })?;
    let guest = Guest::start("")?;
    let agent = agent(&guest, &broker)?;
    let endpoint = format!("unix://{}", guest.path("workload.sock").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let idle = memory(&agent)?;
        let client = WorkloadApiClient::connect_to(&endpoint).await?;
        let begun = Instant::now();
        while client.fetch_x509_svid().await.is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "expected an identity");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let x509 = times(async || client.fetch_x509_svid().await.map(drop)).await?;
        let jwt = times(async || client.fetch_jwt_svid(["db.example"], None).await.map(drop)).await?;
        let mut streams = Vec::new();
        for _ in 0..WORKLOADS {
            let client = WorkloadApiClient::connect_to(&endpoint).await?;
            let mut stream = client.stream_x509_contexts().await?;
            stream.next().await.context("expected an identity")??;
            streams.push((client, stream));
        }
        let busy = memory(&agent)?;
        println!("agent, nobody connected:          {:>6.1} MB", megabytes(idle));
        println!("agent, {WORKLOADS} streaming workloads: {:>6.1} MB (limit {})", megabytes(busy), MEMORY / 1024);
        for (name, [median, p99]) in [("X.509-SVID", x509), ("JWT-SVID", jwt)] {
            println!("fetch of a kept {name:<11} median {median:?}, p99 {p99:?} (limit {P99:?})");
        }
        ensure!(busy <= MEMORY, "expected at most {MEMORY} kB");
        ensure!(x509.into_iter().chain(jwt).all(|time| time < P99), "expected fetches within {P99:?}");
        Ok(())
    })
}

fn agent(guest: &Guest, broker: &Broker) -> Result<Process> {
    let uid = rustix::process::getuid().as_raw();
    let settings = format!(
        "broker = {:?}\nbroker_ca = {:?}\n[serve]\nsocket = {:?}\nconnections = 2000\nconnections_per_user = 2000\n\
         [[serve.entry]]\nsvid = 'web'\naudiences = ['db.example']\nmatch.uid = {uid}\n",
        broker.url(),
        broker.ca(),
        guest.path("workload.sock"),
    );
    fs::write(guest.path("agent.toml"), settings)?;
    let mut command = guest.agent()?;
    command.arg("serve").arg("--config").arg(guest.path("agent.toml")).stderr(Stdio::null());
    let agent = Process::start(&mut command)?;
    let begun = Instant::now();
    while UnixStream::connect(guest.path("workload.sock")).is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(20), "expected the agent to listen");
        sleep(Duration::from_millis(10));
    }
    Ok(agent)
}

/// Resident memory in kilobytes.
fn memory(agent: &Process) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("expected VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// For people.
fn megabytes(kilobytes: u64) -> f64 {
    f64::from(u32::try_from(kilobytes).unwrap_or(u32::MAX)) / 1024.0
}

/// Median and 99th percentile.
async fn times<E: std::error::Error + Send + Sync + 'static>(
    fetch: impl AsyncFn() -> Result<(), E>,
) -> Result<[Duration; 2]> {
    let mut times = Vec::with_capacity(FETCHES);
    for _ in 0..FETCHES {
        let begun = Instant::now();
        fetch().await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |place: usize| times.get(place).copied().unwrap_or_default();
    Ok([at(FETCHES / 2), at(FETCHES / 100 * 99)])
}
