//! One reference set and what it pins.

use std::{collections::BTreeMap, fmt, str::FromStr};

use evidence_formats::bytes::{LaunchDigest, Sha384Digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EventValue, HexDigest, document};
use crate::{Platform, Timestamp};

/// Longest name of a set or workload.
const MAX_NAME: usize = 128;

/// Defines names: 1 to 128 characters of `A-Z a-z 0-9 . _ / -`.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(String);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
                if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(plain) {
                    return Err("expected 1 to 128 characters of A-Z a-z 0-9 . _ / -");
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// Name of a reference set, for example `web-prod`.
    SetId;
    /// Name of the workload that a set describes; grants are made to it.
    WorkloadName;
}

/// What the measurements of a set identify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetKind {
    /// The workload itself.
    #[default]
    Workload,
    /// The layer that runs a virtual TPM below the workload (paravisor, SVSM). Alone it identifies no workload.
    Paravisor,
}

/// A named, versioned list of measurements, any one of which identifies the workload while the set holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSet {
    /// Name.
    pub id: SetId,
    /// Version, from 1.
    pub version: u32,
    /// The workload that these measurements identify.
    pub workload: WorkloadName,
    /// What the measurements identify.
    #[serde(default)]
    pub kind: SetKind,
    /// Whether it matches nothing until it is activated.
    #[serde(default, skip_serializing_if = "is_false")]
    pub proposed: bool,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity: the first moment at which it does not hold.
    pub not_after: Timestamp,
    /// First moment at which it is retired, when that is planned (roll-back protection).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<Timestamp>,
    /// When it was revoked. A revoked set holds at no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Where the values come from, for people: build, pipeline, ticket.
    pub provenance: String,
    /// The alternatives.
    pub measurements: Vec<Measurement>,
}

/// Why a set does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfLife {
    /// It was revoked.
    Revoked,
    /// Its retirement has come.
    Retired,
    /// Its validity has ended.
    Expired,
    /// Its validity has not begun.
    NotYetValid,
    /// It was proposed and never activated.
    Proposed,
}

/// What `serde` asks before it leaves a flag out.
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl ReferenceSet {
    /// Whether it holds at `now`, or why it does not.
    ///
    /// # Errors
    /// The gravest reason why it does not hold.
    pub fn holds_at(&self, now: Timestamp) -> Result<(), EndOfLife> {
        if self.revoked_at.is_some() {
            return Err(EndOfLife::Revoked);
        }
        if self.retire_at.is_some_and(|at| now >= at) {
            return Err(EndOfLife::Retired);
        }
        if now >= self.not_after {
            return Err(EndOfLife::Expired);
        }
        if now < self.not_before {
            return Err(EndOfLife::NotYetValid);
        }
        if self.proposed {
            return Err(EndOfLife::Proposed);
        }
        Ok(())
    }

    /// The first moment at which it will not hold any more, as planned now.
    #[must_use]
    pub fn holds_until(&self) -> Timestamp {
        self.retire_at.map_or(self.not_after, |at| at.min(self.not_after))
    }
}

/// One alternative of a set. Every member that is present must agree; it pins at least the launch digest, one register, one
/// event or one signer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Name of the alternative for people, for example `8 vCPUs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hardware models, any of which will do; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hwmodel: Vec<String>,
    /// Whose machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Launch digest (SNP MEASUREMENT, TDX MRTD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchDigest>,
    /// Final register values by register.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "document::unique_keys")]
    pub runtime: BTreeMap<RegisterName, HexDigest>,
    /// Named events that the authenticated log replayed into a register: by register, then by event name, in log order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "document::unique_keys")]
    pub events: BTreeMap<RegisterName, NamedEvents>,
    /// Launch data of the host (SNP HOST_DATA, TDX MRCONFIGID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_data: Option<HexDigest>,
    /// Digest of the key that signed the ID block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key_digest: Option<Sha384Digest>,
    /// Digest of the author key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_key_digest: Option<Sha384Digest>,
    /// Least guest SVN; it counts only where an enforced ID block vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_guest_svn: Option<u32>,
}

/// Digests or texts of events by name, in log order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct NamedEvents(pub BTreeMap<String, Vec<EventValue>>);

impl<'de> Deserialize<'de> for NamedEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::unique_keys(deserializer).map(Self)
    }
}

/// A runtime register: `rtmr0` to `rtmr3` or `pcr0` to `pcr23`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterName(String);

impl RegisterName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a value of this many bytes can stand in the register.
    #[must_use]
    pub fn holds(&self, digest: &HexDigest) -> bool {
        // RTMRs are SHA-384 (TDX module ABI, TDREPORT); a PCR is as long as its bank's digest.
        !self.0.starts_with("rtmr") || digest.length() == 48
    }
}

impl FromStr for RegisterName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known =
            (0..4).any(|index| text == format!("rtmr{index}")) || (0..24).any(|index| text == format!("pcr{index}"));
        if known { Ok(Self(text.to_owned())) } else { Err("expected a register rtmr0 to rtmr3 or pcr0 to pcr23") }
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RegisterName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RegisterName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
