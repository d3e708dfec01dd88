//! Keys and secrets: bytes that must not leak, sealing to a guest's own key, token signing, envelope encryption.
//!
//! The package is pure: randomness and the time are arguments ([`random::Random`], `now`), nothing is read from files,
//! the network or a clock. Cryptography is aws-lc-rs; X-Wing, which it lacks, is the `hpke` crate.
//!
//! - [`secret`]: [`secret::SecretBytes`], wiped when dropped, never printed.
//! - [`jwk`] and [`tee_key`]: the guest's public key as it goes over the wire, and its private half in memory.
//! - [`seal`]: encryption to a [`jwk::TeePublicKey`] as a flattened JWE.
//! - [`grant`]: what the native protocol puts inside a sealed JWE.
//! - [`lease`]: proof that a request over a lease comes from the guest that holds it.
//! - [`sign`] and [`token`]: JWTs, their keys as JWKS, and verification at an explicit time.
//! - [`cwt`]: the attestation result as a CWT.
//! - [`dpop`]: proof that the sender of a request has the key that a token is bound to.
//! - [`relying`]: for relying parties: tokens together with the proof of their key, and whether their leases hold.
//! - [`status`]: token status lists.
//! - [`ssh`]: OpenSSH keys, certificates and revocation lists.
//! - [`envelope`]: secrets at rest under a root key.
//! - [`tpm`]: credentials and secrets that only one TPM opens.
//! - [`offline`]: secrets that a TPM keeps for reboots without the broker.
//!
//! Every error has a stable code (`code()`), dotted like all refusal codes of the project.
#![forbid(unsafe_code)]

pub mod cwt;
pub mod dpop;
mod encoding;
pub mod envelope;
pub mod grant;
pub mod jwk;
mod jwks;
pub mod lease;
pub mod offline;
pub mod random;
pub mod relying;
pub mod seal;
pub mod secret;
pub mod sign;
pub mod ssh;
pub mod status;
pub mod tee_key;
pub mod token;
pub mod tpm;

/// The page for relying parties: its example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/relying-parties.md")]
struct RelyingParties;
