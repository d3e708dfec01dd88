//! `countersign ssh`: what the hosts of an SSH estate need from the broker.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};

use super::{client::AdminClient, output};

/// Arguments of `countersign ssh`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the public keys of the CA: for sshd's TrustedUserCAKeys, or for known_hosts
    Ca {
        /// Whose certificates the CA signs
        #[arg(value_enum)]
        kind: Kind,
        /// Write lines for known_hosts, for hosts of this pattern, such as '*.example.org'
        #[arg(long, value_name = "PATTERN")]
        known_hosts: Option<String>,
        #[command(flatten)]
        from: From,
    },
    /// Write the revocation list of certificates that ended: for sshd's RevokedKeys, or ssh's RevokedHostKeys
    Revoked {
        /// Whose certificates
        #[arg(value_enum)]
        kind: Kind,
        #[command(flatten)]
        from: From,
    },
}

/// Whose certificates.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Those who log in
    User,
    /// Machines that are logged in to
    Host,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
        }
    }
}

/// Which broker, and where its answer goes.
#[derive(Debug, clap::Args)]
struct From {
    /// The broker, https://host:port
    #[arg(long, value_name = "URL")]
    server: String,
    /// The CA of the broker's certificate
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Where to write it; replaced as a whole, so that a server reads the old one or the new one
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Ca { kind, known_hosts, from } => {
            let keys = from.fetch(&format!("/v1/ssh/ca/{}", kind.name()))?;
            let text = String::from_utf8(keys).context("the broker's answer is no text")?;
            ensure!(!text.is_empty(), "the broker has no such CA");
            let line = |key: &str| match known_hosts {
                Some(pattern) => format!("@cert-authority {pattern} {key}\n"),
                None => format!("{key}\n"),
            };
            from.write(text.lines().map(line).collect::<String>().as_bytes())
        }
        Verb::Revoked { kind, from } => {
            let list = from.fetch(&format!("/v1/ssh/revoked/{}", kind.name()))?;
            // A file that is no list makes sshd refuse every key.
            ensure!(list.starts_with(b"SSHKRL\n\0"), "the broker's answer is no revocation list");
            from.write(&list)
        }
    }
}

impl From {
    fn fetch(&self, path: &str) -> Result<Vec<u8>> {
        Ok(AdminClient::anonymous(&self.server, &self.ca)?.download(path)?.to_vec())
    }

    /// Writes beside the file and moves it there.
    fn write(&self, content: &[u8]) -> Result<()> {
        let beside = beside(&self.out)?;
        let written = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &self.out)
        };
        written().with_context(|| format!("{} cannot be written", self.out.display()))
    }
}

fn beside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("--out: expected a file")?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(beside))
}
