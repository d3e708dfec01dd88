//! Leases in a real store: what ends them, that an end is told once, and that nothing is opened on what is revoked.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use evidence_formats::guest_report::GuestReport;
use verifier::Timestamp;

use super::{
    super::{
        DecisionStore, EndCause, Ground, GroundKind, GuestQuery, GuestRecord, Lease, LeaseSelector, LeaseStore,
        Opening, Revocation, Settled, Settlement, StoreError, StoredDecision, TenantId,
    },
    SqliteStore,
};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

async fn store(directory: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&directory.path().join("store.db")).await.unwrap()
}

fn lease(id: &str, status: u64) -> Lease {
    let (name, kind) = (format!("name-of-{id}"), "secret");
    Lease { id: id.into(), kind, name, version: 3, status, issued_at: NOW, expires_at: NOW.plus_seconds(60) }
}

/// A guest with the leases `own` and `own-secret`, resting on `grounds`.
fn attestation(nonce: u8, own: &str, grounds: Vec<Ground>) -> Settlement {
    let guest = GuestRecord {
        id: own.to_owned(),
        workloads: vec!["api".to_owned(), "web".to_owned()],
        platform: "bare".to_owned(),
        hwmodel: "amd-milan".to_owned(),
        tcb_status: None,
        measurement: Some("9f".repeat(48)),
        chip: None,
        tee_key: "thumbprint".to_owned(),
        report: None,
    };
    let status = u64::from(nonce) * 10;
    let leases = vec![lease(own, status), lease(&format!("{own}-secret"), status + 1)];
    settlement(
        nonce,
        own,
        Some(Opening { guest, sets: Vec::new(), grounds, leases, certificates: Vec::new(), renews: Vec::new() }),
    )
}

fn settlement(nonce: u8, decision: &str, opening: Option<Opening>) -> Settlement {
    let decision = StoredDecision {
        id: decision.to_owned(),
        tenant: tenant(),
        decided_at: NOW,
        outcome: "affirmed",
        code: None,
        authenticated: true,
        record: "{}".to_owned(),
        digests: crate::store::DecisionDigests::default(),
    };
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

fn web_v3() -> Vec<Ground> {
    vec![
        Ground::new(GroundKind::Workload, "web"),
        Ground::reference_set("web-prod", None),
        Ground::reference_set("web-prod", Some(3)),
    ]
}

async fn open(store: &SqliteStore, nonce: u8, own: &str, grounds: Vec<Ground>) {
    assert_eq!(store.settle(attestation(nonce, own, grounds)).await.unwrap(), Settled::Recorded);
}

/// Lease and cause of every event.
async fn told(store: &SqliteStore) -> Vec<(String, String)> {
    let events = store.lease_events(&tenant(), 0, 100).await.unwrap();
    events.into_iter().map(|event| (event.lease, event.cause)).collect()
}

fn pair(lease: &str, cause: &str) -> (String, String) {
    (lease.to_owned(), cause.to_owned())
}

#[tokio::test]
async fn a_revoked_reference_set_ends_what_rested_on_it_and_nothing_else_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    open(&store, 1, "a", web_v3()).await;
    open(&store, 2, "b", vec![Ground::reference_set("web-prod", None), Ground::reference_set("web-prod", Some(4))])
        .await;
    let set = Ground::reference_set("web-prod", Some(3));
    for expected in [2, 0] {
        let ended = store.end_leases(&tenant(), LeaseSelector::Ground(&set), EndCause::Revoked, NOW).await.unwrap();
        assert_eq!(ended, expected);
    }
    assert_eq!(told(&store).await, [pair("a", "revoked"), pair("a-secret", "revoked")]);
    assert_eq!(store.ended_status_places(&TenantId::default_tenant(), 0, 100).await.unwrap(), [10, 11]);
    let all = Ground::reference_set("web-prod", None);
    let ended = store.end_leases(&tenant(), LeaseSelector::Ground(&all), EndCause::Revoked, NOW).await.unwrap();
    assert_eq!(ended, 2);
    // What another process sees, after this one is gone.
    drop(store);
    let again = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    assert_eq!(told(&again).await.len(), 4);
}

#[tokio::test]
async fn every_selector_ends_what_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    for (nonce, own) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        open(&store, nonce, own, web_v3()).await;
    }
    let credential = |version| LeaseSelector::Credential { kind: "secret", name: "name-of-b-secret", version };
    let cases = [
        (LeaseSelector::Lease("a"), 1),
        (credential(Some(2)), 0),
        (credential(Some(3)), 1),
        (credential(None), 0),
        (LeaseSelector::Guest("c"), 2),
        (LeaseSelector::Lease("nobody"), 0),
    ];
    for (selector, expected) in cases {
        let ended = store.end_leases(&tenant(), selector, EndCause::Released, NOW).await.unwrap();
        assert_eq!(ended, expected, "{selector:?}");
    }
    let query = GuestQuery { workload: Some("web".to_owned()), open_only: true, limit: 10 };
    let guests = store.guests(&tenant(), &query).await.unwrap();
    let holding: Vec<_> = guests.iter().map(|guest| (guest.id.as_str(), guest.leases.len())).collect();
    assert_eq!(holding, [("d", 2), ("b", 1), ("a", 1)], "the newest first");
    let other = GuestQuery { workload: Some("we".to_owned()), ..query };
    assert!(store.guests(&tenant(), &other).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_opened_on_what_is_revoked_until_it_is_lifted() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    open(&store, 1, "a", web_v3()).await;
    let ground = Ground::new(GroundKind::Workload, "web");
    let revocation = Revocation {
        id: "r1".to_owned(),
        ground: ground.clone(),
        reason: "drill".to_owned(),
        author: "admin".to_owned(),
        created_at: NOW,
    };
    assert_eq!(store.revoke(&tenant(), &revocation).await.unwrap(), 2);
    let twice = Revocation { id: "r2".to_owned(), ..revocation.clone() };
    assert!(matches!(store.revoke(&tenant(), &twice).await, Err(StoreError::Conflict)));
    assert_eq!(store.settle(attestation(2, "b", web_v3())).await.unwrap(), Settled::Revoked(ground));
    assert!(!store.is_consumed(&[2; 32]).await.unwrap(), "a settlement that is refused leaves nothing");
    assert_eq!(store.revocations(&tenant()).await.unwrap(), [revocation]);
    assert!(store.lift_revocation(&tenant(), "r1", NOW).await.unwrap());
    assert!(!store.lift_revocation(&tenant(), "r1", NOW).await.unwrap());
    open(&store, 2, "b", web_v3()).await;
    assert!(store.lease(&tenant(), "a").await.unwrap().unwrap().ended_at.is_some(), "what ended stays ended");
}

#[tokio::test]
async fn a_lease_is_renewed_while_it_is_open_and_a_denied_one_ends() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    open(&store, 1, "a", web_v3()).await;
    let mut renewal = attestation(2, "a", web_v3());
    renewal.decision.id = "renewal".to_owned();
    let opening = renewal.opening.as_mut().unwrap();
    opening.renews = vec!["a".to_owned(), "a-secret".to_owned()];
    opening.leases.truncate(1);
    opening.leases.iter_mut().for_each(|lease| {
        lease.expires_at = NOW.plus_seconds(120);
        lease.version = 4;
    });
    assert_eq!(store.settle(renewal.clone()).await.unwrap(), Settled::Recorded);
    let own = store.lease(&tenant(), "a").await.unwrap().unwrap();
    assert_eq!((own.expires_at, own.version, own.status), (NOW.plus_seconds(120), 4, 10));
    assert_eq!(told(&store).await, [pair("a-secret", "denied")]);
    renewal.nonce = [3; 32];
    renewal.decision.id = "too-late".to_owned();
    assert_eq!(store.settle(renewal).await.unwrap(), Settled::LeaseEnded);
    // Fresh evidence that is worse ends the rest.
    let worse = Settlement { ends_guest: Some("a".to_owned()), ..settlement(4, "worse", None) };
    assert_eq!(store.settle(worse).await.unwrap(), Settled::Recorded);
    assert_eq!(told(&store).await, [pair("a-secret", "denied"), pair("a", "evidence")]);
}

#[tokio::test]
async fn leases_expire_and_leave_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    open(&store, 1, "a", web_v3()).await;
    assert_eq!(store.end_expired(NOW.plus_seconds(59)).await.unwrap(), 0);
    assert_eq!(store.end_expired(NOW.plus_seconds(60)).await.unwrap(), 2);
    assert_eq!(store.end_expired(NOW.plus_seconds(61)).await.unwrap(), 0);
    assert_eq!(told(&store).await, [pair("a", "expired"), pair("a-secret", "expired")]);
    assert!(
        store.ended_status_places(&TenantId::default_tenant(), 0, 100).await.unwrap().is_empty(),
        "the token says itself that it is over"
    );
    assert_eq!(store.newest_lease_event().await.unwrap(), 2);
    store.sweep_leases(NOW.plus_seconds(3600)).await.unwrap();
    assert!(store.lease(&tenant(), "a").await.unwrap().is_some());
    store.sweep_leases(NOW.plus_seconds(40 * 24 * 3600)).await.unwrap();
    assert!(store.guest(&tenant(), "a").await.unwrap().is_none());
    assert!(told(&store).await.is_empty());
}

#[tokio::test]
async fn places_are_given_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    assert_eq!(store.take_status_places(5).await.unwrap(), 0);
    assert_eq!(store.take_status_places(3).await.unwrap(), 5);
    assert_eq!(store.next_status_place().await.unwrap(), 8);
}

#[tokio::test]
async fn what_guests_report_is_kept_and_summed_up_by_workload() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let report = |static_secrets| Some(GuestReport { static_secrets, complete: true });
    for (nonce, guest, said) in [(1, "g1", report(9)), (2, "g2", report(3)), (3, "g3", None)] {
        let mut attested = attestation(nonce, guest, Vec::new());
        attested.opening.as_mut().unwrap().guest.report = said;
        assert_eq!(store.settle(attested).await.unwrap(), Settled::Recorded);
    }
    let guest = store.guest(&tenant(), "g1").await.unwrap().unwrap();
    assert_eq!(guest.guest_reported.unwrap().report, report(9).unwrap());
    assert!(store.guest(&tenant(), "g3").await.unwrap().unwrap().guest_reported.is_none());
    let summaries = store.workload_summaries(&tenant()).await.unwrap();
    let named: Vec<_> = summaries.iter().map(|one| (one.workload.as_str(), one.guests, one.leases)).collect();
    assert_eq!(named, [("api", 3, 6), ("web", 3, 6)]);
    assert!(summaries.iter().all(|one| one.guest_reported.unwrap().report.static_secrets == 3));
}
