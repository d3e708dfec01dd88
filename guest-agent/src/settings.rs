//! Settings: the file, overridden by flags.

mod tpm;
mod unlock;

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Uri;
use serde::Deserialize;
use tee::{
    MetadataService, NotAService, Paths, RegisterPaths,
    tpm::{NotAnAddress, NotPcrs},
    tsm::TsmRoot,
};
use thiserror::Error;

use self::{tpm::TpmSection, unlock::UnlockSection};
use crate::{
    cli::{BrokerArgs, KeyKind, TeeArgs},
    serve::{ServeSection, ServeSettings, ServeSettingsError},
    tls::{BrokerPins, PinError},
};

/// Read when `--config` is not given.
const DEFAULT_FILE: &str = "/etc/countersign/agent.toml";

/// A settings file is small; whatever is larger is another file.
const FILE_LIMIT: usize = 64 * 1024;

const DEFAULT_TIMEOUT: u64 = 60;

/// The settings file: the flags of the same names, with `_` for `-`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsFile {
    broker: Option<String>,
    broker_ca: Option<PathBuf>,
    broker_spki: Vec<String>,
    key_type: Option<KeyKind>,
    timeout: Option<u64>,
    tsm_root: Option<PathBuf>,
    sev_guest_device: Option<PathBuf>,
    cc_event_log: Option<PathBuf>,
    measurement_registers: Option<PathBuf>,
    runtime_event_log: Option<PathBuf>,
    init_data: Option<PathBuf>,
    metadata_service: Option<String>,
    privilege_level: Option<u8>,
    tpm: TpmSection,
    unlock: UnlockSection,
    serve: ServeSection,
}

/// Why the settings are no good.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The settings file cannot be read.
    #[error("expected to read the settings file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The settings file is too large to be one.
    #[error("expected at most {FILE_LIMIT} bytes in the settings file {}", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The settings file is not the TOML of settings.
    #[error("expected settings in {}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// No broker is named.
    #[error("expected the address of the broker: --broker https://host[:port][/path]")]
    NoBroker,
    /// The address is none of an HTTPS server.
    #[error("expected the address of the broker as https://host[:port][/path], found {found:?}")]
    Address {
        /// What was given.
        found: String,
    },
    /// Nothing says what the evidence is to carry.
    #[error("expected --report-data HEX, or --nonce B64URL with --tee-key FILE")]
    NoReportData,
    /// No pin: any broker would be trusted, and could hand this guest a key that an attacker knows.
    #[error("expected a pin of the broker: --broker-ca FILE, --broker-spki sha256/…, or both")]
    NoPin,
    /// The metadata service's address is none.
    #[error(transparent)]
    MetadataService(#[from] NotAService),
    /// A pin is no good.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// No address of a TPM.
    #[error(transparent)]
    TpmAddress(#[from] NotAnAddress),
    /// No PCRs.
    #[error(transparent)]
    Pcrs(#[from] NotPcrs),
    /// What is to be served is no good.
    #[error(transparent)]
    Serve(#[from] ServeSettingsError),
    /// A number out of its range.
    #[error("expected {setting} between {least} and {most}, found {found}")]
    Range {
        /// Which setting.
        setting: &'static str,
        /// The least that it may be.
        least: u64,
        /// The most that it may be.
        most: u64,
        /// What was given.
        found: u64,
    },
}

impl SettingsFile {
    /// Reads `path`, or the default file when it is there.
    ///
    /// # Errors
    /// When the file cannot be read or is not the TOML of settings.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        let (file, required) = path.map_or((Path::new(DEFAULT_FILE), false), |path| (path, true));
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) if error.kind() == ErrorKind::NotFound && !required => Ok(Self::default()),
            Err(source) => Err(SettingsError::Read { path: file.to_owned(), source }),
        }
    }

    /// Parses the text of a settings file; `path` is for error messages.
    ///
    /// # Errors
    /// When the text is not the TOML of settings.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let path = || path.to_owned();
        if text.len() > FILE_LIMIT {
            return Err(SettingsError::TooLarge { path: path() });
        }
        toml::from_str(text).map_err(|source| SettingsError::Syntax { path: path(), source: Box::new(source) })
    }

    /// Where the hardware is.
    ///
    /// # Errors
    /// When the privilege level is none.
    pub(crate) fn tee(&self, flags: &TeeArgs) -> Result<Paths, SettingsError> {
        let privilege_level = flags.privilege_level.or(self.privilege_level);
        if let Some(level) = privilege_level {
            within("privilege_level", u64::from(level), 0, 3)?;
        }
        let default = Paths::default();
        let registers = default.registers;
        let tsm_root = flags.tsm_root.as_ref().or(self.tsm_root.as_ref());
        Ok(Paths {
            tsm_root: tsm_root.map_or(default.tsm_root, TsmRoot::new),
            sev_guest: flags.sev_guest_device.clone().or(self.sev_guest_device.clone()).unwrap_or(default.sev_guest),
            cc_event_log: flags.cc_event_log.clone().or(self.cc_event_log.clone()).unwrap_or(default.cc_event_log),
            tdx_guest: default.tdx_guest,
            registers: RegisterPaths {
                registers: either(&flags.measurement_registers, &self.measurement_registers, registers.registers),
                log: either(&flags.runtime_event_log, &self.runtime_event_log, registers.log),
            },
            init_data: flags.init_data.clone().or(self.init_data.clone()),
            privilege_level,
            tpm: default.tpm,
            metadata: match (&flags.metadata_service, &self.metadata_service) {
                (Some(flag), _) => flag.clone(),
                (None, Some(text)) => text.parse::<MetadataService>()?,
                (None, None) => default.metadata,
            },
        })
    }

    /// What to serve.
    ///
    /// # Errors
    /// When there is nothing to serve, or it is to nobody.
    pub(crate) fn serve(&self) -> Result<ServeSettings, SettingsError> {
        Ok(ServeSettings::new(self.serve.clone())?)
    }

    /// Whom to ask.
    ///
    /// # Errors
    /// When broker or pin are missing or no good.
    pub(crate) fn broker(&self, flags: &BrokerArgs) -> Result<BrokerSettings, SettingsError> {
        let address = flags.broker.as_ref().or(self.broker.as_ref()).ok_or(SettingsError::NoBroker)?;
        let ca = flags.broker_ca.as_ref().or(self.broker_ca.as_ref());
        let spki = if flags.broker_spki.is_empty() { &self.broker_spki } else { &flags.broker_spki };
        if ca.is_none() && spki.is_empty() {
            return Err(SettingsError::NoPin);
        }
        let timeout = flags.timeout.or(self.timeout).unwrap_or(DEFAULT_TIMEOUT);
        Ok(BrokerSettings {
            address: BrokerAddress::parse(address)?,
            pins: BrokerPins::load(ca.map(PathBuf::as_path), spki)?,
            key_kind: flags.key_type.or(self.key_type).unwrap_or_default(),
            timeout: Duration::from_secs(within("timeout", timeout, 1, 86_400)?),
        })
    }
}

fn either(flag: &Option<PathBuf>, setting: &Option<PathBuf>, default: PathBuf) -> PathBuf {
    flag.as_ref().or(setting.as_ref()).cloned().unwrap_or(default)
}

fn within(setting: &'static str, found: u64, least: u64, most: u64) -> Result<u64, SettingsError> {
    if (least..=most).contains(&found) { Ok(found) } else { Err(SettingsError::Range { setting, least, most, found }) }
}

/// Whom to ask, and how to know that it is them.
#[derive(Debug)]
pub(crate) struct BrokerSettings {
    pub(crate) address: BrokerAddress,
    pub(crate) pins: BrokerPins,
    pub(crate) key_kind: KeyKind,
    /// How long to keep trying.
    pub(crate) timeout: Duration,
}

/// Where the broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerAddress {
    /// Name or IP address, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As in the `Host` header.
    pub(crate) authority: String,
    /// What stands before every path: nothing, or where a tenant's routes begin, such as `/t/acme`.
    pub(crate) base: String,
}

/// Whether a path can stand before others: no empty, `.` or `..` segment but an empty last one, and nothing that is escaped.
fn is_plain(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let segments = path.strip_suffix('/').unwrap_or(path).split('/').skip(1);
    path.bytes().all(|byte| byte == b'/' || allowed(byte))
        && segments.into_iter().all(|segment| !matches!(segment, "" | "." | ".."))
}

impl BrokerAddress {
    fn parse(text: &str) -> Result<Self, SettingsError> {
        let wrong = || SettingsError::Address { found: text.to_owned() };
        let uri: Uri = text.parse().ok().ok_or_else(wrong)?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let plain = uri.scheme_str() == Some("https")
            && is_plain(uri.path())
            && uri.query().is_none()
            && !authority.as_str().contains('@')
            && !authority.host().is_empty();
        if !plain {
            return Err(wrong());
        }
        let bracketed = authority.host();
        let host = bracketed.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(bracketed);
        // `Authority::port` hides a port that is no number of 16 bits.
        let port = match authority.as_str().strip_prefix(bracketed) {
            Some("") => 443,
            Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(wrong)?,
            None => return Err(wrong()),
        };
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host: host.to_owned(), port, authority: authority.as_str().to_owned(), base })
    }
}

#[cfg(test)]
mod tests;
