//! Trustworthiness claims of AR4SI (draft-ietf-rats-ar4si section 2.3): closed labels, one signed byte each, four tiers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};

/// What a trustworthiness claim is about. Closed: a policy that emits another label is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustLabel {
    /// The attester's unique identity.
    InstanceIdentity,
    /// Settings that change the exposure of the attester.
    Configuration,
    /// Code that was or may be loaded.
    Executables,
    /// File system contents.
    FileSystem,
    /// Hardware and firmware.
    Hardware,
    /// Memory is opaque to what stands outside of the attester.
    RuntimeOpaque,
    /// Storage is opaque to what stands outside of the attester.
    StorageOpaque,
    /// Data that the attester took from elsewhere.
    SourcedData,
}

impl TrustLabel {
    /// Every label, in the order of its CBOR key (0 to 7).
    pub const ALL: [Self; 8] = [
        Self::InstanceIdentity,
        Self::Configuration,
        Self::Executables,
        Self::FileSystem,
        Self::Hardware,
        Self::RuntimeOpaque,
        Self::StorageOpaque,
        Self::SourcedData,
    ];

    /// The JSON label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceIdentity => "instance-identity",
            Self::Configuration => "configuration",
            Self::Executables => "executables",
            Self::FileSystem => "file-system",
            Self::Hardware => "hardware",
            Self::RuntimeOpaque => "runtime-opaque",
            Self::StorageOpaque => "storage-opaque",
            Self::SourcedData => "sourced-data",
        }
    }

    /// The label of this JSON text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.as_str() == text)
    }
}

impl fmt::Display for TrustLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TrustLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        Self::from_text(&text).ok_or_else(|| D::Error::custom("expected an AR4SI label, for example `hardware`"))
    }
}

impl Serialize for TrustLabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One trustworthiness claim: a signed byte (AR4SI section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TrustValue(i8);

impl TrustValue {
    /// No claim is made; the same as absence.
    pub const NO_CLAIM: Self = Self(0);

    /// From the signed byte.
    #[must_use]
    pub const fn new(value: i8) -> Self {
        Self(value)
    }

    /// The signed byte.
    #[must_use]
    pub const fn as_i8(self) -> i8 {
        self.0
    }

    /// The tier this value lies in (AR4SI section 2.3.2).
    #[must_use]
    pub const fn tier(self) -> Tier {
        match self.0 {
            -1..=1 => Tier::None,
            2..=31 | -32..=-2 => Tier::Affirming,
            32..=95 | -96..=-33 => Tier::Warning,
            96..=127 | -128..=-97 => Tier::Contraindicated,
        }
    }

    /// Whether the verifier said that it could not judge (-1 malfunction, 1 unknown elements): not the same as silence.
    #[must_use]
    pub const fn is_undecided(self) -> bool {
        matches!(self.0, -1 | 1)
    }
}

/// Tier of trust; later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// No claim.
    None,
    /// Meets expectations.
    Affirming,
    /// Deserves a look.
    Warning,
    /// Known to be bad.
    Contraindicated,
}

impl Tier {
    /// The JSON text of `ear_status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The trustworthiness vector: one value for each label, `NO_CLAIM` where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustVector {
    values: [(TrustLabel, TrustValue); 8],
}

impl Default for TrustVector {
    /// Nothing is claimed, so nothing is affirmed.
    fn default() -> Self {
        Self { values: TrustLabel::ALL.map(|label| (label, TrustValue::NO_CLAIM)) }
    }
}

impl TrustVector {
    /// The value of `label`.
    #[must_use]
    pub fn value(&self, label: TrustLabel) -> TrustValue {
        self.iter().find(|(each, _)| *each == label).map_or(TrustValue::NO_CLAIM, |(_, value)| value)
    }

    /// Sets the value of `label`.
    pub fn set(&mut self, label: TrustLabel, value: TrustValue) {
        for (each, slot) in &mut self.values {
            if *each == label {
                *slot = value;
            }
        }
    }

    /// Every label with its value, in label order.
    pub fn iter(&self) -> impl Iterator<Item = (TrustLabel, TrustValue)> {
        self.values.iter().copied()
    }

    /// The entries of `labels` alone.
    #[must_use]
    pub fn only(&self, labels: &[TrustLabel]) -> Self {
        let mut part = Self::default();
        for label in labels {
            part.set(*label, self.value(*label));
        }
        part
    }

    /// Whether no claim is made at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().all(|(_, value)| value == TrustValue::NO_CLAIM)
    }

    /// The status of the whole: the worst tier. A vector in which one entry could not be judged is never affirming, though
    /// the tier of that entry is `none` (AR4SI section 2.3.2 forbids a status that trusts more than its worst entry).
    #[must_use]
    pub fn status(&self) -> Tier {
        let worst = self.iter().map(|(_, value)| value.tier()).max().unwrap_or(Tier::None);
        let undecided = self.iter().any(|(_, value)| value.is_undecided());
        if undecided && worst == Tier::Affirming { Tier::None } else { worst }
    }
}

impl Serialize for TrustVector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (label, value) in self.iter().filter(|(_, value)| *value != TrustValue::NO_CLAIM) {
            map.serialize_entry(label.as_str(), &value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_the_tier_of_the_draft() {
        for byte in i8::MIN..=i8::MAX {
            let wanted = match byte {
                -1..=1 => Tier::None,
                2..=31 | -32..=-2 => Tier::Affirming,
                32..=95 | -96..=-33 => Tier::Warning,
                _ => Tier::Contraindicated,
            };
            assert_eq!(TrustValue::new(byte).tier(), wanted, "{byte}");
        }
    }

    #[test]
    fn status_is_the_worst_entry() {
        let mut vector = TrustVector::default();
        assert_eq!(vector.status(), Tier::None);
        vector.set(TrustLabel::Hardware, TrustValue::new(2));
        assert_eq!(vector.status(), Tier::Affirming);
        vector.set(TrustLabel::Executables, TrustValue::new(33));
        assert_eq!(vector.status(), Tier::Warning);
        vector.set(TrustLabel::Configuration, TrustValue::new(-97));
        assert_eq!(vector.status(), Tier::Contraindicated);
    }

    #[test]
    fn an_entry_that_could_not_be_judged_is_never_affirmed() {
        for undecided in [-1, 1] {
            let mut vector = TrustVector::default();
            vector.set(TrustLabel::Hardware, TrustValue::new(2));
            vector.set(TrustLabel::Executables, TrustValue::new(undecided));
            assert_eq!(vector.status(), Tier::None);
        }
    }

    #[test]
    fn json_lists_the_claims_that_are_made() {
        let mut vector = TrustVector::default();
        vector.set(TrustLabel::RuntimeOpaque, TrustValue::new(2));
        vector.set(TrustLabel::FileSystem, TrustValue::new(-33));
        assert_eq!(serde_json::to_string(&vector).ok().as_deref(), Some(r#"{"file-system":-33,"runtime-opaque":2}"#));
    }
}
