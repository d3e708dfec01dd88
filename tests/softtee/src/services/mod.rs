//! The vendors' services: AMD's key distribution service, Intel's PCS and PCCS, Azure's metadata service; for any chip and any
//! platform of the made-up PKI, with faults on demand.
//!
//! ```
//! use softtee::services::{Fault, Faults, Kind, Services, What};
//!
//! let services = Services::start("127.0.0.1:0".parse()?, Faults::default())?;
//! services.become_faulty(Faults::one(Fault { on: Kind::Crl, what: What::Throttle, times: Some(3), seconds: 1 }));
//! assert_eq!(services.count(Kind::Vcek), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources: AMD 57230 chapter 4, Intel PCS API v4 and PCCS, Azure THIM.
mod answer;
mod documents;
mod faults;
mod server;

pub use faults::{Fault, Faults, Kind, What};
pub use server::Services;
