//! Boots the images of `vm-images` in QEMU: a real kernel on real firmware, the real agent, and a broker on this machine.
//!
//! What is missing is the hardware that measures and signs. The firmware checks kernel, initrd and command line against the
//! table of their hashes, as it does on SEV-SNP; the [`processor`] signs the launch digest of exactly those files. A virtual
//! TPM is a real one in software, extended by the firmware and the image's EFI stub.
//!
//! `scripts/test-boot` builds what the tests boot, and runs them.

pub mod deployment;
pub mod files;
pub mod hash_table;
pub mod machine;
pub mod processor;
pub mod recipes;
pub mod traces;
pub mod vtpm;
