//! PEM (RFC 7468, strict): blocks and blank lines, nothing else.

use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;

/// One PEM block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemBlock {
    /// Text between `BEGIN ` and the dashes, for example `CERTIFICATE`.
    pub label: String,
    /// Decoded contents.
    pub contents: Vec<u8>,
}

/// Why a text is not PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PemError {
    /// Not a PEM line where one was expected.
    #[error("expected PEM in line {line}")]
    Line {
        /// Line number, from 1.
        line: usize,
    },
    /// A block did not end, or ended with another label.
    #[error("expected the end of the PEM block that starts in line {line}")]
    End {
        /// Line number of its start, from 1.
        line: usize,
    },
    /// Contents are not Base64.
    #[error("expected Base64 in the PEM block that starts in line {line}")]
    Base64 {
        /// Line number of its start, from 1.
        line: usize,
    },
    /// More blocks than any vendor's file has.
    #[error("expected at most {limit} PEM blocks")]
    TooMany {
        /// Most blocks that are read.
        limit: usize,
    },
}

/// Blocks of one file that are read at most.
const MAX_BLOCKS: usize = 64;

/// Whether the bytes claim to be PEM: their first line that is not blank begins a block.
#[must_use]
pub fn looks_like_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// Parses a file of one or more PEM blocks. Only blank lines may stand between them.
///
/// # Errors
/// [`PemError`] names the line.
pub fn parse_pem(bytes: &[u8]) -> Result<Vec<PemBlock>, PemError> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| PemError::Line { line: line_of(bytes, error.valid_up_to()) })?;
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_ascii_end).zip(1..);
    while let Some((begin, line)) = lines.next() {
        if begin.is_empty() {
            continue;
        }
        if blocks.len() >= MAX_BLOCKS {
            return Err(PemError::TooMany { limit: MAX_BLOCKS });
        }
        let label = begin
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"))
            .ok_or(PemError::Line { line })?;
        let end = format!("-----END {label}-----");
        let mut encoded = String::new();
        loop {
            match lines.next() {
                Some((text, _)) if text == end => break,
                Some((text, _)) if !text.starts_with("-----") => encoded.push_str(text),
                _ => return Err(PemError::End { line }),
            }
        }
        let contents = STANDARD.decode(encoded).ok().ok_or(PemError::Base64 { line })?;
        blocks.push(PemBlock { label: label.to_owned(), contents });
    }
    if blocks.is_empty() { Err(PemError::Line { line: 1 }) } else { Ok(blocks) }
}

fn line_of(bytes: &[u8], offset: usize) -> usize {
    bytes.iter().take(offset).filter(|byte| **byte == b'\n').count().saturating_add(1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn several_blocks_and_blank_lines() {
        let blocks =
            parse_pem(b"\n-----BEGIN A-----\r\nAQI=\r\n-----END A-----\n\n-----BEGIN B-----\n-----END B-----").unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks.first().unwrap().contents, [1, 2]);
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(parse_pem(b"hello\n-----BEGIN A-----\n-----END A-----"), Err(PemError::Line { line: 1 }));
        assert_eq!(parse_pem(b"-----BEGIN A-----\nAQI\n-----END A-----"), Err(PemError::Base64 { line: 1 }));
        assert_eq!(parse_pem(b"-----BEGIN A-----\nAQI=\n-----END B-----"), Err(PemError::End { line: 1 }));
        assert_eq!(parse_pem(b"-----BEGIN A-----\n-----END A-----\n\0"), Err(PemError::Line { line: 3 }));
        assert!(parse_pem(b"").is_err());
    }
}
