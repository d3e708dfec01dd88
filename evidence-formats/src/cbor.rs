//! Strict CBOR (RFC 8949): what a general decoder forgives is refused before it starts.
//!
//! One walk over the bytes checks, without allocating for what they claim, that they are exactly one well-formed item
//! of definite lengths in shortest form, within bounds of depth and size, with text that is UTF-8 and maps without a
//! duplicate key. Because every length and number has one spelling, two equal keys are equal bytes.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    bytes::{Reader, Truncated},
    code::{Code, Coded},
};

/// Deepest nesting of arrays, maps and tags.
pub const DEPTH_LIMIT: usize = 16;
/// Most entries of one array or map.
pub const ENTRIES_LIMIT: u64 = 1024;

/// Why bytes are not strict CBOR of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CborError {
    /// More bytes than the caller allows.
    #[error("expected at most {limit} bytes of CBOR, found {actual}")]
    TooLarge {
        /// The caller's limit, bytes.
        limit: usize,
        /// What was given, bytes.
        actual: usize,
    },
    /// The bytes end inside an item.
    #[error("expected a complete CBOR item")]
    Truncated(#[from] Truncated),
    /// Bytes follow the item.
    #[error("expected one CBOR item, found more bytes at offset {offset}")]
    Trailing {
        /// Where the item ends.
        offset: usize,
    },
    /// An indefinite length, a reserved or over-long head, a simple value other than false, true and null.
    #[error("expected a definite CBOR head in shortest form at offset {offset}")]
    Head {
        /// Where the head starts.
        offset: usize,
    },
    /// A text string that is not UTF-8.
    #[error("expected UTF-8 text at offset {offset}")]
    Text {
        /// Where the string starts.
        offset: usize,
    },
    /// Nested too deeply.
    #[error("expected at most {DEPTH_LIMIT} levels of CBOR, found more at offset {offset}")]
    Depth {
        /// Where the item that is too deep starts.
        offset: usize,
    },
    /// An array or map of too many entries.
    #[error("expected at most {ENTRIES_LIMIT} entries at offset {offset}, found {actual}")]
    Entries {
        /// Where the array or map starts.
        offset: usize,
        /// How many entries it claims.
        actual: u64,
    },
    /// A map with a key twice.
    #[error("expected unique map keys, found the key at offset {offset} twice")]
    DuplicateKey {
        /// Where the second one starts.
        offset: usize,
    },
    /// Well-formed, but not of the wanted type.
    #[error("{reason}")]
    Type {
        /// Where, when the decoder knows.
        offset: Option<usize>,
        /// What the decoder said.
        reason: String,
    },
}

impl Coded for CborError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLarge { .. } => "parse.cbor.size",
            Self::Truncated(_) => "parse.cbor.truncated",
            Self::Trailing { .. } => "parse.cbor.trailing",
            Self::Head { .. } => "parse.cbor.head",
            Self::Text { .. } => "parse.cbor.text",
            Self::Depth { .. } => "parse.cbor.depth",
            Self::Entries { .. } => "parse.cbor.entries",
            Self::DuplicateKey { .. } => "parse.cbor.duplicate_key",
            Self::Type { .. } => "parse.cbor.type",
        })
    }
}

/// Decodes exactly one strict CBOR item of at most `limit` bytes.
///
/// # Errors
/// [`CborError`] when the bytes are not strict CBOR or not a `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CborError> {
    well_formed(bytes, limit)?;
    ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_LIMIT).map_err(from_decoder)
}

/// Encodes `value` as strict CBOR: definite lengths, shortest heads.
///
/// # Errors
/// [`CborError::Type`] when `value` refuses to be serialized.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, CborError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|error| CborError::Type { offset: None, reason: error.to_string() })?;
    Ok(bytes)
}

fn from_decoder(error: ciborium::de::Error<std::io::Error>) -> CborError {
    match error {
        ciborium::de::Error::Semantic(offset, reason) => CborError::Type { offset, reason },
        ciborium::de::Error::Syntax(offset) => CborError::Head { offset },
        // The walk has bounded depth and completeness already; a typed decode can only see them for a type whose own
        // shape is deeper than the limit.
        error @ (ciborium::de::Error::Io(_) | ciborium::de::Error::RecursionLimitExceeded) => {
            CborError::Type { offset: None, reason: error.to_string() }
        }
    }
}

/// Checks that `bytes` are exactly one strict CBOR item of at most `limit` bytes. Allocates for map keys only.
fn well_formed(bytes: &[u8], limit: usize) -> Result<(), CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLarge { limit, actual: bytes.len() });
    }
    let mut walk = Walk { bytes, reader: Reader::new(bytes) };
    walk.item(0)?;
    if walk.reader.is_empty() { Ok(()) } else { Err(CborError::Trailing { offset: walk.reader.offset() }) }
}

struct Walk<'a> {
    bytes: &'a [u8],
    reader: Reader<'a>,
}

impl<'a> Walk<'a> {
    fn item(&mut self, depth: usize) -> Result<(), CborError> {
        let offset = self.reader.offset();
        if depth >= DEPTH_LIMIT {
            return Err(CborError::Depth { offset });
        }
        let deeper = depth.saturating_add(1);
        // RFC 8949 §3.1: the major type is the three high bits.
        let (major, argument) = self.head(offset)?;
        match major {
            0 | 1 => Ok(()),
            2 => self.string(argument).map(|_| ()),
            3 => {
                let text = self.string(argument)?;
                std::str::from_utf8(text).map(|_| ()).map_err(|_not_utf8| CborError::Text { offset })
            }
            4 => {
                for _ in 0..entries(offset, argument)? {
                    self.item(deeper)?;
                }
                Ok(())
            }
            5 => self.map(entries(offset, argument)?, deeper),
            6 => self.item(deeper),
            _ => Ok(()),
        }
    }

    fn map(&mut self, entries: u64, depth: usize) -> Result<(), CborError> {
        let mut keys = BTreeSet::new();
        for _ in 0..entries {
            let start = self.reader.offset();
            self.item(depth)?;
            let key = self.bytes.get(start..self.reader.offset()).unwrap_or_default();
            if !keys.insert(key) {
                return Err(CborError::DuplicateKey { offset: start });
            }
            self.item(depth)?;
        }
        Ok(())
    }

    fn string(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        // A length beyond the address space is beyond the input too.
        Ok(self.reader.take(usize::try_from(length).unwrap_or(usize::MAX))?)
    }

    /// Major type and argument of the head at `offset`; for major type 7 the argument is meaningless.
    fn head(&mut self, offset: usize) -> Result<(u8, u64), CborError> {
        let first = self.reader.u8()?;
        let (major, short) = (first >> 5, first & 0x1f);
        let refused = CborError::Head { offset };
        if major == 7 {
            // Simple values false, true and null; floats (RFC 8949 §3.3).
            let payload = match short {
                20..=22 => 0,
                25 => 2,
                26 => 4,
                27 => 8,
                _ => return Err(refused),
            };
            self.reader.take(payload)?;
            return Ok((major, 0));
        }
        let (argument, smallest) = match short {
            0..24 => (u64::from(short), 0),
            24 => (u64::from(self.reader.u8()?), 24),
            25 => (u64::from(self.reader.u16_be()?), 0x100),
            26 => (u64::from(self.reader.u32_be()?), 0x1_0000),
            27 => (self.reader.u64_be()?, 0x1_0000_0000),
            _ => return Err(refused),
        };
        if argument < smallest { Err(refused) } else { Ok((major, argument)) }
    }
}

const fn entries(offset: usize, claimed: u64) -> Result<u64, CborError> {
    if claimed > ENTRIES_LIMIT { Err(CborError::Entries { offset, actual: claimed }) } else { Ok(claimed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leniency_of_a_general_decoder_is_refused_with_its_offset() {
        let refusals: [(&[u8], CborError); 12] = [
            (&[], CborError::Truncated(Truncated { offset: 0, wanted: 1, found: 0 })),
            (&[0x01, 0x02], CborError::Trailing { offset: 1 }),
            (&[0xa2, 0x01, 0x02, 0x01, 0x03], CborError::DuplicateKey { offset: 3 }),
            (&[0x18, 0x17], CborError::Head { offset: 0 }),
            (&[0x19, 0x00, 0xff], CborError::Head { offset: 0 }),
            (&[0x9f, 0xff], CborError::Head { offset: 0 }),
            (&[0x81, 0xf7], CborError::Head { offset: 1 }),
            (&[0x1c], CborError::Head { offset: 0 }),
            (&[0x62, 0xff, 0xfe], CborError::Text { offset: 0 }),
            (&[0x81; 20], CborError::Depth { offset: 16 }),
            (&[0x9a, 0xff, 0xff, 0xff, 0xff], CborError::Entries { offset: 0, actual: 0xffff_ffff }),
            (
                &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                CborError::Truncated(Truncated { offset: 9, wanted: 0x7fff_ffff_ffff_ffff, found: 0 }),
            ),
        ];
        for (bytes, expected) in refusals {
            assert_eq!(well_formed(bytes, 64), Err(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn the_limit_is_checked_first() {
        assert_eq!(from_slice::<u8>(&[0xff; 5], 4), Err(CborError::TooLarge { limit: 4, actual: 5 }));
    }

    #[test]
    fn a_well_formed_item_of_another_type_names_the_mismatch() {
        assert!(matches!(from_slice::<u8>(&[0x61, 0x61], 4), Err(CborError::Type { .. })));
        assert_eq!(from_slice::<Option<u16>>(&[0xf6], 4), Ok(None));
        assert_eq!(from_slice::<u16>(&[0x19, 0x01, 0x00], 4), Ok(256));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _: Result<Vec<String>, CborError> = from_slice(&bytes, 1024);
        }

        #[test]
        fn what_we_encode_is_strict(value: std::collections::BTreeMap<String, (u32, Option<i64>, Vec<u64>)>) {
            let bytes = to_vec(&value).unwrap_or_default();
            proptest::prop_assert_eq!(from_slice(&bytes, usize::MAX), Ok(value));
        }
    }
}
