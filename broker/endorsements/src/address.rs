//! Where a service is.

use std::{fmt, str::FromStr};

use hyper::Uri;
use serde::{Deserialize, de};
use thiserror::Error;

/// `http://` or `https://`, host, optional port, optional path prefix: nothing that could change what a path appended to it
/// means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

/// Text is not the address of a service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected http://HOST[:PORT][/PREFIX] or https://…, without query, fragment or user, found {found:?}")]
pub struct BaseUrlError {
    /// The text.
    pub found: String,
}

impl BaseUrl {
    /// The whole address of `path_and_query`, which starts with a slash and is made by this package.
    pub(crate) fn join(&self, path_and_query: &str) -> Option<Uri> {
        format!("{}{path_and_query}", self.0).parse().ok()
    }

    /// The address itself as a URI.
    pub(crate) fn whole(&self) -> Option<Uri> {
        self.0.parse().ok()
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let error = || BaseUrlError { found: text.to_owned() };
        let trimmed = text.trim_end_matches('/');
        let uri: Uri = trimmed.parse().map_err(|_not_a_uri| error())?;
        let plain =
            !text.contains(['?', '#', '@', '%', '\\']) && !uri.path().contains("//") && !uri.path().contains("..");
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.host().is_some_and(|host| !host.is_empty());
        if plain && known && host { Ok(Self(trimmed.to_owned())) } else { Err(error()) }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_plain_addresses_are_read() {
        for good in ["https://kdsintf.amd.com", "http://10.0.0.1:8081/mirror/", "https://[::1]:443"] {
            assert!(good.parse::<BaseUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "kdsintf.amd.com",
            "ftp://x",
            "https://",
            "https://a@b",
            "https://a?b",
            "https://a/#b",
            "https://a/../b",
        ] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad}");
        }
        let base: BaseUrl = "http://10.0.0.1:8081/mirror/".parse().unwrap();
        assert_eq!(
            base.join("/vcek/v1/Milan/crl").unwrap().to_string(),
            "http://10.0.0.1:8081/mirror/vcek/v1/Milan/crl"
        );
    }
}
