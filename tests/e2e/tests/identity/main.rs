//! Credentials that end: leases, their renewal on fresh evidence, revocation, and who is told.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod endpoint;
mod exchange;
mod federation;
mod guest;
mod leases;
mod mtls;
mod posture;
mod revoked;
mod secrecy;
mod spiffe;
mod stream;
mod svid;
mod tenants;
mod tokens;
mod upstream;
mod versions;
