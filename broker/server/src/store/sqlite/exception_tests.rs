//! Exceptions in a real store: how they end, that alerts come once and in time, and that every use is counted and told.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::Value;
use verifier::Timestamp;

use super::{
    super::{
        Added, Administrator, Exception, ExceptionCounts, ExceptionStore, HandedOver, Handover, KeyStore, LeaseStore,
        Removed, Role, StoreError, TenantId,
    },
    SqliteStore,
};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const DAY: i64 = 24 * 3600;
const ALERTS: [u32; 3] = [14, 7, 1];

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

async fn store(directory: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&directory.path().join("store.db")).await.unwrap()
}

fn exception(id: &str, name: &str, secret: &str, days: i64) -> Exception {
    Exception {
        id: id.to_owned(),
        name: name.to_owned(),
        owner: "erp-team".to_owned(),
        reason: "the vendor has no federation yet".to_owned(),
        system: "erp".to_owned(),
        secret: secret.to_owned(),
        client: Some("dns:erp.example".parse().unwrap()),
        sources: vec!["192.0.2.0/24".parse().unwrap(), "::1/128".parse().unwrap()],
        rotation: None,
        joins: false,
        extends: None,
        author: "admin".to_owned(),
        created_at: NOW,
        expires_at: NOW.plus_seconds(days.saturating_mul(DAY)),
        uses: 0,
        last_use_at: None,
        ended_at: None,
        end_cause: None,
    }
}

fn handover(exception: &str) -> Handover<'_> {
    Handover { exception, client: "dns:erp.example", source: "192.0.2.7".to_owned(), version: 2, per_minute: 3 }
}

/// Kinds and data of all events.
async fn events(store: &SqliteStore) -> Vec<(String, Value)> {
    let events = store.lease_events(&tenant(), 0, 100).await.unwrap();
    events.into_iter().map(|event| (event.event, serde_json::from_str(&event.data.unwrap()).unwrap())).collect()
}

#[tokio::test]
async fn what_is_registered_is_read_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let wanted = exception("e1", "erp", "erp-password", 90);
    assert_eq!(store.add_exception(&tenant(), &wanted).await.unwrap(), Added::Yes);
    assert_eq!(store.exception(&tenant(), "erp").await.unwrap().unwrap(), wanted);
    assert_eq!(store.exception(&tenant(), "e1").await.unwrap().unwrap(), wanted);
    assert_eq!(store.exceptions(&tenant(), false, 10).await.unwrap(), [wanted]);
    let (kind, data) = events(&store).await.remove(0);
    assert_eq!((kind.as_str(), data["owner"].as_str()), ("exception-added", Some("erp-team")));
}

#[tokio::test]
async fn a_name_and_a_secret_have_one_live_exception() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let add = async |exception: Exception| store.add_exception(&tenant(), &exception).await.unwrap();
    assert_eq!(add(exception("e1", "erp", "erp-password", 1)).await, Added::Yes);
    assert_eq!(add(exception("e2", "erp", "other", 1)).await, Added::NameTaken);
    assert_eq!(add(exception("e3", "crm", "erp-password", 1)).await, Added::SecretTaken);
    assert!(store.end_exception(&tenant(), "e1", "admin", "migrated", NOW).await.unwrap());
    assert!(!store.end_exception(&tenant(), "e1", "admin", "again", NOW).await.unwrap());
    assert_eq!(add(exception("e3", "erp", "erp-password", 1)).await, Added::Yes);
    assert_eq!(store.exceptions(&tenant(), false, 10).await.unwrap().len(), 1);
    assert_eq!(store.exceptions(&tenant(), true, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_extension_is_a_new_exception_and_ends_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let old = exception("e1", "erp", "erp-password", 10);
    assert_eq!(store.add_exception(&tenant(), &old).await.unwrap(), Added::Yes);
    let new = Exception { id: "e2".to_owned(), extends: Some("e1".to_owned()), ..old.clone() };
    assert_eq!(store.add_exception(&tenant(), &new).await.unwrap(), Added::Yes);
    assert_eq!(store.exception(&tenant(), "erp").await.unwrap().unwrap().id, "e2");
    let ended = store.exception(&tenant(), "e1").await.unwrap().unwrap();
    assert_eq!(ended.end_cause.as_deref(), Some("extended"));
    // The old one is over: it cannot be extended twice, and what was refused ends nothing.
    let twice = Exception { id: "e3".to_owned(), ..new };
    assert_eq!(store.add_exception(&tenant(), &twice).await.unwrap(), Added::Over);
    let refused = Exception { id: "e4".to_owned(), extends: Some("e2".to_owned()), name: "crm".to_owned(), ..old };
    let other = exception("e5", "crm", "crm-password", 10);
    assert_eq!(store.add_exception(&tenant(), &other).await.unwrap(), Added::Yes);
    assert_eq!(store.add_exception(&tenant(), &refused).await.unwrap(), Added::NameTaken);
    assert!(store.exception(&tenant(), "e2").await.unwrap().unwrap().is_live(NOW));
}

#[tokio::test]
async fn a_use_is_counted_told_and_limited_and_over_with_the_exception() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    assert_eq!(store.add_exception(&tenant(), &exception("e1", "erp", "p", 1)).await.unwrap(), Added::Yes);
    let hand_over = async |at| store.hand_over(&tenant(), &handover("e1"), at).await.unwrap();
    for count in 1..=3 {
        assert_eq!(hand_over(NOW).await, HandedOver::Counted(count));
    }
    assert_eq!(hand_over(NOW.plus_seconds(59)).await, HandedOver::TooOften);
    assert_eq!(hand_over(NOW.plus_seconds(60)).await, HandedOver::Counted(4));
    let end = NOW.plus_seconds(DAY);
    assert_eq!(hand_over(end.plus_seconds(-1)).await, HandedOver::Counted(5));
    assert_eq!(hand_over(end).await, HandedOver::Over);
    assert_eq!(store.hand_over(&tenant(), &handover("e9"), NOW).await.unwrap(), HandedOver::Over);
    let used = store.exception(&tenant(), "erp").await.unwrap().unwrap();
    assert_eq!((used.uses, used.last_use_at), (5, Some(end.plus_seconds(-1))));
    let told = events(&store).await;
    assert_eq!(told.iter().filter(|(kind, _)| kind == "exception-used").count(), 5);
    assert_eq!(told[5].1["uses"], 5);
    let history = store.exception_history("e1", 100).await.unwrap();
    assert_eq!(history.len(), 6);
    assert_eq!(history[0].detail, "version 2 to 192.0.2.7");
}

#[tokio::test]
async fn every_alert_comes_once_the_most_urgent_first_and_then_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    assert_eq!(store.add_exception(&tenant(), &exception("e1", "erp", "p", 30)).await.unwrap(), Added::Yes);
    let tend = async |day: i64| {
        let now = NOW.plus_seconds(day.saturating_mul(DAY));
        let notices = store.tend_exceptions(&tenant(), &ALERTS, now).await.unwrap();
        notices.into_iter().map(|notice| notice.within_days).collect::<Vec<_>>()
    };
    assert_eq!(tend(15).await, []);
    assert_eq!(tend(16).await, [Some(14)]);
    assert_eq!(tend(17).await, []);
    // Nobody looked for a while: what is most urgent is told, and not what is past.
    assert_eq!(tend(29).await, [Some(1)]);
    assert_eq!(tend(29).await, []);
    let counted = async |day: i64| store.count_exceptions(&tenant(), NOW.plus_seconds(day.saturating_mul(DAY))).await;
    assert_eq!(counted(29).await.unwrap(), ExceptionCounts { live: 1, ending: 1 });
    assert_eq!(tend(30).await, [None]);
    assert_eq!(tend(31).await, []);
    assert_eq!(counted(31).await.unwrap(), ExceptionCounts { live: 0, ending: 0 });
    let told: Vec<String> = events(&store).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(told, ["exception-added", "exception-ending", "exception-ending", "exception-ended"]);
    let ended = store.exception(&tenant(), "erp").await.unwrap().unwrap();
    assert_eq!(ended.end_cause.as_deref(), Some("expired"));
}

#[tokio::test]
async fn one_that_is_short_from_the_start_is_alerted_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    assert_eq!(store.add_exception(&tenant(), &exception("e1", "erp", "p", 5)).await.unwrap(), Added::Yes);
    let notices = store.tend_exceptions(&tenant(), &ALERTS, NOW).await.unwrap();
    assert_eq!(notices[0].within_days, Some(7));
}

#[tokio::test]
async fn the_last_administrator_cannot_be_removed_and_a_removed_one_counts_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let administrator =
        |number: u8, name: &str, role| Administrator { fingerprint: [number; 32], name: name.into(), role };
    let insert = async |one: Administrator| store.insert_administrator(&tenant(), &one, NOW).await;
    insert(administrator(1, "first", Role::Admin)).await.unwrap();
    insert(administrator(2, "watcher", Role::Observer)).await.unwrap();
    assert!(matches!(insert(administrator(3, "watcher", Role::Observer)).await, Err(StoreError::Conflict)));
    assert!(matches!(insert(administrator(2, "other", Role::Observer)).await, Err(StoreError::Conflict)));
    assert_eq!(store.remove_administrator(&tenant(), "first", NOW).await.unwrap(), Removed::Last);
    assert_eq!(store.remove_administrator(&tenant(), "nobody", NOW).await.unwrap(), Removed::Absent);
    assert_eq!(store.administrator(&tenant(), &[2; 32]).await.unwrap().unwrap().role, Role::Observer);
    assert_eq!(store.remove_administrator(&tenant(), "watcher", NOW).await.unwrap(), Removed::Yes);
    assert!(store.administrator(&tenant(), &[2; 32]).await.unwrap().is_none());
    insert(administrator(4, "second", Role::Admin)).await.unwrap();
    assert_eq!(store.remove_administrator(&tenant(), "first", NOW).await.unwrap(), Removed::Yes);
    assert_eq!(store.administrators(&tenant()).await.unwrap().len(), 1);
}
