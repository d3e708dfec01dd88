//! The Countersign guest agent: proves what runs in this guest and fetches what it may have.
//!
//! One exchange is two round trips on one TLS connection: a challenge, then evidence that binds the challenge and a fresh
//! key, answered by an attestation result and grants that only that key opens.
#![forbid(unsafe_code)]

mod backoff;
mod bundle;
mod cli;
mod clock;
mod commands;
mod connection;
mod console;
mod enrolment;
mod exchange;
mod failure;
mod lease;
mod life;
mod luks;
mod output;
mod process;
mod protocol;
mod result;
mod scan;
mod serve;
mod settings;
mod svid;
mod tls;
mod unlock;

pub use crate::{
    cli::Cli,
    commands::run,
    connection::{ProblemDocument, TransportError},
    failure::{Failure, Refusal},
    luks::{CryptsetupError, DiskError, HeaderError, NotAVolume, VolumeName},
    output::OutputError,
    result::ResultError,
    scan::{RulesError, ScanError},
    serve::{ServeError, ServeSettingsError, SinkError},
    settings::{SettingsError, SettingsFile},
    tls::PinError,
    unlock::SocketError,
};
