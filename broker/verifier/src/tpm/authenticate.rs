//! One quote: key attributes, signature, clock, freshness, selection, digest, in this order.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time;
use evidence_formats::{
    digest::HashAlgorithm,
    eventlog::ima::IMA_PCR,
    tpm::{ObjectAttributes, SigningScheme, TpmEvidence, TpmName, TpmPublic, TpmQuote},
};

use super::{
    AkHierarchy, ExpectedExtraData, ProvenAk, QuoteTerms, TpmAuthenticateError, TpmClaims, VerifiedPcrs,
    boot::{self, ImaClaims},
};
use crate::Unchecked;

/// Authenticates a quote by a proven key, then what the logs add to it.
pub(crate) fn authenticate_quote(
    evidence: &TpmEvidence,
    ak: &ProvenAk,
    terms: &QuoteTerms<'_>,
) -> Result<(TpmClaims, Vec<Unchecked>), TpmAuthenticateError> {
    let mut unchecked = Vec::new();
    let scheme = match &ak.area {
        Some(area) => {
            require_attestation_key(area)?;
            area.scheme
        }
        None => SigningScheme::Unspecified,
    };
    if !ak.area_proven {
        unchecked.push(Unchecked { what: "ak_attributes", reason: "only the bits of the attestation key are proven" });
    }
    let quote = &evidence.quote;
    let hash = ak.key.verify(scheme, quote.as_bytes(), &evidence.signature)?;
    if !quote.clock.safe {
        return Err(TpmAuthenticateError::ClockUnsafe);
    }
    let hierarchy = require_qualified_signer(quote, ak)?;
    unchecked.extend(require_extra_data(quote, &terms.extra_data)?);
    let pcrs = VerifiedPcrs::of_quote(quote, hash, terms.pcrs, &evidence.pcrs)?;
    let boot = evidence.event_log.as_ref().map(|log| boot::read_log(log, &pcrs)).transpose()?;
    let ima = evidence.ima_log.as_ref().map(|log| ImaClaims::read(log, &pcrs)).transpose()?;
    unchecked.extend(unexplained(&pcrs, boot.as_ref(), ima.is_some()));
    let claims = TpmClaims {
        ak_provenance: ak.provenance,
        ak_key: ak.key.fingerprint(),
        enrolment: ak.enrolment.clone(),
        ek_name: ak.endorsement_key.as_ref().map(|key| key.name().to_string()),
        endorsement_key: ak.endorsement_key.clone(),
        ak_name: ak.area.as_ref().map(|area| area.name().to_string()),
        ak_hierarchy: hierarchy,
        bank: pcrs.bank(),
        pcrs: pcrs.values().clone(),
        extra_data: hex::encode(&quote.extra_data),
        clock: quote.clock,
        firmware_version: format!("{:016x}", quote.firmware_version),
        boot,
        ima,
        gce_instance: None,
    };
    Ok((claims, unchecked))
}

/// A restricted key signs only what the TPM made; the other bits tie it to this TPM (TPM 2.0 part 1, section 25).
pub(super) fn require_attestation_key(area: &TpmPublic) -> Result<(), TpmAuthenticateError> {
    let demanded = ObjectAttributes::FIXED_TPM
        .union(ObjectAttributes::FIXED_PARENT)
        .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
        .union(ObjectAttributes::RESTRICTED)
        .union(ObjectAttributes::SIGN);
    let forbidden = ObjectAttributes::DECRYPT.union(ObjectAttributes::X509_SIGN);
    let sound = area.attributes.contains(demanded) && !area.attributes.intersects(forbidden);
    if !sound {
        return Err(TpmAuthenticateError::AkAttributes { attributes: area.attributes.0 });
    }
    match area.scheme {
        SigningScheme::Rsassa(_) | SigningScheme::Rsapss(_) | SigningScheme::Ecdsa(_) => {}
        // A restricted key has a scheme of its own (part 3, TPM2_Create).
        SigningScheme::Unspecified | SigningScheme::Encryption => return Err(TpmAuthenticateError::SignatureScheme),
    }
    match area.name_algorithm {
        HashAlgorithm::Sha1 => Err(TpmAuthenticateError::NameAlgorithm { hash: area.name_algorithm }),
        HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512 => Ok(()),
    }
}

/// Where the provenance fixes the qualified name it must stand in the quote; else a primary key's hierarchy is told.
fn require_qualified_signer(quote: &TpmQuote, ak: &ProvenAk) -> Result<Option<AkHierarchy>, TpmAuthenticateError> {
    if let Some(expected) = &ak.qualified_name {
        return if quote.qualified_signer == *expected {
            Ok(Some(AkHierarchy::Endorsement))
        } else {
            Err(TpmAuthenticateError::QualifiedSigner)
        };
    }
    let Some(area) = &ak.area else { return Ok(None) };
    let name = area.name();
    let qualified = |handle: u32| -> TpmName { name.qualified_under(area.name_algorithm, &handle.to_be_bytes()) };
    if qualified(AkHierarchy::NULL_HANDLE) == quote.qualified_signer {
        // A key of the null hierarchy is gone after the next reset: nothing that was enrolled is one.
        return Err(TpmAuthenticateError::QualifiedSigner);
    }
    let hierarchies = [AkHierarchy::Endorsement, AkHierarchy::Owner, AkHierarchy::Platform];
    let primary = hierarchies.into_iter().find(|hierarchy| qualified(hierarchy.handle()) == quote.qualified_signer);
    Ok(Some(primary.unwrap_or(AkHierarchy::Child)))
}

fn require_extra_data(
    quote: &TpmQuote,
    expected: &ExpectedExtraData,
) -> Result<Option<Unchecked>, TpmAuthenticateError> {
    match expected {
        ExpectedExtraData::Unchecked { reason } => Ok(Some(Unchecked { what: "report_data", reason })),
        ExpectedExtraData::OneOf(values) => {
            let same = |value: &Vec<u8>| constant_time::verify_slices_are_equal(value, &quote.extra_data).is_ok();
            if values.iter().any(same) { Ok(None) } else { Err(TpmAuthenticateError::ExtraData) }
        }
    }
}

/// PCRs that are not at their reset value and that no log explains: their values count, nothing is known of their content.
fn unexplained(pcrs: &VerifiedPcrs, boot: Option<&boot::BootClaims>, ima: bool) -> Option<Unchecked> {
    let Some(boot) = boot else {
        return Some(Unchecked { what: "event_log", reason: "the evidence has no event log" });
    };
    let explained = |pcr: u8| boot.replayed.contains(&pcr) || (ima && pcr == IMA_PCR);
    let changed: BTreeMap<_, _> = pcrs
        .values()
        .iter()
        .filter(|(pcr, value)| **value != evidence_formats::eventlog::replay::reset_value(pcrs.bank(), **pcr))
        .collect();
    let unexplained = changed.keys().any(|pcr| !explained(**pcr));
    unexplained.then_some(Unchecked { what: "unlogged_pcrs", reason: "no log explains every PCR that was extended" })
}
