//! A small DER writer, enough for certificates, revocation lists and their odd variants.
//!
//! Every function returns one complete element, so documents read like their ASN.1. Nothing here refuses to write
//! something invalid: making invalid documents on purpose is what the package is for.
use time::OffsetDateTime;

/// Tag, definite length, content.
#[must_use]
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match significant.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // X.690 §8.1.3.5: the first octet counts the octets that follow (at most eight here).
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

/// `SEQUENCE` of complete elements.
#[must_use]
pub fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &elements.concat())
}

/// `SET` of complete elements, in the given order.
#[must_use]
pub fn set(elements: &[Vec<u8>]) -> Vec<u8> {
    element(0x31, &elements.concat())
}

/// `[number]` EXPLICIT (constructed, context class).
#[must_use]
pub fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    element(0xa0 | number, content)
}

/// `[number]` IMPLICIT of a primitive type.
#[must_use]
pub fn implicit(number: u8, content: &[u8]) -> Vec<u8> {
    element(0x80 | number, content)
}

/// Non-negative `INTEGER` from big-endian bytes, minimally encoded.
#[must_use]
pub fn integer(big_endian: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = big_endian.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|byte| *byte >= 0x80) {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

/// Non-negative `INTEGER`.
#[must_use]
pub fn unsigned(value: u64) -> Vec<u8> {
    integer(&value.to_be_bytes())
}

/// `OBJECT IDENTIFIER` from its dotted form; a component that is not a number is written as 0.
#[must_use]
pub fn oid(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted.split('.').map(|arc| arc.parse::<u64>().unwrap_or_default());
    let first = arcs.next().unwrap_or_default();
    let second = arcs.next().unwrap_or_default();
    let mut content = base128(first.saturating_mul(40).saturating_add(second));
    for arc in arcs {
        content.extend(base128(arc));
    }
    element(0x06, &content)
}

fn base128(mut value: u64) -> Vec<u8> {
    let mut digits = vec![low_seven_bits(value)];
    value >>= 7;
    while value > 0 {
        digits.push(0x80 | low_seven_bits(value));
        value >>= 7;
    }
    digits.reverse();
    digits
}

fn low_seven_bits(value: u64) -> u8 {
    value.to_le_bytes().first().copied().unwrap_or_default() & 0x7f
}

/// `NULL`.
#[must_use]
pub fn null() -> Vec<u8> {
    element(0x05, &[])
}

/// `BOOLEAN`.
#[must_use]
pub fn boolean(value: bool) -> Vec<u8> {
    element(0x01, &[if value { 0xff } else { 0 }])
}

/// `ENUMERATED` with a small value.
#[must_use]
pub fn enumerated(value: u8) -> Vec<u8> {
    element(0x0a, &[value])
}

/// `OCTET STRING`.
#[must_use]
pub fn octets(bytes: &[u8]) -> Vec<u8> {
    element(0x04, bytes)
}

/// `BIT STRING` of whole octets.
#[must_use]
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    bits_unused(0, bytes)
}

/// `BIT STRING` whose last octet has `unused` trailing bits.
#[must_use]
pub fn bits_unused(unused: u8, bytes: &[u8]) -> Vec<u8> {
    element(0x03, &[&[unused], bytes].concat())
}

/// `UTF8String`.
#[must_use]
pub fn utf8(text: &str) -> Vec<u8> {
    element(0x0c, text.as_bytes())
}

/// `PrintableString`.
#[must_use]
pub fn printable(text: &str) -> Vec<u8> {
    element(0x13, text.as_bytes())
}

/// `IA5String`.
#[must_use]
pub fn ia5(text: &str) -> Vec<u8> {
    element(0x16, text.as_bytes())
}

/// A time as certificates write it: `UTCTime` until 2049, `GeneralizedTime` from 2050 (RFC 5280 §4.1.2.5).
#[must_use]
pub fn time(at: OffsetDateTime) -> Vec<u8> {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (year, month) = (at.year(), u8::from(at.month()));
    let rest = format!("{month:02}{:02}{:02}{:02}{:02}Z", at.day(), at.hour(), at.minute(), at.second());
    match year {
        1950..=2049 => element(0x17, format!("{:02}{rest}", year.rem_euclid(100)).as_bytes()),
        _ => element(0x18, format!("{year:04}{rest}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn lengths_and_integers_are_minimal() {
        assert_eq!(octets(&[0; 0x7f])[..2], [0x04, 0x7f]);
        assert_eq!(octets(&[0; 0x80])[..3], [0x04, 0x81, 0x80]);
        assert_eq!(octets(&[0; 0x100])[..4], [0x04, 0x82, 0x01, 0x00]);
        assert_eq!(octets(&[])[..], [0x04, 0x00]);
        assert_eq!(unsigned(0), [2, 1, 0]);
        assert_eq!(unsigned(219), [2, 2, 0, 219]);
        assert_eq!(unsigned(0x0102), [2, 2, 1, 2]);
    }

    #[test]
    fn object_identifiers_are_base_128() {
        assert_eq!(oid("1.3.6.1.4.1.3704.1.3.9"), hex::decode("060a2b060104019c78010309").unwrap());
        assert_eq!(oid("1.2.840.10045.4.3.2"), hex::decode("06082a8648ce3d040302").unwrap());
    }

    #[test]
    fn times_change_form_in_2050() {
        use time::macros::datetime;
        assert_eq!(time(datetime!(2045-10-22 18:24:20 UTC)), b"\x17\x0d451022182420Z");
        assert_eq!(time(datetime!(2050-01-01 0:00 UTC)), b"\x18\x0f20500101000000Z");
    }
}
