//! A software AMD secure processor: key hierarchy, reports, certificate tables.
//!
//! ```
//! use evidence_formats::snp::ProductLine;
//! use softtee::amd::SecureProcessor;
//!
//! let sp = SecureProcessor::new(ProductLine::Milan);
//! let mut guest = sp.guest();
//! guest.policy |= 1 << 19; // a guest that may be debugged
//! let report = sp.report(&guest);
//! let certificates = sp.certificates().to_bytes();
//! # assert_eq!(report.len(), 1184);
//! # assert!(certificates.len() > 4000);
//! ```
//!
//! Sources: AMD 56860 (SNP firmware ABI, report), 57230 (certificates and KDS), 56421 §4.1.8.1 (certificate table).
mod cert_table;
mod pki;
mod processor;
mod product;
mod report;

pub use cert_table::{CertEntry, CertTableSpec};
pub use pki::{AmdPki, VekKind, oids};
pub use processor::SecureProcessor;
pub use product::{healthy_cpuid, healthy_tcb};
pub use report::ReportSpec;
