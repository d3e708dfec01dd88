//! Texts with placeholders, which claims of affirmed evidence fill.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};

/// Longest SPIFFE ID, in bytes (SPIFFE-ID §2.3).
const SPIFFE_ID: usize = 2048;
/// First segment of the broker's own SPIFFE IDs: no guest gets one of those.
pub(crate) const RESERVED_SEGMENT: &str = "countersign";
/// Longest template, in bytes.
const TEMPLATE: usize = 512;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    SpiffeId,
    Tenant,
    Workload,
    Platform,
    Hardware,
    Guest,
    Chip,
    Measurement,
}

impl Fact {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "spiffe_id" => Self::SpiffeId,
            "tenant" => Self::Tenant,
            "workload" => Self::Workload,
            "platform" => Self::Platform,
            "hwmodel" => Self::Hardware,
            "guest" => Self::Guest,
            "chip" => Self::Chip,
            "measurement" => Self::Measurement,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Fact(Fact),
}

/// A text with placeholders such as `{workload}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

/// What affirmed evidence showed, and what the entry allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The SPIFFE ID, where there is a trust domain.
    pub(crate) spiffe_id: Option<&'a str>,
    /// The tenant.
    pub(crate) tenant: &'a str,
    /// The workload that the claims matched and the entry names.
    pub(crate) workload: &'a str,
    /// Whose machine.
    pub(crate) platform: &'a str,
    /// Hardware model.
    pub(crate) hwmodel: &'a str,
    /// The guest's id.
    pub(crate) guest: &'a str,
    /// Hardware identity.
    pub(crate) chip: Option<&'a str>,
    /// Launch digest.
    pub(crate) measurement: Option<&'a str>,
}

impl Template {
    /// `{spiffe_id}`
    pub(crate) fn spiffe_id() -> Self {
        Self(vec![Part::Fact(Fact::SpiffeId)])
    }

    /// Whether it can be filled only with a trust domain.
    pub(crate) fn needs_trust_domain(&self) -> bool {
        self.0.contains(&Part::Fact(Fact::SpiffeId))
    }

    /// The text; `None` when the evidence does not say what it needs.
    pub(crate) fn fill(&self, facts: &Facts<'_>) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Fact(Fact::SpiffeId) => facts.spiffe_id?,
                Part::Fact(Fact::Tenant) => facts.tenant,
                Part::Fact(Fact::Workload) => facts.workload,
                Part::Fact(Fact::Platform) => facts.platform,
                Part::Fact(Fact::Hardware) => facts.hwmodel,
                Part::Fact(Fact::Guest) => facts.guest,
                Part::Fact(Fact::Chip) => facts.chip?,
                Part::Fact(Fact::Measurement) => facts.measurement?,
            });
        }
        Some(text)
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > TEMPLATE {
            return Err(format!("expected a template of 1 to {TEMPLATE} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("expected a closing brace")?;
            let fact = Fact::parse(name).ok_or_else(|| format!("expected a known placeholder, found {{{name}}}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Fact(fact));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The template of the path of SPIFFE IDs, without the first slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpiffePath(Template);

impl Default for SpiffePath {
    fn default() -> Self {
        Self(Template(vec![Part::Text("workload/".to_owned()), Part::Fact(Fact::Workload)]))
    }
}

impl SpiffePath {
    /// The SPIFFE ID of a guest; `None` when the evidence lacks a fact, or the path would be none.
    pub(crate) fn id(&self, trust_domain: &TrustDomain, facts: &Facts<'_>) -> Option<String> {
        let path = self.0.fill(facts)?;
        let plain = |segment: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
        };
        let id = format!("spiffe://{trust_domain}/{path}");
        let reserved = path.split('/').next() == Some(RESERVED_SEGMENT);
        (!reserved && path.split('/').all(plain) && id.len() <= SPIFFE_ID).then_some(id)
    }
}

impl<'de> Deserialize<'de> for SpiffePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let template = Template::deserialize(deserializer)?;
        if template.needs_trust_domain() {
            return Err(D::Error::custom("expected a path without {spiffe_id}"));
        }
        Ok(Self(template))
    }
}

/// A SPIFFE trust domain: 1 to 255 of `a-z 0-9 . _ -` (SPIFFE-ID §2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TrustDomain(String);

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TrustDomain {
    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 255 || !name.bytes().all(allowed) {
            return Err("expected a trust domain of 1 to 255 of a-z 0-9 . _ -".to_owned());
        }
        Ok(Self(name.to_owned()))
    }
}

impl<'de> Deserialize<'de> for TrustDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const FACTS: Facts<'static> = Facts {
        spiffe_id: Some("spiffe://example.org/workload/web"),
        tenant: "default",
        workload: "team/web",
        platform: "bare",
        hwmodel: "amd-milan",
        guest: "g1",
        chip: None,
        measurement: Some("9f"),
    };

    #[test]
    fn placeholders_are_filled_with_what_the_evidence_showed() {
        let fill = |text: &str| text.parse::<Template>().unwrap().fill(&FACTS);
        assert_eq!(fill("repo:{workload}:on:{platform}").unwrap(), "repo:team/web:on:bare");
        assert_eq!(fill("{spiffe_id}").unwrap(), "spiffe://example.org/workload/web");
        assert_eq!(fill("plain").unwrap(), "plain");
        assert_eq!(fill("chip {chip}"), None, "what is not known is not made up");
        for wrong in ["", "{nobody}", "{workload", &"x".repeat(513)] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_spiffe_id_has_plain_segments() {
        let domain = TrustDomain("example.org".to_owned());
        let id = |path: &str| SpiffePath(path.parse().unwrap()).id(&domain, &FACTS);
        assert_eq!(SpiffePath::default().id(&domain, &FACTS).unwrap(), "spiffe://example.org/workload/team/web");
        assert!(id("countersigned/a").is_some());
        for wrong in ["/a", "a/", "a//b", "a/../b", "a b", "a%2fb", "a?b", "countersign/bundle", "countersign"] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }
}
