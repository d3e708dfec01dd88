//! Why SNP evidence is not authentic.

use evidence_formats::{
    code::{Code, Coded},
    snp::{ProductLine, SnpReportError},
};
use thiserror::Error;

use crate::{
    EndorsementError, Timestamp,
    x509::{CrlNumber, Oid},
};

use super::certs::{AuthorityRole, VekKind};

/// Why SNP evidence is refused, or cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnpError {
    /// Firmware did not sign the report.
    #[error("expected a signed report, the firmware signed with no key")]
    Unsigned,
    /// The report does not fit the product line that the chain proves.
    #[error(transparent)]
    Report(#[from] SnpReportError),
    /// The report is not signed by the VEK.
    #[error("expected a report signed by the endorsement key")]
    Signature,
    /// The VEK is of another kind than the report says it was signed with.
    #[error("expected a {report} certificate, as the report says, found a {certificate}")]
    SigningKey {
        /// What the report says.
        report: VekKind,
        /// What the certificate is.
        certificate: VekKind,
    },
    /// The VEK is of another product line than the processor.
    #[error("expected an endorsement key of product line {report}, found {certificate}")]
    Product {
        /// By CPUID, or by the chain.
        report: ProductLine,
        /// By the certificate.
        certificate: String,
    },
    /// The VEK belongs to another chip.
    #[error("expected an endorsement key of this chip")]
    HardwareId,
    /// The VEK was derived for another TCB than the report says.
    #[error("expected an endorsement key for the reported TCB {reported}, found {certified}")]
    Tcb {
        /// REPORTED_TCB, hex in report order.
        reported: String,
        /// TCB of the certificate, likewise.
        certified: String,
    },
    /// The VEK certifies patch levels for components that do not exist.
    #[error("expected zero in the reserved patch level {oid}")]
    ReservedTcb {
        /// The extension.
        oid: Oid,
    },
    /// REPORTED_TCB or COMMITTED_TCB is above CURRENT_TCB, which firmware never does.
    #[error("expected {lower} TCB at most as high as the current TCB in every component")]
    TcbOrder {
        /// Which one is higher.
        lower: &'static str,
    },
    /// The guest committed to something else.
    #[error("expected the report data of this request, found other data")]
    ReportData,
    /// The launch committed to other init-data, or to none.
    #[error("expected HOST_DATA to be the digest of the init-data")]
    InitData,
    /// The chain ends at a root that is not trusted.
    #[error("expected a chain to a trusted root, found root {root:?}")]
    UntrustedRoot {
        /// Subject of the root.
        root: String,
    },
    /// The intermediate CA is signed by a trusted root, but is not one of the pinned ones.
    #[error("expected a pinned intermediate CA, found serial number {serial}")]
    UntrustedIntermediate {
        /// Its serial number, hex.
        serial: String,
    },
    /// The certificate that issued the VEK is not signed by the trusted root.
    #[error("expected an intermediate CA signed by the trusted root")]
    IntermediateSignature,
    /// A CA certificate may not do what the chain needs.
    #[error("expected a CA certificate for {role}")]
    NotAnAuthority {
        /// What it stands for in the chain.
        role: AuthorityRole,
    },
    /// The VEK is not signed by its issuer.
    #[error("expected an endorsement key certificate signed by {issuer:?}")]
    VekSignature {
        /// Name of the issuer.
        issuer: String,
    },
    /// The VEK's signature algorithm is not RSASSA-PSS with SHA-384 and a salt of 48 bytes.
    #[error("expected a certificate signed with RSASSA-PSS, SHA-384, salt 48")]
    CertificateAlgorithm,
    /// The VEK is issued by something that does not issue such keys.
    #[error("expected an issuer that certifies a {kind}, found {issuer:?}")]
    VekIssuer {
        /// Kind of the VEK.
        kind: VekKind,
        /// Its issuer.
        issuer: String,
    },
    /// The VEK's subject is not what AMD gives to endorsement keys.
    #[error("expected the subject of an AMD endorsement key, found {subject:?}")]
    VekSubject {
        /// Its subject.
        subject: String,
    },
    /// The VEK is not a P-384 key.
    #[error("expected a P-384 endorsement key")]
    VekKey,
    /// An extension of the VEK is unknown, critical, out of place or malformed.
    #[error("expected extension {oid} in the form that AMD 57230 gives it")]
    VekExtension {
        /// The extension.
        oid: Oid,
    },
    /// An extension of the VEK is missing.
    #[error("expected extension {oid}")]
    VekExtensionMissing {
        /// The extension.
        oid: Oid,
    },
    /// A certificate of the chain is not valid yet.
    #[error("expected {role} to be valid already, it is from {not_before}")]
    NotYetValid {
        /// Which certificate.
        role: AuthorityRole,
        /// First second of its validity.
        not_before: Timestamp,
    },
    /// A certificate of the chain has expired.
    #[error("expected {role} to be still valid, it ended at {not_after}")]
    Expired {
        /// Which certificate.
        role: AuthorityRole,
        /// Last second of its validity.
        not_after: Timestamp,
    },
    /// A CA of the chain is revoked.
    #[error("expected a CA that is not revoked, found serial number {serial} revoked")]
    Revoked {
        /// Serial number, hex.
        serial: String,
    },
    /// The CRL is not signed by the root.
    #[error("expected a CRL signed by {issuer:?}")]
    CrlSignature {
        /// Name of the root.
        issuer: String,
    },
    /// The only CRL given is another issuer's.
    #[error("expected a CRL of {expected:?}, found one of {actual:?}")]
    CrlIssuer {
        /// Name of the root.
        expected: String,
        /// Issuer of the CRL.
        actual: String,
    },
    /// The CRL is past its time.
    #[error("expected a current CRL, found one that is due again since {next_update}")]
    CrlStale {
        /// When the next one was due.
        next_update: Timestamp,
    },
    /// The CRL is not in force yet.
    #[error("expected a CRL that is in force, found one from {this_update}")]
    CrlNotYetValid {
        /// When it was issued.
        this_update: Timestamp,
    },
    /// A newer CRL was seen before.
    #[error("expected CRL number {floor} or higher, found {actual}")]
    CrlRollback {
        /// Lowest number accepted.
        floor: CrlNumber,
        /// Number of the CRL.
        actual: CrlNumber,
    },
    /// A document that is needed was given, but cannot be read.
    #[error("expected a readable endorsement")]
    Unreadable(#[source] EndorsementError),
    /// No endorsement key certificate.
    #[error("expected the {kind} certificate for reported TCB {reported_tcb}")]
    VekMissing {
        /// Kind of the VEK.
        kind: VekKind,
        /// REPORTED_TCB, hex in report order.
        reported_tcb: String,
    },
    /// No intermediate CA under the operator's root.
    #[error("expected the intermediate CA {issuer:?}")]
    IntermediateMissing {
        /// Its name.
        issuer: String,
    },
    /// No CRL of the root.
    #[error("expected a CRL of {issuer:?}")]
    CrlMissing {
        /// Name of the root.
        issuer: String,
    },
}

impl SnpError {
    /// Whether nothing is wrong with the evidence, but an endorsement is missing to decide.
    #[must_use]
    pub const fn is_missing_endorsement(&self) -> bool {
        matches!(self, Self::VekMissing { .. } | Self::IntermediateMissing { .. } | Self::CrlMissing { .. })
    }

    /// How far a chain got before it failed, so that of several candidates the most telling failure is reported.
    pub(super) const fn progress(&self) -> u8 {
        match self {
            Self::Unsigned | Self::ReportData | Self::InitData | Self::Unreadable(_) | Self::VekMissing { .. } => 0,
            Self::IntermediateMissing { .. } => 1,
            Self::VekSignature { .. } | Self::CertificateAlgorithm => 2,
            Self::VekIssuer { .. }
            | Self::IntermediateSignature
            | Self::UntrustedRoot { .. }
            | Self::UntrustedIntermediate { .. } => 3,
            Self::SigningKey { .. } | Self::NotAnAuthority { .. } => 4,
            Self::NotYetValid { .. } | Self::Expired { .. } => 5,
            Self::VekSubject { .. }
            | Self::VekKey
            | Self::VekExtension { .. }
            | Self::VekExtensionMissing { .. }
            | Self::ReservedTcb { .. } => 6,
            Self::Product { .. } | Self::Report(_) => 7,
            Self::HardwareId => 8,
            Self::Tcb { .. } => 9,
            Self::Revoked { .. }
            | Self::CrlSignature { .. }
            | Self::CrlIssuer { .. }
            | Self::CrlStale { .. }
            | Self::CrlNotYetValid { .. }
            | Self::CrlRollback { .. } => 10,
            Self::Signature => 11,
            Self::TcbOrder { .. } | Self::CrlMissing { .. } => 12,
        }
    }
}

impl Coded for SnpError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Report(error) => return error.code(),
            Self::Unreadable(error) => return error.code(),
            Self::Unsigned => "authenticate.snp.unsigned",
            Self::Signature => "authenticate.snp.signature",
            Self::SigningKey { .. } => "authenticate.snp.signing_key",
            Self::Product { .. } => "authenticate.snp.product",
            Self::HardwareId => "authenticate.snp.hwid",
            Self::Tcb { .. } | Self::ReservedTcb { .. } => "authenticate.snp.tcb",
            Self::TcbOrder { .. } => "authenticate.snp.tcb_inconsistent",
            Self::ReportData => "binding.snp.report_data",
            Self::InitData => "binding.snp.init_data",
            Self::UntrustedRoot { .. } => "authenticate.snp.untrusted_root",
            Self::UntrustedIntermediate { .. } => "authenticate.snp.untrusted_intermediate",
            Self::IntermediateSignature => "authenticate.snp.intermediate_signature",
            Self::NotAnAuthority { .. } => "authenticate.snp.not_a_ca",
            Self::VekSignature { .. } => "authenticate.snp.vek_signature",
            Self::CertificateAlgorithm => "authenticate.snp.certificate_algorithm",
            Self::VekIssuer { .. } => "authenticate.snp.vek_issuer",
            Self::VekSubject { .. } => "authenticate.snp.vek_subject",
            Self::VekKey => "authenticate.snp.vek_key",
            Self::VekExtension { .. } => "authenticate.snp.vek_extension",
            Self::VekExtensionMissing { .. } => "authenticate.snp.vek_extension_missing",
            Self::NotYetValid { .. } => "authenticate.snp.certificate_not_yet_valid",
            Self::Expired { .. } => "authenticate.snp.certificate_expired",
            Self::Revoked { .. } => "authenticate.snp.revoked",
            Self::CrlSignature { .. } => "endorsement.snp.crl_signature",
            Self::CrlIssuer { .. } => "endorsement.snp.crl_issuer",
            Self::CrlStale { .. } => "endorsement.snp.crl_stale",
            Self::CrlNotYetValid { .. } => "endorsement.snp.crl_not_yet_valid",
            Self::CrlRollback { .. } => "endorsement.snp.crl_rollback",
            Self::VekMissing { .. } => "endorsement.snp.vek_missing",
            Self::IntermediateMissing { .. } => "endorsement.snp.intermediate_missing",
            Self::CrlMissing { .. } => "endorsement.snp.crl_missing",
        })
    }
}
