//! Init-data: configuration that the host hands over at launch and that the launch commits to (SNP HOST_DATA, TDX
//! MRCONFIGID), as Confidential Containers define it.
//!
//! A TOML document with `version`, `algorithm` and a table `data` of texts. What the launch commits to is the digest, by
//! that algorithm, of the document's bytes as they stand.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::{
    bundle::ItemName,
    code::{Code, Coded},
    digest::{Digest, HashAlgorithm},
};

/// The only published version of the document.
const VERSION: &str = "0.1.0";

/// A parsed document, with the digest of the bytes that it was parsed from. Nothing says that a launch committed to it.
#[derive(Clone, PartialEq, Eq)]
pub struct InitData {
    digest: Digest,
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: String,
    algorithm: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl InitData {
    /// Parses a document.
    ///
    /// # Errors
    /// [`InitDataError`] names the member.
    pub fn parse(bytes: &[u8]) -> Result<Self, InitDataError> {
        let limit = ItemName::Initdata.limit();
        if bytes.len() > limit {
            return Err(InitDataError::TooLarge { limit, length: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| InitDataError::Toml(error.to_string()))?;
        let document: Document =
            toml::from_str(text).map_err(|error| InitDataError::Toml(error.message().to_owned()))?;
        if document.version != VERSION {
            return Err(InitDataError::Version(document.version));
        }
        let algorithm = match HashAlgorithm::from_name(&document.algorithm) {
            Some(algorithm @ (HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)) => algorithm,
            Some(HashAlgorithm::Sha1) | None => return Err(InitDataError::Algorithm(document.algorithm)),
        };
        Ok(Self { digest: algorithm.digest(&[bytes]), data: document.data })
    }

    /// Digest of the document's bytes, by the algorithm that it names.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The table `data`.
    #[must_use]
    pub const fn data(&self) -> &BTreeMap<String, String> {
        &self.data
    }

    /// What a launch field of `N` bytes holds when it commits to this document: the digest, then zeros. `None` when the
    /// digest is longer than the field: what is cut commits to less than the document.
    #[must_use]
    pub fn launch_field<const N: usize>(&self) -> Option<[u8; N]> {
        let digest = self.digest.as_bytes();
        let mut field = [0; N];
        field.get_mut(..digest.len())?.copy_from_slice(digest);
        Some(field)
    }
}

impl std::fmt::Debug for InitData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitData").field("digest", &self.digest).field("entries", &self.data.len()).finish()
    }
}

/// Bytes are not an init-data document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InitDataError {
    /// Longer than the bundle's item may be.
    #[error("expected init-data of at most {limit} bytes, found {length}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// Bytes of the document.
        length: usize,
    },
    /// Not TOML of the expected shape.
    #[error("expected init-data as TOML with version, algorithm and a table of texts: {0}")]
    Toml(String),
    /// Another version.
    #[error("expected init-data version {VERSION}, found {0:?}")]
    Version(String),
    /// An algorithm that does not count.
    #[error("expected init-data algorithm sha256, sha384 or sha512, found {0:?}")]
    Algorithm(String),
}

impl Coded for InitDataError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLarge { .. } => "parse.init_data.size",
            Self::Toml(_) => "parse.init_data.syntax",
            Self::Version(_) => "parse.init_data.version",
            Self::Algorithm(_) => "parse.init_data.algorithm",
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn document(algorithm: &str) -> Vec<u8> {
        format!("version = \"0.1.0\"\nalgorithm = \"{algorithm}\"\n\n[data]\n\"aa.toml\" = \"url\"\n").into_bytes()
    }

    #[test]
    fn the_digest_is_that_of_the_bytes_and_fills_a_field_with_zeros_only() {
        let bytes = document("sha256");
        let init_data = InitData::parse(&bytes).unwrap();
        let digest = HashAlgorithm::Sha256.digest(&[&bytes]);
        assert_eq!(init_data.digest(), &digest);
        assert_eq!(init_data.data().get("aa.toml").unwrap(), "url");
        let field: [u8; 48] = init_data.launch_field().unwrap();
        assert_eq!(field.split_at(32), (digest.as_bytes(), [0; 16].as_slice()));
        assert_eq!(init_data.launch_field::<32>().unwrap().as_slice(), digest.as_bytes());
        assert_eq!(InitData::parse(&document("sha384")).unwrap().launch_field::<32>(), None);
        assert_eq!(InitData::parse(&document("sha512")).unwrap().launch_field::<48>(), None);
    }

    #[test]
    fn everything_else_is_named() {
        let code = |text: &str| InitData::parse(text.as_bytes()).unwrap_err().code().to_string();
        let good = String::from_utf8(document("sha256")).unwrap();
        let table = [
            (good.replace("0.1.0", "0.2.0"), "parse.init_data.version"),
            (good.replace("sha256", "sha1"), "parse.init_data.algorithm"),
            (good.replace("sha256", "sm3"), "parse.init_data.algorithm"),
            (good.replace("sha256", "SHA256"), "parse.init_data.algorithm"),
            (good.replace("[data]", "[date]"), "parse.init_data.syntax"),
            (good.replace("\"url\"", "1"), "parse.init_data.syntax"),
            (format!("{good}\"aa.toml\" = \"again\"\n"), "parse.init_data.syntax"),
            (String::new(), "parse.init_data.syntax"),
            (" ".repeat(64 * 1024 + 1), "parse.init_data.size"),
        ];
        for (text, expected) in table {
            assert_eq!(code(&text), expected, "{}", text.get(..200).unwrap_or(&text));
        }
        assert_eq!(InitData::parse(&[0xFF]).unwrap_err().code().to_string(), "parse.init_data.syntax");
    }
}
