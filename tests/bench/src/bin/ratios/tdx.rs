//! TDX: the genuine quote of the `dcap-qvl` package with its collateral, and an event log of the greatest size.

use std::{fs, hint::black_box};

use anyhow::{Context, Result};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use bench::{
    clock::{Compared, compare, cost},
    fixture::{Remember, packaged},
    table::{Limit, Row},
};
use dcap_qvl::{QuoteCollateralV3, verify as peer};
use evidence_formats::{
    eventlog::EventLog,
    evidence::{Evidence, TdxEvidence},
    tdx::TdxQuote,
};
use verifier::{
    ChainMemory, CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors,
    authenticate, tpm::TpmTerms, x509::Certificate,
};

/// A time at which all of the package's collateral is current: 2025-07-04.
const NOW: i64 = 1_751_624_191;
const ROUNDS: usize = 51;

struct Sample {
    quote: Vec<u8>,
    evidence: Evidence,
    endorsements: Endorsements,
    collateral: QuoteCollateralV3,
    anchors: TrustAnchors,
}

impl Sample {
    fn load() -> Result<Self> {
        let folder = packaged("dcap-qvl")?.join("sample");
        let quote = fs::read(folder.join("tdx_quote"))?;
        let collateral = fs::read(folder.join("tdx_quote_collateral.json"))?;
        let mut endorsements = Endorsements::new();
        endorsements.add(&collateral)?;
        Ok(Self {
            evidence: Evidence::Tdx(Box::new(TdxEvidence::parse(&quote, None)?)),
            endorsements,
            collateral: serde_json::from_slice(&collateral)?,
            anchors: TrustAnchors::vendor(),
            quote,
        })
    }

    fn terms<'a>(&'a self, memory: &'a dyn ChainMemory) -> Terms<'a> {
        Terms {
            anchors: &self.anchors,
            revocation: Revocation::Require,
            expected: Expected::Unchecked { reason: "the sample was made for nobody" },
            now: Timestamp::from_unix(NOW),
            memory,
            crl_floors: CrlFloors::NONE,
            tpm: TpmTerms::DEFAULT,
        }
    }
}

/// Every row about TDX.
pub(super) fn rows() -> Result<Vec<Row>> {
    let sample = Sample::load()?;
    let mut rows = vec![parse(&sample)?, warm(&sample)?];
    rows.extend(beside_the_peer(&sample)?);
    rows.push(replay()?);
    Ok(rows)
}

fn alone(name: &'static str, ours: f64, limit: Limit) -> Row {
    Row { name, beside: "", costs: Compared { ours, other: 0.0, ratio: 0.0 }, limit }
}

fn parse(sample: &Sample) -> Result<Row> {
    let mut ours = || {
        black_box(TdxQuote::parse(black_box(&sample.quote))?);
        Ok(())
    };
    Ok(alone("parse a quote of 5 KB", cost(ROUNDS, 2000, &mut ours)?, Limit::Micros(1.0)))
}

/// Beside the two checks that no verification can do without: the quote's signature and the QE report's.
fn warm(sample: &Sample) -> Result<Row> {
    let memory = Remember::default();
    let terms = sample.terms(&memory);
    let mut ours = || {
        black_box(authenticate(black_box(&sample.evidence), &sample.endorsements, &terms)?);
        Ok(())
    };
    let quote = TdxQuote::parse(&sample.quote)?;
    let mut point = vec![4];
    point.extend(quote.attestation_key.0);
    let attestation_key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)?;
    let chain = pem::parse_many(quote.certification_data())?;
    let pck = Certificate::parse_der(chain.first().context("expected a PCK certificate")?.contents())?;
    let pck_key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pck.spki())?;
    let mut bare = || {
        attestation_key.verify_sig(black_box(quote.signed_bytes()), &quote.signature.0)?;
        Ok(pck_key.verify_sig(black_box(quote.qe_report_bytes()), &quote.qe_report_signature.0)?)
    };
    let costs = compare(ROUNDS, 20, &mut ours, &mut bare)?;
    Ok(Row { name: "authenticate TDX, warm", beside: "bare: 2 × P-256", costs, limit: Limit::Ratio(1.15) })
}

fn beside_the_peer(sample: &Sample) -> Result<[Row; 3]> {
    let now = u64::try_from(NOW)?;
    let mut ring = || {
        black_box(peer::ring::verify(black_box(&sample.quote), &sample.collateral, now)?);
        Ok(())
    };
    let mut rustcrypto = || {
        black_box(peer::rustcrypto::verify(black_box(&sample.quote), &sample.collateral, now)?);
        Ok(())
    };
    let memory = Remember::default();
    let (warm, cold) = (sample.terms(&memory), sample.terms(&Forgetful));
    let mut ours_warm = || {
        black_box(authenticate(black_box(&sample.evidence), &sample.endorsements, &warm)?);
        Ok(())
    };
    let mut ours_cold = || {
        black_box(authenticate(black_box(&sample.evidence), &sample.endorsements, &cold)?);
        Ok(())
    };
    let row = |name, beside, costs, limit| Row { name, beside, costs, limit };
    Ok([
        row(
            "authenticate TDX, warm",
            "dcap-qvl 0.7 (ring)",
            compare(21, 5, &mut ours_warm, &mut ring)?,
            Limit::Ratio(0.25),
        ),
        row(
            "authenticate TDX, cold",
            "dcap-qvl 0.7 (ring)",
            compare(21, 3, &mut ours_cold, &mut ring)?,
            Limit::Ratio(1.0),
        ),
        row(
            "authenticate TDX, cold",
            "dcap-qvl 0.7 (rustcrypto)",
            compare(21, 3, &mut ours_cold, &mut rustcrypto)?,
            Limit::Ratio(1.0),
        ),
    ])
}

/// A log of almost 1 MiB in events of 1 KiB: parsed, and replayed into the four registers.
fn replay() -> Result<Row> {
    let log = event_log(1000)?;
    let mut ours = || {
        black_box(EventLog::parse(black_box(&log))?.replay_rtmrs()?);
        Ok(())
    };
    Ok(alone("parse and replay an event log of 1 MiB", cost(21, 3, &mut ours)?, Limit::Micros(20_000.0)))
}

/// A CCEL with one SHA-384 bank (TCG PC Client Platform Firmware Profile, section 10.2).
fn event_log(events: u32) -> Result<Vec<u8>> {
    let mut header = b"Spec ID Event03\0".to_vec();
    header.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    header.extend(1_u32.to_le_bytes());
    header.extend(0x000C_u16.to_le_bytes());
    header.extend(48_u16.to_le_bytes());
    header.push(0);
    let mut log = vec![0; 4];
    log.extend(3_u32.to_le_bytes());
    log.extend([0; 20]);
    log.extend(u32::try_from(header.len())?.to_le_bytes());
    log.extend(header);
    for number in 0..events {
        log.extend((number % 4).saturating_add(1).to_le_bytes());
        log.extend(0x0D_u32.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend(0x000C_u16.to_le_bytes());
        log.extend([7; 48]);
        log.extend(960_u32.to_le_bytes());
        log.extend([9; 960]);
    }
    Ok(log)
}
