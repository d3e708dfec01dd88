//! Object identifiers: the contents octets of X.690 section 8.19 (RFC 9090, tag 111) as dotted text and back.

use super::{CorimError, value::shape};

/// Most bytes of an identifier.
const LIMIT: usize = 64;

/// Dotted text of contents octets.
pub(super) fn to_text(bytes: &[u8]) -> Result<String, CorimError> {
    let malformed = || shape("an object identifier of at most 64 bytes");
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc: Option<u64> = None;
    if bytes.len() > LIMIT {
        return Err(malformed());
    }
    for byte in bytes {
        // An arc never begins with 0x80: it would have a shorter spelling (X.690 section 8.19.2).
        if arc.is_none() && *byte == 0x80 {
            return Err(malformed());
        }
        let value = arc.unwrap_or(0).checked_mul(128).ok_or_else(malformed)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            arcs.push(value);
            arc = None;
        } else {
            arc = Some(value);
        }
    }
    let (Some((first, rest)), None) = (arcs.split_first(), arc) else { return Err(malformed()) };
    let root = (first / 40).min(2);
    let mut text = format!("{root}.{}", first.saturating_sub(root.saturating_mul(40)));
    for arc in rest {
        text.push('.');
        text.push_str(&arc.to_string());
    }
    Ok(text)
}

/// Contents octets of dotted text; `None` when it is no object identifier.
pub(super) fn to_bytes(text: &str) -> Option<Vec<u8>> {
    let arcs: Vec<u64> = text.split('.').map(|arc| arc.parse().ok()).collect::<Option<_>>()?;
    let [root, second, rest @ ..] = arcs.as_slice() else { return None };
    if *root > 2 || (*root < 2 && *second >= 40) {
        return None;
    }
    let first = root.checked_mul(40)?.checked_add(*second)?;
    let mut bytes = Vec::new();
    for arc in [first].iter().chain(rest) {
        let mut groups: Vec<u8> = Vec::new();
        let mut left = *arc;
        loop {
            let more = if groups.is_empty() { 0 } else { 0x80 };
            groups.push(more | u8::try_from(left & 0x7f).ok()?);
            left >>= 7;
            if left == 0 {
                break;
            }
        }
        bytes.extend(groups.iter().rev());
    }
    (bytes.len() <= LIMIT).then_some(bytes)
}
