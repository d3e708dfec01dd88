//! The JSON document of reference sets: closed, typed and bounded.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use evidence_formats::code::{Code, Coded};
use serde::{
    Deserialize, Deserializer, Serializer,
    de::{Error as _, MapAccess, Visitor},
    ser::SerializeStruct,
};
use thiserror::Error;

use super::{
    lifecycle::TransitionError,
    set::{Measurement, ReferenceSet, SetId, SetKind},
};

/// Longest document in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// Most alternatives of one set.
const MAX_ALTERNATIVES: usize = 512;
/// Most events under one name.
const MAX_EVENTS: usize = 64;
/// Longest text for people.
const MAX_TEXT: usize = 1024;
const FORMAT: &str = "countersign.reference-values/1";

/// Why reference values could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The document is too long.
    #[error("expected a document of at most {limit} bytes, found {actual}")]
    Size {
        /// Most bytes.
        limit: usize,
        /// Bytes found.
        actual: usize,
    },
    /// The document is not of the closed form.
    #[error("expected a reference-value document at line {line} column {column}: {message}")]
    Form {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was wrong.
        message: String,
    },
    /// The document is of another format.
    #[error("expected the format {FORMAT}, found {actual}")]
    Format {
        /// The format found.
        actual: String,
    },
    /// A set breaks a rule.
    #[error("expected {expected} in set {id} version {version}")]
    Rule {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
        /// The rule.
        expected: &'static str,
    },
    /// Too many of something.
    #[error("expected at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Most.
        limit: usize,
    },
    /// The id and version were used before.
    #[error("expected a new version of set {id}, found version {version} again")]
    Duplicate {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
    },
    /// The set is in a state from which the change is not possible.
    #[error("the set {id} version {version} cannot be changed so: {source}")]
    Transition {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
        /// Why.
        source: TransitionError,
    },
    /// There is no such set.
    #[error("expected a known set, found {id} version {version}")]
    Unknown {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
    },
}

impl ReferenceError {
    /// Every code of this error.
    pub const CODES: [Code; 4] = [Self::DOCUMENT, Self::DUPLICATE, Self::UNKNOWN, Self::TRANSITION];
    const DOCUMENT: Code = Code::new("reference.document");
    const DUPLICATE: Code = Code::new("reference.duplicate");
    const UNKNOWN: Code = Code::new("reference.unknown_set");
    const TRANSITION: Code = Code::new("reference.transition");
}

impl Coded for ReferenceError {
    fn code(&self) -> Code {
        match self {
            Self::Size { .. } | Self::Form { .. } | Self::Format { .. } | Self::Rule { .. } | Self::TooMany { .. } => {
                Self::DOCUMENT
            }
            Self::Duplicate { .. } => Self::DUPLICATE,
            Self::Unknown { .. } => Self::UNKNOWN,
            Self::Transition { .. } => Self::TRANSITION,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    sets: Vec<ReferenceSet>,
}

/// Reads a document; the rules of each set are checked as it is added.
pub(super) fn parse(document: &[u8]) -> Result<Vec<ReferenceSet>, ReferenceError> {
    if document.len() > MAX_DOCUMENT {
        return Err(ReferenceError::Size { limit: MAX_DOCUMENT, actual: document.len() });
    }
    let read: Document = serde_json::from_slice(document).map_err(|error| ReferenceError::Form {
        line: error.line(),
        column: error.column(),
        message: error.to_string(),
    })?;
    if read.format != FORMAT {
        return Err(ReferenceError::Format { actual: read.format.chars().take(64).collect() });
    }
    Ok(read.sets)
}

/// Reads the same document written as TOML: the two forms have the same members and the same rules.
pub(super) fn parse_toml(document: &[u8]) -> Result<Vec<ReferenceSet>, ReferenceError> {
    if document.len() > MAX_DOCUMENT {
        return Err(ReferenceError::Size { limit: MAX_DOCUMENT, actual: document.len() });
    }
    let text = str::from_utf8(document).map_err(|error| ReferenceError::Form {
        line: 1,
        column: 1,
        message: format!("expected UTF-8: {error}"),
    })?;
    let read: Document = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        ReferenceError::Form {
            line: before.matches('\n').count().saturating_add(1),
            column: column.saturating_add(1),
            message: error.message().to_owned(),
        }
    })?;
    if read.format != FORMAT {
        return Err(ReferenceError::Format { actual: read.format.chars().take(64).collect() });
    }
    Ok(read.sets)
}

/// Writes the document.
pub(super) fn write<S: Serializer>(sets: &[ReferenceSet], serializer: S) -> Result<S::Ok, S::Error> {
    let mut document = serializer.serialize_struct("Document", 2)?;
    document.serialize_field("format", FORMAT)?;
    document.serialize_field("sets", sets)?;
    document.end()
}

/// Checks the rules that the form alone does not express.
pub(super) fn check(set: &ReferenceSet) -> Result<(), ReferenceError> {
    let broken = |expected| Err(ReferenceError::Rule { id: set.id.clone(), version: set.version, expected });
    if set.version == 0 {
        return broken("a version from 1");
    }
    if set.not_before >= set.not_after {
        return broken("not_before earlier than not_after");
    }
    if set.provenance.is_empty() || set.provenance.len() > MAX_TEXT {
        return broken("a provenance of 1 to 1024 bytes");
    }
    if set.measurements.is_empty() || set.measurements.len() > MAX_ALTERNATIVES {
        return broken("1 to 512 measurements");
    }
    // Only the processor's own measurement says what runs a virtual TPM: the TPM cannot vouch for itself.
    if set.kind == SetKind::Paravisor && set.measurements.iter().any(|measurement| measurement.launch.is_none()) {
        return broken("a launch digest in each measurement of a paravisor");
    }
    set.measurements.iter().find_map(broken_rule).map_or(Ok(()), broken)
}

/// The rule that an alternative breaks.
fn broken_rule(measurement: &Measurement) -> Option<&'static str> {
    if measurement.pins_nothing() {
        return Some("each measurement to pin a launch digest, a register, an event or a signer");
    }
    if measurement.name.as_ref().is_some_and(|name| name.len() > MAX_TEXT) {
        return Some("names of at most 1024 bytes");
    }
    if measurement.hwmodel.iter().any(|model| model.is_empty() || model.len() > 64) {
        return Some("hardware models of 1 to 64 bytes");
    }
    if measurement.runtime.iter().any(|(register, value)| !register.holds(value)) {
        return Some("48 bytes in an RTMR");
    }
    let mut events = measurement.events.values().flat_map(|events| &events.0);
    if events.any(|(name, digests)| name.is_empty() || digests.is_empty() || digests.len() > MAX_EVENTS) {
        return Some("1 to 64 digests for each named event");
    }
    if measurement.min_guest_svn.is_some()
        && measurement.id_key_digest.is_none()
        && measurement.author_key_digest.is_none()
    {
        return Some("min_guest_svn beside the signer that vouches for it");
    }
    None
}

impl Measurement {
    fn pins_nothing(&self) -> bool {
        let events = self.events.values().any(|events| !events.0.is_empty());
        self.launch.is_none()
            && self.runtime.is_empty()
            && !events
            && self.id_key_digest.is_none()
            && self.author_key_digest.is_none()
    }
}

/// Reads a map and refuses a key that stands twice (JSON alone would keep the last).
pub(super) fn unique_keys<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct UniqueKeys<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for UniqueKeys<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object without duplicate keys")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry()? {
                if map.insert(key, value).is_some() {
                    return Err(A::Error::custom("expected each key once"));
                }
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(UniqueKeys(PhantomData))
}
