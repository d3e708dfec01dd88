//! AMD SEV-SNP: authentication of reports and baseline rules.
//!
//! Sources: AMD 56860 (firmware ABI: report, policy, TCB), AMD 57230 (VCEK certificate and KDS interface).

mod authenticate;
mod baseline;
mod certs;
mod chain;
mod claims;
pub(crate) mod document;
mod error;
mod revocation;
mod tcb;

pub(crate) use authenticate::authenticate;
pub use baseline::{ChipPin, MinimumVersion, SnpBaseline, SnpBaselineError, TcbFloor, TcbFloors};
pub(crate) use certs::claims_to_be_for;
pub use certs::{AuthorityRole, VekKind};
pub use claims::{CrlClaims, GuestPolicyClaims, KeyInfoClaims, PlatformInfoClaims, SnpClaims, TcbSet, VekClaims};
pub use error::SnpError;

/// AMD's key hierarchies, pinned: root (ARK), and the intermediates for chip keys (ASK) and loaded keys (ASVK).
pub(crate) const BUILT_IN: [&[u8]; 9] = [
    include_bytes!("roots/milan_ark.der"),
    include_bytes!("roots/milan_ask.der"),
    include_bytes!("roots/milan_asvk.der"),
    include_bytes!("roots/genoa_ark.der"),
    include_bytes!("roots/genoa_ask.der"),
    include_bytes!("roots/genoa_asvk.der"),
    include_bytes!("roots/turin_ark.der"),
    include_bytes!("roots/turin_ask.der"),
    include_bytes!("roots/turin_asvk.der"),
];
