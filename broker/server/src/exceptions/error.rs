//! Why an exception is not registered, and why the bridge hands nothing over.

use axum::http::StatusCode;
use evidence_formats::code::{Code, Coded};
use thiserror::Error;
use verifier::Timestamp;

use crate::http::problem::Problem;

/// What every exception must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Owner,
    Reason,
    System,
    Secret,
    ExpiresAt,
}

impl Field {
    /// As on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Owner => "owner",
            Self::Reason => "reason",
            Self::System => "system",
            Self::Secret => "secret",
            Self::ExpiresAt => "expires_at",
        }
    }
}

/// An exception that is not registered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum ExceptionError {
    /// It does not say something that it must say.
    #[error("expected {}", .0.as_str())]
    Missing(Field),
    /// What it says is not plain, or too long.
    #[error("expected {} as plain text of at most {most} bytes", field.as_str())]
    Text {
        /// Where.
        field: Field,
        /// Longest, in bytes.
        most: usize,
    },
    /// It would end in the past, or later than is allowed.
    #[error("expected expires_at after now and not after {latest}")]
    Expiry {
        /// The latest end.
        latest: Timestamp,
    },
    /// The client is described in a way that is not known.
    #[error("expected client as sha256/BASE64 of its public key, dns:NAME or uri:NAME")]
    Client,
    /// A name counts under the bridge's CA only, and there is none.
    #[error("expected bridge.client_ca in the broker's configuration for a client by name")]
    NoAuthority,
    /// A source is no network.
    #[error("expected sources as at most {most} networks such as 192.0.2.0/24")]
    Source {
        /// Most networks.
        most: usize,
    },
    /// The client is described, and is to bring its key.
    #[error("expected client or bootstrap, not both")]
    TwoClients,
    /// The exception takes no join token.
    #[error("expected an exception that was registered with the bootstrap join-token")]
    JoinsNot,
    /// A token would hold too long.
    #[error("expected a join token of 1 to {most} seconds")]
    JoinLife {
        /// Longest, in seconds.
        most: u32,
    },
    /// A token is for a key.
    #[error("expected client as sha256/BASE64 of its public key")]
    JoinKey,
    /// The secret would be changed too often or too seldom.
    #[error("expected rotation.seconds between {least} and {most}")]
    Schedule {
        /// Shortest, in seconds.
        least: u32,
        /// Longest.
        most: u32,
    },
    /// Nothing of this name changes secrets.
    #[error("expected rotation.driver to be one of exceptions.rotation in the broker's configuration")]
    Driver,
    /// There is no such secret.
    #[error("expected a stored secret: {secret} is not there")]
    SecretAbsent {
        /// Its name.
        secret: String,
    },
    /// The secret is for attested guests.
    #[error("expected a secret that was stored for the bridge: {secret} is for attested guests only")]
    AttestedOnly {
        /// Its name.
        secret: String,
    },
    /// An extension must say why it is needed now.
    #[error("expected a new reason for the extension")]
    SameReason,
    /// What is to be extended is over: register a new one.
    #[error("expected a live exception to extend")]
    Over,
    /// A live exception has the name.
    #[error("expected a name that no live exception has")]
    NameTaken,
    /// A secret is for one system.
    #[error("expected a secret that no live exception is about: a secret is for one system")]
    SecretTaken,
}

impl Coded for ExceptionError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Missing(Field::Name) => "request.exception.name_missing",
            Self::Missing(Field::Owner) => "request.exception.owner_missing",
            Self::Missing(Field::Reason) => "request.exception.reason_missing",
            Self::Missing(Field::System) => "request.exception.system_missing",
            Self::Missing(Field::Secret) => "request.exception.secret_missing",
            Self::Missing(Field::ExpiresAt) => "request.exception.expires_at_missing",
            Self::Text { .. } => "request.exception.text",
            Self::Expiry { .. } => "request.exception.expiry",
            Self::Client => "request.exception.client",
            Self::NoAuthority => "request.exception.no_authority",
            Self::Source { .. } => "request.exception.source",
            Self::TwoClients => "request.exception.two_clients",
            Self::JoinsNot => "request.exception.joins_not",
            Self::JoinLife { .. } => "request.exception.join_life",
            Self::JoinKey => "request.exception.join_key",
            Self::Schedule { .. } => "request.exception.schedule",
            Self::Driver => "request.exception.driver",
            Self::SecretAbsent { .. } => "request.exception.secret_absent",
            Self::AttestedOnly { .. } => "request.exception.attested_only",
            Self::SameReason => "request.exception.same_reason",
            Self::Over => "request.exception.over",
            Self::NameTaken => "request.exception.name_taken",
            Self::SecretTaken => "request.exception.secret_taken",
        })
    }
}

impl From<ExceptionError> for Problem {
    fn from(error: ExceptionError) -> Self {
        let status = match error {
            ExceptionError::Over | ExceptionError::NameTaken | ExceptionError::SecretTaken => StatusCode::CONFLICT,
            ExceptionError::Missing(_)
            | ExceptionError::Text { .. }
            | ExceptionError::Expiry { .. }
            | ExceptionError::Client
            | ExceptionError::NoAuthority
            | ExceptionError::Source { .. }
            | ExceptionError::TwoClients
            | ExceptionError::JoinsNot
            | ExceptionError::JoinLife { .. }
            | ExceptionError::JoinKey
            | ExceptionError::Schedule { .. }
            | ExceptionError::Driver
            | ExceptionError::SecretAbsent { .. }
            | ExceptionError::AttestedOnly { .. }
            | ExceptionError::SameReason => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

/// A secret that is not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum BridgeError {
    /// There is no such exception, or it is not this client's: who asks does not learn which.
    #[error("expected the certificate of a client that a live exception of this name is for")]
    Client,
    /// The exception is over.
    #[error("the exception is over: its owner may ask for a new one")]
    Over,
    /// The client comes from somewhere else.
    #[error("expected a request from one of the exception's networks")]
    Source,
    /// The secret is gone, or is for attested guests.
    #[error("expected a stored secret that may go over the bridge")]
    Secret,
    /// The join token is none, was used, is over, or is for another exception or key: who asks does not learn which.
    #[error("expected an unused join token of a live exception of this name")]
    Join,
    /// Too often within a minute.
    #[error("expected fewer requests within a minute")]
    Rate,
}

impl BridgeError {
    /// As a label of the metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Over => "over",
            Self::Source => "source",
            Self::Secret => "secret",
            Self::Join => "join",
            Self::Rate => "rate",
        }
    }
}

impl Coded for BridgeError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Client => "release.bridge.client",
            Self::Over => "release.bridge.over",
            Self::Source => "release.bridge.source",
            Self::Secret => "release.bridge.secret",
            Self::Join => "release.bridge.join",
            Self::Rate => "release.bridge.rate",
        })
    }
}

impl From<BridgeError> for Problem {
    fn from(error: BridgeError) -> Self {
        let status = match error {
            BridgeError::Rate => StatusCode::TOO_MANY_REQUESTS,
            BridgeError::Client | BridgeError::Over | BridgeError::Source | BridgeError::Secret | BridgeError::Join => {
                StatusCode::FORBIDDEN
            }
        };
        let problem = Self::new(status, error.code(), error.to_string());
        if error == BridgeError::Rate { problem.with_retry_after(60) } else { problem }
    }
}
