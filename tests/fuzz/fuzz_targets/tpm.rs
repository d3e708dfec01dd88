//! TPM quotes, signatures, public areas, the documents that carry them, Azure's HCL report with its claims, and the services
//! manifest of an SVSM.
#![no_main]

use evidence_formats::{
    azure::{AzureSnpEvidence, AzureTdxEvidence},
    hcl::{HclReport, RuntimeClaims},
    svsm::SvsmManifest,
    tpm::{TpmEvidence, TpmPublic, TpmQuote, TpmSignature},
};
use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        let _ = TpmQuote::parse(bytes);
        let _ = TpmSignature::parse(bytes);
        let _ = TpmPublic::parse(bytes);
        let _ = TpmEvidence::from_document(bytes);
        let _ = AzureSnpEvidence::from_document(bytes);
        let _ = AzureTdxEvidence::from_document(bytes);
        let _ = HclReport::parse(bytes);
        let _ = RuntimeClaims::parse(bytes);
        let _ = SvsmManifest::parse(bytes);
    });
});
