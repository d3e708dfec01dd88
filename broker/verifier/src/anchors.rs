//! Trust anchors: the vendors' pinned certificates, or an operator's own instead.

use std::sync::Arc;

use aws_lc_rs::digest;
use evidence_formats::{
    bytes::Sha256Digest,
    code::{Code, Coded},
};
use thiserror::Error;

use crate::{
    snp, tdx,
    x509::{Certificate, CertificateError, PemError, pem_of_file},
};

/// Certificates that are trusted without proof. Whatever else a chain needs must lead to one of them.
#[derive(Debug, Clone)]
pub struct TrustAnchors {
    certificates: Vec<Arc<Certificate>>,
    origin: AnchorOrigin,
    digest: Sha256Digest,
}

/// Who chose the trust anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorOrigin {
    /// Built in: the vendors' hardware roots, with their intermediate CAs pinned where the vendor has a fixed set.
    Vendor,
    /// An operator's own: evidence under them is not hardware, and every result says so.
    Operator,
}

/// Why files are not trust anchors.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// A file is malformed PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A PEM block is not a certificate.
    #[error("expected PEM blocks labelled CERTIFICATE, found {label:?}")]
    Label {
        /// Label of the block.
        label: String,
    },
    /// A certificate is malformed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No certificate, or more than the limit.
    #[error("expected 1 to {limit} trust anchors, found {count}")]
    Count {
        /// Most anchors that are read.
        limit: usize,
        /// Anchors given.
        count: usize,
    },
}

impl Coded for AnchorError {
    fn code(&self) -> Code {
        match self {
            Self::Pem(_) => Code::new("parse.anchor.pem"),
            Self::Label { .. } => Code::new("parse.anchor.label"),
            Self::Certificate(error) => error.code(),
            Self::Count { .. } => Code::new("parse.anchor.count"),
        }
    }
}

impl TrustAnchors {
    /// Most anchors of one set.
    pub const MAX_COUNT: usize = 64;

    /// The vendors' own anchors, built in.
    #[must_use]
    pub fn vendor() -> Self {
        // A built-in certificate that did not parse would be missing, which refuses; a test shows that none is.
        let built_in = snp::BUILT_IN.iter().chain(&tdx::BUILT_IN);
        let certificates = built_in.filter_map(|der| Certificate::parse_der(der).ok()).map(Arc::new);
        Self::new(certificates.collect(), AnchorOrigin::Vendor)
    }

    /// An operator's anchors from files, each DER or PEM with one or more certificates, in any order.
    ///
    /// # Errors
    /// [`AnchorError`] when a file holds anything but certificates.
    pub fn from_files<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, AnchorError> {
        let mut certificates = Vec::new();
        for file in files {
            if let Some(blocks) = pem_of_file(file)? {
                for block in blocks {
                    if block.label != "CERTIFICATE" {
                        return Err(AnchorError::Label { label: block.label });
                    }
                    certificates.push(Arc::new(Certificate::parse_der(&block.contents)?));
                }
            } else {
                certificates.push(Arc::new(Certificate::parse_der(file)?));
            }
        }
        let count = certificates.len();
        if count == 0 || count > Self::MAX_COUNT {
            return Err(AnchorError::Count { limit: Self::MAX_COUNT, count });
        }
        Ok(Self::new(certificates, AnchorOrigin::Operator))
    }

    fn new(certificates: Vec<Arc<Certificate>>, origin: AnchorOrigin) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(match origin {
            AnchorOrigin::Vendor => b"vendor",
            AnchorOrigin::Operator => b"operator",
        });
        for certificate in &certificates {
            context.update(certificate.digest().as_bytes());
        }
        let mut digest = Sha256Digest([0; 32]);
        digest.0.copy_from_slice(context.finish().as_ref());
        Self { certificates, origin, digest }
    }

    /// Who chose them.
    #[must_use]
    pub const fn origin(&self) -> AnchorOrigin {
        self.origin
    }

    /// Every anchor.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.certificates.iter()
    }

    /// Whether `certificate` is an anchor, byte for byte.
    #[must_use]
    pub fn contains(&self, certificate: &Certificate) -> bool {
        self.certificates.iter().any(|anchor| anchor.digest() == certificate.digest())
    }

    /// SHA-256 that stands for the whole set.
    pub(crate) const fn digest(&self) -> &Sha256Digest {
        &self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_anchor_is_the_published_one() {
        // AMD's certificates as published by its key distribution service.
        let pins = [
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
            "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
            "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
            "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
            "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
            // Intel SGX Root CA as published by its certificate service.
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
        ];
        let anchors = TrustAnchors::vendor();
        for pin in pins {
            assert!(anchors.certificates().any(|anchor| anchor.digest().to_string() == pin), "{pin}");
        }
        assert_eq!(anchors.origin(), AnchorOrigin::Vendor);
    }

    #[test]
    fn files_that_are_not_certificates_are_refused() {
        let commented = b"text\n-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".as_slice();
        assert!(matches!(TrustAnchors::from_files([commented]), Err(AnchorError::Label { .. })));
        assert!(matches!(TrustAnchors::from_files([]), Err(AnchorError::Count { count: 0, .. })));
        assert!(TrustAnchors::from_files([b"hello".as_slice()]).is_err());
        let key = b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".as_slice();
        assert!(matches!(TrustAnchors::from_files([key]), Err(AnchorError::Label { .. })));
    }
}
