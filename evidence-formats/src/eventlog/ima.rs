//! IMA measurement lists (Linux `security/integrity/ima`, ascii_runtime_measurements and binary_runtime_measurements).
//!
//! From Linux 5.8 each bank of PCR 10 is extended with the bank's own hash of an entry's template data; earlier kernels
//! padded the SHA-1 hash, which proves nothing more than SHA-1 does and is not accepted here.

use thiserror::Error;

use crate::{
    bytes::{Reader, Truncated},
    code::{Code, Coded},
    digest::{Digest, HashAlgorithm},
};

/// Largest list that is read, in bytes.
pub const MAX_IMA_BYTES: usize = 2 << 20;
/// Most entries that are read.
pub const MAX_IMA_ENTRIES: usize = 65_536;
/// PCR that IMA extends by default.
pub const IMA_PCR: u8 = 10;

/// A parsed measurement list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaLog {
    entries: Vec<ImaEntry>,
}

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaEntry {
    /// PCR that the entry was extended into.
    pub pcr: u8,
    /// Template name, for example `ima-ng`.
    pub template: String,
    /// File digest as the template has it, for example `sha256:9f…`; absent for templates without one.
    pub file_digest: Option<String>,
    /// File path or event name; absent for templates without one.
    pub path: Option<String>,
    /// Whether the kernel recorded a violation (measured file open for writing): extended as all ones.
    pub violation: bool,
    template_data: Vec<u8>,
}

impl ImaEntry {
    /// What the kernel extends into the bank: the hash of the template data, or all ones for a violation.
    #[must_use]
    pub fn extended_digest(&self, bank: HashAlgorithm) -> Digest {
        if self.violation { Digest::filled(bank, 0xFF) } else { bank.digest(&[&self.template_data]) }
    }
}

impl ImaLog {
    /// Parses either form: text when the first byte is an ASCII digit, else binary.
    ///
    /// # Errors
    /// [`ImaError`] naming the entry that is not as its template says.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImaError> {
        if bytes.len() > MAX_IMA_BYTES {
            return Err(ImaError::TooLarge { length: bytes.len() });
        }
        if bytes.first().is_some_and(u8::is_ascii_digit) { parse_ascii(bytes) } else { parse_binary(bytes) }
    }

    /// The entries in the order they were measured.
    #[must_use]
    pub fn entries(&self) -> &[ImaEntry] {
        &self.entries
    }

    /// How many entries lead from reset to `value` in the bank of `value`; `None` when no prefix of the list does.
    ///
    /// The kernel appends while a quote is made, so entries past the quoted value are not wrong, only unproven.
    #[must_use]
    pub fn entries_up_to(&self, pcr: u8, value: &Digest) -> Option<usize> {
        let mut register = Digest::zero(value.algorithm());
        let mut reached = (register == *value).then_some(0);
        for (number, entry) in self.entries.iter().enumerate() {
            if entry.pcr != pcr {
                continue;
            }
            register = register.extended(entry.extended_digest(value.algorithm()).as_bytes());
            if register == *value {
                reached = number.checked_add(1);
            }
        }
        reached
    }
}

fn parse_ascii(bytes: &[u8]) -> Result<ImaLog, ImaError> {
    let text = std::str::from_utf8(bytes).map_err(|_not_utf8| ImaError::NotText)?;
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if number >= MAX_IMA_ENTRIES {
            return Err(ImaError::TooManyEntries);
        }
        entries.push(parse_line(line).ok_or(ImaError::Entry { entry: number })?);
    }
    verified(entries)
}

/// `PCR SHA1-OF-TEMPLATE-DATA TEMPLATE FIELDS…`, fields separated by one space; only the path may hold spaces.
fn parse_line(line: &str) -> Option<(ImaEntry, [u8; 20])> {
    let mut columns = line.splitn(4, ' ');
    let pcr = parse_pcr(columns.next()?.parse().ok()?)?;
    let mut template_sha1 = [0; 20];
    hex::decode_to_slice(columns.next()?, &mut template_sha1).ok()?;
    let template = columns.next()?.to_owned();
    let (file_digest, rest) = columns.next()?.split_once(' ')?;
    let (path, last) = match template.as_str() {
        "ima-ng" | "ima-ngv2" => (rest, None),
        // A file without signature ends in a space, which copies of a list lose; the template's hash tells.
        "ima-sig" | "ima-sigv2" => {
            let (path, signature) = rest.rsplit_once(' ').unwrap_or((rest, ""));
            (path, Some(signature))
        }
        "ima-buf" => rest.rsplit_once(' ').map(|(path, last)| (path, Some(last)))?,
        _ => return None,
    };
    let (kind, digest) = file_digest.rsplit_once(':')?;
    let digest_field = [kind.as_bytes(), b":\0", &hex::decode(digest).ok()?].concat();
    let mut template_data = field(&digest_field)?;
    template_data.extend(field(&[path.as_bytes(), b"\0"].concat())?);
    if let Some(last) = last {
        template_data.extend(field(&hex::decode(last).ok()?)?);
    }
    let entry = ImaEntry {
        pcr,
        template,
        file_digest: Some(file_digest.to_owned()),
        path: Some(path.to_owned()),
        violation: template_sha1 == [0; 20],
        template_data,
    };
    Some((entry, template_sha1))
}

fn field(bytes: &[u8]) -> Option<Vec<u8>> {
    Some([&u32::try_from(bytes.len()).ok()?.to_le_bytes(), bytes].concat())
}

fn parse_pcr(index: u32) -> Option<u8> {
    u8::try_from(index).ok().filter(|pcr| *pcr < 24)
}

/// {pcr u32, SHA-1 of template data, name length u32, name, data length u32, data}; little-endian.
fn parse_binary(bytes: &[u8]) -> Result<ImaLog, ImaError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let number = entries.len();
        if number >= MAX_IMA_ENTRIES {
            return Err(ImaError::TooManyEntries);
        }
        let wrong = || ImaError::Entry { entry: number };
        let pcr = parse_pcr(reader.u32_le()?).ok_or_else(wrong)?;
        let template_sha1 = reader.array()?;
        let template = std::str::from_utf8(sized(&mut reader)?).map_err(|_not_utf8| wrong())?.to_owned();
        if template.is_empty() || template == "ima" {
            // The original template has no length of its own and only SHA-1 file digests.
            return Err(ImaError::Template { entry: number });
        }
        let template_data = sized(&mut reader)?.to_vec();
        let (file_digest, path) = describe(&template, &template_data).ok_or_else(wrong)?;
        let violation = template_sha1 == [0; 20];
        entries.push((ImaEntry { pcr, template, file_digest, path, violation, template_data }, template_sha1));
    }
    verified(entries)
}

fn sized<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Truncated> {
    let length = reader.u32_le()?;
    // A length that does not fit is longer than any input, which is what `take` reports.
    reader.take(usize::try_from(length).unwrap_or(usize::MAX))
}

/// File digest and path of the templates that start with a digest and a name; other templates have neither.
fn describe(template: &str, data: &[u8]) -> Option<(Option<String>, Option<String>)> {
    let mut reader = Reader::new(data);
    let mut fields = Vec::new();
    while !reader.is_empty() {
        fields.push(sized(&mut reader).ok()?);
    }
    if !template.starts_with("ima-") {
        return Some((None, None));
    }
    let (digest, path) = (fields.first()?, fields.get(1)?.strip_suffix(&[0])?);
    let nul = digest.iter().position(|byte| *byte == 0)?;
    let kind = std::str::from_utf8(digest.get(..nul)?).ok()?;
    let bytes = digest.get(nul.checked_add(1)?..)?;
    Some((Some(format!("{kind}{}", hex::encode(bytes))), Some(std::str::from_utf8(path).ok()?.to_owned())))
}

/// Each entry's recorded SHA-1 must be that of its template data: it is what tells a violation from a measurement.
fn verified(entries: Vec<(ImaEntry, [u8; 20])>) -> Result<ImaLog, ImaError> {
    for (number, (entry, sha1)) in entries.iter().enumerate() {
        let computed = HashAlgorithm::Sha1.digest(&[&entry.template_data]);
        if !entry.violation && computed.as_bytes() != sha1 {
            return Err(ImaError::TemplateHash { entry: number });
        }
    }
    Ok(ImaLog { entries: entries.into_iter().map(|(entry, _)| entry).collect() })
}

/// Bytes are not an IMA measurement list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImaError {
    /// Longer than [`MAX_IMA_BYTES`].
    #[error("expected an IMA list of at most {MAX_IMA_BYTES} bytes, found {length}")]
    TooLarge {
        /// Bytes of the list.
        length: usize,
    },
    /// More than [`MAX_IMA_ENTRIES`] entries.
    #[error("expected at most {MAX_IMA_ENTRIES} IMA entries")]
    TooManyEntries,
    /// The list starts like text and is not UTF-8.
    #[error("expected an IMA list in UTF-8")]
    NotText,
    /// The list ends inside an entry.
    #[error("IMA list ends inside an entry")]
    Truncated(#[from] Truncated),
    /// An entry is not as its template says.
    #[error("IMA entry {entry} is malformed or of an unknown template")]
    Entry {
        /// Position of the entry.
        entry: usize,
    },
    /// The original `ima` template, which has only SHA-1 file digests.
    #[error("IMA entry {entry} has the SHA-1 template, expected ima-ng or later")]
    Template {
        /// Position of the entry.
        entry: usize,
    },
    /// The recorded SHA-1 is not that of the template data.
    #[error("IMA entry {entry} does not hash to its recorded template hash")]
    TemplateHash {
        /// Position of the entry.
        entry: usize,
    },
}

impl Coded for ImaError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLarge { .. } | Self::TooManyEntries => "parse.ima.too_large",
            Self::NotText | Self::Entry { .. } => "parse.ima.entry",
            Self::Truncated(_) => "parse.ima.truncated",
            Self::Template { .. } => "parse.ima.template",
            Self::TemplateHash { .. } => "parse.ima.template_hash",
        })
    }
}
