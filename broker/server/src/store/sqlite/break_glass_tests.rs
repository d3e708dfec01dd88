//! A break-glass request counts when enough other persons approved it, for a time, and once.
#![expect(clippy::unwrap_used, reason = "tests")]

use verifier::Timestamp;

use super::{
    super::{
        Administrator, AuditQuery, AuditStore, BreakGlass, BreakGlassStore, DecisionDigests, DecisionStore,
        GlassApproved, GlassTarget, GlassTerms, GlassUse, KeyStore, Role, Settled, Settlement, StoredDecision,
        TenantId,
    },
    SqliteStore,
};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

/// A store with the administrators 1 to 5, and an auditor 6.
async fn store(directory: &tempfile::TempDir) -> SqliteStore {
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    for number in 1..=6_u8 {
        let role = if number == 6 { Role::Auditor } else { Role::Admin };
        let one = Administrator { fingerprint: [number; 32], name: format!("admin-{number}"), role };
        store.insert_administrator(&tenant(), &one, NOW).await.unwrap();
    }
    store
}

fn terms(trusted: &[u8], least: u32) -> GlassTerms {
    GlassTerms { trusted: trusted.iter().map(|byte| hex::encode([*byte; 32])).collect(), least }
}

fn request(id: &str) -> BreakGlass {
    BreakGlass {
        id: id.to_owned(),
        secret: "disk-key".to_owned(),
        reason: "the policy of today refuses the database".to_owned(),
        target: GlassTarget::Workload("db".to_owned()),
        requested_by: "alice".to_owned(),
        fingerprint: [1; 32],
        requested_at: NOW,
        expires_at: NOW.plus_seconds(600),
        needed: 2,
        approvals: Vec::new(),
        used_at: None,
        used_by: None,
        revoked_at: None,
        revoked_by: None,
    }
}

async fn approve(store: &SqliteStore, person: &str, certificate: u8) -> GlassApproved {
    store.approve_break_glass(&tenant(), "g", person, &[certificate; 32], NOW).await.unwrap()
}

async fn usable(store: &SqliteStore, terms: &GlassTerms, seconds: i64) -> bool {
    let now = NOW.plus_seconds(seconds);
    !store.approved_break_glass(&tenant(), "disk-key", terms, now).await.unwrap().is_empty()
}

/// Settles an attestation that uses the request `g`.
async fn spend(store: &SqliteStore, nonce: u8, terms: &GlassTerms, seconds: i64) -> Settled {
    let decision = StoredDecision {
        id: format!("d{nonce}"),
        tenant: tenant(),
        decided_at: NOW.plus_seconds(seconds),
        outcome: "refused",
        code: Some("reference.no_match".to_owned()),
        authenticated: true,
        record: "{}".to_owned(),
        digests: DecisionDigests::default(),
    };
    let used = GlassUse { id: "g".to_owned(), terms: terms.clone() };
    let settlement = Settlement {
        nonce: [nonce; 32],
        nonce_expires_at: NOW.plus_seconds(300),
        decision,
        counters: None,
        opening: None,
        ends_guest: None,
        break_glass: Some(used),
    };
    store.settle(settlement).await.unwrap()
}

#[tokio::test]
async fn two_others_approve_and_it_is_used_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let terms = terms(&[1, 2, 3, 4, 5], 2);
    assert!(store.request_break_glass(&tenant(), &request("g"), 16).await.unwrap());
    assert!(!usable(&store, &terms, 0).await);
    assert_eq!(spend(&store, 1, &terms, 0).await, Settled::Overtaken);
    // Not by the person who asks, with whichever certificate, and not with their certificate.
    assert_eq!(approve(&store, "alice", 2).await, GlassApproved::Own);
    assert_eq!(approve(&store, "bob", 1).await, GlassApproved::Own);
    assert_eq!(approve(&store, "bob", 2).await, GlassApproved::Counted(1));
    // One person is one approval, and one certificate is one person.
    assert_eq!(approve(&store, "bob", 3).await, GlassApproved::Twice);
    assert_eq!(approve(&store, "carol", 2).await, GlassApproved::Twice);
    assert!(!usable(&store, &terms, 0).await);
    assert_eq!(approve(&store, "carol", 3).await, GlassApproved::Counted(2));
    assert!(usable(&store, &terms, 0).await);
    assert!(!usable(&store, &terms, 600).await, "its time is over");
    assert_eq!(spend(&store, 2, &terms, 600).await, Settled::Overtaken);
    assert_eq!(spend(&store, 3, &terms, 1).await, Settled::Recorded);
    assert_eq!(spend(&store, 4, &terms, 2).await, Settled::Overtaken);
    assert!(!usable(&store, &terms, 2).await);
    assert!(!store.is_consumed(&[4; 32]).await.unwrap(), "what was refused left nothing");
    assert_eq!(approve(&store, "dora", 4).await, GlassApproved::Absent);
    let query = AuditQuery { limit: 100, contains: Some("\"g\"".to_owned()), ..AuditQuery::default() };
    let records = store.audit_records(&tenant(), &query).await.unwrap();
    let kinds: Vec<&str> = records.iter().map(|record| record.entry.kind.as_str()).collect();
    let approved = "break-glass.approved";
    assert_eq!(kinds, ["break-glass.requested", approved, approved, "break-glass.used"]);
}

#[tokio::test]
async fn only_persons_who_are_trusted_at_the_time_of_use_count() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    assert!(store.request_break_glass(&tenant(), &request("g"), 16).await.unwrap());
    let _counted = approve(&store, "bob", 2).await;
    let _counted = approve(&store, "carol", 3).await;
    assert!(usable(&store, &terms(&[1, 2, 3], 2), 0).await);
    assert!(!usable(&store, &terms(&[1, 2], 2), 0).await, "the configuration names somebody no more");
    assert!(!usable(&store, &terms(&[2, 3], 2), 0).await, "nor who asks");
    assert!(!usable(&store, &terms(&[1, 2, 3], 3), 0).await, "the configuration asks for more by now");
    // An auditor's approval, should one ever get in, is none.
    let _counted = approve(&store, "frank", 6).await;
    assert!(!usable(&store, &terms(&[1, 2, 3, 6], 3), 0).await);
    let _removed = store.remove_administrator(&tenant(), "admin-3", NOW).await.unwrap();
    assert!(!usable(&store, &terms(&[1, 2, 3, 6], 2), 0).await, "an administrator was removed");
    let _counted = approve(&store, "dora", 4).await;
    assert!(usable(&store, &terms(&[1, 2, 3, 4], 2), 0).await);
    let _removed = store.remove_administrator(&tenant(), "admin-1", NOW).await.unwrap();
    assert!(!usable(&store, &terms(&[1, 2, 3, 4], 2), 0).await, "who asked was removed");
}

#[tokio::test]
async fn a_request_is_taken_back_and_there_are_few() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let terms = terms(&[1, 2, 3], 2);
    assert!(store.request_break_glass(&tenant(), &request("g"), 1).await.unwrap());
    assert!(!store.request_break_glass(&tenant(), &request("h"), 1).await.unwrap());
    let _counted = approve(&store, "bob", 2).await;
    let _counted = approve(&store, "carol", 3).await;
    assert!(store.revoke_break_glass(&tenant(), "g", "admin-5", NOW).await.unwrap());
    assert!(!store.revoke_break_glass(&tenant(), "g", "admin-5", NOW).await.unwrap());
    assert_eq!(spend(&store, 1, &terms, 0).await, Settled::Overtaken);
    assert!(store.request_break_glass(&tenant(), &request("h"), 1).await.unwrap());
    let long = BreakGlass { expires_at: NOW.plus_seconds(3601), ..request("i") };
    assert!(store.request_break_glass(&tenant(), &long, 16).await.is_err(), "an hour at most");
    let alone = BreakGlass { needed: 1, ..request("j") };
    assert!(store.request_break_glass(&tenant(), &alone, 16).await.is_err(), "two at least");
}
