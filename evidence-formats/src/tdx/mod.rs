//! Intel TDX: quotes, TD reports and the collateral documents of the Provisioning Certification Service.
//!
//! Sources: "Intel TDX DCAP Quote Generation Library and Quote Verification Library" (quote v4 and v5), "Intel TDX
//! Module ABI" (TDREPORT, ATTRIBUTES, XFAM) and "Intel SGX PCS API v4" (TCB info, QE identity). Integers are
//! little-endian; ECDSA points and signatures are big-endian `x‖y` and `r‖s`.

mod attributes;
mod collateral;
mod document;
mod quote;
mod report;
mod tcb;

pub use attributes::{TdAttribute, TdAttributes, UnknownAttribute, Xfam};
pub use collateral::{IsvLevel, LevelStatus, ModuleIdentity, QeIdentity, TcbInfo, TcbLevel, TdxModule, UtcSeconds};
pub use document::{
    CollateralBundle, CollateralError, CollateralKind, DocumentCause, SignedDocument, plain_pem, recognise,
};
pub use quote::{
    CertificationType, EcdsaSignature, EnclaveReport, MAX_CERTIFICATION_LENGTH, MAX_QUOTE_LENGTH, P256Point,
    QuoteError, QuoteField, QuoteVersion, TdxQuote, Trailing,
};
pub use report::{
    MigrationTds, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrServiceTd, MrSignerSeam, ReportError, SeamAttributes,
    Td15, TdInfo, TdQuoteBody, TdReport,
};
pub use tcb::{CpuSvn, Fmspc, PceId, PceSvn, Ppid, SvnComponents, TeeTcbSvn};
