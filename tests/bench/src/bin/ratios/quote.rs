//! What the verifier makes of a TPM's quote, beside the signature check that it cannot do without, and of an event log.

use std::hint::black_box;

use anyhow::{Context, Result, bail};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use bench::{
    clock::{Compared, compare, cost},
    table::{Limit, Row},
};
use evidence_formats::{
    digest::HashAlgorithm,
    eventlog::EventLog,
    evidence::Evidence,
    tpm::{TpmDocument, TpmEvidence, TpmPublic, TpmSignature},
};
use softtee::{
    der,
    swtpm::{SwTpm, is_installed},
};
use tee::tpm::{AkKind, Pcrs};
use verifier::{
    CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors, authenticate,
    tpm::{PinnedAk, TpmTerms},
};

const ROUNDS: usize = 101;
/// What the quote carries.
const EXTRA_DATA: [u8; 48] = [7; 48];

/// Rows for each kind of attestation key (none where there is no swtpm), and for a log.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = vec![event_log()?];
    if is_installed() {
        rows.push(quote(AkKind::EccP256, "verify a quote, P-256", "bare P-256 verification", Limit::Ratio(1.20))?);
        rows.push(quote(AkKind::Rsa2048, "verify a quote, RSA 2048", "bare RSA 2048 verification", Limit::None)?);
    }
    Ok(rows)
}

/// A quote of 24 PCRs by an enrolled key: attributes, signature, qualified name, clock, qualifying data, selection, values.
fn quote(kind: AkKind, name: &'static str, beside: &'static str, limit: Limit) -> Result<Row> {
    let machine = SwTpm::bare()?;
    let tpm = machine.connect()?;
    let ak = tpm.create_ak(kind)?;
    let quoted = tpm.quote_pcrs(&ak, &EXTRA_DATA, &Pcrs::all(HashAlgorithm::Sha256))?;
    let document = TpmDocument {
        ak_public: ak.public().as_bytes(),
        ak_certificates: &[],
        message: &quoted.quote.message,
        signature: &quoted.quote.signature,
        pcrs: &quoted.values,
    };
    let evidence = Evidence::Tpm(TpmEvidence::from_document(&document.to_json()?)?);
    let anchors = TrustAnchors::vendor();
    let endorsements = Endorsements::new();
    let pinned_ak = Some(PinnedAk::parse(ak.name().as_bytes())?);
    let tpm_terms = TpmTerms { pinned_ak, extra_data: Some(EXTRA_DATA.to_vec()), ..TpmTerms::default() };
    let terms = Terms {
        anchors: &anchors,
        revocation: Revocation::Require,
        expected: Expected::Unchecked { reason: "bench" },
        now: Timestamp::from_unix(1_790_000_000),
        memory: &Forgetful,
        crl_floors: CrlFloors::NONE,
        tpm: &tpm_terms,
    };
    let mut ours = || {
        black_box(authenticate(black_box(&evidence), &endorsements, &terms)?);
        Ok(())
    };
    let (key, signature) = bare(ak.public(), &quoted.quote.signature)?;
    let mut other = || Ok(key.verify_sig(black_box(&quoted.quote.message), &signature)?);
    let costs = compare(ROUNDS, 20, &mut ours, &mut other)?;
    Ok(Row { name, beside, costs, limit })
}

/// The key, parsed before, and the signature as the library takes it.
fn bare(ak: &TpmPublic, signature: &[u8]) -> Result<(ParsedPublicKey, Vec<u8>)> {
    use evidence_formats::tpm::TpmKey;
    let parsed = |algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]| -> Result<ParsedPublicKey> {
        ParsedPublicKey::new(algorithm, bytes).ok().context("expected a key that the library takes")
    };
    match (&ak.key, TpmSignature::parse(signature)?) {
        (TpmKey::Ecc { x, y, .. }, TpmSignature::Ecdsa { r, s, .. }) => {
            let point = [&[4], x.as_slice(), y].concat();
            let signature = der::sequence(&[der::integer(&r), der::integer(&s)]);
            Ok((parsed(&ECDSA_P256_SHA256_ASN1, &point)?, signature))
        }
        (TpmKey::Rsa { modulus, .. }, TpmSignature::Rsassa { signature, .. }) => {
            let key = der::sequence(&[der::integer(modulus), der::unsigned(65_537)]);
            Ok((parsed(&RSA_PKCS1_2048_8192_SHA256, &key)?, signature))
        }
        _ => bail!("expected a signature of the key's kind"),
    }
}

/// 64 KB of events with SHA-256 and SHA-384 digests in PCR 0 to 7.
fn event_log() -> Result<Row> {
    let log = log_of(64 * 1024)?;
    let mut ours = || {
        black_box(EventLog::parse(black_box(&log))?.replay_pcrs(HashAlgorithm::Sha256)?);
        Ok(())
    };
    let costs = Compared { ours: cost(ROUNDS, 5, &mut ours)?, other: 0.0, ratio: 0.0 };
    let name = "parse and replay an event log of 64 KB";
    Ok(Row { name, beside: "", costs, limit: Limit::Micros(2_000.0) })
}

/// TCG PC Client Platform Firmware Profile, section 10.2: the header event, then events of 200 bytes.
fn log_of(bytes: usize) -> Result<Vec<u8>> {
    let mut header = b"Spec ID Event03\0".to_vec();
    header.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    header.extend(2_u32.to_le_bytes());
    for (algorithm, length) in [(0x000B_u16, 32_u16), (0x000C, 48)] {
        header.extend(algorithm.to_le_bytes());
        header.extend(length.to_le_bytes());
    }
    header.push(0);
    let mut log = vec![0; 4];
    log.extend(3_u32.to_le_bytes());
    log.extend([0; 20]);
    log.extend(u32::try_from(header.len())?.to_le_bytes());
    log.extend(header);
    let mut number = 0_u32;
    while log.len() < bytes {
        log.extend((number % 8).to_le_bytes());
        log.extend(0x0D_u32.to_le_bytes());
        log.extend(2_u32.to_le_bytes());
        log.extend(0x000B_u16.to_le_bytes());
        log.extend([7; 32]);
        log.extend(0x000C_u16.to_le_bytes());
        log.extend([7; 48]);
        log.extend(100_u32.to_le_bytes());
        log.extend([9; 100]);
        number = number.saturating_add(1);
    }
    Ok(log)
}
