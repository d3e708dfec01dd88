//! The order of reads and writes, and when to start again.

use std::{thread::sleep, time::Duration};

use evidence_formats::bytes::ReportData;
use rustix::io::Errno;

use super::{
    TsmError, TsmProvider,
    entry::{Attribute, Entries, Entry, EntryError},
};

/// How many fresh directories one request may use.
const ATTEMPTS: u32 = 4;

/// Pause before another attempt, times the attempts so far.
const PAUSE: Duration = Duration::from_millis(20);

/// What the guest asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// What the report carries.
    pub(crate) report_data: &'a ReportData,
    /// The privilege level (VMPL) to report; `None`: the lowest that the guest may ask for.
    pub(crate) privilege_level: Option<u8>,
    /// Whether the SVSM shall make the report, about its vTPM.
    pub(crate) svsm_vtpm: bool,
}

/// The service that answers below level 0.
const SVSM: &[u8] = b"svsm";
/// Its vTPM (AMD 58019, attestation protocol), and the form of its manifest that is the endorsement key.
const VTPM_SERVICE: &[u8] = b"c476f1eb-0123-45a5-9641-b4e7dde5bfe3";
const VTPM_MANIFEST: &[u8] = b"0";

/// What the hardware and the host gave: bytes that nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blobs {
    /// Who answered.
    pub(crate) provider: TsmProvider,
    /// The report or quote.
    pub(crate) report: Vec<u8>,
    /// The host's certificates.
    pub(crate) auxiliary: Option<Vec<u8>>,
    /// The manifest of the service that made the report.
    pub(crate) manifest: Option<Vec<u8>>,
}

/// Why one attempt ended.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// A fresh directory may do better.
    Again,
    /// It will not.
    Final(TsmError),
}

impl From<TsmError> for Attempt {
    fn from(error: TsmError) -> Self {
        Self::Final(error)
    }
}

/// Which driver answers. Makes and removes a directory; the hardware is not asked.
///
/// # Errors
/// Every [`TsmError`] about the directory and the provider.
pub(crate) fn probe(root: &impl Entries) -> Result<TsmProvider, TsmError> {
    repeat(|| provider(&make(root)?))
}

/// Whether this guest runs under an SVSM: only then there is a service to name.
///
/// # Errors
/// Every [`TsmError`] about the directory.
pub(crate) fn is_under_svsm(root: &impl Entries) -> Result<bool, TsmError> {
    repeat(|| {
        let there = make(root)?.has(Attribute::ServiceProvider);
        there.map_err(|error| ended(Attribute::ServiceProvider, error))
    })
}

/// Asks for a report.
///
/// # Errors
/// Every [`TsmError`].
pub(crate) fn collect(root: &impl Entries, request: &Request<'_>) -> Result<Blobs, TsmError> {
    repeat(|| attempt(make(root)?, request))
}

fn repeat<T>(mut once: impl FnMut() -> Result<T, Attempt>) -> Result<T, TsmError> {
    for attempt in 1..=ATTEMPTS {
        match once() {
            Ok(value) => return Ok(value),
            Err(Attempt::Final(error)) => return Err(error),
            Err(Attempt::Again) => sleep(PAUSE.saturating_mul(attempt)),
        }
    }
    Err(TsmError::Interference { attempts: ATTEMPTS })
}

fn make<E: Entries>(root: &E) -> Result<E::Entry, Attempt> {
    root.make().map_err(|errno| match errno {
        Errno::INTR | Errno::AGAIN | Errno::EXIST => Attempt::Again,
        Errno::NOENT | Errno::NOTDIR => TsmError::Absent.into(),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => TsmError::Permission.into(),
        Errno::NXIO => TsmError::NoProvider.into(),
        errno => TsmError::MakeDirectory { errno }.into(),
    })
}

fn attempt(mut entry: impl Entry, request: &Request<'_>) -> Result<Blobs, Attempt> {
    let provider = provider(&entry)?;
    let mut writes = 0;
    if request.svsm_vtpm {
        write(&mut entry, Attribute::ServiceProvider, SVSM, &mut writes)?;
        write(&mut entry, Attribute::ServiceGuid, VTPM_SERVICE, &mut writes)?;
        write(&mut entry, Attribute::ServiceManifestVersion, VTPM_MANIFEST, &mut writes)?;
    } else if let Some(level) = privilege_level(&entry, provider, request)? {
        write(&mut entry, Attribute::PrivLevel, level.to_string().as_bytes(), &mut writes)?;
    }
    write(&mut entry, Attribute::InBlob, request.report_data.as_bytes(), &mut writes)?;
    let report = read_checked(&entry, Attribute::OutBlob, writes)?;
    let auxiliary = optional(&entry, Attribute::AuxBlob, writes)?;
    let manifest = if request.svsm_vtpm { optional(&entry, Attribute::ManifestBlob, writes)? } else { None };
    Ok(Blobs { provider, report, auxiliary, manifest })
}

fn provider(entry: &impl Entry) -> Result<TsmProvider, Attempt> {
    Ok(TsmProvider::parse(&read(entry, Attribute::Provider)?)?)
}

/// The level to write. The driver starts at level 0, which a guest below an SVSM may not ask for; its floor is then above 0.
fn privilege_level(entry: &impl Entry, provider: TsmProvider, request: &Request<'_>) -> Result<Option<u8>, Attempt> {
    match provider {
        TsmProvider::TdxGuest => Ok(None),
        TsmProvider::SevGuest if request.privilege_level.is_some() => Ok(request.privilege_level),
        TsmProvider::SevGuest => {
            let floor = present(read(entry, Attribute::PrivLevelFloor))?;
            Ok(floor
                .and_then(|text| number(&text))
                .and_then(|floor| u8::try_from(floor).ok())
                .filter(|floor| *floor > 0))
        }
    }
}

fn write(entry: &mut impl Entry, attribute: Attribute, bytes: &[u8], writes: &mut u64) -> Result<(), Attempt> {
    entry.write(attribute, bytes).map_err(|error| ended(attribute, error))?;
    *writes = writes.saturating_add(1);
    unshared(entry, *writes)
}

fn read_checked(entry: &impl Entry, attribute: Attribute, writes: u64) -> Result<Vec<u8>, Attempt> {
    let bytes = read(entry, attribute)?;
    unshared(entry, writes)?;
    Ok(bytes)
}

/// A blob that not every provider has: absent and empty are the same.
fn optional(entry: &impl Entry, attribute: Attribute, writes: u64) -> Result<Option<Vec<u8>>, Attempt> {
    let bytes = present(read_checked(entry, attribute, writes))?;
    Ok(bytes.filter(|bytes| !bytes.is_empty()))
}

fn present<T>(read: Result<T, Attempt>) -> Result<Option<T>, Attempt> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Attempt::Final(TsmError::Failed { errno: Errno::NOENT, .. })) => Ok(None),
        Err(other) => Err(other),
    }
}

/// `generation` counts all writes; any other count than ours is somebody else's.
fn unshared(entry: &impl Entry, writes: u64) -> Result<(), Attempt> {
    let found = number(&read(entry, Attribute::Generation)?).ok_or(TsmError::Generation)?;
    if found == writes { Ok(()) } else { Err(Attempt::Again) }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.strip_suffix(b"\n").unwrap_or(text)).ok()?.parse().ok()
}

fn read(entry: &impl Entry, attribute: Attribute) -> Result<Vec<u8>, Attempt> {
    entry.read(attribute).map_err(|error| ended(attribute, error))
}

fn ended(attribute: Attribute, error: EntryError) -> Attempt {
    match error {
        EntryError::TooLarge { limit } => TsmError::TooLarge { attribute, limit }.into(),
        EntryError::Errno(Errno::INTR | Errno::AGAIN | Errno::BUSY) => Attempt::Again,
        EntryError::Errno(Errno::INVAL) => TsmError::Rejected { attribute }.into(),
        EntryError::Errno(Errno::FBIG) => TsmError::TooLarge { attribute, limit: attribute.limit() }.into(),
        EntryError::Errno(Errno::NXIO) => TsmError::NoProvider.into(),
        EntryError::Errno(Errno::ACCESS | Errno::PERM) => TsmError::Permission.into(),
        EntryError::Errno(errno) => TsmError::Failed { attribute, errno }.into(),
    }
}

#[cfg(test)]
mod tests;
