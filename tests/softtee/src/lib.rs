//! A software TEE, signed by a made-up PKI, for tests and the demo.
//!
//! It stands for what only hardware has: the AMD secure processor with its key hierarchy ([`amd`]) and the kernel
//! interface through which a guest asks for reports ([`tsm`]). Names, object identifiers and encodings are the vendors'
//! own; the keys are not, and each field can be overridden, so that every check of a verifier can be made to fail alone.
//!
//! Nothing here is secure. Evidence from it is accepted only where its trust anchors were configured by hand.
pub mod amd;
pub mod boot_log;
pub mod corim;
pub mod der;
pub mod image;
pub mod intel;
pub mod keys;
pub mod paravisor;
pub mod pem;
mod pss;
pub mod services;
pub mod swtpm;
pub mod tsm;
pub mod x509;
