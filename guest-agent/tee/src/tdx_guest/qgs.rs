//! The protocol of the quote generation service: a big-endian length, then a message with a 16-byte header.

use std::io::{Read, Write};

use evidence_formats::{
    bytes::{Reader, Truncated},
    tdx::MAX_QUOTE_LENGTH,
};
use rustix::io::Errno;

use super::TdxGuestError;

const HEADER_LENGTH: usize = 16;
const MAJOR: u16 = 1;
const GET_QUOTE_REQUEST: u32 = 0;
const GET_QUOTE_RESPONSE: u32 = 1;

/// Has the quote of a TDREPORT made.
pub(super) fn quote(stream: &mut (impl Read + Write), report: &[u8], port: u32) -> Result<Vec<u8>, TdxGuestError> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        TdxGuestError::Service { port, errno }
    };
    let message = request(report).ok_or(TdxGuestError::Protocol)?;
    stream.write_all(&message).map_err(failed)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(failed)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_QUOTE_LENGTH {
        return Err(TdxGuestError::Protocol);
    }
    let mut response = vec![0; length];
    stream.read_exact(&mut response).map_err(failed)?;
    match parse(&response) {
        Ok(outcome) => outcome,
        Err(Truncated { .. }) => Err(TdxGuestError::Protocol),
    }
}

/// GET_QUOTE_REQ: header, size of the report, size of the (empty) list of QE ids, the report.
fn request(report: &[u8]) -> Option<Vec<u8>> {
    let size = u32::try_from(report.len().checked_add(HEADER_LENGTH)?.checked_add(8)?).ok()?;
    let mut message = size.to_be_bytes().to_vec();
    message.extend(MAJOR.to_le_bytes());
    message.extend(0_u16.to_le_bytes());
    for word in [GET_QUOTE_REQUEST, size, 0, u32::try_from(report.len()).ok()?, 0] {
        message.extend(word.to_le_bytes());
    }
    message.extend(report);
    Some(message)
}

/// GET_QUOTE_RESP: header, size of the chosen QE id, size of the quote, both; nothing after them.
fn parse(response: &[u8]) -> Result<Result<Vec<u8>, TdxGuestError>, Truncated> {
    let mut reader = Reader::new(response);
    let major = reader.u16_le()?;
    let _minor = reader.u16_le()?;
    let (kind, size, error) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
    if major != MAJOR || kind != GET_QUOTE_RESPONSE || usize::try_from(size) != Ok(response.len()) {
        return Ok(Err(TdxGuestError::Protocol));
    }
    if error != 0 {
        return Ok(Err(TdxGuestError::Refused { code: error }));
    }
    let (id, quote) = (reader.u32_le()?, reader.u32_le()?);
    reader.take(usize::try_from(id).unwrap_or(usize::MAX))?;
    let quote = reader.take(usize::try_from(quote).unwrap_or(usize::MAX))?.to_vec();
    Ok(if reader.is_empty() { Ok(quote) } else { Err(TdxGuestError::Protocol) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that answers with what it was made with.
    struct Service {
        asked: Vec<u8>,
        answer: std::io::Cursor<Vec<u8>>,
    }

    impl Read for Service {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.answer.read(buffer)
        }
    }

    impl Write for Service {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.asked.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn ask(answer: &[u8]) -> (Vec<u8>, Result<Vec<u8>, TdxGuestError>) {
        let mut service = Service { asked: Vec::new(), answer: std::io::Cursor::new(answer.to_vec()) };
        let outcome = quote(&mut service, &[7; 1024], 4050);
        (service.asked, outcome)
    }

    /// A response with `quote`, and `error` in its header.
    fn response(kind: u8, error: u8, quote: &[u8]) -> Vec<u8> {
        let size = u8::try_from(quote.len().saturating_add(24)).unwrap_or(0);
        let length = u8::try_from(quote.len()).unwrap_or(0);
        let mut bytes = vec![0, 0, 0, size, 1, 0, 0, 0, kind, 0, 0, 0, size, 0, 0, 0, error, 0, 0, 0];
        bytes.extend([0, 0, 0, 0, length, 0, 0, 0]);
        bytes.extend(quote);
        bytes
    }

    #[test]
    fn a_quote_is_asked_for_and_taken_whole() {
        let (asked, quote) = ask(&response(1, 0, b"quote"));
        assert_eq!(quote, Ok(b"quote".to_vec()));
        assert!(asked.starts_with(&[0, 0, 4, 24, 1, 0, 0, 0, 0, 0, 0, 0, 24, 4, 0, 0]));
        assert_eq!(asked.len(), 4 + 16 + 8 + 1024);
    }

    #[test]
    fn errors_and_nonsense_are_told_apart() {
        assert_eq!(ask(&response(1, 9, b"")).1, Err(TdxGuestError::Refused { code: 9 }));
        assert_eq!(ask(&response(3, 0, b"quote")).1, Err(TdxGuestError::Protocol));
        assert_eq!(ask(&[0xFF; 64]).1, Err(TdxGuestError::Protocol));
        assert!(matches!(ask(&[0, 0, 0, 9]).1, Err(TdxGuestError::Service { .. })));
    }
}
