//! TDX through the verifier's public interface.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod bench;
mod bundle;
mod differential;
mod floors;
mod platforms;
mod properties;
mod vectors;
