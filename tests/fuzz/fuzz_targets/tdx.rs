//! TDX quotes, TDREPORTs and the signed collateral documents.
#![no_main]

use evidence_formats::tdx::{CollateralKind, QeIdentity, SignedDocument, TcbInfo, TdReport, TdxQuote};
use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        let _ = TdxQuote::parse(bytes);
        let _ = TdReport::parse(bytes);
        if let Ok(document) = SignedDocument::parse(CollateralKind::TcbInfo, bytes) {
            let _ = TcbInfo::parse(&document);
        }
        if let Ok(document) = SignedDocument::parse(CollateralKind::QeIdentity, bytes) {
            let _ = QeIdentity::parse(&document);
        }
    });
});
