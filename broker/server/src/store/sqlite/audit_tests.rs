//! The audit log in a store: every act is in it, nothing that was refused is, and old records go behind a checkpoint.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use serde_json::{Value, json};
use verifier::Timestamp;

use super::{
    super::{
        AuditQuery, AuditRetention, AuditStore, DecisionDigests, DecisionStore, EndCause, Ground, GroundKind,
        GuestRecord, Lease, LeaseStore, Opening, Revocation, Settled, Settlement, StoredDecision, TenantId,
    },
    SqliteStore,
};
use crate::audit::{Checker, Entry, Kind, Record};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

async fn open(directory: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&directory.path().join("store.db")).await.unwrap()
}

async fn records(store: &SqliteStore) -> Vec<Record> {
    let query = AuditQuery { limit: 10_000, ..AuditQuery::default() };
    store.audit_records(&tenant(), &query).await.unwrap()
}

/// Kinds and bodies, after the chain was checked.
async fn log(store: &SqliteStore) -> Vec<(String, Value)> {
    let records = records(store).await;
    let mut checker = Checker::new(Some("default".to_owned()));
    for record in &records {
        checker.line(&record.line()).unwrap();
    }
    let _holds = checker.finish().unwrap();
    let told = |record: Record| (record.entry.kind, serde_json::from_str(&record.entry.body).unwrap());
    records.into_iter().map(told).collect()
}

fn settlement(nonce: u16, id: &str, leases: &[(&str, u64)]) -> Settlement {
    let decision = StoredDecision {
        id: id.to_owned(),
        tenant: tenant(),
        decided_at: NOW,
        outcome: if leases.is_empty() { "refused" } else { "affirmed" },
        code: None,
        authenticated: true,
        record: format!("{{\"id\":\"{id}\"}}"),
        digests: DecisionDigests {
            evidence: Some("ee".to_owned()),
            attestation: None,
            policies: vec!["release@sha256:00".to_owned()],
        },
    };
    let lease = |(id, status): &(&str, u64)| Lease {
        id: (*id).to_owned(),
        kind: "secret",
        name: "disk-key".to_owned(),
        version: 1,
        status: *status,
        issued_at: NOW,
        expires_at: NOW.plus_seconds(900),
    };
    let guest = GuestRecord {
        id: format!("guest-{id}"),
        workloads: Vec::new(),
        platform: "bare".to_owned(),
        hwmodel: "amd-milan".to_owned(),
        tcb_status: None,
        measurement: None,
        chip: None,
        tee_key: "thumbprint".to_owned(),
        report: None,
    };
    let grounds = vec![Ground::new(GroundKind::Workload, "web".to_owned())];
    let leases: Vec<Lease> = leases.iter().map(lease).collect();
    let opening = (!leases.is_empty()).then(|| Opening {
        guest,
        sets: Vec::new(),
        grounds,
        leases,
        certificates: Vec::new(),
        renews: Vec::new(),
    });
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&nonce.to_be_bytes());
    let nonce_expires_at = NOW.plus_seconds(300);
    Settlement {
        nonce: bytes,
        nonce_expires_at,
        decision,
        counters: None,
        opening,
        ends_guest: None,
        break_glass: None,
    }
}

#[tokio::test]
async fn a_settlement_and_its_ends_are_in_the_log_and_what_was_refused_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    assert_eq!(store.settle(settlement(1, "a", &[("l1", 1), ("l2", 2)])).await.unwrap(), Settled::Recorded);
    assert_eq!(store.settle(settlement(1, "b", &[])).await.unwrap(), Settled::Replayed);
    let revocation = Revocation {
        id: "r".to_owned(),
        ground: Ground::new(GroundKind::Workload, "web".to_owned()),
        reason: "left".to_owned(),
        author: "admin".to_owned(),
        created_at: NOW,
    };
    assert_eq!(store.revoke(&tenant(), &revocation).await.unwrap(), 2);
    assert!(matches!(store.settle(settlement(2, "c", &[("l3", 3)])).await.unwrap(), Settled::Revoked(_)));
    assert!(store.lift_revocation(&tenant(), "r", NOW).await.unwrap());
    let log = log(&store).await;
    let kinds: Vec<&str> = log.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["attestation.decided", "revocation.added", "lease.ended", "revocation.lifted"]);
    let decided = &log[0].1;
    assert_eq!(decided["attestation"], "a");
    assert_eq!(decided["evidence_digest"], "ee");
    assert_eq!(decided["policies"], json!(["release@sha256:00"]));
    assert_eq!(decided["record_digest"], super::audit::digest_of("{\"id\":\"a\"}"));
    assert_eq!(decided["leases"][1]["id"], "l2");
    assert_eq!(log[2].1["cause"], "revoked");
    assert_eq!(log[2].1["leases"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn evidence_that_is_not_authentic_does_not_fill_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let mut garbage = settlement(1, "a", &[]);
    garbage.decision.authenticated = false;
    assert_eq!(store.settle(garbage).await.unwrap(), Settled::Recorded);
    assert!(log(&store).await.is_empty());
}

#[tokio::test]
async fn leases_that_expire_are_in_the_log_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let _settled = store.settle(settlement(1, "a", &[("l1", 1)])).await.unwrap();
    for _ in 0..2 {
        let _ended = store.end_expired(NOW.plus_seconds(901)).await.unwrap();
    }
    let log = log(&store).await;
    assert_eq!(log.len(), 2);
    assert_eq!((log[1].0.as_str(), &log[1].1["cause"]), ("lease.ended", &json!(EndCause::Expired.as_str())));
}

/// Settlements share transactions, and two stores share the file: the chain has no fork and no gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_make_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let stores = [Arc::new(open(&directory).await), Arc::new(open(&directory).await)];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200_u16 {
        let store = Arc::clone(&stores[usize::from(number % 2)]);
        tasks.spawn(async move {
            let id = format!("d{number}");
            if number % 5 == 0 {
                let entry = Entry::new(NOW, Kind::AdminAct, &json!({"number": number})).unwrap();
                store.append_audit(&tenant(), entry).await.unwrap();
            } else {
                let lease = format!("l{number}");
                let settled = store.settle(settlement(number, &id, &[(&lease, u64::from(number))])).await.unwrap();
                assert_eq!(settled, Settled::Recorded);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(log(&stores[0]).await.len(), 200);
}

#[tokio::test]
async fn old_records_go_behind_a_checkpoint_and_the_chain_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    for number in 0..20_i64 {
        let at = NOW.plus_seconds(number * 86_400);
        let entry = Entry::new(at, Kind::AdminAct, &json!({"number": number})).unwrap();
        store.append_audit(&tenant(), entry).await.unwrap();
    }
    let all = records(&store).await;
    let keep = AuditRetention { since: NOW.plus_seconds(10 * 86_400), records: 1000 };
    assert_eq!(store.prune_audit(&tenant(), keep, NOW).await.unwrap(), 0, "nothing signed stands in their place");
    for signed in [4, 7, 12] {
        store.insert_audit_checkpoint(&tenant(), all[signed].place(), "token", NOW).await.unwrap();
    }
    assert_eq!(store.prune_audit(&tenant(), keep, NOW).await.unwrap(), 8);
    assert_eq!(store.prune_audit(&tenant(), keep, NOW).await.unwrap(), 0);
    let left = records(&store).await;
    assert_eq!((left[0].sequence, left.len()), (9, 13));
    let places: Vec<u64> =
        store.audit_checkpoints(&tenant(), 0, 10).await.unwrap().iter().map(|one| one.sequence).collect();
    assert_eq!(places, [8, 13]);
    let mut checker = Checker::new(None);
    checker.expect(all[7].place(), false).unwrap();
    for record in &left {
        checker.record(record).unwrap();
    }
    assert_eq!(checker.finish().unwrap().first, Some(9));
    // By number: the newest ten, but never beyond what is signed.
    let few = AuditRetention { since: NOW, records: 10 };
    assert_eq!(store.prune_audit(&tenant(), few, NOW).await.unwrap(), 0);
    store.insert_audit_checkpoint(&tenant(), all[9].place(), "token", NOW).await.unwrap();
    assert_eq!(store.prune_audit(&tenant(), few, NOW).await.unwrap(), 2);
}
