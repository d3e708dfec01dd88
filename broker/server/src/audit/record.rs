//! One record of the audit log, and the bytes that its hash is over.
//!
//! A record is one JSON object in the canonical form of RFC 8785: members in the order of their names, no white space.
//! `hash` is SHA-256 over the object without the member `hash`; `previous` is the hash of the record before it, and 32 zero
//! bytes in the first. So a record has exactly one form, and a line that says the same in other bytes is not that record.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use evidence_formats::binding::{NotCanonical, canonical_json};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use thiserror::Error;
use verifier::Timestamp;

use super::Kind;

/// Most bytes of one record as a line.
pub(crate) const LONGEST: usize = 64 * 1024;
/// Most bytes of a body: with everything around it, the line is no longer than [`LONGEST`].
const BODY: usize = 60 * 1024;

/// SHA-256 of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHash(pub(crate) [u8; 32]);

impl RecordHash {
    /// What stands in the place of the hash before the first record.
    pub(crate) const ZERO: Self = Self([0; 32]);

    /// Reads what [`fmt::Display`] wrote: 64 lower-case hex digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hash = Self(hex::decode(text).ok()?.try_into().ok()?);
        (hash.to_string() == text).then_some(hash)
    }
}

impl fmt::Display for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What was done, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When.
    pub(crate) at: Timestamp,
    /// What kind of act, for example `attestation.decided`.
    pub(crate) kind: String,
    /// The canonical JSON of what is known of it: names and digests, no secret, no key, no evidence.
    pub(crate) body: String,
}

impl Entry {
    /// An entry over a body that is a JSON object. In the place of one that is too long stands its digest.
    ///
    /// # Errors
    /// [`NotCanonical`] when the body has no canonical form.
    pub(crate) fn new(at: Timestamp, kind: Kind, body: &impl Serialize) -> Result<Self, NotCanonical> {
        let mut body = canonical_json(body)?;
        if body.len() > BODY {
            let (sha256, bytes) = (hex::encode(digest(&SHA256, &body)), body.len());
            body = canonical_json(&json!({"too_long": {"sha256": sha256, "bytes": bytes}}))?;
        }
        let body = String::from_utf8(body).map_err(|error| NotCanonical { reason: error.to_string() })?;
        Ok(Self { at, kind: kind.as_str().to_owned(), body })
    }
}

/// A place in a chain: the number of a record and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counts from 1; 0 before the first record.
    pub(crate) sequence: u64,
    /// Of that record.
    pub(crate) hash: RecordHash,
}

impl Place {
    /// Before the first record.
    pub(crate) const START: Self = Self { sequence: 0, hash: RecordHash::ZERO };
}

/// One record in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Whose chain.
    pub(crate) tenant: String,
    /// Counts from 1.
    pub(crate) sequence: u64,
    /// What was done.
    pub(crate) entry: Entry,
    /// The hash of the record before.
    pub(crate) previous: RecordHash,
    /// The hash of this record.
    pub(crate) hash: RecordHash,
}

/// A line is no record in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected an audit record in canonical form")]
pub(crate) struct NotARecord;

/// A line, as it is parsed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    at: String,
    #[serde(borrow)]
    body: &'a RawValue,
    hash: String,
    kind: String,
    previous: String,
    sequence: u64,
    tenant: String,
}

impl Record {
    /// Puts an entry behind `head`.
    pub(crate) fn chain(tenant: &str, head: Place, entry: Entry) -> Self {
        let sequence = head.sequence.saturating_add(1);
        let mut record =
            Self { tenant: tenant.to_owned(), sequence, entry, previous: head.hash, hash: RecordHash::ZERO };
        record.hash = record.computed_hash();
        record
    }

    /// Its own place.
    pub(crate) const fn place(&self) -> Place {
        Place { sequence: self.sequence, hash: self.hash }
    }

    /// What its hash has to be.
    pub(crate) fn computed_hash(&self) -> RecordHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.text(None).as_bytes()).as_ref());
        RecordHash(hash)
    }

    /// The record as one line, without a line feed.
    pub(crate) fn line(&self) -> String {
        self.text(Some(self.hash))
    }

    /// The canonical JSON, with or without the hash.
    fn text(&self, hash: Option<RecordHash>) -> String {
        let Self { tenant, sequence, entry: Entry { at, kind, body }, previous, .. } = self;
        let hash = hash.map(|hash| format!("\"hash\":\"{hash}\",")).unwrap_or_default();
        let (kind, tenant) = (quoted(kind), quoted(tenant));
        format!(
            "{{\"at\":\"{at}\",\"body\":{body},{hash}\"kind\":{kind},\"previous\":\"{previous}\",\
             \"sequence\":{sequence},\"tenant\":{tenant}}}"
        )
    }

    /// Reads a line; whether its hash is right is not looked at.
    ///
    /// # Errors
    /// [`NotARecord`] for anything but the bytes that [`Record::line`] writes.
    pub(crate) fn parse(line: &str) -> Result<Self, NotARecord> {
        if line.len() > LONGEST {
            return Err(NotARecord);
        }
        let parsed: Line<'_> = serde_json::from_str(line).map_err(|_not_json| NotARecord)?;
        let hash = |text: &str| RecordHash::parse(text).ok_or(NotARecord);
        let record = Self {
            sequence: parsed.sequence,
            entry: Entry {
                at: Timestamp::parse_rfc3339(&parsed.at).map_err(|_not_a_time| NotARecord)?,
                kind: parsed.kind,
                body: parsed.body.get().to_owned(),
            },
            previous: hash(&parsed.previous)?,
            hash: hash(&parsed.hash)?,
            tenant: parsed.tenant,
        };
        if record.line() == line { Ok(record) } else { Err(NotARecord) }
    }
}

/// Text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn record() -> Record {
        let entry =
            Entry::new(Timestamp::from_unix(1_800_000_000), Kind::PolicySet, &json!({"version": 3, "by": "ä\n"}));
        Record::chain("default", Place::START, entry.unwrap())
    }

    #[test]
    fn a_record_is_canonical_json_and_its_hash_is_over_it_without_the_hash() {
        let line = record().line();
        assert!(line.starts_with(r#"{"at":"2027-01-15T08:00:00Z","body":{"by":"ä\n","version":3},"hash":""#), "{line}");
        let mut value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(canonical_json(&value).unwrap(), line.as_bytes());
        let hash = value.as_object_mut().unwrap().remove("hash").unwrap();
        let computed = hex::encode(digest(&SHA256, &canonical_json(&value).unwrap()));
        assert_eq!(hash, json!(computed));
        assert_eq!(Record::parse(&line), Ok(record()));
    }

    #[test]
    fn the_same_in_other_bytes_is_no_record() {
        let line = record().line();
        for other in [
            format!("{line} "),
            format!(" {line}"),
            line.replacen("\"at\":", "\"at\": ", 1),
            line.replacen("08:00:00Z", "08:00:00+00:00", 1),
            line.replacen("\"sequence\":1", "\"sequence\":1,\"sequence\":1", 1),
            line.replacen("\"tenant\"", "\"more\":1,\"tenant\"", 1),
            line.to_uppercase(),
        ] {
            assert_eq!(Record::parse(&other), Err(NotARecord), "{other}");
        }
        // The hash is over the bytes of the body.
        let spaced = Record::parse(&line.replacen("{\"by\"", "{ \"by\"", 1)).unwrap();
        assert_ne!(spaced.hash, spaced.computed_hash());
    }
}
