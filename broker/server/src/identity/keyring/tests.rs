#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use std::sync::Arc;

use keys::envelope::RootKey;
use rcgen::{CertificateParams, KeyPair as Key};
use tempfile::TempDir;

use super::*;
use crate::{
    identity::{Upstream, spiffe},
    store::sqlite::SqliteStore,
};

const START: i64 = 1_790_000_000;
const DAY: i64 = 86_400;

struct Place {
    _directory: TempDir,
    vault: Vault,
}

async fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store")).await.unwrap();
    let root = RootKey::generate(&mut SystemRandom::new()).unwrap();
    Place { vault: Vault::new(Arc::new(store), root), _directory: directory }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(START + seconds)
}

fn terms(life: i64, upstream: Option<Upstream>) -> AuthorityTerms {
    AuthorityTerms { trust_domain: Some("example.org".parse().unwrap()), upstream, life }
}

impl Place {
    async fn ring(&self, seconds: i64) -> KeyRing {
        KeyRing::load(&self.vault, 300, at(seconds)).await.unwrap()
    }

    async fn succeed(&self, terms: &AuthorityTerms, seconds: i64) -> Succession {
        succeed(&self.vault, &self.ring(seconds).await, terms, at(seconds)).await.unwrap()
    }
}

fn sequence(ring: &KeyRing) -> i64 {
    let bundle: serde_json::Value = serde_json::from_slice(&ring.bundle).unwrap();
    bundle.get("spiffe_sequence").and_then(serde_json::Value::as_i64).unwrap()
}

fn anchors(ring: &KeyRing) -> Vec<Vec<u8>> {
    ring.authorities().map(<[u8]>::to_vec).collect()
}

fn signing(ring: &KeyRing) -> Vec<u8> {
    ring.ca().unwrap().anchors().next().unwrap().to_vec()
}

/// An SVID that the ring's CA issues now, for as long as one can live: its chain, and when it ends.
fn svid(ring: &KeyRing, now: Timestamp) -> String {
    let key = Key::generate().unwrap();
    ring.ca().unwrap().certify(&key, "spiffe://example.org/a", (now, now.plus_seconds(3600)), None).unwrap().chain
}

#[tokio::test]
async fn a_ca_is_succeeded_ahead_of_its_end_and_no_svid_is_orphaned() {
    let place = place().await;
    let terms = terms(30 * DAY, None);
    add_key(&place.vault, KeyPurpose::X509Ca, Some(&terms), at(0), at(0)).await.unwrap();
    let mut successions = 0;
    for day in 0..100 {
        let now = day * DAY;
        let before = place.ring(now).await;
        let due = place.succeed(&terms, now).await;
        if due == Succession::NotDue {
            continue;
        }
        assert!(matches!(due, Succession::Ahead(_)), "{due:?}");
        successions += 1;
        assert_eq!(place.succeed(&terms, now).await, Succession::NotDue, "one successor only");
        let (old, last_of_old) = (signing(&before), AHEAD - 1);
        let prepared = place.ring(now).await;
        assert_eq!((signing(&prepared), anchors(&prepared).len()), (old.clone(), 2), "published, not signing");
        assert!(sequence(&prepared) > sequence(&before));
        assert_eq!(signing(&place.ring(now + last_of_old).await), old);
        let new = place.ring(now + AHEAD).await;
        assert_ne!(signing(&new), old);
        // The last SVID of the old one ends here at the latest, and verifies until then.
        let held = place.ring(now + last_of_old + 3600).await;
        assert!(anchors(&held).contains(&old));
        assert!(before.ca().unwrap().validity().not_after > at(now + last_of_old + 3600));
        let over = place.ring(now + AHEAD + OVERLAP).await;
        assert_eq!(anchors(&over), [signing(&new)]);
        assert!(sequence(&over) > sequence(&prepared));
    }
    assert_eq!(successions, 3, "each in the last sixth of 30 days");
}

#[tokio::test]
async fn two_brokers_make_one_successor() {
    let place = place().await;
    let terms = terms(DAY, None);
    let first = add_key(&place.vault, KeyPurpose::X509Ca, Some(&terms), at(0), at(0)).await.unwrap();
    let ring = place.ring(DAY - 100).await;
    let both = tokio::join!(
        succeed(&place.vault, &ring, &terms, at(DAY - 100)),
        succeed(&place.vault, &ring, &terms, at(DAY - 100))
    );
    let ahead = [both.0.unwrap(), both.1.unwrap()].into_iter().filter(|made| *made != Succession::NotDue).count();
    assert_eq!((ahead, anchors(&place.ring(DAY).await).len()), (1, 2));
    let key = SecretBytes::new(vec![1]);
    let late = place.vault.put_successor(KeyPurpose::X509Ca, ("x", &key), &first, at(0), at(0));
    assert!(!late.await.unwrap());
}

#[tokio::test]
async fn two_changes_in_one_second_have_two_numbers() {
    let place = place().await;
    let terms = terms(DAY, None);
    let mut numbers = Vec::new();
    for purpose in [KeyPurpose::X509Ca, KeyPurpose::JwtSvid, KeyPurpose::JwtSvid] {
        let id = add_key(&place.vault, purpose, Some(&terms), at(0), at(0)).await.unwrap();
        numbers.push(sequence(&place.ring(0).await));
        place.vault.retire_keys(purpose, &id, at(0)).await.unwrap();
        numbers.push(sequence(&place.ring(0).await));
    }
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(numbers, sorted);
    numbers.dedup();
    assert_eq!(numbers.len(), 4, "three keys made, one taken back");
}

#[tokio::test]
async fn under_an_upstream_the_svid_brings_its_chain_and_the_bundle_holds_the_root() {
    let place = place().await;
    let (alone, under) = (terms(DAY, None), terms(DAY, Some(Upstream::for_tests(START + 20 * DAY))));
    add_key(&place.vault, KeyPurpose::X509Ca, Some(&alone), at(0), at(0)).await.unwrap();
    assert_eq!(svid(&place.ring(0).await, at(0)).matches("BEGIN CERTIFICATE").count(), 1);
    assert!(matches!(place.succeed(&under, 0).await, Succession::Ahead(_)), "another upstream");
    assert_eq!(place.succeed(&under, AHEAD).await, Succession::NotDue);
    let ring = place.ring(AHEAD).await;
    assert_eq!(anchors(&ring).len(), 2, "the old CA, and the root of the new one");
    let chain = svid(&ring, at(AHEAD));
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 3, "SVID, CA, intermediate");
    let ders: Vec<_> = pem::parse_many(chain.as_bytes()).unwrap().into_iter().map(pem::Pem::into_contents).collect();
    let parsed: Vec<_> = ders.iter().map(|der| Certificate::parse_der(der).unwrap()).collect();
    let root = under.upstream.as_ref().unwrap().roots().first().unwrap();
    let root = Certificate::parse_der(root).unwrap();
    for (below, above) in parsed.iter().zip(parsed.iter().skip(1).chain([&root])) {
        assert!(below.names_issuer(above) && below.verify_signed_by(above.public_key()).is_ok());
        assert!(above.validity().not_after >= below.validity().not_after);
    }
    assert_eq!(ders.first().and_then(|der| spiffe::svid_id(der)).as_deref(), Some("spiffe://example.org/a"));
    assert_eq!(spiffe::trust_domain_of(ders.get(1).unwrap()).unwrap().as_str(), "example.org");
    let over = place.ring(AHEAD + OVERLAP).await;
    assert_eq!(anchors(&over), [root.der()]);
    // The next CA is under the same root: relying parties notice nothing.
    let next = DAY - 100;
    assert!(matches!(place.succeed(&under, next).await, Succession::Ahead(_)));
    assert_eq!(anchors(&place.ring(next).await), [root.der()]);
}

#[tokio::test]
async fn no_ca_outlives_its_upstream_and_the_end_is_said() {
    let place = place().await;
    let under = terms(30 * DAY, Some(Upstream::for_tests(START + 2 * DAY)));
    add_key(&place.vault, KeyPurpose::X509Ca, Some(&under), at(0), at(0)).await.unwrap();
    let ring = place.ring(0).await;
    assert_eq!(ring.ca().unwrap().validity().not_after, at(2 * DAY));
    assert_eq!(place.succeed(&under, 0).await, Succession::Impossible(at(2 * DAY)));
    // An SVID never outlives its CA either.
    let last = at(2 * DAY - 10);
    let chain = svid(&ring, last);
    let der = pem::parse(chain.as_bytes()).unwrap().into_contents();
    assert_eq!(Certificate::parse_der(&der).unwrap().validity().not_after, at(2 * DAY));
    assert!(matches!(place.succeed(&terms(30 * DAY, None), 0).await, Succession::Ahead(_)));
}

#[tokio::test]
async fn a_ca_of_another_trust_domain_signs_no_longer() {
    let place = place().await;
    let old = terms(DAY, None);
    add_key(&place.vault, KeyPurpose::X509Ca, Some(&old), at(0), at(0)).await.unwrap();
    let new = AuthorityTerms { trust_domain: Some("other.org".parse().unwrap()), ..terms(DAY, None) };
    assert!(matches!(place.succeed(&new, 1).await, Succession::AtOnce(_)));
    let ring = place.ring(1).await;
    assert_eq!((anchors(&ring).len(), ring.ca().unwrap().trust_domain().unwrap().as_str()), (1, "other.org"));
    // A CSR brings a key and nothing else.
    let csr = CertificateParams::new(vec!["wish.example".to_owned()]).unwrap();
    let csr = csr.serialize_request(&Key::generate().unwrap()).unwrap().pem().unwrap();
    let key = crate::identity::read_csr(&csr).unwrap().public_key;
    let chain = ring.ca().unwrap().certify(&key, "spiffe://other.org/a", (at(1), at(100)), None).unwrap().chain;
    let der = pem::parse(chain.as_bytes()).unwrap().into_contents();
    assert_eq!(spiffe::uris(&der).unwrap(), ["spiffe://other.org/a"]);
    let again = ring.ca().unwrap().certify(&key, "spiffe://other.org/a", (at(1), at(100)), None).unwrap().chain;
    let again = pem::parse(again.as_bytes()).unwrap().into_contents();
    let serial = |der: &[u8]| Certificate::parse_der(der).unwrap().serial().to_vec();
    assert_ne!(serial(&der), serial(&again), "a key that is certified twice");
}
