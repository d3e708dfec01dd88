//! Rows of database roles in a real store: every role that may be there has one, until it is gone.
#![expect(clippy::unwrap_used, reason = "tests")]

use verifier::Timestamp;

use super::{
    super::{
        CredentialStore, DATABASE_ROLE, DecisionStore, EndCause, GuestRecord, Lease, LeaseSelector, LeaseStore,
        Opening, RoleIntent, Settled, Settlement, StoredDecision, TenantId,
    },
    SqliteStore,
};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const NOW_MS: i64 = 1_800_000_000_000;

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn intent(lease: &str) -> RoleIntent {
    RoleIntent {
        role: format!("role-of-{lease}"),
        lease: lease.to_owned(),
        server: "orders".to_owned(),
        requested_at: NOW,
        settle_by: NOW.plus_seconds(30),
    }
}

/// A decision that opens `lease`, or renews it.
fn settlement(nonce: u8, lease: &str, renews: bool) -> Settlement {
    let guest = GuestRecord {
        id: "guest".to_owned(),
        workloads: Vec::new(),
        platform: "bare".to_owned(),
        hwmodel: "amd-milan".to_owned(),
        tcb_status: None,
        measurement: None,
        chip: None,
        tee_key: "thumbprint".to_owned(),
        report: None,
    };
    let opened = Lease {
        id: lease.to_owned(),
        kind: DATABASE_ROLE,
        name: "orders-rw".to_owned(),
        version: 1,
        status: lease.bytes().map(u64::from).sum(),
        issued_at: NOW,
        expires_at: NOW.plus_seconds(60),
    };
    let renews = if renews { vec![lease.to_owned()] } else { Vec::new() };
    let opening = Opening {
        guest,
        sets: Vec::new(),
        grounds: Vec::new(),
        leases: vec![opened],
        certificates: Vec::new(),
        renews,
    };
    let decision = StoredDecision {
        id: format!("decision-{nonce}"),
        tenant: tenant(),
        decided_at: NOW,
        outcome: "affirmed",
        code: None,
        authenticated: true,
        record: "{}".to_owned(),
        digests: crate::store::DecisionDigests::default(),
    };
    Settlement {
        nonce: [nonce; 32],
        nonce_expires_at: NOW.plus_seconds(300),
        decision,
        counters: None,
        opening: Some(opening),
        ends_guest: None,
        break_glass: None,
    }
}

async fn to_drop(store: &SqliteStore, now_ms: i64) -> Vec<(String, bool)> {
    let due = store.roles_to_drop(&TenantId::default_tenant(), "orders", now_ms, 64).await.unwrap();
    due.into_iter().map(|role| (role.role, role.settled)).collect()
}

#[tokio::test]
async fn a_lease_stands_on_a_role_that_was_written_down_and_on_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    assert_eq!(store.settle(settlement(1, "a", false)).await.unwrap(), Settled::Overtaken);
    assert!(store.request_role(&tenant(), &intent("a"), 9).await.unwrap());
    assert_eq!(store.settle(settlement(1, "a", false)).await.unwrap(), Settled::Recorded);
    assert_eq!(store.settle(settlement(2, "a", true)).await.unwrap(), Settled::Recorded);
    // Long after the time of the request: the lease came in time.
    assert_eq!(to_drop(&store, NOW_MS + 40_000).await, []);
    let ended = store.end_leases(&tenant(), LeaseSelector::Lease("a"), EndCause::Released, NOW).await.unwrap();
    assert_eq!(ended, 1);
    let wanted = [("role-of-a".to_owned(), true)];
    assert_eq!(to_drop(&store, NOW_MS).await, wanted);
    // What another process sees, after this one is gone.
    drop(store);
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    assert_eq!(to_drop(&store, NOW_MS).await, wanted);
    store.role_not_dropped("role-of-a", "away", NOW_MS + 250).await.unwrap();
    assert_eq!((to_drop(&store, NOW_MS + 249).await, to_drop(&store, NOW_MS + 250).await), (vec![], wanted.to_vec()));
    let standing = store.standing_roles(None).await.unwrap();
    let shown: Vec<_> =
        standing.iter().map(|role| (role.state.as_str(), role.attempts, role.last_error.as_deref())).collect();
    assert_eq!(shown, [("ending", 1, Some("away"))]);
    store.role_dropped("role-of-a", NOW).await.unwrap();
    assert_eq!((to_drop(&store, NOW_MS + 250).await, store.standing_roles(None).await.unwrap()), (vec![], vec![]));
}

#[tokio::test]
async fn a_role_whose_lease_did_not_come_goes_and_gets_none_later() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    for lease in ["late", "given-up"] {
        assert!(store.request_role(&tenant(), &intent(lease), 9).await.unwrap());
    }
    store.abandon_role("role-of-given-up").await.unwrap();
    assert_eq!(to_drop(&store, NOW_MS).await, [("role-of-given-up".to_owned(), false)]);
    assert_eq!(store.settle(settlement(1, "given-up", false)).await.unwrap(), Settled::Overtaken);
    assert_eq!(to_drop(&store, NOW_MS + 29_999).await.len(), 1);
    assert_eq!(to_drop(&store, NOW_MS + 30_000).await.len(), 2);
    assert_eq!(store.settle(settlement(2, "late", false)).await.unwrap(), Settled::Overtaken);
    // Of another server nothing is said.
    assert_eq!(store.roles_to_drop(&TenantId::default_tenant(), "other", NOW_MS + 30_000, 64).await.unwrap(), []);
}

#[tokio::test]
async fn roles_of_one_server_are_bounded_until_they_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    assert!(store.request_role(&tenant(), &intent("a"), 2).await.unwrap());
    assert!(store.request_role(&tenant(), &intent("b"), 2).await.unwrap());
    assert!(!store.request_role(&tenant(), &intent("c"), 2).await.unwrap());
    store.role_dropped("role-of-a", NOW).await.unwrap();
    assert!(store.request_role(&tenant(), &intent("c"), 2).await.unwrap());
    store.sweep_roles(NOW.plus_seconds(1)).await.unwrap();
    // Its row is gone, and so its name is free; before, it was not.
    assert!(store.request_role(&tenant(), &intent("a"), 9).await.unwrap());
    assert!(store.request_role(&tenant(), &intent("b"), 9).await.is_err());
    let (once, again) = (store.installation().await.unwrap(), store.installation().await.unwrap());
    assert!(once == again && once.len() == 32);
}
