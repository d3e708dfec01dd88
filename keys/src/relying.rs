//! For relying parties: verify what a broker issued, together with the proof that its presenter has its key.
//!
//! Nothing here reads a clock, file or network: the key set, the time, what was presented and the memory for proofs are
//! arguments. `docs/relying-parties.md` shows how they come together.
//!
//! | what | how | says |
//! |---|---|---|
//! | attestation result (EAR) | [`attestation_result`], [`attestation_result_cwt`] | [`AttestationResult`] |
//! | JWT-SVID | [`jwt_svid`] | [`JwtSvid`] |
//! | access token of the token exchange | [`access_token`] | [`AccessToken`] |
//! | any other token, such as one for a cloud | [`plain_token`] | [`PlainToken`] |
//! | whether its lease still holds | [`StatusListToken`] | [`StatusError`] |
//!
//! **A token with `cnf` is not accepted from somebody who does not prove its key.** [`Presented::Bearer`] is for tokens
//! without `cnf`; [`Presented::Unchecked`] names why nothing was proven, for tools that show it.

use thiserror::Error;

use crate::{
    dpop::{self, DpopError, ExpectedNonce, ReplayGuard},
    sign::{Jwks, SignatureAlgorithm},
    token::{self, Audience, IssuerRule, Terms, TokenError},
};

mod access;
mod attestation;
mod confirmation;
mod plain;
mod status;
mod svid;

pub use self::{
    access::{ACTORS_LIMIT, AccessToken, Actor, access_token},
    attestation::{AttestationResult, EarStatus, attestation_result, attestation_result_cwt},
    confirmation::{Confirmation, Confirmed, certificate_thumbprint},
    plain::{PlainToken, plain_token},
    status::{StatusError, StatusListToken},
    svid::{JwtSvid, jwt_svid},
};

/// Whom a relying party trusts, who it is, and when.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The broker's keys: `/.well-known/jwks.json`, or its SPIFFE bundle for JWT-SVIDs.
    pub jwks: &'a Jwks,
    /// The exact `iss`; for a JWT-SVID the trust domain, such as `example.org`.
    pub issuer: &'a str,
    /// Who the token must be for.
    pub audience: Audience<'a>,
    /// The time, seconds since the Unix epoch.
    pub now: i64,
    /// How far clocks may differ, seconds.
    pub leeway: u32,
}

impl<'a> Trust<'a> {
    fn expected(&self) -> token::Expected<'a> {
        let &Self { issuer, audience, now, leeway, .. } = self;
        token::Expected { algorithms: &SignatureAlgorithm::ALL, issuer, audience, now, leeway }
    }

    fn terms(&self, issuer: IssuerRule<'a>) -> Terms<'a> {
        Terms { issuer, audience: self.audience, now: self.now, leeway: self.leeway }
    }
}

/// What came with a token.
pub enum Presented<'a> {
    /// Nothing: accepted for a token without `cnf` only.
    Bearer,
    /// A DPoP proof in the request's header `DPoP` (RFC 9449), with `Authorization: DPoP TOKEN`.
    Dpop {
        /// The header's value. A request with two such headers is to be refused before.
        proof: &'a str,
        /// The request's method.
        method: &'a str,
        /// The request's absolute URL, as the client sees it.
        url: &'a str,
        /// The nonce that this server gave.
        nonce: ExpectedNonce<'a>,
        /// How many seconds a proof is good for, before and after it was made.
        window: u32,
        /// The memory for proofs.
        guard: &'a mut dyn ReplayGuard,
    },
    /// The client certificate of the TLS connection (RFC 8705 §3), DER: the handshake proved its key.
    Certificate {
        /// The certificate.
        der: &'a [u8],
    },
    /// Not looked at, for a reason that the caller shows.
    Unchecked {
        /// Why.
        reason: &'a str,
    },
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bearer => "Bearer",
            Self::Dpop { .. } => "Dpop",
            Self::Certificate { .. } => "Certificate",
            Self::Unchecked { .. } => "Unchecked",
        })
    }
}

/// Why a relying party does not accept what it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelyingError {
    /// The token itself is no good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The DPoP proof is no good.
    #[error(transparent)]
    Dpop(#[from] DpopError),
    /// The token is bound to a key, and whoever showed it did not prove that key.
    #[error("expected proof of the key that the token is bound to")]
    ProofRequired,
    /// The token is bound to another client certificate.
    #[error("expected the client certificate that the token is bound to")]
    Certificate,
    /// `cnf` has no member that is understood here, or none at all.
    #[error("expected a confirmation by jwk, jkt or x5t#S256")]
    Confirmation,
    /// A proof came with a token that is bound to nothing.
    #[error("expected a token that is bound to a key, a proof came with it")]
    Unbound,
    /// The header of a JWT-SVID has other members than `alg`, `kid` and `typ`, or another type.
    #[error("expected the header of a JWT-SVID")]
    SvidHeader,
    /// `sub` is no SPIFFE ID of the trust domain.
    #[error("expected a SPIFFE ID of the trust domain")]
    SvidSubject,
}

impl RelyingError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::Dpop(error) => error.code(),
            Self::ProofRequired => "binding.token.proof_required",
            Self::Certificate => "binding.token.certificate",
            Self::Confirmation => "parse.token.confirmation",
            Self::Unbound => "binding.token.unbound",
            Self::SvidHeader => "parse.svid.header",
            Self::SvidSubject => "authenticate.svid.subject",
        }
    }
}

/// What is shown with a request: the proof, the request's method and URL, the server's nonce and the window.
type Shown<'a> = (&'a str, &'a str, &'a str, ExpectedNonce<'a>, u32);

/// Verifies the proof of a request by the key with this thumbprint, and that it is the first time.
fn prove(
    (token, thumbprint): (&str, &str),
    (proof, method, url, nonce, window): Shown<'_>,
    guard: &mut dyn ReplayGuard,
    now: i64,
) -> Result<(), DpopError> {
    let expected = dpop::Expected {
        algorithms: &SignatureAlgorithm::ALL,
        method,
        url,
        now,
        window,
        token: dpop::ShownToken::Token(token),
        nonce,
    };
    // Remembered only when the key is the right one: whoever has a token without its key would fill the memory otherwise.
    let proof = dpop::Proof::verify(proof, &expected)?.of_key(thumbprint)?;
    if guard.first_use(proof.id(), proof.expires_at(), now) { Ok(()) } else { Err(DpopError::Replayed) }
}

#[cfg(test)]
mod tests;
