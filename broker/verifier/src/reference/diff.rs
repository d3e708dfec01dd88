//! What differs between two versions of a set, in words.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{EventValue, Measurement, ReferenceSet, SetKind, words::in_words};

/// One difference between two sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum SetDifference {
    /// The set says something else about itself.
    Member {
        /// Which member, for example `workload`.
        what: String,
        /// Before.
        old: String,
        /// After.
        new: String,
    },
    /// An alternative pins something else.
    Pin {
        /// Which alternative, by name or place.
        alternative: String,
        /// What: `launch`, `runtime.pcr4`, `event.kernel`, …
        what: String,
        /// Before; absent: it was not pinned.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<String>,
        /// After; absent: it is not pinned any more.
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<String>,
    },
    /// An alternative came.
    Added {
        /// Which alternative, by name or place.
        alternative: String,
    },
    /// An alternative went.
    Removed {
        /// Which alternative, by name or place.
        alternative: String,
    },
}

impl fmt::Display for SetDifference {
    /// `4 vCPUs: kernel differs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member { what, old, new } => write!(f, "{} differs: {old}, now {new}", in_words(what)),
            Self::Pin { alternative, what, old, new } => {
                let change = match (old, new) {
                    (None, _) => "is pinned now",
                    (_, None) => "is not pinned any more",
                    (Some(_), Some(_)) => "differs",
                };
                write!(f, "{alternative}: {} {change}", in_words(what))
            }
            Self::Added { alternative } => write!(f, "{alternative} is new"),
            Self::Removed { alternative } => write!(f, "{alternative} is gone"),
        }
    }
}

impl ReferenceSet {
    /// What `newer` says otherwise. State, version and id are not compared.
    #[must_use]
    pub fn differences(&self, newer: &Self) -> Vec<SetDifference> {
        let mut differences = members(self, newer);
        let mut unpaired: Vec<(usize, &Measurement)> = newer.measurements.iter().enumerate().collect();
        for (place, old) in self.measurements.iter().enumerate() {
            let nearest = unpaired.iter().enumerate().min_by_key(|(_, (other, new))| {
                // Names pair first, then what has most in common, then what stands at the same place.
                let named = old.name.is_some() && old.name == new.name;
                (
                    !named,
                    old.name.is_some() && new.name.is_some(),
                    pin_differences(old, new).len(),
                    other.abs_diff(place),
                )
            });
            let pair = nearest.map(|(index, (_, new))| (index, *new)).filter(|(_, new)| may_pair(old, new));
            match pair {
                Some((index, new)) => {
                    unpaired.remove(index);
                    let alternative = called(old, place);
                    differences.extend(pin_differences(old, new).into_iter().map(|(what, old, new)| {
                        SetDifference::Pin { alternative: alternative.clone(), what, old, new }
                    }));
                }
                None => differences.push(SetDifference::Removed { alternative: called(old, place) }),
            }
        }
        differences
            .extend(unpaired.into_iter().map(|(place, new)| SetDifference::Added { alternative: called(new, place) }));
        differences
    }
}

/// Two names are two alternatives.
fn may_pair(old: &Measurement, new: &Measurement) -> bool {
    old.name.is_none() || new.name.is_none() || old.name == new.name
}

fn called(measurement: &Measurement, place: usize) -> String {
    measurement.name.clone().unwrap_or_else(|| format!("alternative {}", place.saturating_add(1)))
}

fn members(old: &ReferenceSet, new: &ReferenceSet) -> Vec<SetDifference> {
    let kind = |set: &ReferenceSet| match set.kind {
        SetKind::Workload => "workload",
        SetKind::Paravisor => "paravisor",
    };
    let pairs = [
        ("workload", old.workload.to_string(), new.workload.to_string()),
        ("kind", kind(old).to_owned(), kind(new).to_owned()),
        ("not_before", old.not_before.to_string(), new.not_before.to_string()),
        ("not_after", old.not_after.to_string(), new.not_after.to_string()),
        ("provenance", old.provenance.clone(), new.provenance.clone()),
    ];
    let differing = pairs.into_iter().filter(|(_, old, new)| old != new);
    differing.map(|(what, old, new)| SetDifference::Member { what: what.to_owned(), old, new }).collect()
}

type PinDifference = (String, Option<String>, Option<String>);

fn pin_differences(old: &Measurement, new: &Measurement) -> Vec<PinDifference> {
    let (mut old, mut new) = (old.pinned_values(), new.pinned_values());
    let names: std::collections::BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    let pairs = names.into_iter().map(|name| {
        let (old, new) = (old.remove(&name), new.remove(&name));
        (name, old, new)
    });
    pairs.filter(|(_, old, new)| old != new).collect()
}

impl Measurement {
    /// Everything it pins as text, by the names that near misses use.
    fn pinned_values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        if !self.hwmodel.is_empty() {
            values.insert("hwmodel".to_owned(), self.hwmodel.join(" or "));
        }
        let plain = [
            ("platform", self.platform.map(|platform| platform.as_str().to_owned())),
            ("launch", self.launch.map(|digest| digest.to_string())),
            ("host_data", self.host_data.as_ref().map(ToString::to_string)),
            ("id_key_digest", self.id_key_digest.map(|digest| digest.to_string())),
            ("author_key_digest", self.author_key_digest.map(|digest| digest.to_string())),
            ("guest_svn", self.min_guest_svn.map(|least| format!("at least {least}"))),
        ];
        values.extend(plain.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        values.extend(self.runtime.iter().map(|(register, value)| (format!("runtime.{register}"), value.to_string())));
        for (register, events) in &self.events {
            for (name, wanted) in &events.0 {
                let text = wanted.iter().map(EventValue::as_str).collect::<Vec<_>>().join(", ");
                // The same event may stand in two registers.
                let name = format!("event.{name}");
                let name = if values.contains_key(&name) { format!("{name} in {register}") } else { name };
                values.insert(name, text);
            }
        }
        values
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use evidence_formats::bytes::LaunchDigest;

    use super::*;
    use crate::{
        fixtures::{LAUNCH, launch, set},
        reference::NamedEvents,
    };

    fn with_kernel(name: &str, kernel: &str) -> Measurement {
        let kernel = NamedEvents([("kernel".to_owned(), vec![kernel.repeat(32).parse().unwrap()])].into());
        let mut measurement = Measurement { name: Some(name.to_owned()), ..launch(LAUNCH) };
        measurement.events.insert("pcr4".parse().unwrap(), kernel);
        measurement
    }

    fn words(old: &ReferenceSet, new: &ReferenceSet) -> Vec<String> {
        old.differences(new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_kernel_is_named() {
        let (old, new) = (set(1, with_kernel("4 vCPUs", "33")), set(2, with_kernel("4 vCPUs", "44")));
        assert_eq!(words(&old, &new), ["4 vCPUs: kernel differs"]);
        assert!(words(&old, &old).is_empty());
    }

    #[test]
    fn alternatives_come_go_and_are_paired_by_name() {
        let mut old = set(1, with_kernel("4 vCPUs", "33"));
        old.measurements.push(with_kernel("8 vCPUs", "33"));
        let mut new = set(2, with_kernel("16 vCPUs", "33"));
        new.measurements.push(Measurement { launch: Some(LaunchDigest([1; 48])), ..with_kernel("8 vCPUs", "33") });
        new.workload = "api".parse().unwrap();
        assert_eq!(
            words(&old, &new),
            ["workload differs: web, now api", "4 vCPUs is gone", "8 vCPUs: launch digest differs", "16 vCPUs is new"]
        );
        let unnamed = set(1, launch(LAUNCH));
        let mut pinned = unnamed.clone();
        pinned.measurements[0].min_guest_svn = Some(3);
        assert_eq!(words(&unnamed, &pinned), ["alternative 1: guest SVN is pinned now"]);
    }
}
