//! `countersign audit verify`

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::ArgGroup;
use keys::sign::Jwks;
use serde::Deserialize;

use super::tell;
use crate::{
    audit::{Broken, Checked, Checker, Checkpoint, LONGEST, Place, RecordHash, verification_keys},
    broker::{STORE_FILE, read_root_key},
    cli::output::{self, Format},
    config::Config,
    store::{AuditQuery, AuditStore, TenantId, sqlite::SqliteStore},
    vault::Vault,
};

/// Records in memory at once.
const PAGE: u32 = 1000;

/// Arguments of `countersign audit verify`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).args(["file", "config"]))]
pub(crate) struct Args {
    /// An export: records and checkpoints, as `countersign audit export` writes them
    #[arg(long, value_name = "FILE", requires = "keys")]
    file: Option<PathBuf>,
    /// The public keys of the checkpoints (JWKS), kept from `countersign audit export --keys-out`
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The configuration of a broker whose store is on this machine. Without `--keys` its own keys are believed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Whose log, in a store
    #[arg(long, default_value = "default", requires = "config")]
    tenant: String,
    /// A file with checkpoints that were kept elsewhere, an earlier export for example; may be repeated
    #[arg(long = "checkpoints", value_name = "FILE")]
    kept: Vec<PathBuf>,
    /// Number and hash of a record, as the broker's log says them with each checkpoint; may be repeated
    #[arg(long = "expect", value_name = "SEQUENCE:HASH", value_parser = place)]
    expected: Vec<Place>,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A line that is a checkpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    checkpoint: String,
}

fn place(text: &str) -> Result<Place, String> {
    let parsed = text
        .split_once(':')
        .and_then(|(sequence, hash)| Some(Place { sequence: sequence.parse().ok()?, hash: RecordHash::parse(hash)? }));
    parsed.ok_or_else(|| "expected the number of a record, a colon and 64 lower-case hex digits".to_owned())
}

/// Runs the command. Exit status 0: the chain holds; 1: it is broken; 2: it could not be read.
pub(crate) fn run(args: &Args) -> ExitCode {
    match check(args) {
        Ok(outcome) => tell(&outcome, args.format),
        Err(error) => output::fail(&error, output::USAGE),
    }
}

fn check(args: &Args) -> Result<Result<Checked, Broken>> {
    match (&args.file, &args.config) {
        (Some(file), _) => {
            let keys = read_keys(args.keys.as_deref().context("expected --keys")?)?;
            of_export(args, file, &keys)
        }
        (None, Some(config)) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(of_store(args, config))
        }
        (None, None) => Err(anyhow!("expected --file or --config")),
    }
}

fn read_keys(path: &Path) -> Result<Jwks> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Jwks::parse(&bytes).with_context(|| path.display().to_string())
}

/// What was kept elsewhere: the chain has to agree with all of it.
fn expect_kept(args: &Args, tenant: &str, keys: &Jwks, checker: &mut Checker) -> Result<Result<(), Broken>> {
    for path in &args.kept {
        for token in tokens(path)? {
            let (checkpoint, place) = Checkpoint::verify(&token, keys).with_context(|| path.display().to_string())?;
            ensure!(checkpoint.tenant == tenant, "{}: expected checkpoints of {tenant}", path.display());
            if let Err(broken) = checker.expect(place, true) {
                return Ok(Err(broken));
            }
        }
    }
    for place in &args.expected {
        if let Err(broken) = checker.expect(*place, true) {
            return Ok(Err(broken));
        }
    }
    Ok(Ok(()))
}

/// Reads the file twice: checkpoints first, then the records that they speak of.
fn of_export(args: &Args, file: &Path, keys: &Jwks) -> Result<Result<Checked, Broken>> {
    let mut signed = Vec::new();
    for token in tokens(file)? {
        signed.push(Checkpoint::verify(&token, keys).with_context(|| file.display().to_string())?);
    }
    let tenant = match signed.first() {
        Some((checkpoint, _)) => checkpoint.tenant.clone(),
        None => args.tenant.clone(),
    };
    let mut checker = Checker::new(Some(tenant.clone()));
    if let Err(broken) = expect_kept(args, &tenant, keys, &mut checker)? {
        return Ok(Err(broken));
    }
    for (checkpoint, place) in signed {
        ensure!(checkpoint.tenant == tenant, "{}: expected checkpoints of one tenant", file.display());
        if let Err(broken) = checker.expect(place, false) {
            return Ok(Err(broken));
        }
    }
    let mut lines = Lines::open(file)?;
    while let Some(line) = lines.next()? {
        if !is_checkpoint(&line)
            && let Err(broken) = checker.line(&line)
        {
            return Ok(Err(broken));
        }
    }
    Ok(checker.finish())
}

async fn of_store(args: &Args, config: &Path) -> Result<Result<Checked, Broken>> {
    let config = Config::read(config)?;
    let tenant = TenantId::parse(&args.tenant).context("expected the name of a tenant")?;
    let store = Arc::new(SqliteStore::open(&config.data_dir.join(STORE_FILE)).await?);
    let keys = match &args.keys {
        Some(path) => read_keys(path)?,
        None => {
            let vault = Vault::new(store.clone(), read_root_key(&config.root_key)?).of_tenant(&tenant);
            verification_keys(&vault).await?
        }
    };
    let mut checker = Checker::new(Some(args.tenant.clone()));
    if let Err(broken) = expect_kept(args, &args.tenant, &keys, &mut checker)? {
        return Ok(Err(broken));
    }
    let mut after = 0;
    loop {
        let page = store.audit_checkpoints(&tenant, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        for stored in &page {
            let (checkpoint, place) = Checkpoint::verify(&stored.token, &keys)
                .with_context(|| format!("the checkpoint of record {}", stored.sequence))?;
            ensure!(checkpoint.tenant == args.tenant, "record {}: its checkpoint is another tenant's", stored.sequence);
            if let Err(broken) = checker.expect(place, false) {
                return Ok(Err(broken));
            }
        }
    }
    let mut query = AuditQuery { limit: PAGE, ..AuditQuery::default() };
    loop {
        let page = store.audit_records(&tenant, &query).await?;
        let Some(last) = page.last() else { break };
        query.after = last.sequence;
        for record in &page {
            if let Err(broken) = checker.record(record) {
                return Ok(Err(broken));
            }
        }
    }
    store.close().await;
    Ok(checker.finish())
}

/// The checkpoints of a file, in their order.
fn tokens(path: &Path) -> Result<Vec<String>> {
    let (mut tokens, mut lines) = (Vec::new(), Lines::open(path)?);
    while let Some(line) = lines.next()? {
        if is_checkpoint(&line) {
            let Signed { checkpoint } =
                serde_json::from_str(&line).with_context(|| format!("a checkpoint of {}", path.display()))?;
            tokens.push(checkpoint);
        }
    }
    Ok(tokens)
}

fn is_checkpoint(line: &str) -> bool {
    line.starts_with("{\"checkpoint\":")
}

/// Lines of a bounded length. What is no text is a line that is no record.
struct Lines {
    file: BufReader<File>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self { file: BufReader::new(file) })
    }

    fn next(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        let most = u64::try_from(LONGEST)?.saturating_add(2);
        if self.file.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}
