//! Certificate chains of TPM keys: signatures decide, never the order in which certificates and lists are at hand.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use evidence_formats::{code::Coded, tpm::TpmPublic};
use softtee::{
    swtpm::TpmPki,
    x509::{CrlSpec, Extension},
};
use time::{Duration, OffsetDateTime, macros::datetime};
use verifier::{
    Endorsements, Revocation, Timestamp,
    tpm::{EkTerms, authenticate_endorsement_key},
    x509::Certificate,
};

const NOW: OffsetDateTime = datetime!(2026-11-22 0:00 UTC);
/// nameConstraints and certificatePolicies (RFC 5280 §4.2.1).
const NAME_CONSTRAINTS: &str = "2.5.29.30";
const CERTIFICATE_POLICIES: &str = "2.5.29.32";

/// An endorsement key of the default template L-1 whose modulus nobody can factor, as nobody has to.
fn endorsement_key() -> TpmPublic {
    let policy = hex::decode("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa").unwrap();
    let mut area = vec![0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x20];
    area.extend(policy);
    area.extend([0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0, 0x01, 0x00]);
    area.extend([0xff; 256]);
    TpmPublic::parse(&area).unwrap()
}

/// What a verification is given: every list in the order in which it is looked at.
struct Setup {
    pki: TpmPki,
    roots: Vec<Vec<u8>>,
    brought: Vec<Vec<u8>>,
    endorsements: Vec<Vec<u8>>,
    revocation: Revocation,
}

impl Setup {
    fn new() -> Self {
        let pki = TpmPki::new();
        Self {
            roots: pki.anchors(),
            brought: pki.intermediates(),
            endorsements: Vec::new(),
            revocation: Revocation::IfPresent,
            pki,
        }
    }

    /// Lists of root and issuer that say nothing against anybody.
    fn lists(&self) -> [CrlSpec; 2] {
        self.pki.crls(NOW)
    }

    fn sign(&self, [root, issuer]: &[CrlSpec; 2]) -> Vec<Vec<u8>> {
        vec![root.sign(&self.pki.root.key), issuer.sign(&self.pki.ek_ca.key)]
    }

    fn code(&self) -> String {
        let area = endorsement_key();
        let leaf = self.pki.ek_certificate(&area).unwrap().der();
        let certificates: Vec<Vec<u8>> = [vec![leaf], self.brought.clone()].concat();
        let anchors: Vec<_> = self.roots.iter().map(|der| Arc::new(Certificate::parse_der(der).unwrap())).collect();
        let mut endorsements = Endorsements::new();
        for file in &self.endorsements {
            endorsements.add(file).unwrap();
        }
        let terms = EkTerms {
            anchors: &anchors,
            endorsements: &endorsements,
            revocation: self.revocation,
            now: Timestamp::from_unix(NOW.unix_timestamp()),
        };
        authenticate_endorsement_key(&certificates, &area, &terms)
            .map_or_else(|error| error.code().as_str().to_owned(), |_| "accepted".to_owned())
    }

    /// The code with these files as endorsements, which must be the same in both orders.
    fn code_in_both_orders(&mut self, files: &[Vec<u8>]) -> String {
        self.endorsements = files.to_vec();
        let code = self.code();
        self.endorsements.reverse();
        assert_eq!(self.code(), code, "in the other order");
        code
    }
}

#[test]
fn namesakes_of_an_issuer_are_stepped_over() {
    let rogue = TpmPki::rogue();
    let mut setup = Setup::new();
    assert_eq!(setup.code(), "accepted");
    // A CA that renewed its key has two certificates of one name, and so has a root.
    setup.roots = [rogue.anchors(), setup.pki.anchors()].concat();
    setup.brought = [rogue.intermediates(), setup.pki.intermediates()].concat();
    assert_eq!(setup.code(), "accepted");
    setup.brought.reverse();
    setup.roots.reverse();
    assert_eq!(setup.code(), "accepted");
    setup.brought.clear();
    let files = [rogue.intermediates(), setup.pki.intermediates()].concat();
    assert_eq!(setup.code_in_both_orders(&files), "accepted");
    // None of them signed: not the issuer, not the root.
    setup.endorsements = rogue.intermediates();
    assert_eq!(setup.code(), "enroll.ek.certificate_signature");
    setup.endorsements = setup.pki.intermediates();
    setup.roots = rogue.anchors();
    assert_eq!(setup.code(), "enroll.ek.certificate_signature");
    setup.endorsements.clear();
    assert_eq!(setup.code(), "enroll.ek.issuer_missing");
}

#[test]
fn an_issuer_may_demand_nothing_that_is_not_understood() {
    let mut setup = Setup::new();
    for (oid, expected) in [(CERTIFICATE_POLICIES, "accepted"), (NAME_CONSTRAINTS, "enroll.ek.issuer")] {
        let mut issuer = setup.pki.ek_ca.clone();
        issuer.certificate.extensions.push(Extension::critical(oid, vec![0x30, 0x00]));
        setup.brought = vec![issuer.der()];
        assert_eq!(setup.code(), expected, "{oid}");
    }
}

#[test]
fn of_several_lists_a_current_one_speaks_and_each_revokes() {
    let mut setup = Setup::new();
    setup.revocation = Revocation::Require;
    let leaf_serial = setup.pki.ek_certificate(&endorsement_key()).unwrap().certificate.serial;
    let current = setup.lists();
    let older = current.clone().map(|list| CrlSpec {
        this_update: list.this_update - Duration::days(60),
        next_update: list.next_update.map(|date| date - Duration::days(60)),
        ..list
    });
    let both = |setup: &Setup, one: &[CrlSpec; 2], other: &[CrlSpec; 2]| [setup.sign(one), setup.sign(other)].concat();

    let files = both(&setup, &older, &current);
    assert_eq!(setup.code_in_both_orders(&files), "accepted");
    let files = setup.sign(&older);
    assert_eq!(setup.code_in_both_orders(&files), "enroll.ek.crl_stale");
    assert_eq!(setup.code_in_both_orders(&[]), "enroll.ek.crl_missing");

    let revoking = |lists: &[CrlSpec; 2]| {
        let [root, issuer] = lists.clone();
        [root, issuer.revoking(&leaf_serial)]
    };
    let files = both(&setup, &older, &revoking(&current));
    assert_eq!(setup.code_in_both_orders(&files), "enroll.ek.certificate_revoked");
    let files = both(&setup, &revoking(&older), &current);
    assert_eq!(setup.code_in_both_orders(&files), "enroll.ek.certificate_revoked");

    // A list that somebody else signed in the issuer's name says nothing, beside a genuine one or alone.
    let forged: Vec<_> = revoking(&current).iter().map(|list| list.sign(&TpmPki::rogue().ek_ca.key)).collect();
    let files = [forged.clone(), setup.sign(&current)].concat();
    assert_eq!(setup.code_in_both_orders(&files), "accepted");
    assert_eq!(setup.code_in_both_orders(&forged), "enroll.ek.certificate_signature");
}
