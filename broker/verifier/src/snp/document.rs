//! AMD's documents by themselves: a VCEK, a chain, a revocation list.

use evidence_formats::{
    endorsement::AmdService,
    snp::{ChipId, ProductLine, TcbComponents},
};

use super::{
    SnpError,
    certs::{self, VekKind, VekOwner},
    chain::{Claimed, Material},
};
use crate::{
    AnchorOrigin, DocumentError, DocumentTerms, Endorsements, TrustAnchors,
    vendor_document::Found,
    x509::{Certificate, KeyUsage},
};

/// A VCEK: its chain ends in a trusted root, and it is for this chip and TCB.
pub(crate) fn vcek(
    content: &Endorsements,
    (line, chip_id, tcb): (ProductLine, ChipId, TcbComponents),
    terms: &DocumentTerms<'_>,
) -> Result<Found, DocumentError> {
    let vek = only_certificate(content)?;
    let material = Material { anchors: terms.anchors, endorsements: terms.known, hints: &Endorsements::new() };
    let proof = material.verify(vek, Claimed { kind: VekKind::Vcek, product: Some(line) }, terms.now)?;
    if proof.profile.owner != VekOwner::Chip(chip_id) {
        return Err(SnpError::HardwareId.into());
    }
    if proof.profile.tcb != tcb.to_version() {
        let (reported, certified) = (tcb.to_version().to_string(), proof.profile.tcb.to_string());
        return Err(SnpError::Tcb { reported, certified }.into());
    }
    let validity = vek.validity();
    Ok(Found { from: validity.not_before, until: validity.not_after, number: None })
}

fn only_certificate(content: &Endorsements) -> Result<&Certificate, DocumentError> {
    content
        .certificates()
        .next()
        .map(|certificate| &**certificate)
        .ok_or(DocumentError::Kind { expected: "a certificate" })
}

/// Intermediate and root of one hierarchy. Both are pinned; under an operator's root the intermediate is that root's.
pub(crate) fn chain(
    content: &Endorsements,
    line: ProductLine,
    service: AmdService,
    terms: &DocumentTerms<'_>,
) -> Result<Found, DocumentError> {
    let mut certificates = content.certificates();
    let (Some(intermediate), Some(root)) = (certificates.next(), certificates.next()) else {
        return Err(DocumentError::Kind { expected: "two certificates" });
    };
    let kind = match service {
        AmdService::Vcek => VekKind::Vcek,
        AmdService::Vlek => VekKind::Vlek,
    };
    if certs::intermediate(intermediate.subject()) != Some((line, kind)) || certs::root(root.subject()) != Some(line) {
        return Err(DocumentError::Subject { expected: "this product line and hierarchy" });
    }
    if !terms.anchors.contains(root) {
        return Err(DocumentError::Untrusted);
    }
    let issued = intermediate.names_issuer(root) && intermediate.verify_signed_by(root.public_key()).is_ok();
    let pinned = terms.anchors.contains(intermediate) || terms.anchors.origin() == AnchorOrigin::Operator;
    if !issued || !pinned {
        return Err(DocumentError::Signature);
    }
    let (above, below) = (root.validity(), intermediate.validity());
    Ok(Found {
        from: above.not_before.max(below.not_before),
        until: above.not_after.min(below.not_after),
        number: None,
    })
}

/// A revocation list of the product line's root.
pub(crate) fn crl(
    content: &Endorsements,
    line: ProductLine,
    terms: &DocumentTerms<'_>,
) -> Result<Found, DocumentError> {
    let crl = content.crls().next().ok_or(DocumentError::Kind { expected: "a revocation list" })?;
    let mut roots = roots(terms.anchors, line).peekable();
    if roots.peek().is_none() {
        return Err(DocumentError::Untrusted);
    }
    let mut named = roots.filter(|root| root.subject().raw() == crl.issuer().raw()).peekable();
    if named.peek().is_none() {
        return Err(DocumentError::Subject { expected: "the root of this product line" });
    }
    let may_sign = |root: &&Certificate| root.key_usage().is_none_or(KeyUsage::crl_sign);
    if !named.filter(may_sign).any(|root| crl.verify_signed_by(root.public_key()).is_ok()) {
        return Err(DocumentError::Signature);
    }
    // AMD's lists end before the second of nextUpdate.
    Ok(Found { from: crl.this_update(), until: crl.next_update().plus_seconds(-1), number: Some(crl.number()) })
}

fn roots(anchors: &TrustAnchors, line: ProductLine) -> impl Iterator<Item = &Certificate> {
    let anchors = anchors.certificates().map(|anchor| &**anchor);
    anchors.filter(move |anchor| certs::root(anchor.subject()) == Some(line) && anchor.is_self_issued())
}
