//! Measured-boot event logs: what was measured into PCRs and CC measurement registers, in order.
//!
//! A log is untrusted until its replay equals authenticated register values, and even then only the digests are
//! proven: types and data of events are free text unless the data hashes to the digest (see
//! [`Event::data_is_measured`]).

pub mod ima;
pub mod replay;
pub mod runtime;
pub mod tcg2;
pub mod uefi;

mod event;

pub use event::{Event, EventType};
pub use replay::{PcrReplay, ReplayError, RtmrReplay};
pub use runtime::{RuntimeEvent, RuntimeLog, RuntimeLogError, RuntimeRegister};
pub use tcg2::{EventLog, EventLogError};
