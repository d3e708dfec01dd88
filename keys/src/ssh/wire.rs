//! The binary encoding of RFC 4251 §5.

/// Appends a `string`: its length as 4 bytes, then its bytes.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nothing here comes near 4 GiB: every input is bounded by its maker.
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// Appends a `uint32`.
pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a `uint64`.
pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends an `mpint` of a number that is not negative.
pub(super) fn put_mpint(out: &mut Vec<u8>, big_endian: &[u8]) {
    let plain: Vec<u8> = big_endian.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut number = Vec::with_capacity(plain.len().saturating_add(1));
    if plain.first().is_some_and(|first| first & 0x80 != 0) {
        number.push(0);
    }
    number.extend(plain);
    put_string(out, &number);
}

/// Takes a `string` off the front of `rest`.
pub(super) fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(string)
}
