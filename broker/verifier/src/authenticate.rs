//! Authentication: from evidence to claims that are proven.

use std::collections::BTreeMap;

use evidence_formats::{
    binding::BindingDigest,
    bytes::ReportData,
    code::{Code, Coded},
    evidence::Evidence,
    tpm::{AkPublic, TpmName},
};
use thiserror::Error;

use crate::{
    Authentic, ChainMemory, Claims, Endorsements, Revocation, Timestamp, TrustAnchors,
    azure::{self, AzureAuthenticateError},
    snp::{self, SnpError},
    tdx::{self, TdxError},
    tpm::{self, TpmAuthenticateError, TpmTerms},
    vtpm::{self, VtpmAuthenticateError},
    x509::CrlNumber,
};

/// Under which terms evidence is authenticated. There is no other knob.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// What is trusted without proof.
    pub anchors: &'a TrustAnchors,
    /// Whether revocation data must be present.
    pub revocation: Revocation,
    /// What the guest must have committed to.
    pub expected: Expected,
    /// The time of the verification.
    pub now: Timestamp,
    /// Chains that were verified before.
    pub memory: &'a dyn ChainMemory,
    /// Lowest CRL number that is accepted of each issuer.
    pub crl_floors: &'a CrlFloors,
    /// What a TPM quote in the evidence is held against.
    pub tpm: &'a TpmTerms,
}

impl std::fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms")
            .field("revocation", &self.revocation)
            .field("expected", &self.expected)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What the guest must have committed to in its evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Exactly these 64 bytes.
    ReportData(ReportData),
    /// This digest, placed as the platform prescribes.
    Binding(BindingDigest),
    /// Anything: listed in `unchecked` as `report_data`.
    Unchecked {
        /// Why, for people.
        reason: &'static str,
    },
}

/// Lowest number accepted of each subject: of an issuer its CRL number, of Intel's collateral what [`Floor::subject`] says.
/// What was once seen cannot be replaced by something older. The caller persists it, and raises it with the numbers that
/// the claims name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrlFloors {
    floors: BTreeMap<String, CrlNumber>,
}

/// A number that was seen in authentic evidence, and below which nothing of the same subject may fall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Whose number: an issuer's name, or a kind of document and what it is about.
    pub subject: String,
    /// The number.
    pub number: CrlNumber,
}

impl CrlFloors {
    /// No floors: every number is accepted.
    pub const NONE: &'static Self = &Self { floors: BTreeMap::new() };

    /// Raises the floor of `issuer` (the issuer's name as the claims show it, or another subject) to `number`; never lowers it.
    pub fn raise(&mut self, issuer: &str, number: CrlNumber) {
        let floor = self.floors.entry(issuer.to_owned()).or_insert(number);
        *floor = number.max(*floor);
    }

    /// The floor of `issuer`.
    #[must_use]
    pub fn of(&self, issuer: &str) -> Option<CrlNumber> {
        self.floors.get(issuer).copied()
    }
}

/// Why evidence is not authentic, or why that cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// Refused or undecided by the rules for SEV-SNP.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// Refused or undecided by the rules for TDX.
    #[error(transparent)]
    Tdx(#[from] TdxError),
    /// Refused or undecided by the rules for TPMs.
    #[error(transparent)]
    Tpm(#[from] TpmAuthenticateError),
    /// Refused or undecided by the rules for Azure's paravisor.
    #[error(transparent)]
    Azure(#[from] AzureAuthenticateError),
    /// Refused or undecided by the rules for hardware with a vTPM.
    #[error(transparent)]
    Vtpm(#[from] VtpmAuthenticateError),
}

impl AuthenticateError {
    /// Whether nothing is wrong with the evidence, but an endorsement is missing to decide: get it and try again.
    #[must_use]
    pub fn is_missing_endorsement(&self) -> bool {
        match self {
            Self::Snp(error) => error.is_missing_endorsement(),
            Self::Tdx(error) => error.is_missing_endorsement(),
            Self::Tpm(error) => error.is_missing_endorsement(),
            Self::Azure(error) => error.is_missing_endorsement(),
            Self::Vtpm(error) => error.is_missing_endorsement(),
        }
    }
}

impl Coded for AuthenticateError {
    fn code(&self) -> Code {
        match self {
            Self::Snp(error) => error.code(),
            Self::Tdx(error) => error.code(),
            Self::Tpm(error) => error.code(),
            Self::Azure(error) => error.code(),
            Self::Vtpm(error) => error.code(),
        }
    }
}

/// Authenticates evidence: signatures, certificate chain, validity, revocation, TCB agreement and binding.
///
/// # Errors
/// [`AuthenticateError`] with the cause. [`AuthenticateError::is_missing_endorsement`] tells "cannot decide" from
/// "refused"; it is only returned when everything that could be checked has passed.
pub fn authenticate(
    evidence: &Evidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, AuthenticateError> {
    match evidence {
        Evidence::Snp(evidence) => Ok(snp::authenticate(evidence, endorsements, terms)?),
        Evidence::Tdx(evidence) => Ok(tdx::authenticate(evidence, endorsements, terms)?),
        Evidence::Tpm(evidence) => Ok(tpm::authenticate(evidence, endorsements, terms)?),
        Evidence::AzureSnp(evidence) => Ok(azure::authenticate_snp(evidence, endorsements, terms)?),
        Evidence::AzureTdx(evidence) => Ok(azure::authenticate_tdx(evidence, endorsements, terms)?),
        Evidence::HostedVtpm(evidence) => Ok(vtpm::authenticate_hosted(evidence, endorsements, terms)?),
        Evidence::Svsm(evidence) => Ok(vtpm::authenticate_svsm(evidence, endorsements, terms)?),
    }
}

/// Name of the attestation key that evidence brings or describes, to look it up in a register. Nothing about it is proven.
#[must_use]
pub fn claimed_ak_name(evidence: &Evidence) -> Option<TpmName> {
    match evidence {
        Evidence::AzureSnp(azure) => azure::claimed_ak_name(&azure.hcl),
        Evidence::AzureTdx(azure) => azure::claimed_ak_name(&azure.hcl),
        Evidence::Snp(_) | Evidence::Tdx(_) => None,
        Evidence::Tpm(_) | Evidence::HostedVtpm(_) | Evidence::Svsm(_) => match evidence.tpm()?.ak_public.as_ref()? {
            AkPublic::Area(area) => Some(area.name()),
            AkPublic::Spki(_) => None,
        },
    }
}
