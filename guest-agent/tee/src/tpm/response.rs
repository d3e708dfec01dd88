//! Responses of a TPM (TPM 2.0 part 1, section 18): every length is exact.

use evidence_formats::bytes::{Reader, Truncated};
use thiserror::Error;
use zeroize::Zeroizing;

use super::ResponseCode;

/// Bytes of a response's header: tag, size, response code.
pub(super) const HEADER_BYTES: usize = 10;
/// TPM_ST_NO_SESSIONS and TPM_ST_SESSIONS.
pub(super) const NO_SESSIONS: u16 = 0x8001;
pub(super) const SESSIONS: u16 = 0x8002;
/// TPM_ST_RSP_COMMAND: a TPM 1.2 answers, or a TPM that is not understood at all.
const TPM12: u16 = 0x00C4;
/// Longest nonce or HMAC of a session: SHA-512.
const MAX_SESSION_FIELD: usize = 64;

/// What a response to a command consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Whether a handle comes before the parameters.
    pub handle: bool,
    /// How many sessions authorised the command: 0 to 3.
    pub sessions: usize,
}

/// A response that is whole.
#[derive(Clone)]
pub struct Response {
    /// What the TPM said.
    pub code: ResponseCode,
    /// The handle, where the command gives one.
    pub handle: Option<u32>,
    /// The parameters: may hold a secret.
    pub parameters: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("code", &self.code).field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Why bytes are not a response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes end inside a field.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A field with a value that it may not have.
    #[error("{field} has the value 0x{value:x}, which is not allowed here")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Bytes follow the last field.
    #[error("expected the response to end at offset {offset}")]
    Trailing {
        /// Where it ends.
        offset: usize,
    },
}

impl Response {
    /// Parses a whole response to a command of this shape.
    ///
    /// # Errors
    /// [`Malformed`] when tag, sizes or sessions are not exactly those of `shape`.
    pub fn parse(bytes: &[u8], shape: Shape) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (tag, size, code) = (reader.u16_be()?, reader.u32_be()?, ResponseCode(reader.u32_be()?));
        if usize::try_from(size).ok() != Some(bytes.len()) {
            return Err(Malformed::Field { field: "responseSize", value: size.into() });
        }
        if code != ResponseCode::SUCCESS {
            // An error has a header and nothing else, and never sessions (part 1, section 18.4).
            if !matches!(tag, NO_SESSIONS | TPM12) {
                return Err(Malformed::Field { field: "tag", value: tag.into() });
            }
            ended(&reader)?;
            return Ok(Self { code, handle: None, parameters: Zeroizing::default() });
        }
        let expected = if shape.sessions == 0 { NO_SESSIONS } else { SESSIONS };
        if tag != expected {
            return Err(Malformed::Field { field: "tag", value: tag.into() });
        }
        let handle = if shape.handle { Some(reader.u32_be()?) } else { None };
        let parameters = if shape.sessions == 0 {
            reader.rest()
        } else {
            let size = reader.u32_be()?;
            let too_large = Malformed::Field { field: "parameterSize", value: size.into() };
            let parameters = reader.take(usize::try_from(size).map_err(|_too_large| too_large)?)?;
            for _ in 0..shape.sessions {
                skip_session(&mut reader)?;
            }
            ended(&reader)?;
            parameters
        };
        Ok(Self { code, handle, parameters: Zeroizing::new(parameters.to_vec()) })
    }
}

/// TPMS_AUTH_RESPONSE: nonce, attributes, HMAC. Our sessions have no HMAC to check.
fn skip_session(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    sized(reader, "nonceTPM", MAX_SESSION_FIELD)?;
    reader.u8()?;
    sized(reader, "hmac", MAX_SESSION_FIELD)?;
    Ok(())
}

/// A TPM2B of at most `most` bytes.
pub(super) fn sized<'a>(reader: &mut Reader<'a>, field: &'static str, most: usize) -> Result<&'a [u8], Malformed> {
    let length = usize::from(reader.u16_be()?);
    if length > most {
        return Err(Malformed::Field { field, value: u64::try_from(length).unwrap_or(u64::MAX) });
    }
    Ok(reader.take(length)?)
}

/// Nothing follows.
pub(super) fn ended(reader: &Reader<'_>) -> Result<(), Malformed> {
    if reader.is_empty() { Ok(()) } else { Err(Malformed::Trailing { offset: reader.offset() }) }
}

#[cfg(test)]
mod tests;
