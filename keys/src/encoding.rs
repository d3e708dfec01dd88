//! Base64url without padding, in exact lengths.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// The base64url text of `bytes`, without padding.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of base64url text without padding.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// Exactly `N` bytes of base64url text without padding.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Longer text is refused before it is decoded: N bytes are at most 4/3 N characters, rounded up.
    if text.len() > N.saturating_mul(4).div_ceil(3) {
        return None;
    }
    decode(text)?.try_into().ok()
}
