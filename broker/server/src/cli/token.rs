//! `countersign token verify`

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Subcommand;
use keys::{
    sign::{Jwks, SignatureAlgorithm},
    token::{Audience, Expected, TOKEN_LIMIT, TokenError, verify},
};
use serde_json::{Value, json};
use verifier::Timestamp;

use super::{
    client::AdminClient,
    output::{self, Format},
};
use crate::{clock, cwt};

/// Arguments of `countersign token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Verify a token's signature, times, issuer and audience, and print its claims
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// File with the token, a JWT or a CWT in base64url, `-` for standard input
    token: PathBuf,
    /// The exact issuer
    #[arg(long, value_name = "ISS")]
    issuer: String,
    /// Who the token must be for; without it the claims list `aud` as unchecked
    #[arg(long, value_name = "AUD")]
    audience: Option<String>,
    /// The verification keys, as the broker serves them under /.well-known/jwks.json
    #[arg(long, value_name = "FILE", conflicts_with = "server", required_unless_present = "server")]
    jwks: Option<PathBuf>,
    /// Fetch the keys from this broker, https://host:port
    #[arg(long, value_name = "URL", requires = "ca")]
    server: Option<String>,
    /// The CA of that broker
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The time to verify at (RFC 3339); default: now
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// How far clocks may differ
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    leeway: u32,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).map_err(|_error| format!("expected RFC 3339, found {text:?}"))
}

/// Runs the command. Exit status 0: the token holds; 1: it does not; 2: something cannot be read.
pub(crate) fn run(args: &Args) -> ExitCode {
    let Verb::Verify(verify) = &args.verb;
    match judge(verify) {
        Ok(Ok(claims)) => {
            accepted(verify, &claims);
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            refused(verify, &error);
            ExitCode::from(output::REFUSED)
        }
        Err(error) => output::fail(&error, output::USAGE),
    }
}

fn judge(args: &Verify) -> Result<Result<Value, TokenError>> {
    let token = read(&args.token)?;
    let jwks = match (&args.jwks, &args.server, &args.ca) {
        (Some(file), _, _) => {
            let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            Jwks::parse(&bytes).with_context(|| file.display().to_string())?
        }
        (None, Some(server), Some(ca)) => {
            let document: Value = AdminClient::anonymous(server, ca)?.get("/.well-known/jwks.json")?;
            Jwks::parse(&serde_json::to_vec(&document)?)?
        }
        (None, _, _) => bail!("expected --jwks FILE, or --server URL with --ca FILE"),
    };
    let audience = match &args.audience {
        Some(audience) => Audience::Exactly(audience),
        None => Audience::Unchecked { reason: NO_AUDIENCE },
    };
    let expected = Expected {
        algorithms: &SignatureAlgorithm::ALL,
        issuer: &args.issuer,
        audience,
        now: args.at.unwrap_or_else(clock::now).as_unix(),
        leeway: args.leeway,
    };
    // A tagged COSE_Sign1 begins with `d2 84` and the head of a byte string: these letters in base64url. No JWT does.
    let token = token.trim();
    if token.starts_with("0oR") {
        let Ok(token) = BASE64_URL_SAFE_NO_PAD.decode(token) else { return Ok(Err(TokenError::Form)) };
        return Ok(cwt::verify(&token, &jwks, &expected).map(|claims| cwt::to_json(&claims)));
    }
    Ok(verify(token, &jwks, &expected))
}

/// Why the audience is not checked.
const NO_AUDIENCE: &str = "no --audience was given";

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(TOKEN_LIMIT).unwrap_or(u64::MAX).saturating_add(2);
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_string(&mut text).context("standard input cannot be read")?;
    } else {
        let file = fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        file.take(limit).read_to_string(&mut text).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    Ok(text)
}

fn accepted(args: &Verify, claims: &Value) {
    let unchecked = if args.audience.is_none() { json!([{"what": "aud", "reason": NO_AUDIENCE}]) } else { json!([]) };
    match args.format {
        Format::Json => {
            output::print_json(&json!({"verdict": "accepted", "code": null, "claims": claims, "unchecked": unchecked}));
        }
        Format::Text => {
            output::print("the token holds; its claims:");
            output::print_json(claims);
            if args.audience.is_none() {
                output::complain("the audience was not checked: give --audience");
            }
        }
    }
}

fn refused(args: &Verify, error: &TokenError) {
    match args.format {
        Format::Json => output::print_json(
            &json!({"verdict": "rejected", "code": error.code(), "reason": error.to_string(), "claims": null}),
        ),
        Format::Text => output::complain(&format!("{}: {error}", error.code())),
    }
}
