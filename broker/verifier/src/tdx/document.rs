//! Intel's documents by themselves: TCB info, QE identity, both revocation lists.

use evidence_formats::{
    endorsement::PckAuthority,
    tdx::{CollateralKind, Fmspc, QeIdentity, SignedDocument, TcbInfo, UtcSeconds},
};

use super::certs::{PLATFORM_CA, PROCESSOR_CA, verify_p256};
use super::collateral::TCB_SIGNING;
use crate::{
    DocumentError, DocumentTerms, Endorsements, Timestamp,
    vendor_document::Found,
    x509::{Certificate, Crl, PublicKey},
};

const ROOT: &str = "Intel SGX Root CA";

/// TCB info for processors of `fmspc`.
pub(crate) fn tcb_info(
    body: &[u8],
    fmspc: Fmspc,
    chain: Option<&Endorsements>,
    terms: &DocumentTerms<'_>,
) -> Result<Found, DocumentError> {
    let document = signed(CollateralKind::TcbInfo, body, chain, terms)?;
    let info = TcbInfo::parse(&document)?;
    if info.fmspc != fmspc {
        return Err(DocumentError::Fmspc { expected: fmspc, found: info.fmspc });
    }
    Ok(window(info.issue_date, info.next_update))
}

/// Identity of the TD quoting enclave.
pub(crate) fn qe_identity(
    body: &[u8],
    chain: Option<&Endorsements>,
    terms: &DocumentTerms<'_>,
) -> Result<Found, DocumentError> {
    let document = signed(CollateralKind::QeIdentity, body, chain, terms)?;
    let identity = QeIdentity::parse(&document)?;
    Ok(window(identity.issue_date, identity.next_update))
}

/// The list of Intel's root.
pub(crate) fn root_crl(content: &Endorsements, terms: &DocumentTerms<'_>) -> Result<Found, DocumentError> {
    let crl = content.crls().next().ok_or(DocumentError::Kind { expected: "a revocation list" })?;
    let named = |root: &&Certificate| root.subject().raw() == crl.issuer().raw();
    let root = roots(terms).find(named).ok_or(DocumentError::Subject { expected: "Intel's root" })?;
    signed_list(crl, root)
}

/// The list of a PCK CA.
pub(crate) fn pck_crl(
    content: &Endorsements,
    ca: PckAuthority,
    chain: Option<&Endorsements>,
    terms: &DocumentTerms<'_>,
) -> Result<Found, DocumentError> {
    let crl = content.crls().next().ok_or(DocumentError::Kind { expected: "a revocation list" })?;
    let name = match ca {
        PckAuthority::Platform => PLATFORM_CA,
        PckAuthority::Processor => PROCESSOR_CA,
    };
    if crl.issuer().common_name() != Some(name) {
        return Err(DocumentError::Subject { expected: "this PCK CA" });
    }
    let issuers = issued_by_root(name, chain, terms)?;
    let issuer = issuers.into_iter().find(|issuer| issuer.may_sign_certificates()).ok_or(DocumentError::Signer)?;
    signed_list(crl, issuer)
}

/// Intel's lists and documents speak until the second of nextUpdate, included.
fn signed_list(crl: &Crl, issuer: &Certificate) -> Result<Found, DocumentError> {
    crl.verify_signed_by(issuer.public_key()).map_err(|_cause| DocumentError::Signature)?;
    Ok(Found { from: crl.this_update(), until: crl.next_update(), number: Some(crl.number()) })
}

const fn window(from: UtcSeconds, until: UtcSeconds) -> Found {
    Found { from: Timestamp::from_unix(from.0), until: Timestamp::from_unix(until.0), number: None }
}

fn signed(
    kind: CollateralKind,
    body: &[u8],
    chain: Option<&Endorsements>,
    terms: &DocumentTerms<'_>,
) -> Result<SignedDocument, DocumentError> {
    let document = SignedDocument::parse(kind, body)?;
    let signers = issued_by_root(TCB_SIGNING, chain, terms)?;
    let not_a_ca = |signer: &&Certificate| signer.basic_constraints().is_some_and(|constraints| !constraints.ca);
    let signed = signers.into_iter().filter(not_a_ca).any(|signer| match signer.public_key() {
        PublicKey::P256(key) => verify_p256(key, document.signed_text().as_bytes(), document.signature()),
        PublicKey::Rsa { .. } | PublicKey::P384(_) => false,
    });
    if signed { Ok(document) } else { Err(DocumentError::Signature) }
}

fn roots<'a>(terms: &DocumentTerms<'a>) -> impl Iterator<Item = &'a Certificate> {
    let anchors = terms.anchors.certificates().map(|anchor| &**anchor);
    anchors.filter(|anchor| anchor.subject().common_name() == Some(ROOT) && anchor.is_self_issued())
}

/// Certificates of this name from beside the document, or else known before, that a trusted root issued, that are valid now
/// and that no known list of that root names.
fn issued_by_root<'a>(
    name: &str,
    chain: Option<&'a Endorsements>,
    terms: &DocumentTerms<'a>,
) -> Result<Vec<&'a Certificate>, DocumentError> {
    let given = chain.unwrap_or(terms.known).certificates().map(|certificate| &**certificate);
    let named: Vec<&Certificate> =
        given.filter(|certificate| certificate.subject().common_name() == Some(name)).take(8).collect();
    let root = roots(terms).next().ok_or(DocumentError::Untrusted)?;
    let issued = |certificate: &&Certificate| {
        certificate.names_issuer(root)
            && certificate.validity().at(terms.now).is_ok()
            && certificate.verify_signed_by(root.public_key()).is_ok()
    };
    let issued: Vec<&Certificate> = named.into_iter().filter(issued).collect();
    if issued.is_empty() {
        return Err(DocumentError::Signer);
    }
    let lists = terms.known.crls().filter(|crl| crl.issuer().raw() == root.subject().raw());
    let lists: Vec<_> = lists.filter(|crl| crl.verify_signed_by(root.public_key()).is_ok()).collect();
    if issued.iter().any(|certificate| lists.iter().any(|crl| crl.revokes(certificate.serial()))) {
        return Err(DocumentError::SignerRevoked);
    }
    Ok(issued)
}
