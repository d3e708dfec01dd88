//! Intel TDX: the DCAP verification algorithm, without Intel's library.
//!
//! `certs` takes the PCK chain of a quote to the pinned root, `collateral` takes the endorsements to the same root,
//! `tcb` compares the two with the quote. Everything before `collateral` needs the quote alone, so that nothing is
//! fetched for evidence that is not genuine.

mod authenticate;
mod baseline;
mod certs;
mod claims;
mod collateral;
pub(crate) mod document;
mod eventlog;
mod floors;
mod tcb;
#[cfg(test)]
mod tests;

pub use authenticate::TdxError;
pub(crate) use authenticate::authenticate;
pub use baseline::{AcceptedTcb, AttributeRule, TdxBaseline};
pub use certs::{PckCa, PckCertificate, PckError, PlatformConfiguration, SgxType};
pub use claims::{TdxClaims, TdxCollateralClaims, TdxPckClaims, TdxQeClaims, TdxTcbClaims};
pub use collateral::{
    AuthenticCollateral, AuthenticQeIdentity, AuthenticTcbInfo, CrlKind, Revocable, TdxEndorsementError, Window,
};
pub use eventlog::EventLogError as TdxEventLogError;
pub use floors::{Monotonic, RollbackError};
pub use tcb::{ConvergedTcb, TcbError, TcbEvaluation};

/// Intel SGX Root CA, valid 2018 to 2049: the trust anchor of every PCK chain and of all collateral.
pub(crate) const BUILT_IN: [&[u8]; 1] = [include_bytes!("roots/intel_sgx_root_ca.der")];
