//! Prediction of launch measurements: what hardware will say about an image, computed from its files alone.
//!
//! Everything is a function of bytes: firmware, kernel, disk. Nothing is guessed: what depends on the host (memory map, ACPI
//! tables) is not predicted, or taken from a recorded log that the caller names.

pub mod boot;
pub mod firmware;
pub mod snp;
pub mod tdx;
