//! `[break_glass]`: who may ask for, and approve, one release that the policies refuse.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, de::Error};

use super::Bounded;

/// Who may break the glass together. Absent: nobody, and no way around a refusal exists.
///
/// The persons stand in the configuration and not in the store: an administrator who registers more certificates does not become
/// more persons.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Read")]
pub struct BreakGlass {
    /// How many persons besides the one who asks have to approve.
    pub approvals: Bounded<2, 8>,
    /// Takes evidence of software TEEs, too: for tests and demonstrations.
    pub accept_simulated: bool,
    persons: Vec<Person>,
}

/// Somebody who may ask and approve.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    name: String,
    fingerprints: Vec<Fingerprint>,
}

/// SHA-256 of a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fingerprint([u8; 32]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(default = "two")]
    approvals: Bounded<2, 8>,
    #[serde(default)]
    accept_simulated: bool,
    #[serde(rename = "person")]
    persons: Vec<Person>,
}

const fn two() -> Bounded<2, 8> {
    Bounded(2)
}

impl TryFrom<Read> for BreakGlass {
    type Error = String;

    fn try_from(Read { approvals, accept_simulated, persons }: Read) -> Result<Self, String> {
        let names: BTreeSet<_> = persons.iter().map(|person| &person.name).collect();
        let certificates = persons.iter().flat_map(|person| &person.fingerprints);
        let count = certificates.clone().count();
        if names.len() != persons.len() || names.iter().any(|name| !crate::store::is_name(name)) {
            return Err("expected plain names of break-glass persons, none twice".to_owned());
        }
        if certificates.collect::<BTreeSet<_>>().len() != count || persons.iter().any(|one| one.fingerprints.is_empty())
        {
            return Err("expected a certificate for each break-glass person, and each certificate once".to_owned());
        }
        if persons.len() > 64 || u32::try_from(persons.len()).unwrap_or(u32::MAX) <= approvals.value() {
            return Err(format!("expected more than {} and at most 64 break-glass persons", approvals.value()));
        }
        Ok(Self { approvals, accept_simulated, persons })
    }
}

impl BreakGlass {
    /// Who holds this certificate.
    pub(crate) fn person(&self, fingerprint: &[u8; 32]) -> Option<&str> {
        let holds = |person: &&Person| person.fingerprints.contains(&Fingerprint(*fingerprint));
        self.persons.iter().find(holds).map(|person| person.name.as_str())
    }

    /// The certificates of all of them, hex.
    pub(crate) fn fingerprints(&self) -> Vec<String> {
        self.persons.iter().flat_map(|person| &person.fingerprints).map(|one| hex::encode(one.0)).collect()
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = hex::decode(&text).ok().and_then(|digest| digest.try_into().ok());
        digest.map(Self).ok_or_else(|| D::Error::custom("expected the SHA-256 of a certificate as 64 hex digits"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::BreakGlass;

    fn read(persons: &[(&str, &[u8])], more: &str) -> Result<BreakGlass, toml::de::Error> {
        let person = |(name, bytes): &(&str, &[u8])| {
            let prints: Vec<String> = bytes.iter().map(|byte| hex::encode([*byte; 32])).collect();
            format!("[[person]]\nname = {name:?}\nfingerprints = {prints:?}\n")
        };
        toml::from_str(&format!("{more}\n{}", persons.iter().map(person).collect::<String>()))
    }

    #[test]
    fn nobody_is_two_persons_and_there_are_enough_of_them() {
        let three: &[(&str, &[u8])] = &[("alice", &[1]), ("bob", &[2, 4]), ("carol", &[3])];
        let glass = read(three, "").unwrap();
        assert_eq!((glass.approvals.value(), glass.accept_simulated), (2, false));
        assert_eq!((glass.person(&[4; 32]), glass.person(&[9; 32])), (Some("bob"), None));
        for (persons, more) in [
            (three.get(..2).unwrap(), ""),
            (three, "approvals = 1"),
            (three, "approvals = 3"),
            (&[("alice", &[1][..]), ("alice", &[2]), ("carol", &[3])][..], ""),
            (&[("alice", &[1][..]), ("bob", &[1]), ("carol", &[3])][..], ""),
            (&[("alice", &[1][..]), ("bob", &[]), ("carol", &[3])][..], ""),
            (&[("alice", &[1][..]), ("b b", &[2]), ("carol", &[3])][..], ""),
        ] {
            assert!(read(persons, more).is_err(), "{persons:?} {more}");
        }
    }
}
