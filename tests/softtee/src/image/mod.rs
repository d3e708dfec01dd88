//! Made-up firmware, kernels and disks: real formats around content that means nothing.

mod disk;
mod firmware;
mod pe;

pub use disk::Disk;
pub use firmware::{FirmwareImage, TdxPart};
pub use pe::PeFile;
