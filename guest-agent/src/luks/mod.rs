//! LUKS2 disks: which keys open them, by way of the program `cryptsetup`.
//!
//! The program is spoken to through pipes: a key is never an argument, an environment variable or a file.

mod change;
mod disk;
mod header;
mod journal;
mod open;
mod program;
mod volume;

pub(crate) use self::{
    change::{Change, DiskKey, DiskKeys},
    disk::Disk,
    journal::Journal,
    open::OpenOptions,
    program::Cryptsetup,
};
pub use self::{
    disk::DiskError,
    header::HeaderError,
    program::CryptsetupError,
    volume::{NotAVolume, VolumeName},
};
