//! Tests of the life of reference sets in a real database file.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use sqlx::Row;
use verifier::reference::SetState;

use super::*;
use crate::store::{DecisionStore, GuestRecord, Lease, Opening, Settled, Settlement, StoredDecision};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn stored(version: u32, proposed: bool) -> StoredReferenceSet {
    let definition = format!(
        r#"{{"id":"web","version":{version},"workload":"web","proposed":{proposed},"not_before":"2020-01-01T00:00:00Z","not_after":"2100-01-01T00:00:00Z","provenance":"test","measurements":[{{"launch":"{}"}}]}}"#,
        "4d".repeat(48)
    );
    StoredReferenceSet {
        id: "web".to_owned(),
        version,
        definition,
        source: ReferenceSource::Document,
        signer: None,
        author: "admin".to_owned(),
        created_at: NOW,
        activated_at: None,
        retired_at: None,
        revoked_at: None,
    }
}

fn change(version: Option<u32>, change: Change) -> ReferenceChange {
    let (author, reason) = ("admin".to_owned(), Some("ticket 7".to_owned()));
    ReferenceChange { id: "web".to_owned(), version, change, author, reason, now: NOW }
}

fn settlement(nonce: u8, rests_on: &[u32]) -> Settlement {
    let id = format!("decision-{nonce}");
    let decision = StoredDecision {
        id: id.clone(),
        tenant: tenant(),
        decided_at: NOW,
        outcome: "affirmed",
        code: None,
        authenticated: true,
        record: "{}".to_owned(),
        digests: crate::store::DecisionDigests::default(),
    };
    let lease = Lease {
        id: format!("lease-{nonce}"),
        kind: "secret",
        name: "disk-key".to_owned(),
        version: 1,
        status: u64::from(nonce),
        issued_at: NOW,
        expires_at: NOW.plus_seconds(900),
    };
    let sets: Vec<_> =
        rests_on.iter().map(|version| ReferenceKey { id: "web".to_owned(), version: *version }).collect();
    let grounds = sets.iter().map(|set| Ground::reference_set(&set.id, Some(set.version))).collect();
    let guest = GuestRecord {
        id: lease.id.clone(),
        workloads: vec!["web".to_owned()],
        platform: "bare".to_owned(),
        hwmodel: "amd-milan".to_owned(),
        tcb_status: None,
        measurement: None,
        chip: None,
        tee_key: "thumbprint".to_owned(),
        report: None,
    };
    let opening =
        Some(Opening { guest, sets, grounds, leases: vec![lease], certificates: Vec::new(), renews: Vec::new() });
    let nonce_expires_at = NOW.plus_seconds(300);
    Settlement {
        nonce: [nonce; 32],
        nonce_expires_at,
        decision,
        counters: None,
        opening,
        ends_guest: None,
        break_glass: None,
    }
}

async fn open(directory: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&directory.path().join("store.db")).await.unwrap()
}

async fn ended_leases(store: &SqliteStore) -> Vec<(String, String)> {
    let rows = sqlx::query("SELECT id, end_cause FROM leases WHERE ended_at IS NOT NULL ORDER BY id")
        .fetch_all(&store.pool)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get("id"), row.get("end_cause"))).collect()
}

#[tokio::test]
async fn revoking_a_set_ends_the_leases_that_rest_on_it_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    store.insert_reference_sets(&tenant(), &[stored(1, false), stored(2, false)], None).await.unwrap();
    for (nonce, rests_on) in [(1, [1].as_slice()), (2, &[2]), (3, &[1, 2])] {
        assert_eq!(store.settle(settlement(nonce, rests_on)).await.unwrap(), Settled::Recorded);
    }
    let revoke = Change::Revoke { at: NOW };
    store.change_reference_sets(&tenant(), &change(Some(1), revoke)).await.unwrap();
    let reason = "revoked".to_owned();
    assert_eq!(ended_leases(&store).await, [("lease-1".to_owned(), reason.clone()), ("lease-3".to_owned(), reason)]);
    // What was judged before and comes to be stored now opens nothing, and its nonce stays unused.
    assert_eq!(store.settle(settlement(4, &[1])).await.unwrap(), Settled::Overtaken);
    assert!(!store.is_consumed(&[4; 32]).await.unwrap());
    let history = store.reference_history(&tenant(), Some("web"), 100).await.unwrap();
    let lines: Vec<_> =
        history.iter().map(|event| (event.version, event.change.as_str(), event.leases_ended)).collect();
    assert_eq!(lines, [(1, "added", 0), (2, "added", 0), (1, "revoked", 2)]);
    assert!(history.iter().all(|event| event.digest.len() == 64));
}

#[tokio::test]
async fn a_change_that_is_not_possible_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    store.insert_reference_sets(&tenant(), &[stored(1, true), stored(2, false)], None).await.unwrap();
    let retire = Change::Retire { at: NOW };
    let refused = store.change_reference_sets(&tenant(), &change(Some(1), retire)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Reference(_)), "{refused}");
    // Without a version, those that can be retired are.
    let changed = store.change_reference_sets(&tenant(), &change(None, retire)).await.unwrap();
    assert_eq!(changed, [ReferenceKey { id: "web".to_owned(), version: 2 }]);
    let unknown = ReferenceChange { id: "other".to_owned(), ..change(None, retire) };
    assert!(store.change_reference_sets(&tenant(), &unknown).await.unwrap().is_empty());
}

/// A short deterministic stream of numbers: the same sequences on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).checked_rem(limit).unwrap()
    }
}

/// Many sequences of operations on a real store, with restarts: a set that ended once is never seen holding again, and a
/// settlement that rests on it is never recorded.
#[tokio::test]
async fn no_sequence_of_operations_revives_a_set() {
    for seed in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory).await;
        let mut numbers = Numbers(seed);
        let mut ended: BTreeMap<u32, SetState> = BTreeMap::new();
        for step in 0..24_u8 {
            let version = u32::try_from(numbers.below(4)).unwrap().saturating_add(1);
            let change = match numbers.below(5) {
                0 => {
                    let row = stored(version, numbers.below(2) == 0);
                    let _may_exist = store.insert_reference_sets(&tenant(), &[row], None).await;
                    continue;
                }
                1 => change(Some(version), Change::Activate),
                2 => change(Some(version), Change::Retire { at: NOW.plus_seconds(-1) }),
                3 => change(Some(version), Change::Revoke { at: NOW }),
                _ => {
                    store = open(&directory).await;
                    continue;
                }
            };
            let _may_be_refused = store.change_reference_sets(&tenant(), &change).await;
            for row in store.reference_sets(&tenant()).await.unwrap() {
                let set = row.to_set().unwrap();
                let holds = set.holds_at(NOW).is_ok();
                assert!(!(holds && ended.contains_key(&row.version)), "seed {seed} step {step}: {set:?}");
                if matches!(set.state(), SetState::Retiring { .. } | SetState::Revoked { .. }) {
                    ended.insert(row.version, set.state());
                }
            }
            if ended.contains_key(&version) {
                assert_eq!(store.settle(settlement(step, &[version])).await.unwrap(), Settled::Overtaken);
            }
        }
    }
}
