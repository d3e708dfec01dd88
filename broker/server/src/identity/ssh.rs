//! SSH certificates for the guest's own key.

use std::num::NonZeroU64;

use evidence_formats::code::Code;
use keys::{
    random::SystemRandom,
    secret::SecretBytes,
    ssh::{CertificateKind, SshCertificate, SshPublicKey, is_principal},
};
use serde_json::json;

use super::issue::{IssueError, Issuer, Outcome, Terms, denied, not_attested, unknown};
use crate::{attest::request::GrantRequest, config::SshEntry, release::Denied, store::KeyPurpose};

/// Seconds that clocks may be behind.
const BACKDATED: i64 = 60;

/// The kind of grant whose leases are certificates in revocation lists.
pub(crate) const SSH_CERTIFICATE: &str = "ssh-cert";

/// The number of the certificates of a lease, from the lease's place in the status lists: never used twice, never 0.
pub(crate) fn serial(status: u64) -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(status)
}

/// The key that signs certificates of a kind.
pub(crate) const fn purpose(kind: CertificateKind) -> KeyPurpose {
    match kind {
        CertificateKind::User => KeyPurpose::SshUserCa,
        CertificateKind::Host => KeyPurpose::SshHostCa,
    }
}

impl Issuer<'_> {
    /// A certificate for the public key of the request: who it stands for comes from the entry's templates.
    pub(crate) fn ssh_certificate(
        &self,
        (kind, entry): (CertificateKind, &SshEntry),
        request: &GrantRequest,
        terms: Terms<'_>,
    ) -> Outcome {
        let key = match request.public_key.as_deref().map(SshPublicKey::parse) {
            Some(Ok(key)) => key,
            Some(Err(error)) => return denied("release.ssh.key", error.to_string()),
            None => return denied("release.ssh.key", "expected public_key, the line of the guest's .pub file"),
        };
        let Some(workload) = self.workload(&entry.workloads) else { return not_attested() };
        let facts = self.facts(workload, None);
        let mut principals = Vec::with_capacity(entry.principals.len());
        for template in &entry.principals {
            let Some(name) = template.fill(&facts) else { return unknown("a principal") };
            if !is_principal(&name) {
                return Ok(Err(not_a_principal(&name)));
            }
            principals.push(name);
        }
        let signer = self.keyring.signer(purpose(kind)).ok_or(IssueError::NoKey)?;
        let serial = serial(terms.slot.status);
        let extensions = entry.extensions.iter().map(|name| (name.clone(), String::new())).collect();
        let certificate = SshCertificate {
            kind,
            key: &key,
            serial,
            key_id: &format!("countersign:{}:{workload}:{}", self.tenant, terms.slot.id),
            principals: &principals,
            valid_after: self.now.plus_seconds(-BACKDATED).as_unix(),
            valid_before: terms.until.as_unix(),
            critical_options: &entry.critical_options,
            extensions: &extensions,
        };
        let certificate = certificate.sign(&**signer, &mut SystemRandom::new())?;
        // What the guest's own sshd or ssh has to trust on the other side.
        let authorities: Vec<_> =
            self.keyring.ssh_authorities(purpose(kind)).iter().map(|key| key.to_line("countersign")).collect();
        let value = json!({
            "certificate": certificate,
            "serial": serial,
            "principals": principals,
            "authorities": authorities,
            "expires_at": terms.until,
        });
        Ok(Ok(SecretBytes::new(value.to_string().into_bytes())))
    }
}

fn not_a_principal(name: &str) -> Denied {
    let reasons = vec![format!("expected a principal of letters, digits and . _ @ -, found {name:?}")];
    Denied { code: Code::new("release.ssh.principal"), reasons }
}
