//! Credentials that end: leases, their renewal on fresh evidence, revocation, and who is told.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod guest;
mod leases;
mod stream;
