//! `countersign token verify`: what a relying party does with a token, by hand.

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
    dpop::{ExpectedNonce, RecentProofs},
    relying::{
        Confirmed, Presented, RelyingError, StatusListToken, Trust, access_token, attestation_result,
        attestation_result_cwt, jwt_svid, plain_token,
    },
    sign::{Jwks, TokenType},
    status::StatusPlace,
    token::{Audience, TOKEN_LIMIT, TokenError, dangerous_label},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use serde_json::{Value, json};
use verifier::Timestamp;

use super::{
    client::AdminClient,
    output::{self, Format},
};
use crate::clock;

/// Arguments of `countersign token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Verify a token's signature, times, issuer and audience, and the proof of its key, and print its claims
    Verify(Box<Verify>),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// File with the token, a JWT or a CWT in base64url, `-` for standard input
    token: PathBuf,
    /// The exact issuer
    #[arg(long, value_name = "ISS", required_unless_present = "trust_domain")]
    issuer: Option<String>,
    /// The token is a JWT-SVID of this trust domain; the keys are those of its bundle
    #[arg(long, value_name = "DOMAIN", conflicts_with = "issuer")]
    trust_domain: Option<String>,
    /// Who the token must be for; without it the claims list `aud` as unchecked
    #[arg(long, value_name = "AUD")]
    audience: Option<String>,
    /// The verification keys, as the broker serves them under /.well-known/jwks.json or /.well-known/spiffe-bundle
    #[arg(long, value_name = "FILE", conflicts_with = "server", required_unless_present = "server")]
    jwks: Option<PathBuf>,
    /// Fetch the keys from this broker, https://host:port, with /t/NAME for a tenant
    #[arg(long, value_name = "URL", requires = "ca")]
    server: Option<String>,
    /// The CA of that broker
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    proof: Proof,
    /// The status list that the token names, as the broker answers at its address; with --server it is fetched. Without either
    /// the claims list `status` as unchecked
    #[arg(long, value_name = "FILE")]
    status_list: Option<PathBuf>,
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

/// What was presented together with the token; without any of it, `cnf` of a bound token is listed as unchecked.
#[derive(Debug, clap::Args)]
struct Proof {
    /// File with the DPoP proof that came with the token
    #[arg(long, value_name = "FILE", requires_all = ["method", "url"], conflicts_with = "client_certificate")]
    dpop: Option<PathBuf>,
    /// The method of the request that the proof is for
    #[arg(long, value_name = "METHOD", requires = "dpop")]
    method: Option<String>,
    /// The URL of that request
    #[arg(long, value_name = "URL", requires = "dpop")]
    url: Option<String>,
    /// The nonce that the proof must have
    #[arg(long, value_name = "NONCE", requires = "dpop")]
    dpop_nonce: Option<String>,
    /// Seconds that a proof is good for, before and after it was made
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    dpop_window: u32,
    /// File with the client certificate (PEM or DER) of the connection that the token came over
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<PathBuf>,
}

/// What a proof file holds.
enum Shown {
    Nothing,
    Dpop(String),
    Certificate(Vec<u8>),
}

/// A token that holds.
struct Accepted {
    claims: Value,
    confirmed: Confirmed,
    unchecked: Vec<Unchecked>,
}

#[derive(Serialize)]
struct Unchecked {
    what: &'static str,
    reason: &'static str,
}

/// Why the token does not hold.
struct Refused {
    code: &'static str,
    reason: String,
}

impl From<RelyingError> for Refused {
    fn from(error: RelyingError) -> Self {
        Self { code: error.code(), reason: error.to_string() }
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        RelyingError::from(error).into()
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).map_err(|_error| format!("expected RFC 3339, found {text:?}"))
}

/// Why things are not checked.
const NO_AUDIENCE: &str = "no --audience was given";
const NO_PROOF: &str = "no --dpop or --client-certificate was given";
const NO_LIST: &str = "no --status-list or --server was given";

/// Runs the command. Exit status 0: the token holds; 1: it does not; 2: something cannot be read.
pub(crate) fn run(args: &Args) -> ExitCode {
    let Verb::Verify(verify) = &args.verb;
    match judge(verify) {
        Ok(Ok(accepted)) => {
            print_accepted(verify, &accepted);
            ExitCode::SUCCESS
        }
        Ok(Err(refused)) => {
            print_refused(verify, &refused);
            ExitCode::from(output::REFUSED)
        }
        Err(error) => output::fail(&error, output::USAGE),
    }
}

fn judge(args: &Verify) -> Result<Result<Accepted, Refused>> {
    let token = read(&args.token)?;
    let jwks = jwks(args)?;
    let shown = args.proof.read()?;
    let list = args.status_list.as_deref().map(read).transpose()?;
    let audience = match &args.audience {
        Some(audience) => Audience::Exactly(audience),
        None => Audience::Unchecked { reason: NO_AUDIENCE },
    };
    let issuer = args.issuer.as_deref().or(args.trust_domain.as_deref()).context("expected --issuer")?;
    let now = args.at.unwrap_or_else(clock::now).as_unix();
    let trust = Trust { jwks: &jwks, issuer, audience, now, leeway: args.leeway };
    let (accepted, place) = match verify(args, token.trim(), &trust, &shown) {
        Ok(verified) => verified,
        Err(refused) => return Ok(Err(refused)),
    };
    let (Some(place), None) = (&place, &list) else {
        return Ok(with_status(accepted, place.as_ref(), list.as_deref().map(str::trim), &trust));
    };
    let Some((list, keys, issuer)) = fetched_list(args, &accepted.claims, place)? else {
        return Ok(with_status(accepted, Some(place), None, &trust));
    };
    let trust = Trust { jwks: &keys, issuer: &issuer, ..trust };
    Ok(with_status(accepted, Some(place), Some(list.trim()), &trust))
}

/// The status list that a token names, from the broker that was named, with the keys and the issuer that it must have. It is
/// asked at that broker whatever the host in the token: the list's own address is compared afterwards.
fn fetched_list(args: &Verify, claims: &Value, place: &StatusPlace) -> Result<Option<(String, Jwks, String)>> {
    let (Some(server), Some(ca)) = (&args.server, &args.ca) else { return Ok(None) };
    let uri: hyper::Uri = place.uri.parse().context("expected the address of a status list in the token")?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // The issuer may have a path, and so may the address that is asked.
    let base = server.parse::<hyper::Uri>().context("expected https://host:port")?;
    let path = path.strip_prefix(base.path().trim_end_matches('/')).unwrap_or(path);
    let client = AdminClient::anonymous(server, ca)?;
    let list = String::from_utf8(client.download(path)?.to_vec()).context("expected a status list")?;
    let keys = Jwks::parse(&client.download("/.well-known/jwks.json")?)?;
    // Of a token whose signature holds.
    let issuer = args.issuer.as_deref().or_else(|| claims.get("iss").and_then(Value::as_str)).unwrap_or_default();
    Ok(Some((list, keys, issuer.to_owned())))
}

/// The token by its kind, with the proof of its key.
fn verify(
    args: &Verify,
    token: &str,
    trust: &Trust<'_>,
    shown: &Shown,
) -> Result<(Accepted, Option<StatusPlace>), Refused> {
    let mut recent = RecentProofs::new(1);
    let presented = match shown {
        Shown::Nothing => Presented::Unchecked { reason: NO_PROOF },
        Shown::Certificate(der) => Presented::Certificate { der },
        Shown::Dpop(proof) => Presented::Dpop {
            proof: proof.trim(),
            method: args.proof.method.as_deref().unwrap_or_default(),
            url: args.proof.url.as_deref().unwrap_or_default(),
            nonce: args.proof.dpop_nonce.as_deref().map_or(ExpectedNonce::ByCaller, ExpectedNonce::Exactly),
            window: args.proof.dpop_window,
            guard: &mut recent,
        },
    };
    let (claims, confirmed, place) = if token.starts_with(CWT) {
        let token = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_not_base64| TokenError::Form)?;
        let read = attestation_result_cwt(&token, trust, presented)?;
        (read.claims, read.confirmed, read.status_place)
    } else if args.trust_domain.is_some() {
        let read = jwt_svid(token, trust, presented)?;
        (read.claims, read.confirmed, read.status)
    } else {
        let typ = dangerous_label(token)?.typ.unwrap_or_default();
        if typ == TokenType::EatJwt.as_str() {
            let read = attestation_result(token, trust, presented)?;
            (read.claims, read.confirmed, read.status_place)
        } else if typ == TokenType::AccessToken.as_str() {
            let read = access_token(token, trust, presented)?;
            (read.claims, read.confirmed, read.status)
        } else {
            let read = plain_token(token, trust, presented)?;
            (read.claims, read.confirmed, read.status)
        }
    };
    let mut unchecked = Vec::new();
    if args.audience.is_none() {
        unchecked.push(Unchecked { what: "aud", reason: NO_AUDIENCE });
    }
    if matches!(confirmed, Confirmed::Unchecked { .. }) {
        unchecked.push(Unchecked { what: "cnf", reason: NO_PROOF });
    }
    Ok((Accepted { claims, confirmed, unchecked }, place))
}

/// A tagged COSE_Sign1 begins with `d2 84` and the head of a byte string: these letters in base64url. No JWT does.
const CWT: &str = "0oR";

fn with_status(
    mut accepted: Accepted,
    place: Option<&StatusPlace>,
    list: Option<&str>,
    trust: &Trust<'_>,
) -> Result<Accepted, Refused> {
    match (place, list) {
        (None, _) => {}
        (Some(_), None) => accepted.unchecked.push(Unchecked { what: "status", reason: NO_LIST }),
        (Some(place), Some(list)) => {
            let held = StatusListToken::verify(list, trust)?.require_valid(place, trust.now);
            held.map_err(|error| Refused { code: error.code(), reason: error.to_string() })?;
        }
    }
    Ok(accepted)
}

fn jwks(args: &Verify) -> Result<Jwks> {
    match (&args.jwks, &args.server, &args.ca) {
        (Some(file), _, _) => {
            let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            Jwks::parse(&bytes).with_context(|| file.display().to_string())
        }
        (None, Some(server), Some(ca)) => {
            let svid = args.trust_domain.is_some();
            let path = if svid { "/.well-known/spiffe-bundle" } else { "/.well-known/jwks.json" };
            let document: Value = AdminClient::anonymous(server, ca)?.get(path)?;
            Ok(Jwks::parse(&serde_json::to_vec(&document)?)?)
        }
        (None, _, _) => bail!("expected --jwks FILE, or --server URL with --ca FILE"),
    }
}

impl Proof {
    fn read(&self) -> Result<Shown> {
        if let Some(file) = &self.dpop {
            return read(file).map(Shown::Dpop);
        }
        let Some(file) = &self.client_certificate else { return Ok(Shown::Nothing) };
        let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let der = match CertificateDer::from_pem_slice(&bytes) {
            Ok(certificate) => certificate.to_vec(),
            Err(_not_pem) => bytes,
        };
        Ok(Shown::Certificate(der))
    }
}

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

/// How the presenter was shown to be the holder.
const fn confirmed_by(confirmed: &Confirmed) -> &'static str {
    match confirmed {
        Confirmed::Bearer => "bearer",
        Confirmed::Dpop { .. } => "dpop",
        Confirmed::Certificate { .. } => "certificate",
        Confirmed::Unchecked { .. } => "unchecked",
    }
}

fn print_accepted(args: &Verify, accepted: &Accepted) {
    let Accepted { claims, confirmed, unchecked } = accepted;
    match args.format {
        Format::Json => output::print_json(&json!({
            "verdict": "accepted", "code": null, "claims": claims, "confirmed": confirmed_by(confirmed), "unchecked": unchecked,
        })),
        Format::Text => {
            output::print("the token holds; its claims:");
            output::print_json(claims);
            for Unchecked { what, reason } in unchecked {
                output::complain(&format!("{what} was not checked: {reason}"));
            }
        }
    }
}

fn print_refused(args: &Verify, refused: &Refused) {
    let Refused { code, reason } = refused;
    match args.format {
        Format::Json => {
            output::print_json(&json!({"verdict": "rejected", "code": code, "reason": reason, "claims": null}));
        }
        Format::Text => output::complain(&format!("{code}: {reason}")),
    }
}
