//! Costs of the core beside the bare cryptography they cannot do without. Exits with 1 when a limit is exceeded.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

mod issuance;
mod policy;
mod quote;
mod tdx;
mod tpm;

use std::{hint::black_box, process::ExitCode};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use bench::{
    clock::{Compared, compare, cost},
    fixture::{Case, Remember},
    table::{Limit, Row, markdown},
};
use evidence_formats::snp::SnpReport;
use keys::{
    jwk::TeeKeyType,
    random::SystemRandom,
    seal::seal,
    secret::SecretBytes,
    sign::{SignatureAlgorithm, SigningKey, TokenType, sign_jwt},
    tee_key::TeeKeyPair,
};
use sev::parser::ByteParser as _;
use verifier::{Forgetful, authenticate, x509::Certificate};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

const ROUNDS: usize = 101;

fn main() -> Result<ExitCode> {
    let (simulated, genuine) = (Case::simulated()?, Case::genuine()?);
    let mut rows = vec![parse(&genuine)?, warm(&simulated)?, warm_with_table(&simulated)?, cold(&simulated)?];
    rows.extend(peer(&genuine)?);
    rows.extend(tdx::rows()?);
    rows.extend(policy::rows(&simulated)?);
    rows.extend(quote::rows()?);
    rows.extend(tpm::rows()?);
    rows.extend(releases()?);
    rows.extend(issuance::rows(&simulated)?);
    println!("{}", markdown(&rows));
    Ok(if rows.iter().all(Row::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(case: &Case) -> Result<Row> {
    let bytes = case.report().as_bytes();
    let mut ours = || {
        black_box(SnpReport::parse(black_box(bytes))?);
        Ok(())
    };
    let mut peer = || {
        black_box(sev::firmware::guest::AttestationReport::from_bytes(black_box(bytes))?);
        Ok(())
    };
    let costs = compare(ROUNDS, 2000, &mut ours, &mut peer)?;
    Ok(Row { name: "parse a report", beside: "sev: parse", costs, limit: Limit::Micros(0.5) })
}

/// The one check that no verification can do without: P-384 over the signed bytes, key parsed before.
fn bare_report_check(case: &Case) -> Result<impl Fn() -> Result<()>> {
    let [vek, ..] = &case.certificates;
    let vek = Certificate::parse_der(vek)?;
    let key = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, vek.spki())?;
    let (message, signature) = (case.report().signed_bytes().to_vec(), case.report().fields().signature.0);
    Ok(move || Ok(key.verify_sig(black_box(&message), &signature)?))
}

fn warm(case: &Case) -> Result<Row> {
    let memory = Remember::default();
    let terms = case.terms(&memory);
    let mut ours = || {
        black_box(authenticate(black_box(&case.evidence), &case.endorsements, &terms)?);
        Ok(())
    };
    let bare = bare_report_check(case)?;
    let costs = compare(ROUNDS, 20, &mut ours, &mut || bare())?;
    Ok(Row { name: "authenticate, warm", beside: "bare P-384 verification", costs, limit: Limit::Ratio(1.10) })
}

fn warm_with_table(case: &Case) -> Result<Row> {
    let memory = Remember::default();
    let terms = case.terms(&memory);
    let mut ours = || {
        black_box(authenticate(black_box(&case.with_table), &case.endorsements, &terms)?);
        Ok(())
    };
    let bare = bare_report_check(case)?;
    let costs = compare(ROUNDS, 20, &mut ours, &mut || bare())?;
    let name = "authenticate, warm, with the host's certificate table";
    Ok(Row { name, beside: "bare P-384 verification", costs, limit: Limit::None })
}

/// Everything from nothing: VEK, ASK and ARK certificates and the CRL are checked, then the report.
fn cold(case: &Case) -> Result<Row> {
    let terms = case.terms(&Forgetful);
    let mut ours = || {
        black_box(authenticate(black_box(&case.evidence), &case.endorsements, &terms)?);
        Ok(())
    };
    let certificates: Result<Vec<Certificate>, _> =
        case.certificates.iter().map(|der| Certificate::parse_der(der)).collect();
    let certificates = certificates?;
    let [vek, ask, ark] = certificates.as_slice() else { anyhow::bail!("expected three certificates") };
    let crl = case.crl.as_deref().context("expected a CRL")?;
    let (rest, crl) = CertificateRevocationList::from_der(crl)?;
    ensure!(rest.is_empty(), "expected one CRL");
    let rsa = |issuer: &Certificate, message: &[u8], signature: &[u8]| -> Result<()> {
        Ok(UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, issuer.spki()).verify(black_box(message), signature)?)
    };
    let report_check = bare_report_check(case)?;
    let mut bare = || {
        rsa(ask, vek.tbs(), vek.signature())?;
        rsa(ark, ask.tbs(), ask.signature())?;
        rsa(ark, ark.tbs(), ark.signature())?;
        rsa(ark, crl.tbs_cert_list.as_ref(), crl.signature_value.as_ref())?;
        report_check()
    };
    let costs = compare(ROUNDS, 5, &mut ours, &mut bare)?;
    let beside = "bare: 4 × RSA-4096 PSS, 1 × P-384";
    Ok(Row { name: "authenticate, cold (3 certificates, CRL, report)", beside, costs, limit: Limit::Ratio(1.25) })
}

/// The `sev` crate (pure Rust) on the same genuine report: signatures only, no dates, no revocation.
fn peer(case: &Case) -> Result<[Row; 2]> {
    use sev::certs::snp::{Certificate as SevCertificate, Chain, Verifiable as _, builtin::milan, ca};
    let [vek, ..] = &case.certificates;
    let chain = Chain { ca: ca::Chain { ark: milan::ark()?, ask: milan::ask()? }, vek: SevCertificate::from_der(vek)? };
    let report = sev::firmware::guest::AttestationReport::from_bytes(case.report().as_bytes())?;

    let memory = Remember::default();
    let warm = case.terms(&memory);
    let mut ours_warm = || {
        black_box(authenticate(&case.evidence, &case.endorsements, &warm)?);
        Ok(())
    };
    let mut peer_warm = || Ok((&chain.vek, &report).verify()?);
    let warm = compare(21, 5, &mut ours_warm, &mut peer_warm)?;

    let cold = case.terms(&Forgetful);
    let mut ours_cold = || {
        black_box(authenticate(&case.evidence, &case.endorsements, &cold)?);
        Ok(())
    };
    let mut peer_cold = || Ok((&chain, &report).verify()?);
    let cold = compare(21, 3, &mut ours_cold, &mut peer_cold)?;
    let row = |name, beside, costs| Row { name, beside, costs, limit: Limit::None };
    Ok([
        row("authenticate, warm, genuine Milan", "sev: report signature", warm),
        row("authenticate, cold, genuine Milan", "sev: chain and report signatures", cold),
    ])
}

/// What one release costs after verification.
fn releases() -> Result<Vec<Row>> {
    let mut rng = SystemRandom::new();
    let alone =
        |name, ours| Row { name, beside: "", costs: Compared { ours, other: 0.0, ratio: 0.0 }, limit: Limit::None };
    let mut rows = Vec::new();
    let plaintext = SecretBytes::new(vec![7; 64]);
    for (name, key_type) in [
        ("seal to P-256", TeeKeyType::P256),
        ("seal to X25519", TeeKeyType::X25519),
        ("seal to X-Wing", TeeKeyType::XWing),
    ] {
        let pair = TeeKeyPair::generate(key_type, &mut rng)?;
        let mut work = || {
            black_box(seal(&plaintext, pair.public(), &mut rng)?);
            Ok(())
        };
        rows.push(alone(name, cost(ROUNDS, 20, &mut work)?));
    }
    let claims = serde_json::json!({"iss": "https://broker.example", "sub": "guest", "exp": 1});
    for (name, algorithm) in
        [("sign a token with ES256", SignatureAlgorithm::Es256), ("sign a token with ES384", SignatureAlgorithm::Es384)]
    {
        let key = SigningKey::generate(algorithm, &mut rng)?;
        let mut work = || {
            black_box(sign_jwt(&key, TokenType::EatJwt, &claims)?);
            Ok(())
        };
        rows.push(alone(name, cost(ROUNDS, 20, &mut work)?));
    }
    Ok(rows)
}
