//! The Countersign attestation broker: HTTP service, release of secrets, store, administration and command line.
//!
//! Evidence is judged by the pure `verifier` core; this package is the I/O around it. The data goes one way: request →
//! evidence → authenticated → appraised → released → sealed, and each step takes the type that the one before it made.
#![forbid(unsafe_code)]

mod admin;
mod attest;
mod audit;
mod authority;
#[doc(hidden)]
pub mod benching;
mod broker;
mod chains;
pub mod cli;
mod clock;
mod collateral;
mod common;
pub mod config;
mod daemon;
mod databases;
mod decision;
mod endorsements;
mod enrolment;
mod exceptions;
mod exchange;
mod federation;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod hardening;
mod http;
mod identity;
mod leases;
mod metrics;
mod nonce;
mod reference_trust;
mod release;
mod replay;
mod rulebook;
mod shadow;
mod store;
mod tenants;
mod vault;
