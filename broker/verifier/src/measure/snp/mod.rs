//! The launch digest of an SEV-SNP guest (SNP firmware ABI 56860, section 8.17.2): every page that the host adds before the
//! guest starts, in its order, then the state of each virtual processor.

mod digest;
mod error;
mod kernel;
mod launch;
mod vcpu;
mod vmsa;

pub use error::SnpLaunchError;
pub use kernel::KernelHashes;
pub use launch::{SnpLaunch, Svsm, launch_digests, measure_firmware};
pub use vcpu::{NotAVcpu, VcpuCounts, VcpuSignature};
pub use vmsa::Vmm;
