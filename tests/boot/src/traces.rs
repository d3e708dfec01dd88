//! Looks for a key in what a guest leaves behind.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::Result;
use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// Memory is looked at page by page: neighbours in a program's memory are none in the machine's.
const PAGE: usize = 4096;

/// The forms in which a key could lie around, in pieces of which one is whole within a page.
#[derive(Debug)]
pub struct Traces(Vec<Vec<u8>>);

impl Traces {
    /// Those of `key`, which has 32 bytes or more: raw, in hex, and in base64, each in halves.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let hex = hex::encode(key);
        let texts = [hex.to_uppercase(), hex, BASE64_STANDARD_NO_PAD.encode(key), BASE64_URL_SAFE_NO_PAD.encode(key)];
        let forms = texts.into_iter().map(String::into_bytes).chain([key.to_vec()]);
        Self(
            forms
                .flat_map(|form| form.chunks(form.len().div_ceil(2)).map(<[u8]>::to_vec).collect::<Vec<_>>())
                .collect(),
        )
    }

    /// Those of a text as it is.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(vec![text.as_bytes().to_vec()])
    }

    /// Whether `bytes` hold one of them.
    #[must_use]
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|form| contains(bytes, form))
    }

    /// How many pages of a file hold one of them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pages_of(&self, file: &Path) -> Result<usize> {
        let mut file = BufReader::with_capacity(256 * PAGE, File::open(file)?);
        let (mut page, empty, mut count) = ([0; PAGE], [0; PAGE], 0_usize);
        while file.read_exact(&mut page).is_ok() {
            // Most pages are empty, and comparing them is fast.
            if page != empty && self.are_in(&page) {
                count = count.saturating_add(1);
            }
        }
        Ok(count)
    }
}

fn contains(bytes: &[u8], form: &[u8]) -> bool {
    let Some((first, rest)) = form.split_first() else { return false };
    let mut bytes = bytes;
    while let Some(at) = bytes.iter().position(|byte| byte == first) {
        let after = bytes.get(at.saturating_add(1)..).unwrap_or_default();
        if after.starts_with(rest) {
            return true;
        }
        bytes = after;
    }
    false
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::io::Write;

    use super::*;

    #[test]
    fn a_key_is_found_in_every_form_and_across_pages() {
        let key: Vec<u8> = (0_u8..32).map(|byte| byte.wrapping_mul(37)).collect();
        let traces = Traces::of(&key);
        for form in [key.clone(), hex::encode(&key).into_bytes(), BASE64_URL_SAFE_NO_PAD.encode(&key).into_bytes()] {
            for at in [0, PAGE - 20, PAGE - 12, 2 * PAGE - form.len()] {
                let mut file = tempfile::NamedTempFile::new().unwrap();
                let mut bytes = vec![0; 2 * PAGE];
                bytes.get_mut(at..at + form.len()).unwrap().copy_from_slice(&form);
                file.write_all(&bytes).unwrap();
                assert!(traces.pages_of(file.path()).unwrap() > 0, "at {at}");
            }
        }
        assert!(!traces.are_in(&[0; PAGE]));
    }
}
