//! The runtime event log: what a running TD measured into RTMR2 and RTMR3 after its firmware's log was closed.
//!
//! The firmware's log (CCEL) ends with the boot, and extending a register later appends nothing to it. This log continues
//! it: a crypto-agile log of its own with SHA-384 digests, in which every event is a tagged event of the attestation
//! agent's event log (AAEL, Confidential Containers): `EV_EVENT_TAG` with the tag 0x4141454C and the text
//! `domain operation content`, whose digest was extended. There is no other kind of event, so that nothing in it is a
//! label: an event says exactly what was measured.

use std::fmt;

use thiserror::Error;

use super::{Event, EventLog, EventLogError, EventType};
use crate::{
    bytes::Reader,
    code::{Code, Coded},
    digest::{Digest, HashAlgorithm},
};

/// Most events of a runtime log.
pub const MAX_RUNTIME_EVENTS: usize = 1_024;
/// The tag of an AAEL event: `LEAA` in the byte order of the log.
const TAG: u32 = 0x4141_454C;
/// Most characters of domain and operation.
const MAX_NAME: usize = 64;
/// Most bytes of the content.
const MAX_CONTENT: usize = 1_024;
const BANK: HashAlgorithm = HashAlgorithm::Sha384;

/// A register that a guest may extend for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeRegister {
    /// RTMR2: operating system.
    Rtmr2,
    /// RTMR3: applications.
    Rtmr3,
}

impl RuntimeRegister {
    /// The register of this number, 2 or 3.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::Rtmr2),
            3 => Some(Self::Rtmr3),
            _ => None,
        }
    }

    /// 2 or 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Rtmr2 => 2,
            Self::Rtmr3 => 3,
        }
    }

    /// Its index in a log: one more (UEFI 2.10 section 38.4.1).
    const fn log_index(self) -> u32 {
        match self {
            Self::Rtmr2 => 3,
            Self::Rtmr3 => 4,
        }
    }
}

/// What happened: domain and operation say which kind of thing, the content says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    text: String,
    /// Where the operation and the content begin.
    operation_at: usize,
    content_at: usize,
}

impl RuntimeEvent {
    /// An event. Domain and operation are 1 to 64 letters, digits and `._/-`; the content is 1 to 1024 bytes of text
    /// without control characters.
    ///
    /// # Errors
    /// [`RuntimeEventError`] names the part.
    pub fn new(domain: &str, operation: &str, content: &str) -> Result<Self, RuntimeEventError> {
        if !is_name(domain) {
            return Err(RuntimeEventError::Domain);
        }
        if !is_name(operation) {
            return Err(RuntimeEventError::Operation);
        }
        if content.is_empty() || content.len() > MAX_CONTENT || content.chars().any(char::is_control) {
            return Err(RuntimeEventError::Content);
        }
        let operation_at = domain.len().saturating_add(1);
        let content_at = operation_at.saturating_add(operation.len()).saturating_add(1);
        Ok(Self { text: format!("{domain} {operation} {content}"), operation_at, content_at })
    }

    /// The event that `event` of a log is, when its data are those of one and its digest is that of the text.
    #[must_use]
    pub fn proven(event: &Event<'_>) -> Option<Self> {
        if event.kind != EventType::EVENT_TAG {
            return None;
        }
        let text = tagged_text(event.data)?;
        let (domain, rest) = text.split_once(' ')?;
        let (operation, content) = rest.split_once(' ')?;
        let parsed = Self::new(domain, operation, content).ok()?;
        event.measures(BANK, text.as_bytes()).then_some(parsed)
    }

    /// Whether `event` of a log claims to be one, proven or not.
    #[must_use]
    pub fn is_claimed_by(event: &Event<'_>) -> bool {
        event.kind == EventType::EVENT_TAG && event.data.starts_with(&TAG.to_le_bytes())
    }

    /// Who speaks.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.part(0, self.operation_at.saturating_sub(1))
    }

    /// What was done.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.part(self.operation_at, self.content_at.saturating_sub(1))
    }

    /// To what.
    #[must_use]
    pub fn content(&self) -> &str {
        self.part(self.content_at, self.text.len())
    }

    fn part(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// What the register is extended by: SHA-384 of the text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        BANK.digest(&[self.text.as_bytes()])
    }

    /// The event's record in a log (TCG_PCR_EVENT2, PFP section 10.2.2).
    #[must_use]
    pub fn to_record(&self, register: RuntimeRegister) -> Vec<u8> {
        let text = self.text.as_bytes();
        // `new` bounds every part.
        let text_length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let data_length = text_length.saturating_add(8);
        let head = [register.log_index(), EventType::EVENT_TAG.0, 1].map(u32::to_le_bytes).concat();
        let tagged = [data_length, TAG, text_length].map(u32::to_le_bytes).concat();
        [head.as_slice(), &BANK.tpm_id().to_le_bytes(), self.digest().as_bytes(), &tagged, text].concat()
    }
}

impl fmt::Display for RuntimeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain)
}

/// TCG_PCClientTaggedEvent: tag u32, size u32, data; exact.
fn tagged_text(data: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(data);
    if reader.u32_le().ok()? != TAG {
        return None;
    }
    let size = usize::try_from(reader.u32_le().ok()?).ok()?;
    let text = reader.take(size).ok()?;
    if reader.rest().is_empty() { std::str::from_utf8(text).ok() } else { None }
}

/// A runtime log: every event in it is what its digest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeLog {
    log: EventLog,
    events: Vec<(RuntimeRegister, RuntimeEvent)>,
}

impl RuntimeLog {
    /// A log without events: the header event, SHA-384 alone (PFP section 10.4.5.1).
    #[must_use]
    pub fn empty() -> Vec<u8> {
        // Platform class 0, version 2.0 errata 2, uintn size 2 (64 bit), one algorithm, no vendor data.
        let spec_id = [
            b"Spec ID Event03\0".as_slice(),
            &[0, 0, 0, 0, 0, 2, 2, 2, 1, 0, 0, 0],
            &BANK.tpm_id().to_le_bytes(),
            &[48, 0, 0],
        ]
        .concat();
        let length = u32::try_from(spec_id.len()).unwrap_or(u32::MAX).to_le_bytes();
        let head = [0, EventType::NO_ACTION.0].map(u32::to_le_bytes).concat();
        [head.as_slice(), &[0; 20], &length, &spec_id].concat()
    }

    /// Parses a log.
    ///
    /// # Errors
    /// [`RuntimeLogError`] when it is no log, or has an event that is not an AAEL event of RTMR2 or RTMR3 with the digest
    /// of its text.
    pub fn parse(bytes: &[u8]) -> Result<Self, RuntimeLogError> {
        let log = EventLog::parse(bytes)?;
        if !bytes.starts_with(&Self::empty()) {
            return Err(RuntimeLogError::Header);
        }
        if log.len() > MAX_RUNTIME_EVENTS {
            return Err(RuntimeLogError::TooManyEvents);
        }
        let proven = |event: Event<'_>| {
            let register = match event.register {
                3 => RuntimeRegister::Rtmr2,
                4 => RuntimeRegister::Rtmr3,
                _ => return Err(RuntimeLogError::Register { event: event.number }),
            };
            let what = RuntimeEvent::proven(&event).ok_or(RuntimeLogError::Event { event: event.number })?;
            Ok((register, what))
        };
        let events: Vec<_> = log.events().skip(1).map(proven).collect::<Result<_, _>>()?;
        // Nothing fills this log up: what stands behind its events is not in it.
        let length = |(register, event): &(RuntimeRegister, RuntimeEvent)| event.to_record(*register).len();
        if events.iter().map(length).fold(Self::empty().len(), usize::saturating_add) != bytes.len() {
            return Err(RuntimeLogError::Trailing);
        }
        Ok(Self { log, events })
    }

    /// The log, for replay.
    #[must_use]
    pub const fn log(&self) -> &EventLog {
        &self.log
    }

    /// Every event with its register, in the order of the log.
    #[must_use]
    pub fn events(&self) -> &[(RuntimeRegister, RuntimeEvent)] {
        &self.events
    }
}

/// An event that cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuntimeEventError {
    /// The domain.
    #[error("expected a domain of 1 to {MAX_NAME} letters, digits and ._/-")]
    Domain,
    /// The operation.
    #[error("expected an operation of 1 to {MAX_NAME} letters, digits and ._/-")]
    Operation,
    /// The content.
    #[error("expected a content of 1 to {MAX_CONTENT} bytes of text without control characters")]
    Content,
}

/// Bytes are not a runtime log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuntimeLogError {
    /// Not a log at all.
    #[error(transparent)]
    Log(#[from] EventLogError),
    /// Its header is not the one of [`RuntimeLog::empty`].
    #[error("expected a runtime event log with SHA-384 digests alone")]
    Header,
    /// Something stands behind the last event.
    #[error("expected nothing after the last runtime event")]
    Trailing,
    /// More than [`MAX_RUNTIME_EVENTS`].
    #[error("expected at most {MAX_RUNTIME_EVENTS} events in the runtime event log")]
    TooManyEvents,
    /// A register that a guest does not extend for itself.
    #[error("expected runtime event {event} to be one of RTMR2 or RTMR3")]
    Register {
        /// Position of the event.
        event: usize,
    },
    /// Something else than a tagged event with the digest of its text.
    #[error("expected runtime event {event} to have the digest of its text")]
    Event {
        /// Position of the event.
        event: usize,
    },
}

impl Coded for RuntimeLogError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Log(error) => return error.code(),
            Self::Header => "parse.runtime_log.header",
            Self::Trailing => "parse.runtime_log.trailing",
            Self::TooManyEvents => "parse.runtime_log.events",
            Self::Register { .. } => "parse.runtime_log.register",
            Self::Event { .. } => "parse.runtime_log.event",
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn event() -> RuntimeEvent {
        RuntimeEvent::new("example.org/app", "start", "sha256:00 with arguments").unwrap()
    }

    fn log(records: &[(RuntimeRegister, RuntimeEvent)]) -> Vec<u8> {
        let mut bytes = RuntimeLog::empty();
        records.iter().for_each(|(register, event)| bytes.extend(event.to_record(*register)));
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let events = [(RuntimeRegister::Rtmr3, event()), (RuntimeRegister::Rtmr2, event())];
        let parsed = RuntimeLog::parse(&log(&events)).unwrap();
        assert_eq!(parsed.events(), events);
        let (_, first) = &parsed.events()[0];
        assert_eq!((first.domain(), first.operation(), first.content()), {
            ("example.org/app", "start", "sha256:00 with arguments")
        });
        let rtmrs = parsed.log().replay_rtmrs().unwrap().rtmrs;
        let expected = Digest::zero(BANK).extended(event().digest().as_bytes());
        assert_eq!(rtmrs.map(|rtmr| rtmr.to_string())[2..], [expected.to_string(), expected.to_string()]);
        assert_eq!(RuntimeLog::parse(&RuntimeLog::empty()).unwrap().events(), []);
    }

    #[test]
    fn an_event_that_is_not_what_its_digest_says_is_refused() {
        let good = log(&[(RuntimeRegister::Rtmr3, event())]);
        let header = RuntimeLog::empty().len();
        let code = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            RuntimeLog::parse(&bytes).unwrap_err().code().to_string()
        };
        assert_eq!(code(header, 2), "parse.runtime_log.register");
        assert_eq!(code(header, 5), "parse.runtime_log.register");
        // Type, digest, tag, text.
        assert_eq!(code(header + 4, 3), "parse.runtime_log.event");
        assert_eq!(code(header + 14, 0), "parse.runtime_log.event");
        assert_eq!(code(header + 66, 0), "parse.runtime_log.event");
        assert_eq!(code(good.len() - 1, b'x'), "parse.runtime_log.event");
        assert!(RuntimeLog::parse(&good[..good.len() - 1]).is_err());
        let padded = [good.as_slice(), &[0xFF; 4]].concat();
        assert_eq!(RuntimeLog::parse(&padded), Err(RuntimeLogError::Trailing));
    }

    #[test]
    fn names_are_plain_and_bounded() {
        let long = "x".repeat(65);
        for domain in ["", "two words", "a:b", "ümlaut", &long] {
            assert_eq!(RuntimeEvent::new(domain, "start", "x"), Err(RuntimeEventError::Domain));
            assert_eq!(RuntimeEvent::new("app", domain, "x"), Err(RuntimeEventError::Operation));
        }
        for content in ["", "two\nlines", &"x".repeat(1025)] {
            assert_eq!(RuntimeEvent::new("app", "start", content), Err(RuntimeEventError::Content));
        }
    }
}
