//! TPM quotes, signatures, public areas, the documents that carry them, and Azure's HCL report.
#![no_main]

use evidence_formats::{
    azure::{AzureSnpEvidence, AzureTdxEvidence},
    hcl::HclReport,
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
    });
});
