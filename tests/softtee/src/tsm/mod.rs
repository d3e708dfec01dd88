//! A file system that behaves like the kernel's `/sys/kernel/config/tsm/report` (Linux 6.7 and later).
//!
//! The unmodified agent reads it as it reads the kernel's; only the path differs. What the guest is, and what goes wrong,
//! comes from a state file that is read again for every report, so that a test changes the launch measurement or lets
//! another process interfere without a restart.
//!
//! Layers, from the inside: [`ReportItem`] is the state machine of one report directory (`drivers/virt/coco/tsm.c`),
//! [`Guest`] is what answers it (`sev-guest.c`, `tdx-guest.c`, and the hardware below them), the file system gives both
//! the system calls of configfs.
mod attribute;
mod faults;
mod file_system;
mod guest;
mod item;
mod mount;
mod registers;
mod snp_state;
mod state;
mod tdx_state;

pub use attribute::{Attribute, Provider};
pub use faults::{Failure, Faults};
pub use guest::{Blobs, Guest, ReportRequest, SimulatedGuest};
pub use item::ReportItem;
pub use mount::TsmMount;
pub use registers::{Extensions, RegisterMount};
pub use snp_state::{CertificateTable, SnpState};
pub use state::{GuestState, HexBytes, StateError, StateSource};
pub use tdx_state::{TdReportVersion, TdxState};
