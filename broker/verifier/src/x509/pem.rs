//! PEM (RFC 7468). In evidence: blocks and blank lines, nothing else. In files of the operator text may stand around the
//! blocks, as command line tools print it, and a byte order mark before them.

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

const BEGIN: &str = "-----BEGIN ";

/// Whether the bytes claim to be PEM: their first line that is not blank begins a block.
#[must_use]
pub fn looks_like_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(BEGIN.as_bytes())
}

/// The bytes without the byte order mark that some editors put before a text.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The blocks of an operator's file, whatever text stands around them (RFC 7468 section 2); absent when a line of it
/// begins none.
///
/// # Errors
/// [`PemError`] when a block is malformed.
pub fn pem_of_file(bytes: &[u8]) -> Result<Option<Vec<PemBlock>>, PemError> {
    let bytes = without_mark(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // What begins as PEM is broken PEM; anything else is another kind of file.
        Err(error) if looks_like_pem(bytes) => {
            return Err(PemError::Line { line: line_of(bytes, error.valid_up_to()) });
        }
        Err(_) => return Ok(None),
    };
    if text.lines().any(|line| line.starts_with(BEGIN)) { blocks(text, Around::Text).map(Some) } else { Ok(None) }
}

/// Parses a file of one or more PEM blocks. Only blank lines may stand between them.
///
/// # Errors
/// [`PemError`] names the line.
pub fn parse_pem(bytes: &[u8]) -> Result<Vec<PemBlock>, PemError> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| PemError::Line { line: line_of(bytes, error.valid_up_to()) })?;
    blocks(text, Around::Nothing)
}

/// What may stand between blocks, besides blank lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Nothing,
    Text,
}

fn blocks(text: &str, around: Around) -> Result<Vec<PemBlock>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_ascii_end).zip(1..);
    while let Some((begin, line)) = lines.next() {
        if begin.is_empty() || (around == Around::Text && !begin.starts_with(BEGIN)) {
            continue;
        }
        if blocks.len() >= MAX_BLOCKS {
            return Err(PemError::TooMany { limit: MAX_BLOCKS });
        }
        let label =
            begin.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix("-----")).ok_or(PemError::Line { line })?;
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
    fn text_around_blocks_is_an_operators_only() {
        let printed = b"\xef\xbb\xbfsubject=CN = A\r\n-----BEGIN A-----\r\nAQI=\r\n-----END A-----\r\n---\r\nServer: x\n-----BEGIN B-----\n-----END B-----\ndone";
        let labels = |blocks: Vec<PemBlock>| blocks.into_iter().map(|block| block.label).collect::<Vec<_>>();
        assert_eq!(pem_of_file(printed).unwrap().map(labels), Some(vec!["A".to_owned(), "B".to_owned()]));
        assert_eq!(parse_pem(printed), Err(PemError::Line { line: 1 }));
        assert_eq!(pem_of_file(b"no -----BEGIN A----- here"), Ok(None));
        assert_eq!(pem_of_file(&[0x30, 0x82, 0xff, 0xff]), Ok(None));
        assert_eq!(pem_of_file(b"-----BEGIN A-----\nAQ\xff=\n-----END A-----"), Err(PemError::Line { line: 2 }));
        assert_eq!(pem_of_file(b"text\n-----BEGIN A-----\nAQI\n-----END A-----"), Err(PemError::Base64 { line: 2 }));
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
