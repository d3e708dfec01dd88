//! A strict reader of DER (X.690): definite minimal lengths, low tag numbers, nothing left over.
//!
//! Signatures and pins are over exact bytes, so every element is handed out as the range it had in the input.

use std::ops::Range;

use thiserror::Error;
use time::{Date, Month, PrimitiveDateTime, Time};

use crate::Timestamp;

/// Universal and context tags that certificates and CRLs use.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    pub(crate) const CONTEXT_3: u8 = 0xa3;
    pub(crate) const CONTEXT_4: u8 = 0xa4;
}

/// Bytes are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected {expected} at offset {offset}")]
pub struct DerError {
    /// Where, in bytes from the start of the document.
    pub offset: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// Where an element stands in the document it was read from.
pub(crate) type Span = Range<usize>;

/// One element: tag, header and contents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    /// Contents without the header.
    pub(crate) contents: &'a [u8],
    /// Header and contents.
    pub(crate) raw: &'a [u8],
    /// Offset of `raw` in the document.
    pub(crate) offset: usize,
}

impl<'a> Element<'a> {
    fn header_length(&self) -> usize {
        self.raw.len().saturating_sub(self.contents.len())
    }

    fn contents_offset(&self) -> usize {
        self.offset.saturating_add(self.header_length())
    }

    /// Range of header and contents in the document.
    pub(crate) fn span(&self) -> Span {
        self.offset..self.offset.saturating_add(self.raw.len())
    }

    /// Range of the contents in the document.
    pub(crate) fn contents_span(&self) -> Span {
        let start = self.contents_offset();
        start..start.saturating_add(self.contents.len())
    }

    /// A reader over the contents.
    pub(crate) fn reader(&self) -> Der<'a> {
        Der { rest: self.contents, offset: self.contents_offset() }
    }

    fn error(&self, expected: &'static str) -> DerError {
        DerError { offset: self.offset, expected }
    }
}

/// A cursor over DER elements.
#[derive(Debug, Clone)]
pub(crate) struct Der<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Der<'a> {
    pub(crate) const fn new(document: &'a [u8]) -> Self {
        Self { rest: document, offset: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn error(&self, expected: &'static str) -> DerError {
        DerError { offset: self.offset, expected }
    }

    /// Fails when anything is left.
    pub(crate) fn finish(&self) -> Result<(), DerError> {
        if self.is_empty() { Ok(()) } else { Err(self.error("nothing after the last element")) }
    }

    /// Reads the next element, whatever its tag.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, DerError> {
        let malformed = self.error("a DER element with a minimal definite length");
        let (&tag, after_tag) = self.rest.split_first().ok_or(malformed)?;
        // X.690 8.1.2.4: high tag numbers occur in none of the documents read here.
        if tag & 0x1f == 0x1f {
            return Err(malformed);
        }
        let (length, after_length) = read_length(after_tag).ok_or(malformed)?;
        let (contents, after) = after_length.split_at_checked(length).ok_or(malformed)?;
        let raw_length = self.rest.len().saturating_sub(after.len());
        let raw = self.rest.get(..raw_length).ok_or(malformed)?;
        let element = Element { tag, contents, raw, offset: self.offset };
        self.offset = self.offset.saturating_add(raw_length);
        self.rest = after;
        Ok(element)
    }

    /// Reads the next element, which must have `tag`; `expected` names it in the error.
    pub(crate) fn expect(&mut self, tag: u8, expected: &'static str) -> Result<Element<'a>, DerError> {
        let error = self.error(expected);
        let element = self.any()?;
        if element.tag == tag { Ok(element) } else { Err(error) }
    }

    /// Reads the next element when it has `tag`.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.rest.first() == Some(&tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// Reads a SEQUENCE.
    pub(crate) fn sequence(&mut self, expected: &'static str) -> Result<Element<'a>, DerError> {
        self.expect(tag::SEQUENCE, expected)
    }

    /// Reads an INTEGER in its minimal encoding; the contents are two's complement.
    pub(crate) fn integer(&mut self, expected: &'static str) -> Result<Element<'a>, DerError> {
        let element = self.expect(tag::INTEGER, expected)?;
        // X.690 8.3.2: the first nine bits must not be all equal.
        match element.contents {
            [] => Err(element.error(expected)),
            [0x00, second, ..] if second & 0x80 == 0 => Err(element.error("a minimal INTEGER")),
            [0xff, second, ..] if second & 0x80 != 0 => Err(element.error("a minimal INTEGER")),
            [..] => Ok(element),
        }
    }

    /// Reads a non-negative INTEGER; the result is big-endian without a sign byte, and empty for zero.
    pub(crate) fn unsigned(&mut self, expected: &'static str) -> Result<&'a [u8], DerError> {
        let element = self.integer(expected)?;
        match element.contents {
            [first, ..] if first & 0x80 != 0 => Err(element.error("a non-negative INTEGER")),
            [0x00, rest @ ..] => Ok(rest),
            contents => Ok(contents),
        }
    }

    /// Reads a non-negative INTEGER below 2^32.
    pub(crate) fn small_unsigned(&mut self, expected: &'static str) -> Result<u32, DerError> {
        let too_big = self.error(expected);
        let bytes = self.unsigned(expected)?;
        if bytes.len() > 4 {
            return Err(too_big);
        }
        Ok(bytes.iter().fold(0, |value: u32, byte| (value << 8) | u32::from(*byte)))
    }

    /// Reads a BOOLEAN when one is next; DER allows 0x00 and 0xFF only.
    pub(crate) fn optional_boolean(&mut self) -> Result<Option<bool>, DerError> {
        let Some(element) = self.optional(tag::BOOLEAN)? else { return Ok(None) };
        match element.contents {
            [0x00] => Ok(Some(false)),
            [0xff] => Ok(Some(true)),
            _ => Err(element.error("a BOOLEAN of 0x00 or 0xFF")),
        }
    }

    /// Reads a BIT STRING of whole bytes.
    pub(crate) fn whole_byte_string(&mut self, expected: &'static str) -> Result<&'a [u8], DerError> {
        let element = self.expect(tag::BIT_STRING, expected)?;
        match element.contents {
            [0x00, bytes @ ..] => Ok(bytes),
            _ => Err(element.error("a BIT STRING of whole bytes")),
        }
    }

    /// Reads a UTCTime or GeneralizedTime in the forms of RFC 5280 section 4.1.2.5 (seconds present, `Z`).
    pub(crate) fn time(&mut self) -> Result<Timestamp, DerError> {
        let malformed = self.error("a UTCTime or GeneralizedTime ending in Z");
        let element = self.any()?;
        let (year, rest) = match (element.tag, element.contents) {
            (tag::UTC_TIME, [y1, y2, rest @ ..]) => {
                let year = two_digits(*y1, *y2).ok_or(malformed)?;
                // RFC 5280 section 4.1.2.5.1: 50..=99 are 19xx.
                (i32::from(year).saturating_add(if year >= 50 { 1900 } else { 2000 }), rest)
            }
            (tag::GENERALIZED_TIME, [y1, y2, y3, y4, rest @ ..]) => {
                let century = two_digits(*y1, *y2).ok_or(malformed)?;
                let year = two_digits(*y3, *y4).ok_or(malformed)?;
                (i32::from(century).saturating_mul(100).saturating_add(i32::from(year)), rest)
            }
            _ => return Err(malformed),
        };
        instant(year, rest).ok_or(malformed)
    }
}

fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    // Documents are at most 1 MiB here: three length bytes are enough, and 0x80 (indefinite) is not DER.
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 3 {
        return None;
    }
    let (length_bytes, rest) = rest.split_at_checked(count)?;
    let length = length_bytes.iter().fold(0_usize, |value, byte| (value << 8) | usize::from(*byte));
    let minimal = length_bytes.first() != Some(&0) && length >= 0x80;
    minimal.then_some((length, rest))
}

fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    let digit = |byte: u8| byte.is_ascii_digit().then_some(byte & 0x0f);
    Some(digit(tens)?.saturating_mul(10).saturating_add(digit(ones)?))
}

fn instant(year: i32, rest: &[u8]) -> Option<Timestamp> {
    let [mo1, mo2, d1, d2, h1, h2, mi1, mi2, s1, s2, b'Z'] = rest else { return None };
    let month = Month::try_from(two_digits(*mo1, *mo2)?).ok()?;
    let date = Date::from_calendar_date(year, month, two_digits(*d1, *d2)?).ok()?;
    let time = Time::from_hms(two_digits(*h1, *h2)?, two_digits(*mi1, *mi2)?, two_digits(*s1, *s2)?).ok()?;
    Some(Timestamp::from_unix(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn lengths_are_minimal_and_definite() {
        assert!(Der::new(&[0x04, 0x80, 0, 0]).any().is_err());
        assert!(Der::new(&[0x04, 0x81, 0x01, 0xaa]).any().is_err());
        assert!(Der::new(&[0x04, 0x82, 0x00, 0x80]).any().is_err());
        assert!(Der::new(&[0x04, 0x84, 0, 0, 0, 1, 0]).any().is_err());
        assert_eq!(Der::new(&[0x04, 0x01, 0xaa]).any().unwrap().contents, [0xaa]);
    }

    #[test]
    fn integers_are_minimal_and_unsigned_ones_are_not_negative() {
        assert_eq!(Der::new(&[2, 2, 0, 0xdb]).unsigned("n").unwrap(), [0xdb]);
        assert_eq!(Der::new(&[2, 1, 0]).unsigned("n").unwrap(), [0_u8; 0]);
        assert!(Der::new(&[2, 2, 0, 4]).unsigned("n").is_err());
        assert!(Der::new(&[2, 1, 0xdb]).unsigned("n").is_err());
        assert!(Der::new(&[2, 0]).unsigned("n").is_err());
        assert_eq!(Der::new(&[2, 2, 1, 0xdb]).small_unsigned("n"), Ok(0x1db));
    }

    #[test]
    fn times_need_seconds_and_z() {
        let utc = |text: &str| {
            let mut bytes = vec![tag::UTC_TIME, u8::try_from(text.len()).unwrap()];
            bytes.extend_from_slice(text.as_bytes());
            Der::new(&bytes).time()
        };
        assert_eq!(utc("201022172305Z").unwrap().to_string(), "2020-10-22T17:23:05Z");
        assert_eq!(utc("491022172305Z").unwrap().to_string(), "2049-10-22T17:23:05Z");
        assert!(utc("2010221723Z").is_err());
        assert!(utc("201022172305+0000").is_err());
        assert!(utc("201322172305Z").is_err());
    }
}
