//! Two tenants in one store: whatever one has, the other neither reads, ends nor pushes out.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use keys::{envelope::RootKey, random::SystemRandom, secret::SecretBytes};
use sqlx::Row;
use verifier::Timestamp;

use super::{
    super::{
        Administrator, CredentialStore, DecisionQuery, DecisionStore, EndCause, ExposureStore, FederationStore,
        GuestQuery, GuestRecord, KeyPurpose, KeyStore, Lease, LeaseSelector, LeaseStore, Opening, PolicyKind,
        PolicyVersion, ReferenceStore, Removed, Retention, Role, RoleIntent, RuleStore, SecretMetadata, SecretStore,
        Settled, Settlement, StoredDecision, TenantId, TenantStore,
    },
    SqliteStore,
};
use crate::vault::{Vault, VaultError};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// A store with the tenants `acme` and `beta`.
async fn store(directory: &tempfile::TempDir) -> SqliteStore {
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    for name in ["acme", "beta", "beta"] {
        store.ensure_tenant(&tenant(name), NOW).await.unwrap();
    }
    store
}

fn settlement(whose: &str, number: u8) -> Settlement {
    let (id, place) = (format!("{whose}-{number}"), u64::from(number));
    let decision = StoredDecision {
        id: id.clone(),
        tenant: tenant(whose),
        decided_at: NOW,
        outcome: "affirmed",
        code: None,
        authenticated: true,
        record: format!("{{\"id\":\"{id}\"}}"),
        digests: crate::store::DecisionDigests::default(),
    };
    let guest = GuestRecord {
        id: id.clone(),
        workloads: vec!["web".to_owned()],
        platform: "bare".to_owned(),
        hwmodel: "amd-milan".to_owned(),
        tcb_status: None,
        measurement: None,
        chip: None,
        tee_key: "thumbprint".to_owned(),
        report: None,
    };
    let lease = Lease {
        id,
        kind: "ssh-cert",
        name: "disk-key".to_owned(),
        version: 1,
        status: place,
        issued_at: NOW,
        expires_at: NOW.plus_seconds(60),
    };
    let (leases, certificates, renews) = (vec![lease], Vec::new(), Vec::new());
    let opening = Opening { guest, sets: Vec::new(), grounds: Vec::new(), leases, certificates, renews };
    Settlement {
        nonce: [number; 32],
        nonce_expires_at: NOW.plus_seconds(300),
        decision,
        counters: None,
        opening: Some(opening),
        ends_guest: None,
        break_glass: None,
    }
}

#[tokio::test]
async fn decisions_guests_leases_events_and_lists_are_one_tenants() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    assert_eq!(store.settle(settlement("acme", 1)).await.unwrap(), Settled::Recorded);
    assert_eq!(store.settle(settlement("beta", 2)).await.unwrap(), Settled::Recorded);
    let query = DecisionQuery { limit: 100, ..DecisionQuery::default() };
    assert_eq!(store.decisions(&acme, &query).await.unwrap(), [r#"{"id":"acme-1"}"#]);
    assert_eq!(store.decision(&acme, "beta-2").await.unwrap(), None);
    assert!(store.lease(&acme, "beta-2").await.unwrap().is_none());
    assert!(store.guest(&acme, "beta-2").await.unwrap().is_none());
    let guests = GuestQuery { limit: 100, ..GuestQuery::default() };
    assert_eq!(store.guests(&acme, &guests).await.unwrap().len(), 1);
    assert_eq!(store.workload_summaries(&acme).await.unwrap().first().unwrap().guests, 1);
    assert_eq!(store.exposure(&acme).await.unwrap().first().unwrap().open, 1);
    // What acme ends is acme's, whatever it names.
    for selector in [LeaseSelector::Lease("beta-2"), LeaseSelector::Guest("beta-2")] {
        assert_eq!(store.end_leases(&acme, selector, EndCause::Revoked, NOW).await.unwrap(), 0);
    }
    let all = LeaseSelector::Credential { kind: "ssh-cert", name: "disk-key", version: None };
    assert_eq!(store.end_leases(&acme, all, EndCause::Revoked, NOW).await.unwrap(), 1);
    assert!(store.lease(&beta, "beta-2").await.unwrap().unwrap().ended_at.is_none());
    assert_eq!(store.lease_events(&acme, 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.lease_events(&beta, 0, 10).await.unwrap(), []);
    assert_eq!(store.ended_status_places(&acme, 0, 100).await.unwrap(), [1]);
    assert_eq!(store.ended_status_places(&beta, 0, 100).await.unwrap(), Vec::<u64>::new());
    let since = NOW.plus_seconds(-1);
    assert_eq!(store.places_ended_since(&acme, "ssh-cert", since).await.unwrap(), [1]);
    assert_eq!(store.places_ended_since(&beta, "ssh-cert", since).await.unwrap(), Vec::<u64>::new());
    // The rows themselves name one tenant each.
    for table in ["decisions", "leases", "guests"] {
        let rows = format!("SELECT DISTINCT tenant FROM {table} WHERE id LIKE 'beta-%'");
        let rows = sqlx::query(sqlx::AssertSqlSafe(rows)).fetch_all(&store.pool).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.try_get("tenant").unwrap()).collect();
        assert_eq!(found, ["beta"], "{table}");
    }
}

#[tokio::test]
async fn a_tenant_with_many_decisions_pushes_out_nobody_elses() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let refused = |whose: &str, number| {
        let mut settlement = Settlement { opening: None, ..settlement(whose, number) };
        settlement.decision.authenticated = false;
        settlement
    };
    assert_eq!(store.settle(refused("acme", 1)).await.unwrap(), Settled::Recorded);
    for number in 2..=5 {
        assert_eq!(store.settle(refused("beta", number)).await.unwrap(), Settled::Recorded);
    }
    let keep = Retention { unauthenticated: 2, decisions: 1, since: NOW };
    for whose in ["acme", "beta"] {
        store.sweep(&tenant(whose), NOW, keep).await.unwrap();
    }
    let query = DecisionQuery { limit: 100, ..DecisionQuery::default() };
    assert_eq!(store.decisions(&tenant("acme"), &query).await.unwrap(), [r#"{"id":"acme-1"}"#]);
    assert_eq!(store.decisions(&tenant("beta"), &query).await.unwrap(), [r#"{"id":"beta-5"}"#]);
}

#[tokio::test]
async fn an_administrator_counts_at_one_tenant() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    let admin = Administrator { fingerprint: [1; 32], name: "admin".to_owned(), role: Role::Admin };
    store.insert_administrator(&acme, &admin, NOW).await.unwrap();
    assert_eq!(store.administrator(&acme, &[1; 32]).await.unwrap(), Some(admin.clone()));
    for other in [&beta, &TenantId::default_tenant()] {
        assert_eq!(store.administrator(other, &[1; 32]).await.unwrap(), None);
        assert_eq!(store.administrators(other).await.unwrap(), []);
        assert_eq!(store.remove_administrator(other, "admin", NOW).await.unwrap(), Removed::Absent);
    }
    // The same name is another one's there, and it is no other tenant's last.
    let other = Administrator { fingerprint: [2; 32], ..admin };
    store.insert_administrator(&beta, &other, NOW).await.unwrap();
    assert_eq!(store.remove_administrator(&acme, "admin", NOW).await.unwrap(), Removed::Last);
    let counts: Vec<_> = store.tenants().await.unwrap().into_iter().map(|tenant| tenant.administrators).collect();
    assert_eq!(counts, [1, 1, 0], "acme, beta, default");
}

#[tokio::test]
async fn keys_and_secrets_open_for_their_tenant_alone_also_when_a_row_is_moved() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(store(&directory).await);
    let first = Vault::new(store.clone(), RootKey::generate(&mut SystemRandom::new()).unwrap());
    let (acme, beta) = (first.of_tenant(&tenant("acme")), first.of_tenant(&tenant("beta")));
    let content = SecretBytes::new(vec![7; 32]);
    acme.put_key(KeyPurpose::Nonce, "nonce-1", &content, NOW, NOW).await.unwrap();
    assert_eq!(acme.keys(KeyPurpose::Nonce).await.unwrap().len(), 1);
    for other in [&beta, &first] {
        assert!(other.keys(KeyPurpose::Nonce).await.unwrap().is_empty());
        assert_eq!(other.retire_keys(KeyPurpose::Nonce, "none", NOW).await.unwrap(), 0);
        assert!(other.key_times(KeyPurpose::Nonce).await.unwrap().is_empty());
        let put = other.put_successor(KeyPurpose::Nonce, ("nonce-2", &content), "nonce-1", NOW, NOW).await;
        assert!(!put.unwrap(), "another tenant's key has no successor here");
    }
    let metadata = SecretMetadata {
        name: "disk-key".to_owned(),
        version: 1,
        workloads: vec!["web".to_owned()],
        bridge: false,
        rotation: super::super::Rotation::Operator,
        offline: None,
        staged: false,
        created_by: "admin".to_owned(),
        created_at: NOW,
    };
    acme.put_secret(&tenant("acme"), metadata, &content).await.unwrap();
    assert!(store.newest_secret(&tenant("beta"), "disk-key").await.unwrap().is_none());
    assert!(store.secret_metadata(&tenant("beta"), None).await.unwrap().is_empty());
    let allowance = crate::store::OfflineAllowance::new(60, 1);
    assert_eq!(store.allow_offline(&tenant("beta"), "disk-key", allowance, NOW).await.unwrap(), 0);
    assert_eq!(store.delete_secret(&tenant("beta"), "disk-key", NOW).await.unwrap(), 0);
    for whose in ["beta", "default"] {
        for table in ["protected_keys", "secrets"] {
            let moved = format!("UPDATE {table} SET tenant = ?");
            sqlx::query(sqlx::AssertSqlSafe(moved)).bind(whose).execute(&store.pool).await.unwrap();
        }
        let other = first.of_tenant(&tenant(whose));
        assert!(matches!(other.keys(KeyPurpose::Nonce).await, Err(VaultError::Envelope(_))), "{whose}");
        let moved = store.newest_secret(&tenant(whose), "disk-key").await.unwrap().unwrap();
        let opened = other.open_secret(&tenant(whose), "disk-key", &moved);
        assert!(matches!(opened, Err(VaultError::Envelope(_))), "{whose}");
    }
}

#[tokio::test]
async fn rules_and_database_roles_are_one_tenants() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    let policy = PolicyVersion {
        kind: PolicyKind::Release,
        version: 0,
        digest: "d".to_owned(),
        author: "admin".to_owned(),
        created_at: NOW,
        restores: None,
        source: "package countersign.release".to_owned(),
    };
    assert_eq!(store.insert_policy(&acme, &policy).await.unwrap(), 1);
    assert!(store.policies(&beta, PolicyKind::Release).await.unwrap().is_empty());
    assert!(store.reference_sets(&beta).await.unwrap().is_empty());
    assert!(store.federations(&beta).await.unwrap().is_empty());
    let intent = |lease: &str| RoleIntent {
        role: format!("role-of-{lease}"),
        lease: lease.to_owned(),
        server: "orders".to_owned(),
        requested_at: NOW,
        settle_by: NOW,
    };
    // Each has so many of its own, on a server that happens to have the same name.
    for (tenant, lease) in [(&acme, "a"), (&beta, "b")] {
        assert!(store.request_role(tenant, &intent(lease), 1).await.unwrap());
    }
    assert!(!store.request_role(&acme, &intent("c"), 1).await.unwrap());
    let due = NOW.as_unix().saturating_mul(1000);
    let roles = store.roles_to_drop(&acme, "orders", due, 10).await.unwrap();
    assert_eq!(roles.iter().map(|role| role.role.as_str()).collect::<Vec<_>>(), ["role-of-a"]);
    assert_eq!(store.standing_roles(Some(&beta)).await.unwrap().first().unwrap().state, "requested");
    assert_eq!(store.standing_roles(None).await.unwrap().len(), 2);
}
