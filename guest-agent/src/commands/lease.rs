//! `lease`, and the fetching of what is to be renewed later.

use std::{fs, path::Path};

use keys::secret::SecretBytes;

use super::{Guest, credentials::write_files, ssh};
use crate::{
    cli::{BrokerArgs, LeaseCommand},
    console,
    failure::Failure,
    lease::{Given, Issue, Session, Want},
    output::Output,
};

/// A lease file is small; whatever is larger is another file.
const FILE_LIMIT: u64 = 64 * 1024;

/// Renews or gives back.
pub(super) fn run(command: &LeaseCommand, guest: &Guest) -> Result<(), Failure> {
    match command {
        LeaseCommand::Renew { file, broker, out, directory } => {
            let session = read(file)?;
            let output = Output::secret(out.as_deref(), true);
            let renewed = guest.run(broker, async |exchange| {
                exchange.repeat(async |time| Box::pin(session.renew(exchange, time)).await).await
            })?;
            hand_over(renewed, file, |want, given| match (want, directory) {
                (Want::Postgres { .. }, _) => {
                    console::say("the role holds longer: what was written of it stays as it is");
                    Ok(())
                }
                (Want::SshCert { key, .. }, _) => ssh::write_certificate(key, value(&given)?),
                (_, Some(directory)) => write_svid(directory, given),
                (_, None) => write_value(&output?, given),
            })
        }
        LeaseCommand::Release { file, broker } => {
            let session = read(file)?;
            let ended = guest.run(broker, async |exchange| {
                exchange.repeat(async |time| session.release(exchange, time).await).await
            })?;
            console::say(&format!("{ended} leases ended"));
            fs::remove_file(file).map_err(|_left| argument(file))
        }
    }
}

/// Fetches one thing, writes it, and keeps its lease in a file.
pub(super) fn fetch(
    want: Want,
    file: &Path,
    broker: &BrokerArgs,
    guest: &Guest,
    write: impl FnOnce(Given) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let wants = [want];
    let issue = guest.run(broker, async |exchange| {
        exchange.repeat(async |time| Box::pin(Session::open(exchange, &wants, time)).await).await
    })?;
    hand_over(issue, file, |_, given| write(given))
}

fn hand_over(
    issue: Issue,
    file: &Path,
    write: impl FnOnce(&Want, Given) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Issue { session, given, denied } = issue;
    if let Some((_, refusal)) = denied.into_iter().next() {
        return Err(Failure::Refused(refusal));
    }
    let (want, given, _) = given.into_iter().next().ok_or(Failure::Answer { expected: "the grant" })?;
    // First the lease: what is written can then always be given back.
    Output::secret(Some(file), true)?.write(session.to_json()?.expose())?;
    write(&want, given)
}

fn read(file: &Path) -> Result<Session, Failure> {
    let small = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= FILE_LIMIT);
    let json = small.then(|| fs::read(file).ok()).flatten().map(SecretBytes::new);
    json.as_ref().and_then(Session::parse).ok_or_else(|| argument(file))
}

fn argument(file: &Path) -> Failure {
    Failure::Argument { expected: "a lease, as --lease-file writes it,", path: file.to_owned() }
}

/// A secret or a token.
pub(super) fn write_value(output: &Output, given: Given) -> Result<(), Failure> {
    Ok(output.write(value(&given)?.expose())?)
}

/// Whatever is no X.509-SVID.
pub(super) fn value(given: &Given) -> Result<&SecretBytes, Failure> {
    match given {
        Given::Value(value) => Ok(value),
        Given::X509(_) => Err(Failure::Answer { expected: "a secret or a token: --directory takes certificates" }),
    }
}

/// An X.509-SVID.
pub(super) fn write_svid(directory: &Path, given: Given) -> Result<(), Failure> {
    match given {
        Given::X509(svid) => write_files(directory, &svid),
        Given::Value(_) => Err(Failure::Answer { expected: "a certificate: --out takes secrets and tokens" }),
    }
}
