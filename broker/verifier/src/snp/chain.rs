//! The certificate chain: VEK, intermediate (ASK or ASVK), root (ARK).

use std::sync::Arc;

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey},
};
use evidence_formats::{bytes::Sha256Digest, snp::ProductLine};

use super::{
    SnpError,
    certs::{self, AuthorityRole, VekKind, VekProfile},
    revocation::{self, Standing},
};
use crate::{
    AnchorOrigin, ChainKey, Endorsements, Timestamp, TrustAnchors,
    x509::{Certificate, Crl, CrlTimeError, Oid, PublicKey, SignatureAlgorithm, ValidityError},
};

/// Every document that a chain verification may read: the operator's endorsements, and what the host sent along.
#[derive(Clone, Copy)]
pub(super) struct Material<'a> {
    pub(super) anchors: &'a TrustAnchors,
    pub(super) endorsements: &'a Endorsements,
    pub(super) hints: &'a Endorsements,
}

/// What the verification of one VEK proved. Remembered, so that a warm verification does not parse a certificate.
#[derive(Debug)]
pub(super) struct VekProof {
    pub(super) key: ParsedPublicKey,
    pub(super) kind: VekKind,
    pub(super) line: ProductLine,
    pub(super) profile: VekProfile,
    pub(super) digest: Sha256Digest,
    pub(super) standing: Standing,
    /// First and last second at which the proof holds.
    pub(super) holds: (Timestamp, Timestamp),
}

/// What a report says about the key that signed it.
#[derive(Clone, Copy)]
pub(super) struct Claimed {
    pub(super) kind: VekKind,
    /// By CPUID; version 2 reports do not tell.
    pub(super) product: Option<ProductLine>,
}

impl Claimed {
    pub(super) fn made_on(&self, line: ProductLine) -> Result<(), SnpError> {
        match self.product {
            Some(report) if report != line => Err(SnpError::Product { report, certificate: line.to_string() }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Issuers of the same name that are tried at most.
const MAX_ISSUERS: usize = 8;

impl<'a> Material<'a> {
    fn certificates(&self) -> impl Iterator<Item = &'a Certificate> {
        self.endorsements.certificates().chain(self.hints.certificates()).map(Arc::as_ref)
    }

    fn crls(&self) -> Vec<&'a Arc<Crl>> {
        // Other vendors' lists are no lists for this purpose; AMD's name their issuer by these prefixes.
        let amds = |crl: &&Arc<Crl>| {
            let issuer = crl.issuer().common_name();
            issuer.is_some_and(|name| name.starts_with("ARK-") || name.starts_with("SEV-"))
        };
        self.endorsements.crls().chain(self.hints.crls()).filter(amds).collect()
    }

    /// Certificates that could be the report's VEK, each once.
    pub(super) fn vek_candidates(&self) -> Vec<&'a Certificate> {
        let mut candidates: Vec<&Certificate> = Vec::new();
        for certificate in self.certificates().filter(|certificate| certs::may_be_vek(certificate)) {
            if candidates.iter().all(|known| known.digest() != certificate.digest()) {
                candidates.push(certificate);
            }
        }
        candidates
    }

    /// Stands for every byte that the verification of `vek` reads.
    pub(super) fn key(&self, vek: &Certificate) -> ChainKey {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"countersign snp chain 1");
        context.update(self.anchors.digest().as_bytes());
        context.update(self.endorsements.authorities_digest().as_bytes());
        context.update(self.hints.authorities_digest().as_bytes());
        context.update(vek.digest().as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        ChainKey(key)
    }

    /// Trusted roots of a product line.
    fn arks(&self, line: ProductLine) -> Vec<&'a Certificate> {
        let anchors = self.anchors.certificates().map(Arc::as_ref);
        anchors.filter(|anchor| certs::root(anchor.subject()) == Some(line) && anchor.is_self_issued()).collect()
    }

    /// Intermediates that may issue `vek`: the pinned ones; under an operator's root also those that were supplied.
    fn intermediates(&self, vek: &Certificate) -> Vec<&'a Certificate> {
        let names = |certificate: &&'a Certificate| vek.names_issuer(certificate);
        let mut found: Vec<_> = self.anchors.certificates().map(Arc::as_ref).filter(names).collect();
        if self.anchors.origin() == AnchorOrigin::Operator {
            found.extend(self.certificates().filter(names).filter(|certificate| !self.anchors.contains(certificate)));
        }
        found.truncate(MAX_ISSUERS);
        found
    }

    /// Verifies `vek` up to a trusted root, and reads what it says. Once its signature stands, a report that names another
    /// kind of key or processor is the cause to tell, before anything else about the certificate.
    pub(super) fn verify(&self, vek: &'a Certificate, report: Claimed, now: Timestamp) -> Result<VekProof, SnpError> {
        let (line, issuer_kind) = certs::intermediate(vek.issuer()).ok_or_else(|| self.explain_issuer(vek))?;
        if vek.signature_algorithm() != Ok(SignatureAlgorithm::RsaPssSha384) {
            return Err(SnpError::CertificateAlgorithm);
        }
        let arks = self.arks(line);
        if arks.is_empty() {
            return Err(SnpError::UntrustedRoot { root: format!("ARK-{line}") });
        }
        let intermediates = self.intermediates(vek);
        let intermediate = intermediates
            .iter()
            .find(|candidate| vek.verify_signed_by(candidate.public_key()).is_ok())
            .ok_or_else(|| self.explain_unsigned(vek, &arks, intermediates.is_empty()))?;
        let ark = arks
            .iter()
            .find(|ark| intermediate.names_issuer(ark) && intermediate.verify_signed_by(ark.public_key()).is_ok())
            .ok_or_else(|| self.explain_intermediate(intermediate, &arks))?;
        if ark.verify_signed_by(ark.public_key()).is_err() {
            return Err(SnpError::UntrustedRoot { root: ark.subject().to_string() });
        }
        let kind = kind_of(vek, report.kind, issuer_kind)?;
        report.made_on(line)?;
        authority(ark, AuthorityRole::Ark)?;
        authority(intermediate, AuthorityRole::Intermediate)?;
        let holds = valid(
            &[(ark, AuthorityRole::Ark), (intermediate, AuthorityRole::Intermediate), (vek, AuthorityRole::Vek)],
            now,
        )?;
        let key = p384(vek)?;
        let profile = VekProfile::read(vek, line, kind)?;
        let standing = revocation::judge(ark, &[intermediate.serial(), ark.serial()], &self.crls(), now)?;
        let holds = while_current(holds, &standing);
        Ok(VekProof { key, kind, line, profile, digest: *vek.digest(), standing, holds })
    }

    /// Why a VEK whose issuer is no AMD intermediate is refused.
    fn explain_issuer(&self, vek: &'a Certificate) -> SnpError {
        let foreign_root = self.issuers(vek).find(|issuer| issuer.is_self_issued() && issuer.may_sign_certificates());
        match foreign_root {
            Some(root) if !self.anchors.contains(root) => SnpError::UntrustedRoot { root: root.subject().to_string() },
            Some(_) | None => SnpError::VekIssuer {
                kind: VekKind::of_subject(vek.subject()).unwrap_or(VekKind::Vcek),
                issuer: vek.issuer().to_string(),
            },
        }
    }

    /// Why a VEK that no trusted intermediate signed is refused: who did sign it?
    fn explain_unsigned(&self, vek: &'a Certificate, arks: &[&Certificate], none_named: bool) -> SnpError {
        match self.issuers(vek).find(|issuer| !self.anchors.contains(issuer)) {
            Some(foreign) => self.explain_intermediate(foreign, arks),
            None if !none_named => SnpError::VekSignature { issuer: vek.issuer().to_string() },
            // AMD's intermediates are all here: one of another name is nowhere to be had.
            None if self.anchors.origin() == AnchorOrigin::Vendor => self.explain_issuer(vek),
            None => SnpError::IntermediateMissing { issuer: vek.issuer().to_string() },
        }
    }

    /// Why an intermediate that signed the VEK is not trusted.
    fn explain_intermediate(&self, intermediate: &'a Certificate, arks: &[&Certificate]) -> SnpError {
        for ark in arks.iter().filter(|ark| intermediate.names_issuer(ark)) {
            if let Err(revoked) = revocation::refuse_listed(ark, intermediate.serial(), &self.crls()) {
                return revoked;
            }
            // AMD's intermediates are a fixed set: one more under its root is retired or never was meant for this.
            if intermediate.verify_signed_by(ark.public_key()).is_ok() {
                return SnpError::UntrustedIntermediate { serial: hex::encode(intermediate.serial()) };
            }
        }
        let foreign_root = self.issuers(intermediate).find(|root| root.subject().raw() != intermediate.subject().raw());
        match foreign_root {
            Some(root) => SnpError::UntrustedRoot { root: root.subject().to_string() },
            None => SnpError::IntermediateSignature,
        }
    }

    /// Supplied certificates that did sign `subject`.
    fn issuers(&self, subject: &'a Certificate) -> impl Iterator<Item = &'a Certificate> {
        let named = self.certificates().filter(move |issuer| subject.names_issuer(issuer)).take(MAX_ISSUERS);
        named.filter(move |issuer| subject.verify_signed_by(issuer.public_key()).is_ok())
    }
}

/// The kind of a VEK: what its subject says must be what the report says and what its issuer certifies.
fn kind_of(vek: &Certificate, report: VekKind, issuer: VekKind) -> Result<VekKind, SnpError> {
    let subject = || SnpError::VekSubject { subject: vek.subject().to_string() };
    let certificate = VekKind::of_subject(vek.subject()).ok_or_else(subject)?;
    if certificate != report {
        return Err(SnpError::SigningKey { report, certificate });
    }
    if certificate != issuer {
        return Err(SnpError::VekIssuer { kind: certificate, issuer: vek.issuer().to_string() });
    }
    Ok(certificate)
}

/// RFC 5280 section 6.1.4: a CA that may sign certificates, with room for what follows, and nothing critical unknown.
fn authority(certificate: &Certificate, role: AuthorityRole) -> Result<(), SnpError> {
    let room = certificate.basic_constraints().and_then(|constraints| constraints.path_length);
    let enough = match role {
        AuthorityRole::Ark => room.is_none_or(|length| length >= 1),
        AuthorityRole::Intermediate | AuthorityRole::Vek => true,
    };
    let unknown = certificate.unknown_critical_extension(&[Oid::BASIC_CONSTRAINTS, Oid::KEY_USAGE]);
    if certificate.may_sign_certificates() && enough && unknown.is_none() {
        return Ok(());
    }
    Err(SnpError::NotAnAuthority { role })
}

/// Checks the validity of every certificate at `now`; returns when all of them are valid.
fn valid(chain: &[(&Certificate, AuthorityRole)], now: Timestamp) -> Result<(Timestamp, Timestamp), SnpError> {
    let mut holds = (Timestamp::from_unix(i64::MIN), Timestamp::from_unix(i64::MAX));
    for (certificate, role) in chain {
        let validity = certificate.validity();
        validity.at(now).map_err(|error| match error {
            ValidityError::NotYetValid { not_before } => SnpError::NotYetValid { role: *role, not_before },
            ValidityError::Expired { not_after } => SnpError::Expired { role: *role, not_after },
        })?;
        holds = (holds.0.max(validity.not_before), holds.1.min(validity.not_after));
    }
    Ok(holds)
}

/// A proof holds no longer than the CRL that it relied on is current.
fn while_current((from, until): (Timestamp, Timestamp), standing: &Standing) -> (Timestamp, Timestamp) {
    match standing {
        Standing::Checked(crl) => (from.max(crl.this_update), until.min(crl.next_update.plus_seconds(-1))),
        Standing::NotCurrent(CrlTimeError::Stale { next_update }, _) => (from.max(*next_update), until),
        Standing::NotCurrent(CrlTimeError::NotYetValid { this_update }, _) => {
            (from, until.min(this_update.plus_seconds(-1)))
        }
        Standing::Missing { .. } => (from, until),
    }
}

fn p384(vek: &Certificate) -> Result<ParsedPublicKey, SnpError> {
    match vek.public_key() {
        PublicKey::P384(point) => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).ok().ok_or(SnpError::VekKey),
        PublicKey::P256(_) | PublicKey::Rsa { .. } => Err(SnpError::VekKey),
    }
}
