//! CCEL: replays a log into RTMR0 to RTMR3 and names what it proves.
//!
//! Replay proves digests and their order within one register. Type, data and label of an event are free text unless the
//! digest is recomputed from them, so a name is only given to what follows from digests, their order, and text whose
//! digest was recomputed.

use std::collections::BTreeMap;

use evidence_formats::{
    bytes::Sha384Digest,
    code::{Code, Coded},
    digest::{Digest, HashAlgorithm},
    eventlog::{
        Event, EventLog, EventType, ReplayError, RuntimeEvent, RuntimeLog,
        uefi::{GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE, parse_variable},
    },
};
use thiserror::Error;

const BANK: HashAlgorithm = HashAlgorithm::Sha384;
/// Linux EFI stub (`drivers/firmware/efi/libstub/measure.c`): tag of the initrd and of the load options.
const TAG_INITRD: [u8; 4] = 0x8f3b_22ec_u32.to_le_bytes();
const TAG_LOAD_OPTIONS: [u8; 4] = 0x8f3b_22ed_u32.to_le_bytes();
/// Sections of a unified kernel image whose content has a name here. The stub measures the section's name with its NUL,
/// then the section (systemd-stub(7)).
const SECTIONS: [(&[u8], &str); 3] =
    [(b".linux\0", "kernel"), (b".initrd\0", "initrd"), (b".cmdline\0", "command_line_digest")];

/// Names by register: what a log proves beside the register values.
pub(super) type NamedEvents = [BTreeMap<String, Vec<String>>; 4];

/// An event log does not explain the registers of the quote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// Not a log of CC measurement registers.
    #[error("expected a log that can be replayed into RTMRs")]
    Replay(#[from] ReplayError),
    /// The events lead to another value than the register has.
    #[error("expected events that replay to RTMR{register}")]
    Mismatch {
        /// 0 to 3.
        register: usize,
    },
    /// The digest of an event is not that of its data, where it must be.
    #[error("expected the data of event {event} to hash to its digest")]
    Data {
        /// Number of the event in the log.
        event: usize,
    },
    /// A register of the firmware has no separator, or several.
    #[error("expected one separator in RTMR{register}")]
    Separator {
        /// 0 or 1.
        register: usize,
    },
}

impl Coded for EventLogError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Replay(error) => return error.code(),
            Self::Mismatch { .. } => "authenticate.tdx.event_log_replay",
            Self::Data { .. } => "authenticate.tdx.event_log_data",
            Self::Separator { .. } => "authenticate.tdx.event_log_separator",
        })
    }
}

/// Replays `log`, then the runtime log that continues it, and compares all four registers.
///
/// # Errors
/// [`EventLogError`]. A register without events must be zero: an extension that is in neither log is not explained.
pub(super) fn authenticate(
    log: &EventLog,
    runtime: Option<&RuntimeLog>,
    rtmrs: &[Sha384Digest; 4],
) -> Result<NamedEvents, EventLogError> {
    let boot = log.replay_rtmrs()?;
    let replayed = runtime.map_or_else(|| Ok(boot.clone()), |runtime| runtime.log().continue_rtmrs(&boot))?.rtmrs;
    if let Some(register) = replayed.iter().zip(rtmrs).position(|(replayed, quoted)| replayed != quoted) {
        return Err(EventLogError::Mismatch { register });
    }
    let mut named = Named::default();
    for event in log.events().filter(Event::is_measured) {
        let text = proven_text(&event)?;
        named.add(&event, text);
    }
    for (register, event) in runtime.into_iter().flat_map(RuntimeLog::events) {
        named.runtime(usize::from(register.number()), event);
    }
    named.finish()
}

/// Firmware logs some events with the very data that it hashed (PFP 1.05 section 10.4.1): a difference is an edited log.
/// Text of a boot loader with a known prefix is hashed without the prefix, and returned with it.
fn proven_text<'a>(event: &Event<'a>) -> Result<Option<(&'static str, &'a str)>, EventLogError> {
    let wrong = EventLogError::Data { event: event.number };
    let whole_data =
        [EventType::SEPARATOR, EventType::EFI_ACTION, EventType::EFI_VARIABLE_DRIVER_CONFIG].contains(&event.kind);
    if whole_data && !event.data_is_measured(BANK) {
        return Err(wrong);
    }
    if event.kind == EventType::IPL && has_known_prefix(event) {
        return event.measured_text(BANK).map(Some).ok_or(wrong);
    }
    Ok(None)
}

fn has_known_prefix(event: &Event<'_>) -> bool {
    let prefixes: [&[u8]; 3] = [b"kernel_cmdline: ", b"grub_cmd: ", b"module_cmdline: "];
    prefixes.iter().any(|prefix| event.data.starts_with(prefix))
}

/// What the next event in a register is, because of the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// The content of a section.
    Section(&'static str),
    /// The file that a boot loader command opened: if it is labelled so.
    File(&'static str, String),
}

#[derive(Debug, Default)]
struct Named {
    events: NamedEvents,
    next: [Option<Next>; 4],
    separators: [usize; 4],
    secure_boot: SecureBoot,
    sections: Sections,
}

/// Digests of the names of [`SECTIONS`].
#[derive(Debug)]
struct Sections([(Digest, &'static str); 3]);

impl Default for Sections {
    fn default() -> Self {
        Self(SECTIONS.map(|(section, name)| (BANK.digest(&[section]), name)))
    }
}

#[derive(Debug, Default)]
struct SecureBoot {
    enabled: Option<bool>,
    keys: u8,
    authorities: usize,
}

impl Named {
    fn add(&mut self, event: &Event<'_>, text: Option<(&'static str, &str)>) {
        let Some(register) = event.register.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        let (Some(digest), Some(next)) = (event.digest(BANK), self.next.get_mut(register)) else { return };
        let expected = next.take();
        *next = self.sections.following(event, &digest, text);
        let digest = hex::encode(digest.as_bytes());
        match expected {
            Some(Next::Section(name)) => return self.name(register, name, digest),
            Some(Next::File(name, path)) if event.text() == Some(&path) => return self.name(register, name, digest),
            Some(Next::File(..)) | None => {}
        }
        match event.kind {
            EventType::SEPARATOR => {
                if let Some(count) = self.separators.get_mut(register) {
                    *count = count.saturating_add(1);
                }
            }
            EventType::EFI_PLATFORM_FIRMWARE_BLOB | EventType::EFI_PLATFORM_FIRMWARE_BLOB2 => {
                self.name(register, "firmware", digest);
            }
            EventType::EFI_BOOT_SERVICES_APPLICATION => self.name(register, "boot_loader", digest),
            EventType::EFI_VARIABLE_DRIVER_CONFIG if register == 0 => self.variable(event, digest),
            EventType::EFI_VARIABLE_AUTHORITY if register == 0 => {
                self.secure_boot.authorities = self.secure_boot.authorities.saturating_add(1);
                self.name(register, "secure_boot_authority", digest);
            }
            EventType::IPL => {
                if let Some(("kernel_cmdline: ", text)) = text {
                    self.name(register, "command_line", text.to_owned());
                }
            }
            EventType::EVENT_TAG => self.tagged(register, event, digest),
            _ => {}
        }
    }

    /// An event of the running guest has a name that no event of the boot has.
    fn runtime(&mut self, register: usize, event: &RuntimeEvent) {
        let name = format!("runtime:{}:{}", event.domain(), event.operation());
        self.name(register, &name, event.content().to_owned());
    }

    fn name(&mut self, register: usize, name: &str, value: String) {
        if let Some(events) = self.events.get_mut(register) {
            events.entry(name.to_owned()).or_default().push(value);
        }
    }

    /// Secure boot variables, whose data [`proven_text`] proved. They count before the separator only.
    fn variable(&mut self, event: &Event<'_>, digest: String) {
        let Some(variable) = parse_variable(event.data) else { return };
        let name = match (variable.vendor, variable.name.as_str()) {
            (GLOBAL_VARIABLE, "SecureBoot") => {
                let before_separator = self.separators.first() == Some(&0);
                self.secure_boot.enabled =
                    Some(before_separator && self.secure_boot.enabled.is_none() && variable.data == [1]);
                return;
            }
            (GLOBAL_VARIABLE, "PK") => "secure_boot_pk",
            (GLOBAL_VARIABLE, "KEK") => "secure_boot_kek",
            (IMAGE_SECURITY_DATABASE, "db") => "secure_boot_db",
            (IMAGE_SECURITY_DATABASE, "dbx") => "secure_boot_dbx",
            _ => return,
        };
        if !variable.data.is_empty() && name != "secure_boot_dbx" {
            self.secure_boot.keys = self.secure_boot.keys.saturating_add(1);
        }
        self.name(0, name, digest);
    }

    /// The digest of an initrd or of load options is proven, not that it was one; load options may be proven by their text.
    fn tagged(&mut self, register: usize, event: &Event<'_>, digest: String) {
        if let Some(event) = RuntimeEvent::proven(event) {
            // Some guests append such events to the firmware's log.
            self.runtime(register, &event);
        } else if event.data.starts_with(&TAG_INITRD) {
            self.name(register, "initrd", digest);
        } else if let Some(rest) = event.data.strip_prefix(&TAG_LOAD_OPTIONS) {
            self.name(register, "command_line_digest", digest);
            let options = rest.get(4..).filter(|options| event.measures(BANK, options));
            if let Some(text) = options.and_then(utf16_text) {
                self.name(register, "command_line", text);
            }
        }
    }

    fn finish(mut self) -> Result<NamedEvents, EventLogError> {
        for (register, count) in self.separators.into_iter().enumerate().take(2) {
            if count != 1 {
                return Err(EventLogError::Separator { register });
            }
        }
        // On, with platform key, exchange key and database set, and something was admitted by them.
        let enabled =
            self.secure_boot.enabled == Some(true) && self.secure_boot.keys == 3 && self.secure_boot.authorities > 0;
        self.name(0, "secure_boot", if enabled { "enabled" } else { "disabled" }.to_owned());
        Ok(self.events)
    }
}

impl Sections {
    fn following(&self, event: &Event<'_>, digest: &Digest, text: Option<(&'static str, &str)>) -> Option<Next> {
        if let Some(("grub_cmd: ", command)) = text {
            let mut words = command.split(' ');
            let name = match words.next()? {
                "linux" | "linux16" | "linuxefi" => "kernel",
                "initrd" | "initrd16" | "initrdefi" => "initrd",
                _ => return None,
            };
            return Some(Next::File(name, words.next()?.to_owned()));
        }
        if event.kind != EventType::IPL {
            return None;
        }
        self.0.iter().find(|(section, _)| section == digest).map(|(_, name)| Next::Section(name))
    }
}

fn utf16_text(bytes: &[u8]) -> Option<String> {
    let units = bytes.chunks_exact(2).map(|pair| match pair {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    });
    let text = char::decode_utf16(units).collect::<Result<String, _>>().ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}
