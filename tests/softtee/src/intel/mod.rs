//! A software TDX platform: Intel-like key hierarchy, quoting enclave, TDX module, collateral and event log.
//!
//! ```
//! use softtee::intel::{TdxPlatform, AT};
//!
//! let platform = TdxPlatform::new();
//! let mut td = platform.td();
//! td.info.attributes.0 |= 1; // a TD that may be debugged
//! let quote = platform.quote(&td).to_bytes(&platform);
//! let collateral = platform.collateral(AT);
//! # assert!(quote.len() > 4000);
//! # assert_eq!(collateral.files().len(), 7);
//! ```
//!
//! Sources: Intel DCAP Quote Generation and Verification Library reference (quote v4, v5), TDX Module ABI (TD report), PCK
//! Certificate and CRL Profile (SGX extensions), PCS API v4 (TCB info, QE identity).
mod collateral;
mod event_log;
mod pck;
mod pki;
mod platform;
mod quote;

pub use collateral::{
    Collateral, Component, IsvLevelSpec, IsvSvn, ModuleIdentitySpec, ModuleSpec, QeIdentitySpec, TcbInfoSpec,
    TcbLevelSpec, TcbSpec, sign_document,
};
pub use event_log::{CcelBuilder, uefi_variable};
pub use pck::{PckCa, PckConfiguration, PckSpec, oids};
pub use pki::IntelPki;
pub use platform::{AT, TdxPlatform};
pub use quote::{QeReportSpec, QuoteSpec, pck_chain, td_report, td_report_body};
