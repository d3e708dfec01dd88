//! LUKS2 disks: which keys open them, by way of the program `cryptsetup`.
//!
//! The program is spoken to through pipes: a key is never an argument, an environment variable or a file.

mod header;
mod open;
mod program;
mod volume;

pub use self::{
    header::HeaderError,
    program::CryptsetupError,
    volume::{NotAVolume, VolumeName},
};
pub(crate) use self::{open::OpenOptions, program::Cryptsetup};
