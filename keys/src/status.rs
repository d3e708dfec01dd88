//! Token status lists (draft-ietf-oauth-status-list §4): one bit for each token, set when it is not valid any more.
//!
//! The broker writes them, relying parties read them: `lst` is base64url of a zlib stream (RFC 1950) of the bits, the first
//! token in the lowest bit of the first byte.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::encoding::{decode, encode};

/// Most bytes of a list when unpacked: a million tokens.
const BYTES_LIMIT: usize = 128 * 1024;

/// A list of one bit for each token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct StatusList {
    bytes: Vec<u8>,
}

/// A token's place in a list, as its `status` claim names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReference {
    /// Where the list is.
    pub status_list: StatusPlace,
}

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPlace {
    /// The place, from 0.
    pub idx: u64,
    /// The list's address.
    pub uri: String,
}

/// Not a status list of one bit for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a status list of one bit for each token, at most {BYTES_LIMIT} bytes")]
pub struct NotAStatusList;

impl NotAStatusList {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "parse.status_list"
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Wire {
    bits: u8,
    lst: String,
}

impl StatusList {
    /// A list of `length` places, of which those of `ended` are set. Places beyond the length are left out.
    #[must_use]
    pub fn new(length: usize, ended: impl IntoIterator<Item = usize>) -> Self {
        let mut bytes = vec![0; length.div_ceil(8).min(BYTES_LIMIT)];
        for place in ended.into_iter().filter(|place| *place < length) {
            if let Some(byte) = bytes.get_mut(place / 8) {
                *byte |= 1 << (place % 8);
            }
        }
        Self { bytes }
    }

    /// Whether the token at `place` is still valid; `None` when the list has no such place, which is no yes.
    #[must_use]
    pub fn is_valid(&self, place: u64) -> Option<bool> {
        let place = usize::try_from(place).ok()?;
        self.bytes.get(place / 8).map(|byte| byte & (1 << (place % 8)) == 0)
    }
}

impl From<StatusList> for Wire {
    fn from(list: StatusList) -> Self {
        Self { bits: 1, lst: encode(miniz_oxide::deflate::compress_to_vec_zlib(&list.bytes, 6)) }
    }
}

impl TryFrom<Wire> for StatusList {
    type Error = NotAStatusList;

    fn try_from(wire: Wire) -> Result<Self, NotAStatusList> {
        if wire.bits != 1 || wire.lst.len() > BYTES_LIMIT.saturating_mul(2) {
            return Err(NotAStatusList);
        }
        let packed = decode(&wire.lst).ok_or(NotAStatusList)?;
        let bytes = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&packed, BYTES_LIMIT)
            .map_err(|_not_zlib| NotAStatusList)?;
        Ok(Self { bytes })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The example of draft-ietf-oauth-status-list §4.1: 16 tokens, bytes 0xb9 0xa3.
    #[test]
    fn the_drafts_example_reads_as_the_draft_says() {
        let list: StatusList = serde_json::from_str(r#"{"bits":1,"lst":"eNrbuRgAAhcBXQ"}"#).unwrap();
        let ended: Vec<u64> = (0..16).filter(|place| list.is_valid(*place) == Some(false)).collect();
        assert_eq!(ended, [0, 3, 4, 5, 7, 8, 9, 13, 15]);
        assert_eq!(list.is_valid(16), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let list = StatusList::new(1 << 16, [0, 77, 65535, 65536]);
        let again: StatusList = serde_json::from_slice(&serde_json::to_vec(&list).unwrap()).unwrap();
        assert_eq!(again, list);
        let ended: Vec<u64> = (0..65536).filter(|place| again.is_valid(*place) == Some(false)).collect();
        assert_eq!(ended, [0, 77, 65535]);
    }

    #[test]
    fn other_lists_are_refused() {
        let bomb = encode(miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; BYTES_LIMIT + 1], 6));
        for (bits, lst) in [(2, "eNrbuRgAAhcBXQ"), (1, "eNrbuRgAAhcBXg"), (1, "!"), (1, bomb.as_str())] {
            let text = serde_json::json!({"bits": bits, "lst": lst}).to_string();
            assert!(serde_json::from_str::<StatusList>(&text).is_err(), "{text}");
        }
    }
}
