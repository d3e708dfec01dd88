//! Why a token is not exchanged, for people, for our programs (code) and for OAuth clients (error).

use std::collections::BTreeSet;

use evidence_formats::code::{Code, Coded};
use keys::{dpop::DpopError, relying::RelyingError, token::TokenError};
use thiserror::Error;

use crate::store::Ground;

/// A token is not exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum ExchangeError {
    /// A parameter is missing or of another form.
    #[error("expected {expected}")]
    Request {
        /// What was expected.
        expected: &'static str,
    },
    /// A parameter came twice.
    #[error("expected {name} once")]
    Doubled {
        /// Which one.
        name: &'static str,
    },
    /// Another grant than token exchange.
    #[error("expected the grant type of token exchange")]
    GrantType,
    /// No attestation comes with the subject token.
    #[error("expected an actor token: a fresh attestation result of the guest that asks")]
    Unattested,
    /// The attestation result is no good.
    #[error("actor token: {0}")]
    Actor(TokenError),
    /// The subject token is no good.
    #[error("subject token: {0}")]
    Subject(RelyingError),
    /// Nobody knows who issued the subject token.
    #[error("expected a subject token of a known issuer")]
    Issuer,
    /// The lease of one of the tokens is over.
    #[error("expected tokens whose leases hold: attest again")]
    Ended,
    /// The guest attested again since: only its newest result counts.
    #[error("expected the newest attestation result of the guest")]
    Superseded,
    /// Neither a DPoP proof nor a client certificate of the key.
    #[error("expected a DPoP proof of the attested key")]
    NoProof,
    /// The key cannot sign.
    #[error("expected an attestation of a P-256 key: others cannot prove themselves")]
    Key,
    /// The proof is no good.
    #[error(transparent)]
    Proof(DpopError),
    /// The proof has no nonce that is good now.
    #[error("expected a proof with the nonce of the header DPoP-Nonce")]
    Nonce,
    /// No target or several.
    #[error("expected one audience or resource")]
    Target,
    /// The release policy does not allow it, or there is no such target: a caller cannot find out which.
    #[error("the release policy does not allow it")]
    Policy {
        /// The code of the refusal.
        code: Code,
        /// Why, for people.
        reasons: Vec<String>,
    },
    /// The grant is not for what was attested.
    #[error("expected a workload that the grant is for")]
    Workload,
    /// The attestation is too old for this grant.
    #[error("expected an attestation of the last {seconds} s")]
    Old {
        /// How old it may be.
        seconds: u32,
    },
    /// No rule of the grant fits the subject token.
    #[error("expected a subject token that the grant names")]
    Conditions,
    /// The subject token is of another workload or node than the evidence.
    #[error("expected the subject token and the evidence to be of one workload: {}", pointers(.claims))]
    Mismatch {
        /// The claims that say something else.
        claims: BTreeSet<String>,
    },
    /// The cluster that issued the subject token does not vouch for it any more.
    #[error("subject token: expected its cluster to confirm {what}")]
    Review {
        /// What it does not confirm.
        what: &'static str,
    },
    /// The subject token says who may act, and it is somebody else.
    #[error("expected an actor that the subject token allows")]
    MayAct,
    /// The subject token names too many actors already.
    #[error("expected a subject token of fewer actors")]
    Actors,
    /// More than may be had.
    #[error("expected scopes that may be had, not {}", pointers(.scopes))]
    Scope {
        /// Which ones.
        scopes: BTreeSet<String>,
    },
    /// Nobody says what for.
    #[error("expected a purpose")]
    Purpose,
    /// There is no time left.
    #[error("expected tokens that hold for a while")]
    Lifetime,
    /// The guest exchanged for enough.
    #[error("expected fewer exchanges of this guest in {seconds} s")]
    Budget {
        /// The time.
        seconds: u32,
    },
    /// Something that the attestation rests on is revoked.
    #[error("the {} {} is revoked", .0.kind.as_str(), .0.value)]
    Revoked(Ground),
}

fn pointers(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl ExchangeError {
    /// The value of `error` (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 9449 §5 and §8).
    pub(crate) const fn oauth(&self) -> &'static str {
        match self {
            Self::Request { .. } | Self::Doubled { .. } | Self::Unattested | Self::Purpose => "invalid_request",
            Self::GrantType => "unsupported_grant_type",
            Self::Actor(_)
            | Self::Subject(_)
            | Self::Issuer
            | Self::Ended
            | Self::Superseded
            | Self::Key
            | Self::Old { .. }
            | Self::Conditions
            | Self::Mismatch { .. }
            | Self::Review { .. }
            | Self::MayAct
            | Self::Actors
            | Self::Lifetime
            | Self::Revoked(_) => "invalid_grant",
            Self::NoProof | Self::Proof(_) => "invalid_dpop_proof",
            Self::Nonce => "use_dpop_nonce",
            Self::Target | Self::Policy { .. } | Self::Workload | Self::Budget { .. } => "invalid_target",
            Self::Scope { .. } => "invalid_scope",
        }
    }

    /// Reasons of the policy, in full.
    pub(crate) fn reasons(&self) -> Vec<String> {
        if let Self::Policy { reasons, .. } = self { reasons.clone() } else { vec![self.to_string()] }
    }
}

impl Coded for ExchangeError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Request { .. } => "request.exchange.malformed",
            Self::Doubled { .. } => "request.exchange.doubled",
            Self::GrantType => "request.exchange.grant_type",
            Self::Unattested => "release.exchange.unattested",
            Self::Actor(error) => error.code(),
            Self::Subject(error) => error.code(),
            Self::Issuer => "authenticate.token.unknown_issuer",
            Self::Ended => "release.lease.ended",
            Self::Superseded => "release.exchange.superseded",
            Self::NoProof => "binding.dpop.absent",
            Self::Key => "binding.dpop.key_kind",
            Self::Proof(error) => error.code(),
            Self::Nonce => "binding.dpop.nonce",
            Self::Target => "release.exchange.target",
            Self::Policy { code, .. } => return *code,
            Self::Workload => "release.identity.workload",
            Self::Old { .. } => "release.exchange.attestation_age",
            Self::Conditions => "release.exchange.conditions",
            Self::Mismatch { .. } => "release.exchange.binding_mismatch",
            Self::Review { .. } => "release.exchange.token_review",
            Self::MayAct => "release.exchange.may_act",
            Self::Actors => "release.exchange.actors",
            Self::Scope { .. } => "release.exchange.scope",
            Self::Purpose => "release.exchange.purpose",
            Self::Lifetime => "release.exchange.lifetime",
            Self::Budget { .. } => "release.exchange.budget",
            Self::Revoked(_) => "release.revoked",
        })
    }
}
