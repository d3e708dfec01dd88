//! Over every sequence of operations: what has ended, or was never put in force, affirms nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, sync::OnceLock};

use evidence_formats::bytes::LaunchDigest;
use proptest::prelude::*;

use super::*;
use crate::{
    Criteria, Policing, Warnings, appraise,
    fixtures::{LAUNCH, authentic, claims, launch, now, set, strict},
    policy::AppraisalPolicy,
};

/// What operators, and time, do.
#[derive(Debug, Clone)]
enum Operation {
    Add { version: u32, matching: bool, proposed: bool, from: i64, until: i64, retire_at: Option<i64> },
    Change { version: u32, change: Change },
    SetPolicy { policy: usize },
    Reload,
    Wait { seconds: i64 },
}

/// What the model remembers of a set. It knows nothing of states: it remembers what was said.
#[derive(Debug, Clone, Copy)]
struct Remembered {
    matching: bool,
    in_force: bool,
    from: i64,
    until: i64,
    revoked: bool,
}

impl Remembered {
    const fn may_affirm(self, time: i64) -> bool {
        self.matching && self.in_force && !self.revoked && self.from <= time && time < self.until
    }

    /// Whether the change is one that the model takes over; `None`: it must be refused.
    fn take(&mut self, change: Change) -> Option<()> {
        match change {
            Change::Activate if !self.in_force && !self.revoked => self.in_force = true,
            Change::Retire { at } if self.in_force && !self.revoked => self.until = self.until.min(offset(at)),
            Change::Revoke { .. } => self.revoked = true,
            Change::Activate | Change::Retire { .. } => return None,
        }
        Some(())
    }
}

fn at(offset: i64) -> Timestamp {
    now().plus_seconds(offset)
}

fn offset(at: Timestamp) -> i64 {
    at.as_unix().checked_sub(now().as_unix()).unwrap()
}

fn operation() -> impl Strategy<Value = Operation> {
    let (time, version) = (-10i64..10, 1u32..5);
    let change = prop_oneof![
        Just(Change::Activate),
        time.clone().prop_map(|offset| Change::Retire { at: at(offset) }),
        time.clone().prop_map(|offset| Change::Revoke { at: at(offset) }),
    ];
    let retire_at = proptest::option::of(time.clone());
    let added = (version.clone(), any::<bool>(), any::<bool>(), time.clone(), time, retire_at);
    prop_oneof![
        4 => added.prop_map(|(version, matching, proposed, from, until, retire_at)| {
            Operation::Add { version, matching, proposed, from, until, retire_at }
        }),
        4 => (version, change).prop_map(|(version, change)| Operation::Change { version, change }),
        1 => (0usize..3).prop_map(|policy| Operation::SetPolicy { policy }),
        1 => Just(Operation::Reload),
        2 => (0i64..5).prop_map(|seconds| Operation::Wait { seconds }),
    ]
}

/// The built-in policy, one that affirms everything it is shown, and one that affirms nothing.
fn policies() -> &'static [AppraisalPolicy; 3] {
    static POLICIES: OnceLock<[AppraisalPolicy; 3]> = OnceLock::new();
    POLICIES.get_or_init(|| {
        let saying = |vector: &str| {
            let source = format!("package countersign.appraisal\ntrust_vector := {vector}\nreasons := set()\n");
            AppraisalPolicy::compile("p", &source).unwrap()
        };
        [
            AppraisalPolicy::built_in().unwrap(),
            saying(r#"{"hardware": 2, "executables": 2, "instance-identity": 2}"#),
            saying(r#"{"hardware": 2, "executables": 96}"#),
        ]
    })
}

proptest! {
    /// A model that only remembers what was said. After every operation, a guest whose measurements are in nothing but
    /// sets that expired, retired, were revoked or never activated is refused, whatever the policy says; and the outcome
    /// names exactly the sets that hold.
    #[test]
    fn no_sequence_of_operations_makes_an_ended_value_affirm(
        operations in proptest::collection::vec(operation(), 0..32),
    ) {
        let mut values = ReferenceValues::new();
        let mut model: BTreeMap<u32, Remembered> = BTreeMap::new();
        let (mut policy, mut time) = (0, 0);
        let id: SetId = "web-prod".parse().unwrap();
        let baseline = strict();
        for operation in operations {
            match operation {
                Operation::Add { version, matching, proposed, from, until, retire_at } => {
                    let digest = if matching { LAUNCH } else { LaunchDigest([1; 48]) };
                    let mut set = set(version, launch(digest));
                    (set.not_before, set.not_after) = (at(from), at(until));
                    (set.proposed, set.retire_at) = (proposed, retire_at.map(at));
                    let added = values.insert(set).is_ok();
                    prop_assert_eq!(added, from < until && !model.contains_key(&version));
                    if added {
                        let until = until.min(retire_at.unwrap_or(until));
                        let remembered = Remembered { matching, in_force: !proposed, from, until, revoked: false };
                        model.insert(version, remembered);
                    }
                }
                Operation::Change { version, change } => {
                    let taken = model.get_mut(&version).and_then(|remembered| remembered.take(change));
                    prop_assert_eq!(values.apply(&id, version, change).is_ok(), taken.is_some());
                }
                Operation::SetPolicy { policy: other } => policy = other,
                // What a restart does.
                Operation::Reload => {
                    values = ReferenceValues::parse(&serde_json::to_vec(&values).unwrap()).unwrap();
                }
                Operation::Wait { seconds } => time = seconds.saturating_add(time).min(12),
            }
            let criteria = Criteria {
                baseline: &baseline,
                references: References::Require(&values),
                policing: Policing::Apply(policies().get(policy).unwrap()),
                warnings: Warnings::Refuse,
            };
            let appraisal = appraise(&authentic(claims()), &criteria, at(time));
            let mut found: Vec<u32> = appraisal.reference_values().matched().iter().map(|set| set.version).collect();
            found.sort_unstable();
            let wanted: Vec<u32> =
                model.iter().filter(|(_, set)| set.may_affirm(time)).map(|(version, _)| *version).collect();
            let affirmed = appraisal.affirm().is_ok();
            prop_assert!(!affirmed || !wanted.is_empty(), "something ended affirmed");
            // The other way round, so that the test is not passed by a verifier that refuses everything.
            prop_assert_eq!(affirmed, !wanted.is_empty() && policy != 2);
            prop_assert_eq!(found, wanted);
        }
    }
}
