//! Credentials that are made for one lease: roles of a real PostgreSQL, certificates for a real sshd.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

mod agent;
#[path = "../identity/guest.rs"]
#[expect(dead_code, reason = "shared with the tests of identities, which use all of it")]
mod guest;
mod kills;
mod roles;
mod rotation;
mod setup;
mod ssh;
