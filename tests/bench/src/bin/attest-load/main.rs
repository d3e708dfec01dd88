//! Load on `/v1/attest`: a real broker process, TLS with keep-alive on loopback, guests of a software TEE.
//!
//! Evidence is made before the clock starts, so the generator only sends and reads while it is measured. What counts is
//! the broker's own processor time for each request beside the cryptography that one request cannot do without.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

mod broker;
mod client;
mod guest;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use broker::{Broker, Usage};
use clap::Parser;
use client::Endpoint;
use guest::Fleet;
use tokio::{task::JoinSet, time::Instant};

/// Memory that an idle broker may use.
const IDLE_LIMIT_MB: f64 = 40.0;
/// Milliseconds from start to `/readyz`.
const START_LIMIT_MS: f64 = 300.0;
/// Share of the bare cryptographic limit that one core must reach.
const SHARE_LIMIT: f64 = 0.5;

#[derive(Debug, Parser)]
#[command(about = "Load on /v1/attest of a real broker process")]
struct Args {
    /// The broker's program
    #[arg(long, value_name = "FILE")]
    broker: PathBuf,
    /// Connections that are open at once; may be repeated
    #[arg(long = "connections", value_name = "N", default_values_t = [1, 16, 128])]
    connections: Vec<usize>,
    /// Requests of each run
    #[arg(long, value_name = "N", default_value_t = 2000)]
    requests: usize,
}

/// What one run showed.
struct Run {
    connections: usize,
    requests: usize,
    wall: Duration,
    latencies: Vec<Duration>,
    usage: Usage,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let bare = guest::bare_micros()?;
    let fleet = Arc::new(Fleet::new()?);
    let mut broker = Broker::prepare(&args.broker, &fleet)?;
    let start = broker.start().await?;
    let idle = broker.memory_mb()?;
    broker.fill(&args.broker)?;

    println!("start to readyz: {:.0} ms (limit {START_LIMIT_MS:.0})", start.as_secs_f64() * 1e3);
    println!("idle memory: {idle:.1} MB (limit {IDLE_LIMIT_MB:.0})");
    println!("bare cryptography of one request (P-384 verify, P-256 ECDH, ES256 sign): {bare:.0} µs\n");
    println!(
        "| connections | requests/s | p50 ms | p99 ms | broker µs/request | requests/s per core | share of bare | RSS MB |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut holds = start.as_secs_f64() * 1e3 <= START_LIMIT_MS && idle <= IDLE_LIMIT_MB;
    for connections in args.connections {
        let run = measure(&broker, &fleet, connections, args.requests).await?;
        holds &= print(&run, bare)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One run: the bodies are made first, then sent by `connections` clients at once.
async fn measure(broker: &Broker, fleet: &Arc<Fleet>, connections: usize, requests: usize) -> Result<Run> {
    let endpoint = broker.endpoint();
    let bodies = bodies(endpoint, fleet, requests).await?;
    let each = requests.div_ceil(connections);
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(endpoint.connect().await?);
    }
    // The first requests fill the broker's caches and are not counted.
    let warm = self::bodies(endpoint, fleet, 20).await?;
    let first = clients.first_mut().context("expected a connection")?;
    for body in warm {
        first.attest(body).await?;
    }

    let before = broker.usage()?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut client, share) in clients.into_iter().zip(bodies.chunks(each).map(<[Vec<u8>]>::to_vec)) {
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            for body in share {
                let sent = Instant::now();
                client.attest(body).await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    let wall = begun.elapsed();
    let usage = broker.usage()?.since(&before);
    latencies.sort();
    ensure!(latencies.len() == requests, "expected {requests} answers, got {}", latencies.len());
    Ok(Run { connections, requests, wall, latencies, usage })
}

/// Challenges are fetched and answered before the clock starts.
async fn bodies(endpoint: &Endpoint, fleet: &Arc<Fleet>, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut client = endpoint.connect().await?;
    let mut bodies = Vec::with_capacity(count);
    for _ in 0..count {
        bodies.push(fleet.request(client.challenge().await?)?);
    }
    Ok(bodies)
}

fn print(run: &Run, bare: f64) -> Result<bool> {
    let count = f64::from(u32::try_from(run.requests)?);
    let at = |percent: usize| -> Result<f64> {
        let index = run.latencies.len().saturating_mul(percent) / 100;
        let found = run.latencies.get(index).or(run.latencies.last()).context("expected a latency")?;
        Ok(found.as_secs_f64() * 1e3)
    };
    let rate = count / run.wall.as_secs_f64();
    let micros = run.usage.processor.as_secs_f64() * 1e6 / count;
    let share = bare / micros;
    println!(
        "| {} | {rate:.0} | {:.2} | {:.2} | {micros:.0} | {:.0} | {share:.2} | {:.1} |",
        run.connections,
        at(50)?,
        at(99)?,
        1e6 / micros,
        run.usage.memory_mb,
    );
    Ok(share >= SHARE_LIMIT)
}
