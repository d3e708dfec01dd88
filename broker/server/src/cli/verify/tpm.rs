//! What the command line says about TPM quotes.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use evidence_formats::{binding::BindingDigest, bytes::ReportData};
use verifier::{
    Expected,
    tpm::{PcrSet, PinnedAk, TpmTerms},
};

use super::{super::files, evidence::EvidenceType};

/// Arguments for evidence with a TPM quote.
#[derive(Debug, clap::Args)]
pub(super) struct TpmArgs {
    /// An enrolled attestation key: SubjectPublicKeyInfo (PEM or DER), TPMT_PUBLIC or its name
    #[arg(long, value_name = "FILE")]
    pinned_ak: Option<PathBuf>,
    /// The exact PCR set that the quote must sign
    #[arg(long, value_name = "BANK:LIST", default_value_t = PcrSet::SHA256_ALL)]
    pcrs: PcrSet,
}

/// `--report-data` as bytes.
#[derive(Debug, Clone)]
pub(super) struct Hex(Vec<u8>);

impl std::str::FromStr for Hex {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self)
    }
}

impl TpmArgs {
    /// Reads what the arguments name.
    ///
    /// # Errors
    /// When the file of the enrolled key cannot be read or holds none.
    pub(super) fn terms(&self) -> Result<TpmTerms> {
        let pinned_ak = match &self.pinned_ak {
            Some(file) => {
                let key = PinnedAk::parse(&files::read(file)?);
                Some(key.with_context(|| format!("reading {}", file.display()))?)
            }
            None => None,
        };
        Ok(TpmTerms { pcrs: self.pcrs, pinned_ak, ..TpmTerms::default() })
    }
}

/// What `--report-data` asks for: 64 bytes are report data. A quote may carry less: 48 bytes are a binding digest, which
/// a paravisor's user data carries too, and any other length is the quote's qualifying data alone.
///
/// # Errors
/// When the evidence has no quote and the value is not 64 bytes.
pub(super) fn expected(kind: EvidenceType, value: &Hex, terms: &mut TpmTerms) -> Result<Expected> {
    if let Ok(data) = <[u8; 64]>::try_from(value.0.as_slice()) {
        return Ok(Expected::ReportData(ReportData(data)));
    }
    match kind {
        EvidenceType::Snp | EvidenceType::Tdx => {
            bail!("--report-data: expected exactly 128 hex digits, found {}", value.0.len().saturating_mul(2))
        }
        EvidenceType::Tpm | EvidenceType::AzureSnp | EvidenceType::AzureTdx | EvidenceType::Bundle => {}
    }
    if let Ok(digest) = <[u8; 48]>::try_from(value.0.as_slice()) {
        return Ok(Expected::Binding(BindingDigest(digest)));
    }
    terms.extra_data = Some(value.0.clone());
    Ok(Expected::Unchecked { reason: "only the quote's qualifying data was given" })
}
