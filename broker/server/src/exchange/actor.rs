//! Who asks: a guest with a live attestation result, which proves the key that its evidence bound.

use keys::{
    dpop::{self, ExpectedNonce, Proof, ShownToken},
    relying::{
        AttestationResult, Confirmation, Presented, RelyingError, Trust, attestation_result, certificate_thumbprint,
    },
    sign::{SignatureAlgorithm, TokenType, VerifyingKey},
    status::StatusPlace,
    token::{Audience, TokenError, dangerous_label},
};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use verifier::{Timestamp, x509::Certificate};

use super::{
    error::ExchangeError,
    form::{ExchangeRequest, TokenKind},
};
use crate::{
    broker::Broker,
    config::NonceUse,
    leases::{self, RESULT},
    nonce::NonceError,
    store::{HeldLease, KeyPurpose, StoreError, StoredGuest},
};

/// What came with the request besides the form.
#[derive(Debug, Clone, Default)]
pub(crate) struct Possession {
    /// The value of the header `DPoP`.
    pub(crate) proof: Option<String>,
    /// The client certificate of the connection, DER.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

/// How the key was proven, which is also what the issued token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Means {
    /// By a DPoP proof that is to be used once.
    Dpop(Proof),
    /// By the handshake of the connection, with a certificate of this thumbprint.
    Certificate(String),
}

/// A key that was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    thumbprint: String,
    means: Means,
}

/// A verified attestation result and the proof of its key; whether its lease still holds is not known yet.
#[derive(Debug)]
pub(crate) struct Claimant {
    result: AttestationResult,
    proven: Proven,
}

/// A guest whose attestation stands. Only [`Claimant::live`] makes it.
#[derive(Debug)]
pub(crate) struct Attested {
    result: AttestationResult,
    proven: Proven,
    lease: HeldLease,
    guest: StoredGuest,
    record: String,
}

impl Proven {
    /// The RFC 7638 thumbprint of the attested key.
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// How it was proven.
    pub(crate) const fn means(&self) -> &Means {
        &self.means
    }

    /// Whether this proves what a token is bound to.
    pub(crate) fn proves(&self, cnf: &Confirmation) -> bool {
        let certificate = match &self.means {
            Means::Dpop(_) => None,
            Means::Certificate(thumbprint) => Some(thumbprint),
        };
        let alone = cnf.jwk.is_none() && cnf.jkt.is_none();
        cnf.key_thumbprint().is_some_and(|thumbprint| thumbprint == self.thumbprint)
            || (alone && cnf.certificate.is_some() && cnf.certificate.as_ref() == certificate)
    }
}

/// The attestation result among the tokens, verified, and the proof of its key.
pub(crate) fn authenticate(
    broker: &Broker,
    request: &ExchangeRequest,
    possession: &Possession,
    now: Timestamp,
) -> Result<Claimant, ExchangeError> {
    // The subject may be the guest itself; any other subject needs an actor, which is always a guest.
    let claimed = request.actor.as_ref().unwrap_or(&request.subject);
    let label = dangerous_label(&claimed.token).map_err(ExchangeError::Actor)?;
    let is_result = label.typ.as_deref() == Some(TokenType::EatJwt.as_str());
    if !is_result || !matches!(claimed.kind, TokenKind::Jwt | TokenKind::Ear) {
        return Err(ExchangeError::Unattested);
    }
    let jwks = broker.keyring.load().verification(&[KeyPurpose::AttestationResult]);
    let audience = Audience::Exactly(&broker.audience);
    let trust = Trust { jwks: &jwks, issuer: &broker.issuer, audience, now: now.as_unix(), leeway: 0 };
    // The proof is for a request, not for the use of this token: it is judged below.
    let unchecked = Presented::Unchecked { reason: "the proof of the request is judged beside it" };
    let result = attestation_result(&claimed.token, &trust, unchecked).map_err(|error| {
        let RelyingError::Token(error) = error else {
            return ExchangeError::Actor(TokenError::Claims { reason: error.to_string() });
        };
        ExchangeError::Actor(error)
    })?;
    let proven = prove(broker, &result.confirmation, possession, now)?;
    Ok(Claimant { result, proven })
}

/// The proof of the key in `cnf`: a DPoP proof, or else the certificate of the connection.
fn prove(
    broker: &Broker,
    cnf: &Confirmation,
    possession: &Possession,
    now: Timestamp,
) -> Result<Proven, ExchangeError> {
    let thumbprint = cnf.key_thumbprint().ok_or(ExchangeError::Key)?;
    let means = match (&possession.proof, &possession.certificate) {
        (Some(proof), _) => Means::Dpop(verify_proof(broker, proof, &thumbprint, now)?),
        (None, Some(der)) if key_of(der).as_deref() == Some(&*thumbprint) => {
            Means::Certificate(certificate_thumbprint(der))
        }
        (None, _) => return Err(ExchangeError::NoProof),
    };
    Ok(Proven { thumbprint, means })
}

fn verify_proof(broker: &Broker, proof: &str, thumbprint: &str, now: Timestamp) -> Result<Proof, ExchangeError> {
    let expected = dpop::Expected {
        algorithms: &[SignatureAlgorithm::Es256],
        method: "POST",
        url: &super::token_endpoint(&broker.issuer),
        now: now.as_unix(),
        window: broker.exchange.proof_seconds,
        token: ShownToken::None,
        nonce: ExpectedNonce::ByCaller,
    };
    let proof =
        Proof::verify(proof, &expected).and_then(|proof| proof.of_key(thumbprint)).map_err(ExchangeError::Proof)?;
    let recognised = |nonce: &str| {
        let nonce = nonce.parse().map_err(|_not_a_nonce| NonceError::Unknown);
        nonce.and_then(|nonce| broker.nonces.recognise(&nonce, now))
    };
    match (proof.nonce(), broker.exchange.dpop_nonce) {
        (None, NonceUse::Accepted) => Ok(proof),
        (Some(nonce), NonceUse::Accepted | NonceUse::Required) if recognised(nonce).is_ok() => Ok(proof),
        (None | Some(_), NonceUse::Accepted | NonceUse::Required) => Err(ExchangeError::Nonce),
    }
}

/// The RFC 7638 thumbprint of a certificate's key on P-256. Who signed the certificate does not matter: the handshake proved
/// the key, and the evidence vouches for it.
fn key_of(der: &[u8]) -> Option<String> {
    /// SubjectPublicKeyInfo of an uncompressed point of P-256 up to the point (RFC 5480 §2).
    const P256: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let certificate = Certificate::parse_der(der).ok()?;
    let (x, y) = certificate.spki().strip_prefix(&P256)?.split_at_checked(32)?;
    let text = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, bytes);
    let key = VerifyingKey::from_public_jwk(&json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)}))?;
    Some(key.key_id().as_str().to_owned())
}

/// The lease of a token of this broker that holds, by the place that the token names.
pub(crate) async fn open_lease(
    broker: &Broker,
    place: Option<&StatusPlace>,
    now: Timestamp,
) -> Result<Result<HeldLease, ExchangeError>, StoreError> {
    let Some(status) = place.and_then(|place| leases::status_of(&broker.issuer, place)) else {
        return Ok(Err(ExchangeError::Ended));
    };
    let held = broker.store.lease_at(&broker.tenant, status).await?;
    let open = held.filter(|held| held.lease.ended_at.is_none() && held.lease.expires_at > now);
    Ok(open.ok_or(ExchangeError::Ended))
}

impl Claimant {
    /// The proof of the key.
    pub(crate) const fn proven(&self) -> &Proven {
        &self.proven
    }

    /// Looks whether the attestation still stands: its lease is open, and the guest did not attest again since.
    pub(crate) async fn live(
        self,
        broker: &Broker,
        now: Timestamp,
    ) -> Result<Result<Attested, ExchangeError>, StoreError> {
        let Self { result, proven } = self;
        let lease = match open_lease(broker, result.status_place.as_ref(), now).await? {
            Ok(lease) if lease.lease.kind == RESULT => lease,
            Ok(_) | Err(_) => return Ok(Err(ExchangeError::Ended)),
        };
        if lease.decision != result.token_id {
            return Ok(Err(ExchangeError::Superseded));
        }
        let guest = broker.store.guest(&broker.tenant, &lease.lease.guest).await?;
        let record = broker.store.decision(&broker.tenant, &lease.decision).await?;
        Ok(match guest.zip(record) {
            Some((guest, record)) => Ok(Attested { result, proven, lease, guest, record }),
            None => Err(ExchangeError::Ended),
        })
    }
}

impl Attested {
    /// The verified attestation result.
    pub(crate) const fn result(&self) -> &AttestationResult {
        &self.result
    }

    /// The proof of its key.
    pub(crate) const fn proven(&self) -> &Proven {
        &self.proven
    }

    /// The lease of the result.
    pub(crate) const fn lease(&self) -> &HeldLease {
        &self.lease
    }

    /// The guest.
    pub(crate) const fn guest(&self) -> &StoredGuest {
        &self.guest
    }

    /// The record of the attestation, JSON.
    pub(crate) fn record(&self) -> &str {
        &self.record
    }

    /// When the attestation ends at the latest.
    pub(crate) fn ends_at(&self) -> Timestamp {
        Timestamp::from_unix(self.result.expires_at).min(self.lease.lease.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cnf(jkt: Option<&str>, certificate: Option<&str>) -> Confirmation {
        Confirmation { jwk: None, jkt: jkt.map(str::to_owned), certificate: certificate.map(str::to_owned) }
    }

    #[test]
    fn a_certificate_proves_its_key_and_itself_and_nothing_that_names_more() {
        let by_certificate = Proven { thumbprint: "key".to_owned(), means: Means::Certificate("leaf".to_owned()) };
        for (jkt, certificate, proven) in [
            (Some("key"), None, true),
            (Some("another"), None, false),
            (None, Some("leaf"), true),
            (None, Some("another"), false),
            (Some("another"), Some("leaf"), false),
            (Some("key"), Some("another"), false),
            (None, None, false),
        ] {
            assert_eq!(by_certificate.proves(&cnf(jkt, certificate)), proven, "{jkt:?} {certificate:?}");
        }
    }
}
