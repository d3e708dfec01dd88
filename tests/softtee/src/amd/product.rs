//! What healthy processors of each product line report.
use evidence_formats::snp::{ProductLine, TcbComponents};

/// Family, model and stepping (combined values, as reports from version 3 carry them).
#[must_use]
pub const fn healthy_cpuid(product: ProductLine) -> [u8; 3] {
    match product {
        ProductLine::Milan => [0x19, 0x01, 0x01],
        ProductLine::Genoa => [0x19, 0x11, 0x01],
        ProductLine::Turin => [0x1a, 0x02, 0x01],
    }
}

/// A recent, plausible TCB.
#[must_use]
pub const fn healthy_tcb(product: ProductLine) -> TcbComponents {
    match product {
        ProductLine::Milan => TcbComponents { fmc: None, bootloader: 4, tee: 0, snp: 24, microcode: 219 },
        ProductLine::Genoa => TcbComponents { fmc: None, bootloader: 10, tee: 0, snp: 27, microcode: 88 },
        ProductLine::Turin => TcbComponents { fmc: Some(1), bootloader: 2, tee: 0, snp: 4, microcode: 71 },
    }
}
