//! Two brokers that federate, and a broker whose partner misbehaves.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{
    broker::{Broker, Setup},
    process::Said,
};
use keys::{
    sign::{Jwks, SignatureAlgorithm},
    token::{Audience, Expected, verify},
};
use serde_json::{Value, json};

use crate::{
    endpoint::Endpoint,
    guest::Guest,
    spiffe::{Svid, openssl_verifies},
    tokens::{grant, now},
};

/// The refresh hint of the tests' bundles: the shortest that a fetcher follows.
const HINT: u64 = 5;

fn start(trust_domain: &str, federates_with: &str, listen: Option<u16>) -> Broker {
    let listen = listen.map_or(String::new(), |port| format!("listen = \"127.0.0.1:{port}\"\n"));
    let more = format!(
        "[identity]\ntrust_domain = \"{trust_domain}\"\n[identity.bundle]\nrefresh_hint_seconds = {HINT}\n{listen}\
         [[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\naudiences = [\"db.example\"]\n\
         federates_with = [{federates_with}]\n"
    );
    Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap()
}

fn federation(broker: &Broker, args: &[&str]) -> Said {
    Said::by(&mut broker.admin(&[&["federation"][..], args, &["--format", "json"]].concat()).unwrap()).unwrap()
}

/// What `countersign federation` prints, when it succeeds.
fn told(broker: &Broker, args: &[&str]) -> Value {
    serde_json::from_str(&federation(broker, args).done().unwrap()).unwrap()
}

fn rotate(broker: &Broker, purpose: &str) {
    Said::by(&mut broker.admin(&["keys", "rotate", purpose, "--at-once"]).unwrap()).unwrap().done().unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits until `there` says yes; how long it took.
fn until(longest: Duration, mut there: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < longest, "expected it within {longest:?}");
        sleep(Duration::from_millis(100));
    }
    begun.elapsed()
}

/// The bundle of `name` as the guest sees it now.
fn bundle(guest: &Guest, lease: &str, name: &str) -> Value {
    let answer = guest.bundles(lease);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body["trust_bundles"][name].clone()
}

#[test]
fn a_key_that_one_domain_takes_back_is_gone_for_guests_of_the_other_within_the_refresh_hint() {
    let mut a = start("a.example", "", None);
    let mut b = start("b.example", "\"a.example\"", None);
    let url = format!("{}/.well-known/spiffe-bundle", a.url());
    let ca = a.ca();
    let add = ["add", "a.example", "--url", &url, "--profile", "https_web", "--ca", text(&ca)];
    assert_eq!(told(&b, &add)["state"], "waiting");
    assert!(federation(&b, &add).stderr.contains("request.conflict"));
    until(Duration::from_secs(5), || told(&b, &["list"])[0]["state"] == "trusted");

    // A guest of each: the one's SVID verifies with what the other got.
    let (mut of_a, mut of_b) = (Guest::new(a.client().unwrap()), Guest::new(b.client().unwrap()));
    let (theirs, ours) = (Svid::fetch(&mut of_a, "web"), Svid::fetch(&mut of_b, "web"));
    let (handed, own) = (&ours.value["trust_bundles"]["a.example"], &ours.value["trust_bundles"]["b.example"]);
    assert!(openssl_verifies(theirs.pem(), handed) && !openssl_verifies(theirs.pem(), own));
    assert!(openssl_verifies(ours.pem(), own) && !openssl_verifies(ours.pem(), handed));
    assert!(theirs.value["trust_bundles"].get("b.example").is_none(), "it federates with nobody");
    let ask = json!({"id": "g", "type": "jwt-svid", "name": "web", "audience": "db.example"});
    let token = String::from_utf8(grant(&mut of_a, ask)).unwrap();
    let issuer = a.url();
    let expected = |now| Expected {
        algorithms: &[SignatureAlgorithm::Es256],
        issuer: &issuer,
        audience: Audience::Exactly("db.example"),
        now,
        leeway: 5,
    };
    let verifies = |bundle: &Value| {
        verify::<Value>(&token, &Jwks::parse(bundle.to_string().as_bytes()).unwrap(), &expected(now())).is_ok()
    };
    assert!(verifies(handed));

    // The guest's own lease has all its bundles; a lease of another kind, another guest and no proof have none.
    assert_eq!(of_b.bundles(&of_b.id).body["trust_domain"], "b.example");
    assert_eq!(of_a.bundles(&ours.lease).code(), "release.lease.proof");
    let path = format!("/v1/leases/{}/bundles", ours.lease);
    assert_eq!(b.client().unwrap().send("GET", &path, None).unwrap().code(), "release.lease.proof");
    assert!(of_b.bundles(&ours.lease).body["refresh_seconds"].as_u64().unwrap() <= HINT / 5);

    let before = bundle(&of_b, &ours.lease, "a.example")["spiffe_sequence"].as_u64().unwrap();
    rotate(&a, "x509-ca");
    rotate(&a, "jwt-svid");
    let took = until(Duration::from_secs(HINT), || {
        let now = bundle(&of_b, &ours.lease, "a.example");
        !openssl_verifies(theirs.pem(), &now) && !verifies(&now)
    });
    assert!(took < Duration::from_secs(HINT), "{took:?}");
    let after = bundle(&of_b, &ours.lease, "a.example");
    assert!(after["spiffe_sequence"].as_u64().unwrap() > before);
    assert!(openssl_verifies(Svid::fetch(&mut of_a, "web").pem(), &after), "what A issues now is trusted");

    // What was fetched outlives the broker, and the partner's outage.
    a.stop().unwrap();
    b.crash_and_restart().unwrap();
    let mut again = Guest::new(b.client().unwrap());
    let fresh = Svid::fetch(&mut again, "web");
    assert_eq!(fresh.value["trust_bundles"]["a.example"]["keys"], after["keys"]);
    until(Duration::from_secs(10), || told(&b, &["show", "a.example"])["failures"].as_u64() > Some(0));
    assert_eq!(told(&b, &["show", "a.example"])["state"], "trusted");
    federation(&b, &["remove", "a.example"]).done().unwrap();
    assert_eq!(bundle(&again, &fresh.lease, "a.example"), Value::Null);
    again.release(&fresh.lease);
    assert_eq!(again.bundles(&fresh.lease).code(), "release.lease.ended");
}

#[test]
fn an_endpoint_proves_itself_by_its_svid() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let (a, b) = (start("a.example", "", Some(port)), start("b.example", "\"a.example\"", None));
    let place = tempfile::tempdir().unwrap();
    let saved = |broker: &Broker, name: &str| {
        let document = broker.client().unwrap().send("GET", "/.well-known/spiffe-bundle", None).unwrap();
        let path = place.path().join(name);
        fs::write(&path, document.text).unwrap();
        path
    };
    let (of_a, of_b) = (saved(&a, "a.json"), saved(&b, "b.json"));
    let url = format!("https://127.0.0.1:{port}/");
    let add = |id: &str, more: &[&str]| {
        let args = ["add", "a.example", "--url", &url, "--profile", "https_spiffe", "--endpoint-spiffe-id", id];
        federation(&b, &[&args, more].concat())
    };
    let endpoint = "spiffe://a.example/countersign/bundle";
    assert!(add(endpoint, &[]).stderr.contains("expected a bundle of a.example to begin with"));
    assert!(add("a.example", &["--bundle", text(&of_a)]).stderr.contains("request.malformed"));
    // Another identity, and an authority that did not issue the endpoint's certificate.
    for (id, bundle) in [("spiffe://a.example/workload/web", &of_a), (endpoint, &of_b)] {
        add(id, &["--bundle", text(bundle)]).done().unwrap();
        let refused = federation(&b, &["refresh", "a.example"]);
        assert!(refused.stderr.contains("endorsement.spiffe_bundle.transport"), "{id}: {}", refused.stderr);
        federation(&b, &["remove", "a.example"]).done().unwrap();
    }
    add(endpoint, &["--bundle", text(&of_a)]).done().unwrap();
    let first = told(&b, &["refresh", "a.example"]);
    assert_eq!((&first["state"], &first["error"]), (&json!("trusted"), &Value::Null));
    rotate(&a, "jwt-svid");
    let second = told(&b, &["refresh", "a.example"]);
    assert!(second["sequence"].as_u64() > first["sequence"].as_u64(), "{second}");
    // An old bundle is not taken, by no way.
    let old = federation(&b, &["refresh", "a.example", "--bundle", text(&of_a)]);
    assert!(old.stderr.contains("endorsement.spiffe_bundle.went_back"), "{}", old.stderr);
    // All CAs at once: the endpoint cannot prove itself any more until the new bundle is brought.
    rotate(&a, "x509-ca");
    until(Duration::from_secs(5), || !federation(&b, &["refresh", "a.example"]).stderr.is_empty());
    let brought = told(&b, &["refresh", "a.example", "--bundle", text(&saved(&a, "new.json"))]);
    assert!(brought["sequence"].as_u64() > second["sequence"].as_u64(), "{brought}");
    told(&b, &["refresh", "a.example"]);
    // No guest gets the identity of the endpoint.
    let reserved = "[identity]\ntrust_domain = \"c.example\"\npath = \"countersign/bundle\"\n\
                    [[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\naudiences = [\"x\"]\n";
    let c = Broker::start(&Setup { more: reserved, ..Setup::default() }).unwrap();
    let ask = json!([{"id": "g", "type": "jwt-svid", "name": "web", "audience": "x"}]);
    let denied = Guest::new(c.client().unwrap()).attest(ask);
    assert_eq!(denied["denied"][0]["code"], "release.identity.claim", "{denied}");
}

#[test]
fn a_partner_that_misbehaves_changes_nothing_and_an_empty_bundle_ends_the_trust() {
    let b = start("b.example", "\"p.example\"", None);
    let a = start("a.example", "", None);
    let genuine = a.client().unwrap().send("GET", "/.well-known/spiffe-bundle", None).unwrap().body;
    let numbered = |keys: &Value, sequence: u64| {
        json!({"keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": 300}).to_string()
    };
    let partner = Endpoint::start();
    partner.answers(200, "", &numbered(&genuine["keys"], 7));
    let url = partner.url();
    let add = ["add", "p.example", "--url", &url, "--profile", "https_web"];
    // The system's authorities do not know it.
    told(&b, &add);
    let refused = federation(&b, &["refresh", "p.example"]);
    assert!(refused.stderr.contains("endorsement.spiffe_bundle.transport"), "{}", refused.stderr);
    federation(&b, &["remove", "p.example"]).done().unwrap();
    let ca = partner.ca();
    told(&b, &[&add[..], &["--ca", text(&ca)]].concat());
    assert_eq!(told(&b, &["refresh", "p.example"])["sequence"], 7);
    let mut guest = Guest::new(b.client().unwrap());
    let svid = Svid::fetch(&mut guest, "web");
    let held = bundle(&guest, &svid.lease, "p.example");
    assert_eq!(held["keys"].as_array().unwrap().len(), 2, "{held}");

    let long = format!("{{\"keys\":[{}{{}}]}}", "{},".repeat(100_000));
    for (status, headers, body, code) in [
        (200, "", numbered(&json!([]), 6), "went_back"),
        (200, "", json!({"keys": []}).to_string(), "went_back"),
        (200, "", "not json".to_owned(), "syntax"),
        (200, "", numbered(&json!([{"use": "x509-svid", "x5c": ["AAAA"]}]), 8), "key"),
        (200, "", long, "length"),
        (302, "location: https://127.0.0.1/\r\n", String::new(), "status"),
        (503, "retry-after: 200\r\n", String::new(), "status"),
    ] {
        partner.answers(status, headers, &body);
        let refused = federation(&b, &["refresh", "p.example"]);
        assert!(refused.status == 1 && refused.stderr.contains(&format!("spiffe_bundle.{code}")), "{}", refused.stderr);
        assert_eq!(bundle(&guest, &svid.lease, "p.example"), held, "{code}");
    }
    let listed = told(&b, &["list"]);
    assert_eq!((listed[0]["failures"].as_u64(), &listed[0]["sequence"]), (Some(7), &json!(7)), "{listed}");
    let wait = listed[0]["next_at"].as_str().unwrap().to_owned();
    partner.answers(200, "", &numbered(&json!([]), 8));
    assert_eq!(told(&b, &["refresh", "p.example"])["state"], "distrusted");
    assert_ne!(told(&b, &["list"])[0]["next_at"].as_str().unwrap(), wait);
    assert_eq!(bundle(&guest, &svid.lease, "p.example"), json!({"keys": []}));
    // Wrong wishes are refused before anything is stored.
    for args in [
        vec!["add", "b.example", "--url", &url, "--profile", "https_web"],
        vec!["add", "q.example", "--url", "http://q.example/", "--profile", "https_web"],
        vec!["add", "q.example", "--url", &url, "--profile", "https_web", "--longest-age", "1"],
        vec![
            "add",
            "q.example",
            "--url",
            &url,
            "--profile",
            "https_web",
            "--endpoint-spiffe-id",
            "spiffe://q.example/a",
        ],
    ] {
        assert!(federation(&b, &args).stderr.contains("request.malformed"), "{args:?}");
    }
    let anonymous = b.client().unwrap().send("GET", "/v1/admin/federation", None).unwrap();
    assert_eq!(anonymous.status, 401);
}
