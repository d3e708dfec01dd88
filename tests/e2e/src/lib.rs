//! What the black-box tests stand on: the real binaries, started in temporary directories and ended by process id.
//!
//! Nothing of the broker, the verifier or the agent is linked here. The broker is `countersign init` and `serve`, the guest
//! is a directory that `softtee` serves as configfs-tsm, the agent is `countersign-agent`. Where a test plays an attacker or
//! a broken network it speaks the HTTP API itself.

pub mod binaries;
pub mod broker;
pub mod guest;
pub mod http;
pub mod paravisor;
pub mod postgres;
pub mod process;
pub mod random;
pub mod tenant;
