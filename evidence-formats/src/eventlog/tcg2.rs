//! TCG2 crypto-agile event logs (TCG PC Client Platform Firmware Profile 1.05 section 10; CCEL per ACPI 6.5 uses the
//! same records) and the SHA-1 logs that came before them.

use std::ops::Range;

use thiserror::Error;

use super::event::{Event, EventType};
use crate::{
    bytes::{Reader, Truncated},
    code::{Code, Coded},
    digest::HashAlgorithm,
};

/// Largest log that is read, in bytes.
pub const MAX_LOG_BYTES: usize = 1 << 20;
/// Most events that are read from one log.
pub const MAX_EVENTS: usize = 65_536;
/// Most algorithms in the table of the header event.
const MAX_ALGORITHMS: u32 = 16;
/// First 16 bytes of the data of a crypto-agile log's first event.
const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";

/// A parsed log. It keeps the bytes it was parsed from; events are views into them.
#[derive(Clone, PartialEq, Eq)]
pub struct EventLog {
    bytes: Vec<u8>,
    algorithms: Vec<HashAlgorithm>,
    crypto_agile: bool,
    events: Vec<Record>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    register: u32,
    kind: EventType,
    /// Crypto-agile: `count` times {algorithm u16, digest}. SHA-1 log: the bare 20 bytes.
    digests: Range<usize>,
    data: Range<usize>,
}

impl EventLog {
    /// Parses a log: a crypto-agile one when its first event says so, else a SHA-1 one.
    ///
    /// Padding after the last event (a record header of zeros or 0xFFFFFFFF, as in ACPI log areas) ends the log.
    ///
    /// # Errors
    /// [`EventLogError`] with the offset of the field that is not as the profile says.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventLogError> {
        if bytes.len() > MAX_LOG_BYTES {
            return Err(EventLogError::TooLarge { length: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let first = parse_sha1_record(&mut reader)?;
        let first_data = bytes.get(first.data.clone()).unwrap_or_default();
        let crypto_agile = first.kind == EventType::NO_ACTION && first_data.starts_with(SPEC_ID);
        let algorithms =
            if crypto_agile { parse_spec_id(first_data, first.data.start)? } else { vec![HashAlgorithm::Sha1] };
        let mut events = vec![first];
        while !at_padding(&reader) {
            if events.len() >= MAX_EVENTS {
                return Err(EventLogError::TooManyEvents);
            }
            events.push(if crypto_agile {
                parse_agile_record(&mut reader, &algorithms)?
            } else {
                parse_sha1_record(&mut reader)?
            });
        }
        Ok(Self { bytes: bytes.to_vec(), algorithms, crypto_agile, events })
    }

    /// The bytes that were parsed, padding included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Banks that the header event lists, in its order (`sha1` alone for a SHA-1 log).
    #[must_use]
    pub fn algorithms(&self) -> &[HashAlgorithm] {
        &self.algorithms
    }

    /// Whether this is a crypto-agile log (false: SHA-1 log).
    #[must_use]
    pub const fn is_crypto_agile(&self) -> bool {
        self.crypto_agile
    }

    /// How many events the log has, the header event included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether the log has no event. A log that was parsed has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// All events in the order of the log, the header event first.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().enumerate().map(|(number, record)| Event {
            number,
            register: record.register,
            kind: record.kind,
            digests: self.bytes.get(record.digests.clone()).unwrap_or_default(),
            // The header event has the SHA-1 form in both kinds of log.
            crypto_agile: self.crypto_agile && number > 0,
            data: self.bytes.get(record.data.clone()).unwrap_or_default(),
        })
    }
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog")
            .field("bytes", &self.bytes.len())
            .field("algorithms", &self.algorithms)
            .field("events", &self.events.len())
            .finish()
    }
}

/// Whether the log ends here: no bytes left, a register index of 0xFFFFFFFF, or a record header of zeros.
fn at_padding(reader: &Reader<'_>) -> bool {
    let rest = reader.clone().rest();
    rest.is_empty()
        || rest.starts_with(&[0xFF; 4])
        || rest.get(..12).is_some_and(|header| header.iter().all(|byte| *byte == 0))
}

/// TCG_PCR_EVENT: pcr u32, type u32, SHA-1 digest, data size u32, data (PFP section 10.2.1).
fn parse_sha1_record(reader: &mut Reader<'_>) -> Result<Record, EventLogError> {
    let register = reader.u32_le()?;
    let kind = EventType(reader.u32_le()?);
    let digests_at = reader.offset();
    reader.take(HashAlgorithm::Sha1.length())?;
    Ok(Record { register, kind, digests: digests_at..reader.offset(), data: parse_data(reader)? })
}

/// TCG_PCR_EVENT2: pcr u32, type u32, digest count u32, digests, data size u32, data (PFP section 10.2.2).
fn parse_agile_record(reader: &mut Reader<'_>, table: &[HashAlgorithm]) -> Result<Record, EventLogError> {
    let register = reader.u32_le()?;
    let kind = EventType(reader.u32_le()?);
    let count_at = reader.offset();
    let count = reader.u32_le()?;
    if usize::try_from(count).map_or(true, |count| count > table.len()) {
        return Err(EventLogError::DigestCount { offset: count_at, count });
    }
    let digests_at = reader.offset();
    let mut seen = Vec::with_capacity(table.len());
    for _ in 0..count {
        let offset = reader.offset();
        let id = reader.u16_le()?;
        let algorithm = HashAlgorithm::from_tpm_id(id)
            .filter(|algorithm| table.contains(algorithm))
            .ok_or(EventLogError::UnknownAlgorithm { offset, id })?;
        if seen.contains(&algorithm) {
            return Err(EventLogError::DuplicateAlgorithm { offset, algorithm });
        }
        seen.push(algorithm);
        reader.take(algorithm.length())?;
    }
    Ok(Record { register, kind, digests: digests_at..reader.offset(), data: parse_data(reader)? })
}

fn parse_data(reader: &mut Reader<'_>) -> Result<Range<usize>, EventLogError> {
    let offset = reader.offset();
    let size = reader.u32_le()?;
    let too_long = EventLogError::DataSize { offset, size };
    let start = reader.offset();
    reader.take(usize::try_from(size).map_err(|_too_large| too_long.clone())?).map_err(|_truncated| too_long)?;
    Ok(start..reader.offset())
}

/// TCG_EfiSpecIdEvent (PFP section 10.4.5.1): the table of algorithms, exact to its last byte.
fn parse_spec_id(data: &[u8], data_at: usize) -> Result<Vec<HashAlgorithm>, EventLogError> {
    let malformed = || EventLogError::SpecId { offset: data_at };
    let mut reader = Reader::new(data);
    // Signature 16, platform class u32, minor u8, major u8, errata u8, uintn size u8.
    reader.take(24).map_err(|_truncated| malformed())?;
    let count = reader.u32_le().map_err(|_truncated| malformed())?;
    if count == 0 || count > MAX_ALGORITHMS {
        return Err(malformed());
    }
    let mut table = Vec::new();
    for _ in 0..count {
        let offset = data_at.saturating_add(reader.offset());
        let id = reader.u16_le().map_err(|_truncated| malformed())?;
        let size = reader.u16_le().map_err(|_truncated| malformed())?;
        let algorithm = HashAlgorithm::from_tpm_id(id).ok_or(EventLogError::UnknownAlgorithm { offset, id })?;
        if usize::from(size) != algorithm.length() {
            return Err(EventLogError::DigestSize { offset, algorithm, size });
        }
        if table.contains(&algorithm) {
            return Err(EventLogError::DuplicateAlgorithm { offset, algorithm });
        }
        table.push(algorithm);
    }
    let vendor_info = reader.u8().map_err(|_truncated| malformed())?;
    reader.take(usize::from(vendor_info)).map_err(|_truncated| malformed())?;
    if reader.is_empty() { Ok(table) } else { Err(malformed()) }
}

/// Bytes are not an event log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// Longer than [`MAX_LOG_BYTES`].
    #[error("expected an event log of at most {MAX_LOG_BYTES} bytes, found {length}")]
    TooLarge {
        /// Bytes of the log.
        length: usize,
    },
    /// More than [`MAX_EVENTS`] events.
    #[error("expected at most {MAX_EVENTS} events")]
    TooManyEvents,
    /// The log ends inside an event.
    #[error("event log ends inside an event")]
    Truncated(#[from] Truncated),
    /// The data of an event runs past the end of the log.
    #[error("event data of {size} bytes (size at offset {offset}) runs past the end of the log")]
    DataSize {
        /// Where the size field is.
        offset: usize,
        /// What it says.
        size: u32,
    },
    /// The header event is not an exact TCG_EfiSpecIdEvent.
    #[error("expected an exact specification id event at offset {offset}")]
    SpecId {
        /// Where the data of the header event starts.
        offset: usize,
    },
    /// An algorithm that is unknown, or that the header's table does not list.
    #[error("digest algorithm 0x{id:04x} at offset {offset} is unknown or not in the log's table")]
    UnknownAlgorithm {
        /// Where the identifier is.
        offset: usize,
        /// The TPM_ALG_ID.
        id: u16,
    },
    /// One event or table lists an algorithm twice.
    #[error("digest algorithm {algorithm} stands twice at offset {offset}")]
    DuplicateAlgorithm {
        /// Where it stands the second time.
        offset: usize,
        /// The algorithm.
        algorithm: HashAlgorithm,
    },
    /// The table gives an algorithm a digest size that is not its own.
    #[error("the log's table gives {algorithm} a digest size of {size} bytes at offset {offset}")]
    DigestSize {
        /// Where the entry is.
        offset: usize,
        /// The algorithm.
        algorithm: HashAlgorithm,
        /// The size the table claims, in bytes.
        size: u16,
    },
    /// An event has more digests than the table has algorithms.
    #[error("event with {count} digests at offset {offset} has more than the log's table")]
    DigestCount {
        /// Where the count is.
        offset: usize,
        /// The count.
        count: u32,
    },
}

impl Coded for EventLogError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLarge { .. } | Self::TooManyEvents => "parse.eventlog.too_large",
            Self::Truncated(_) => "parse.eventlog.truncated",
            Self::DataSize { .. } => "parse.eventlog.event_size",
            Self::SpecId { .. } => "parse.eventlog.spec_id",
            Self::UnknownAlgorithm { .. } | Self::DuplicateAlgorithm { .. } => "parse.eventlog.algorithm",
            Self::DigestSize { .. } => "parse.eventlog.digest_size",
            Self::DigestCount { .. } => "parse.eventlog.digest_count",
        })
    }
}
