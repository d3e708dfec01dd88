//! Made-up firmware, kernels and disks: real formats around content that means nothing.

mod firmware;

pub use firmware::{FirmwareImage, TdxPart};
