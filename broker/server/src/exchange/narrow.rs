//! What is issued is never more than any of the things that it rests on. Pure functions, so that a property can say so.

use std::collections::BTreeSet;

use keys::relying::ACTORS_LIMIT;
use serde_json::{Value, json};
use verifier::Timestamp;

use super::error::ExchangeError;

/// Everything that bounds how long a token lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// Now.
    pub(crate) now: Timestamp,
    /// When the subject token ends.
    pub(crate) subject_ends: Timestamp,
    /// When the attestation ends.
    pub(crate) actor_ends: Timestamp,
    /// What the entry allows, in seconds.
    pub(crate) entry: u32,
    /// What the caller asks for, in seconds.
    pub(crate) requested: Option<u32>,
}

impl Lifetimes {
    /// Seconds that there are without the policy.
    pub(crate) fn seconds(&self) -> u32 {
        let left = |ends: Timestamp| u32::try_from(ends.as_unix().saturating_sub(self.now.as_unix())).unwrap_or(0);
        let all = [left(self.subject_ends), left(self.actor_ends), self.entry, self.requested.unwrap_or(u32::MAX)];
        all.into_iter().min().unwrap_or(0)
    }

    /// When the token ends, when the policy allows `policy` seconds: the earliest of all.
    pub(crate) fn ends_at(&self, policy: u32) -> Result<Timestamp, ExchangeError> {
        let seconds = self.seconds().min(policy);
        if seconds == 0 {
            return Err(ExchangeError::Lifetime);
        }
        Ok(self.now.plus_seconds(i64::from(seconds)))
    }
}

/// The scopes of the token: those that were asked for, when entry and subject token allow every one of them; all that both
/// allow, when none were.
pub(crate) fn scopes(
    requested: Option<&BTreeSet<String>>,
    entry: &BTreeSet<String>,
    subject: Option<&BTreeSet<String>>,
) -> Result<BTreeSet<String>, ExchangeError> {
    let may_be_had = |scope: &String| entry.contains(scope) && subject.is_none_or(|subject| subject.contains(scope));
    let Some(requested) = requested else {
        return Ok(entry.iter().filter(|scope| may_be_had(scope)).cloned().collect());
    };
    let beyond: BTreeSet<String> = requested.iter().filter(|scope| !may_be_had(scope)).cloned().collect();
    if beyond.is_empty() { Ok(requested.clone()) } else { Err(ExchangeError::Scope { scopes: beyond }) }
}

/// The `act` claim of what is issued: the guest, and inside it whoever acted before (RFC 8693 §4.1). A guest that acted last
/// is not named twice.
pub(crate) fn actors(actor: &str, before: Option<&Value>) -> Result<Value, ExchangeError> {
    let Some(before) = before else { return Ok(json!({"sub": actor})) };
    let mut depth = 0_usize;
    let mut next = Some(before);
    while let Some(act) = next {
        depth = depth.saturating_add(1);
        if act.get("sub").and_then(Value::as_str).is_none() || depth >= ACTORS_LIMIT {
            return Err(ExchangeError::Actors);
        }
        next = act.get("act");
    }
    // Whom another issuer calls the same is somebody else.
    if before.get("sub").and_then(Value::as_str) == Some(actor) && before.get("iss").is_none() {
        return Ok(before.clone());
    }
    Ok(json!({"sub": actor, "act": before}))
}

/// The `act` claim of another issuer's token as it may stand in one of ours: subjects and issuers alone, and whom that issuer
/// names is named as its own (RFC 8693 §4.1). Otherwise it could say in our name who acted.
pub(crate) fn foreign_actors(act: &Value, issuer: &str) -> Result<Value, ExchangeError> {
    let mut chain = Vec::new();
    let mut next = Some(act);
    while let Some(act) = next {
        let subject = act.get("sub").and_then(Value::as_str).ok_or(ExchangeError::Actors)?;
        let named = act.get("iss").map_or(Some(issuer), Value::as_str).ok_or(ExchangeError::Actors)?;
        chain.push((subject, named));
        if chain.len() >= ACTORS_LIMIT {
            return Err(ExchangeError::Actors);
        }
        next = act.get("act");
    }
    let inside_out = chain.into_iter().rev().fold(None, |inner, (subject, issuer)| {
        let mut actor = json!({"sub": subject, "iss": issuer});
        if let (Some(members), Some(inner)) = (actor.as_object_mut(), inner) {
            members.insert("act".to_owned(), inner);
        }
        Some(actor)
    });
    inside_out.ok_or(ExchangeError::Actors)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

    use super::*;

    /// Numbers that look random and are the same in every run.
    struct Draws(u64);

    impl Draws {
        fn next(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % below
        }

        fn set(&mut self) -> BTreeSet<String> {
            let bits = self.next(32);
            (0..5).filter(|bit| bits & (1 << bit) != 0).map(|bit| format!("s{bit}")).collect()
        }

        fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
            (self.next(2) == 0).then(|| make(self))
        }
    }

    /// For any request, entry, subject token, attestation and policy: what is issued is in all of them.
    #[test]
    fn an_exchange_never_widens() {
        let mut draws = Draws(7);
        let now = Timestamp::from_unix(1_800_000_000);
        for _ in 0..20_000 {
            let (requested, entry) = (draws.maybe(Draws::set), draws.set());
            let subject = draws.maybe(Draws::set);
            if let Ok(granted) = scopes(requested.as_ref(), &entry, subject.as_ref()) {
                assert!(granted.is_subset(&entry));
                assert!(subject.is_none_or(|subject| granted.is_subset(&subject)));
                assert!(requested.is_none_or(|requested| granted == requested));
            }
            let mut ends = || {
                let seconds = i64::try_from(draws.next(2000)).unwrap().saturating_sub(200);
                now.plus_seconds(seconds)
            };
            let (subject_ends, actor_ends) = (ends(), ends());
            let number = |draws: &mut Draws| u32::try_from(draws.next(4000)).unwrap();
            let (entry, policy) = (number(&mut draws), number(&mut draws));
            let requested = draws.maybe(number);
            let lifetimes = Lifetimes { now, subject_ends, actor_ends, entry, requested };
            match lifetimes.ends_at(policy) {
                Ok(end) => {
                    assert!(end > now && end <= subject_ends && end <= actor_ends);
                    for bound in [entry, policy, requested.unwrap_or(u32::MAX)] {
                        assert!(end <= now.plus_seconds(i64::from(bound)));
                    }
                }
                Err(error) => assert_eq!(error, ExchangeError::Lifetime),
            }
        }
    }

    #[test]
    fn actors_stand_one_inside_the_other() {
        let one = actors("web", None).unwrap();
        let two = actors("db", Some(&one)).unwrap();
        assert_eq!(two, json!({"sub": "db", "act": {"sub": "web"}}));
        assert_eq!(actors("db", Some(&two)).unwrap(), two, "who acted last is not named twice");
        let mut many = one;
        for number in 1..ACTORS_LIMIT {
            many = actors(&number.to_string(), Some(&many)).unwrap();
        }
        assert_eq!(actors("one more", Some(&many)), Err(ExchangeError::Actors));
        assert_eq!(actors("web", Some(&json!({"act": {}}))), Err(ExchangeError::Actors));
    }

    #[test]
    fn whom_another_issuer_names_is_not_named_in_our_name() {
        let theirs = json!({"sub": "web", "scope": "all", "act": {"sub": "ci", "iss": "https://other.example"}});
        let named = foreign_actors(&theirs, "https://ci.example").unwrap();
        let first = json!({"sub": "ci", "iss": "https://other.example"});
        assert_eq!(named, json!({"sub": "web", "iss": "https://ci.example", "act": first}));
        // An actor of theirs that is called like the guest is not the guest.
        assert_eq!(actors("web", Some(&named)).unwrap(), json!({"sub": "web", "act": named}));
        for wrong in [json!({}), json!("web"), json!({"sub": 1}), json!({"sub": "web", "iss": 1})] {
            assert_eq!(foreign_actors(&wrong, "https://ci.example"), Err(ExchangeError::Actors), "{wrong}");
        }
        let many = (0..ACTORS_LIMIT).fold(json!({"sub": "first"}), |inner, _| json!({"sub": "next", "act": inner}));
        assert_eq!(foreign_actors(&many, "https://ci.example"), Err(ExchangeError::Actors));
    }
}
