//! Exchanges in a real store: a proof is used once, nothing is opened on what ended, and budgets cannot be renewed.
#![expect(clippy::unwrap_used, reason = "tests")]

use verifier::Timestamp;

use super::{
    super::{
        DecisionDigests, DecisionStore, EndCause, ExchangeOpening, ExchangeSettled, ExchangeSettlement, ExchangeStore,
        Ground, GroundKind, GuestRecord, HeldLease, Lease, LeaseSelector, LeaseStore, Opening, Revocation, Settled,
        Settlement, Spending, StoredDecision, TenantId, UsedProof,
    },
    SqliteStore,
};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn decision(id: &str) -> StoredDecision {
    StoredDecision {
        id: id.to_owned(),
        tenant: tenant(),
        decided_at: NOW,
        outcome: "affirmed",
        code: None,
        authenticated: true,
        record: "{}".to_owned(),
        digests: DecisionDigests::default(),
    }
}

fn lease(id: &str, kind: &'static str, name: &str, status: u64) -> Lease {
    let (id, name) = (id.to_owned(), name.to_owned());
    Lease { id, kind, name, version: 1, status, issued_at: NOW, expires_at: NOW.plus_seconds(60) }
}

/// A store, and places for leases.
struct Scene {
    store: SqliteStore,
    _directory: tempfile::TempDir,
    next: std::cell::Cell<u8>,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
        Self { store, _directory: directory, next: std::cell::Cell::new(1) }
    }

    fn number(&self) -> u8 {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        number
    }

    /// A guest attests; the lease of its result.
    async fn attest(&self, id: &str, key: &str, chip: Option<&str>, renews: bool) -> HeldLease {
        let number = self.number();
        let guest = GuestRecord {
            id: id.to_owned(),
            workloads: vec!["web".to_owned()],
            platform: "bare".to_owned(),
            hwmodel: "amd-milan".to_owned(),
            tcb_status: None,
            measurement: Some("9f".repeat(48)),
            chip: chip.map(str::to_owned),
            tee_key: key.to_owned(),
            report: None,
        };
        let opening = Opening {
            guest,
            sets: Vec::new(),
            grounds: vec![Ground::new(GroundKind::Workload, "web")],
            leases: vec![lease(id, "attestation-result", "result", number.into())],
            certificates: Vec::new(),
            renews: if renews { vec![id.to_owned()] } else { Vec::new() },
        };
        let settlement = Settlement {
            nonce: [number; 32],
            nonce_expires_at: NOW.plus_seconds(300),
            decision: decision(&format!("{id}-{number}")),
            counters: None,
            opening: Some(opening),
            ends_guest: None,
            break_glass: None,
        };
        assert_eq!(self.store.settle(settlement).await.unwrap(), Settled::Recorded);
        self.held(id).await
    }

    async fn held(&self, id: &str) -> HeldLease {
        let status = self.store.lease(&tenant(), id).await.unwrap().unwrap().status;
        self.store.lease_at(&tenant(), status).await.unwrap().unwrap()
    }

    /// An exchange of this guest for `name` with this proof.
    async fn exchange(&self, guest: &str, rests_on: &[&HeldLease], name: &str, proof: u8) -> ExchangeSettled {
        let number = self.number();
        let opening = ExchangeOpening {
            guest: guest.to_owned(),
            rests_on: rests_on.iter().map(|held| (*held).clone()).collect(),
            policy: Ground::new(GroundKind::Policy, "release-v1"),
            lease: lease(&format!("exchange-{number}"), "exchange", name, number.into()),
            spending: Some(Spending { since: NOW.plus_seconds(-3600), seconds: 3600, tokens: 3, targets: 2 }),
        };
        let proof = UsedProof { id: [proof; 32], expires_at: NOW.plus_seconds(60) };
        let decision = decision(&format!("decision-{number}"));
        let settlement = ExchangeSettlement { proof: Some(proof), decision, opening: Some(opening) };
        self.store.settle_exchange(settlement).await.unwrap()
    }
}

#[tokio::test]
async fn a_proof_is_used_once_and_what_is_not_recorded_uses_nothing() {
    let scene = Scene::new().await;
    let result = scene.attest("a", "key", None, false).await;
    assert_eq!(scene.exchange("a", &[&result], "orders", 1).await, ExchangeSettled::Recorded);
    assert!(scene.store.is_proof_used(&[1; 32]).await.unwrap());
    assert_eq!(scene.exchange("a", &[&result], "orders", 1).await, ExchangeSettled::Replayed);
    let stranger = HeldLease { decision: "another".to_owned(), ..result.clone() };
    assert_eq!(scene.exchange("a", &[&stranger], "orders", 2).await, ExchangeSettled::Ended);
    assert!(!scene.store.is_proof_used(&[2; 32]).await.unwrap());
    // An old proof is forgotten long after it is too old to be shown.
    scene.store.sweep_proofs(NOW.plus_seconds(60 + 3600)).await.unwrap();
    assert!(scene.store.is_proof_used(&[1; 32]).await.unwrap());
    scene.store.sweep_proofs(NOW.plus_seconds(61 + 3600)).await.unwrap();
    assert!(!scene.store.is_proof_used(&[1; 32]).await.unwrap());
}

#[tokio::test]
async fn nothing_is_opened_on_a_lease_that_is_over() {
    let scene = Scene::new().await;
    let (result, subject) =
        (scene.attest("a", "key", None, false).await, scene.attest("b", "other", None, false).await);
    let both = [&result, &subject];
    assert_eq!(scene.exchange("a", &both, "orders", 1).await, ExchangeSettled::Recorded);
    // The guest attests again: what was shown is not its newest result.
    scene.attest("a", "key", None, true).await;
    assert_eq!(scene.exchange("a", &both, "orders", 2).await, ExchangeSettled::Ended);
    let result = scene.held("a").await;
    let both = [&result, &subject];
    assert_eq!(scene.exchange("a", &both, "orders", 3).await, ExchangeSettled::Recorded);
    let ended = scene.store.end_leases(&tenant(), LeaseSelector::Lease("b"), EndCause::Released, NOW).await.unwrap();
    assert_eq!(ended, 1);
    assert_eq!(scene.exchange("a", &both, "orders", 4).await, ExchangeSettled::Ended);
    assert_eq!(scene.exchange("a", &[&result], "orders", 5).await, ExchangeSettled::Recorded);
}

#[tokio::test]
async fn what_an_exchange_rests_on_ends_it() {
    for (kind, value) in [(GroundKind::Workload, "web"), (GroundKind::Policy, "release-v1")] {
        let scene = Scene::new().await;
        let result = scene.attest("a", "key", None, false).await;
        assert_eq!(scene.exchange("a", &[&result], "orders", 1).await, ExchangeSettled::Recorded);
        let ground = Ground::new(kind, value);
        let revocation = Revocation {
            id: "r".to_owned(),
            ground: ground.clone(),
            reason: "drill".to_owned(),
            author: "admin".to_owned(),
            created_at: NOW,
        };
        let ended = scene.store.revoke(&tenant(), &revocation).await.unwrap();
        let (expected, refused) = if kind == GroundKind::Policy {
            (1, ExchangeSettled::Revoked(ground))
        } else {
            (2, ExchangeSettled::Ended)
        };
        assert_eq!(ended, expected, "{value}");
        assert_eq!(scene.exchange("a", &[&result], "orders", 2).await, refused);
    }
}

#[tokio::test]
async fn a_budget_is_spent_whatever_the_guest_calls_itself() {
    for (again, chip, shared) in [
        ("key", None, true),
        ("another key", None, false),
        ("another key", Some("chip"), true),
        ("another key", Some("another chip"), false),
    ] {
        let scene = Scene::new().await;
        let first = scene.attest("a", "key", Some("chip"), false).await;
        for (proof, name) in [(1, "orders"), (2, "tools")] {
            assert_eq!(scene.exchange("a", &[&first], name, proof).await, ExchangeSettled::Recorded);
        }
        let spent = ExchangeSettled::Spent { seconds: 3600 };
        assert_eq!(scene.exchange("a", &[&first], "billing", 3).await, spent, "a third target");
        let second = scene.attest("b", again, chip, false).await;
        assert_eq!(scene.exchange("b", &[&second], "orders", 4).await, ExchangeSettled::Recorded);
        let outcome = scene.exchange("b", &[&second], "orders", 5).await;
        assert_eq!(outcome, if shared { spent } else { ExchangeSettled::Recorded }, "{again} {chip:?}");
    }
}
