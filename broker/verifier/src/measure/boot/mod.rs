//! What firmware, boot loader and kernel measure while an image boots, and the registers that come of it.
//!
//! The same events go into the PCRs of a TPM or into the RTMRs of a TDX guest; only the register and the hash differ. A register is
//! predicted when every event in it is known; what depends on the machine is taken from a recorded log, or not predicted.

mod cpio;
mod error;
mod events;
mod gpt;
mod pe;
mod registers;
mod template;
mod uki;

pub use error::BootError;
pub use events::{BootSource, Step, StepKind, steps};
pub use gpt::{MAX_DISK_HEAD, PartitionTable};
pub use pe::{PeError, PeImage};
pub use registers::{Registers, pcrs, rtmrs};
pub use template::{Template, TemplateUse, from_template};
pub use uki::{Phases, StubVersion, Uki};
