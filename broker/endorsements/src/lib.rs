//! Fetches what hardware vendors publish about their hardware: certificates, revocation lists and TCB documents.
//!
//! This package moves bytes and believes none of them. Whoever asks gives a [`Keeper`], which authenticates a document with
//! the core before it is kept, and which knows what is held already. Addresses are made from numbers
//! ([`evidence_formats::endorsement::EndorsementId`]), never from text that a guest sent.
//!
//! The way of one request: negative cache → somebody else's request for the same document → each configured source in its
//! order, behind its own limit and circuit breaker → [`Keeper::keep`].
#![forbid(unsafe_code)]

mod address;
mod bundle;
mod client;
mod document;
mod fetch;
mod gate;
mod provider;
mod source;

pub use address::{BaseUrl, BaseUrlError};
pub use bundle::{Bundle, BundleError, BundleObject};
pub use client::{ClientError, TlsRootsError, tls_roots};
pub use document::Document;
pub use fetch::{Limits, Trial};
pub use provider::{KeepError, Keeper, KeeperFuture, Provider, Reason, SourceStatus, Unavailable};
pub use source::{Source, SourceKind};
