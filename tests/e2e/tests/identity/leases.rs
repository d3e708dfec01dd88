use std::time::{Duration, Instant};

use e2e::{
    broker::{Broker, GOOD_MEASUREMENT, Setup},
    http::Client,
    process::Said,
};
use keys::{
    lease::LeaseAction,
    sign::{Jwks, SignatureAlgorithm},
    status::StatusList,
    token,
};
use serde_json::{Value, json};

use crate::{guest::Guest, stream::Events};

fn broker() -> Broker {
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", b"correct horse").unwrap();
    broker.put_secret("api-key", b"battery staple").unwrap();
    broker
}

fn two_secrets() -> Value {
    json!([{"id": "disk", "type": "secret", "name": "disk-key"}, {"id": "api", "type": "secret", "name": "api-key"}])
}

fn lease(answer: &Value, grant: usize) -> String {
    answer["grants"][grant]["lease"]["id"].as_str().unwrap().to_owned()
}

/// The claims of a token, whose signature is checked against the broker's keys.
fn claims(client: &Client, broker: &Broker, token: &str) -> Value {
    let jwks = Jwks::parse(client.send("GET", "/.well-known/jwks.json", None).unwrap().text.as_bytes()).unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let expected = token::Expected {
        algorithms: &[SignatureAlgorithm::Es256],
        issuer: &broker.url(),
        audience: token::Audience::Unchecked { reason: "a list has none" },
        now: i64::try_from(now).unwrap(),
        leeway: 5,
    };
    token::verify(token, &jwks, &expected).unwrap()
}

/// Whether the token holds, as a relying party finds out from the token alone.
pub(crate) fn holds(client: &Client, broker: &Broker, token: &str) -> bool {
    let place = claims(client, broker, token)["status"]["status_list"].clone();
    let uri = place["uri"].as_str().unwrap();
    let path = uri.strip_prefix(&broker.url()).unwrap();
    let list = client.send("GET", path, None).unwrap();
    assert_eq!(list.status, 200, "{}", list.text);
    let list = claims(client, broker, &list.text);
    assert_eq!(list["sub"], uri);
    let list: StatusList = serde_json::from_value(list["status_list"].clone()).unwrap();
    list.is_valid(place["idx"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_lease_is_renewed_on_proof_and_fresh_evidence_only() {
    let broker = broker();
    let client = broker.client().unwrap();
    let mut guest = Guest::new(client.clone());
    let first = guest.attest(two_secrets());
    let disk = lease(&first, 0);
    let renewed = guest.renew(&disk, json!([]), |_| {});
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    assert_eq!((lease(&renewed.body, 0), renewed.body["grants"].as_array().unwrap().len()), (disk.clone(), 1));
    assert_eq!(guest.open(&renewed.body["grants"][0]["sealed"]).value.expose(), b"correct horse");
    // The guest's own lease renews everything.
    let all = guest.renew(&guest.id, json!([]), |_| {});
    assert_eq!(all.body["grants"].as_array().unwrap().len(), 2, "{}", all.text);
    assert!(all.body["denied"].as_array().unwrap().is_empty());
    let (once, twice) = guest.renew_twice(&disk);
    assert_eq!((once.status, twice.code()), (200, "binding.nonce.replayed"));

    let mut stranger = Guest::new(client.clone());
    stranger.attest(two_secrets());
    // Another guest of the same image, with good evidence and a proof of its own, and one without any.
    assert_eq!(stranger.renew(&disk, json!([]), |_| {}).code(), "release.lease.proof");
    assert_eq!(stranger.release(&disk).code(), "release.lease.proof");
    assert_eq!(guest.renew("no-such-lease", json!([]), |_| {}).code(), "release.lease.proof");
    let (_, request) = guest.request(json!([]), |_| {});
    let bare = client.send("POST", &format!("/v1/leases/{disk}/renew"), Some(&request)).unwrap();
    assert_eq!((bare.status, bare.code()), (403, "release.lease.proof"));
    // More than was held is not to be had by renewal.
    let more = guest.renew(&disk, json!([{"id": "x", "type": "secret", "name": "api-key"}]), |_| {});
    assert_eq!((more.status, more.code()), (400, "request.malformed"));
    let swapped = guest.renew(&disk, json!([{"id": disk, "type": "secret", "name": "api-key"}]), |_| {});
    assert_eq!((swapped.status, swapped.code()), (400, "request.malformed"));
}

#[test]
fn worse_evidence_ends_every_lease_of_the_guest_everywhere_within_a_second() {
    let broker = broker();
    let (client, admin) = (broker.client().unwrap(), broker.administrator().unwrap());
    let events = Events::open(&admin, "");
    let (mut guest, mut sibling) = (Guest::new(client.clone()), Guest::new(client.clone()));
    let (first, other) = (guest.attest(two_secrets()), sibling.attest(two_secrets()));
    let result = first["result"].as_str().unwrap();
    assert!(holds(&client, &broker, result));
    let began = Instant::now();
    let refused = guest.renew(&lease(&first, 0), json!([]), |report| report.policy |= 1 << 19);
    assert_eq!((refused.status, refused.code()), (403, "baseline.snp.debug"), "{}", refused.text);
    let mut wanted: Vec<_> =
        [guest.id.clone(), lease(&first, 0), lease(&first, 1)].map(|id| (id, "evidence".to_owned())).into();
    wanted.sort();
    assert_eq!(events.ends(3), wanted);
    assert!(!holds(&client, &broker, result));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(guest.renew(&lease(&first, 1), json!([]), |_| {}).code(), "release.lease.ended");
    assert_eq!(guest.renew(&guest.id, json!([]), |_| {}).code(), "release.lease.ended");
    // A guest of the same workload does not suffer for it.
    assert!(holds(&client, &broker, other["result"].as_str().unwrap()));
    assert_eq!(sibling.renew(&lease(&other, 0), json!([]), |_| {}).status, 200);
}

#[test]
fn a_guest_gives_back_what_it_holds() {
    let broker = broker();
    let (client, admin) = (broker.client().unwrap(), broker.administrator().unwrap());
    let events = Events::open(&admin, "");
    let mut guest = Guest::new(client.clone());
    let first = guest.attest(two_secrets());
    let released = guest.release(&lease(&first, 0));
    assert_eq!((released.status, released.body["ended"].as_u64()), (200, Some(1)), "{}", released.text);
    assert_eq!(events.ends(1), [(lease(&first, 0), "released".to_owned())]);
    assert_eq!(guest.release(&lease(&first, 0)).code(), "release.lease.ended");
    assert!(holds(&client, &broker, first["result"].as_str().unwrap()));
    assert_eq!(guest.release(&guest.id).body["ended"].as_u64(), Some(2));
    assert!(!holds(&client, &broker, first["result"].as_str().unwrap()));
}

#[test]
fn what_is_revoked_ends_and_is_not_given_again() {
    let broker = broker();
    let (client, admin) = (broker.client().unwrap(), broker.administrator().unwrap());
    let mut guest = Guest::new(client.clone());
    let first = guest.attest(two_secrets());
    let inventory = Said::by(&mut broker.admin(&["workloads", "--open"]).unwrap()).unwrap().done().unwrap();
    assert!(inventory.contains(&guest.id) && inventory.contains("secret/disk-key"), "{inventory}");

    let ended = Said::by(&mut broker.admin(&["revoke", "lease", &lease(&first, 0), "--reason", "drill"]).unwrap());
    assert!(ended.unwrap().done().unwrap().contains("1 leases ended"));
    let credential = ["revoke", "credential", "secret/api-key@1", "--reason", "drill"];
    let ended = Said::by(&mut broker.admin(&credential).unwrap()).unwrap().done().unwrap();
    assert!(ended.contains("1 leases ended"), "{ended}");

    let measurement = hex::encode(GOOD_MEASUREMENT);
    let revoke = ["revoke", "measurement", &measurement, "--reason", "CVE-2026-1", "--format", "json"];
    let said = Said::by(&mut broker.admin(&revoke).unwrap()).unwrap().done().unwrap();
    let revoked: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(revoked["ended"], 1);
    assert!(!holds(&client, &broker, first["result"].as_str().unwrap()));
    let refused = guest.try_attest(two_secrets());
    assert_eq!((refused.status, refused.code()), (403, "release.revoked.measurement"), "{}", refused.text);
    let decision = refused.body["attestation_id"].as_str().unwrap();
    assert!(broker.explain(decision).unwrap().contains("is revoked"));
    let twice = Said::by(&mut broker.admin(&revoke).unwrap()).unwrap();
    assert!(twice.status == 1 && twice.stderr.contains("request.conflict"), "{}", twice.stderr);

    let id = revoked["id"].as_str().unwrap();
    let listed = Said::by(&mut broker.admin(&["revoke", "list"]).unwrap()).unwrap().done().unwrap();
    assert!(listed.contains(id) && listed.contains("CVE-2026-1"), "{listed}");
    Said::by(&mut broker.admin(&["revoke", "lift", id]).unwrap()).unwrap().done().unwrap();
    assert_eq!(guest.try_attest(two_secrets()).status, 200);

    for (kind, value) in
        [("workload", "web"), ("reference-set", "web-test@1"), ("policy", "release-v1"), ("guest", guest.id.as_str())]
    {
        let mut fresh = Guest::new(client.clone());
        fresh.attest(two_secrets());
        let value = if kind == "guest" { fresh.id.clone() } else { value.to_owned() };
        let request = json!({"kind": kind, "value": value, "reason": "drill"});
        let answer = admin.send("POST", "/v1/admin/revocations", Some(&request)).unwrap();
        assert_eq!((answer.status, answer.body["ended"].as_u64() >= Some(3)), (201, true), "{kind}: {}", answer.text);
        if let Some(id) = answer.body["id"].as_str() {
            assert!(guest.try_attest(json!([])).code().starts_with("release.revoked."), "{kind}");
            assert_eq!(admin.send("DELETE", &format!("/v1/admin/revocations/{id}"), None).unwrap().status, 204);
        }
    }
    let anonymous = client.send("POST", "/v1/admin/revocations", Some(&json!({}))).unwrap();
    assert_eq!(anonymous.status, 401);
}

#[test]
fn events_are_told_in_order_also_across_a_crash_and_to_nobody_unknown() {
    let mut broker = broker();
    let (client, admin) = (broker.client().unwrap(), broker.administrator().unwrap());
    assert_eq!(client.send("GET", "/v1/events", None).unwrap().status, 401);
    let events = Events::open(&admin, "");
    let mut guest = Guest::new(client.clone());
    let first = guest.attest(two_secrets());
    guest.release(&lease(&first, 0));
    let (number, event) = events.next();
    assert_eq!((event["kind"].as_str(), event["name"].as_str()), (Some("secret"), Some("disk-key")));
    // While nobody listens, and then the broker is killed.
    guest.release(&lease(&first, 1));
    guest.release(&guest.id);
    broker.crash_and_restart().unwrap();
    let resumed = Events::open(&admin, &format!("last-event-id: {number}\r\n"));
    let rest = [resumed.next(), resumed.next()];
    assert_eq!(
        rest.iter().map(|(_, event)| event["lease"].as_str().unwrap()).collect::<Vec<_>>(),
        [lease(&first, 1), guest.id.clone()]
    );
    assert!(number < rest[0].0 && rest[0].0 < rest[1].0);
    // A stream does not hold up an orderly end.
    let began = Instant::now();
    broker.stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn the_exposure_is_what_the_lease_table_says() {
    let broker = broker();
    let (client, admin) = (broker.client().unwrap(), broker.administrator().unwrap());
    let (mut guest, mut other) = (Guest::new(client.clone()), Guest::new(client));
    let first = guest.attest(two_secrets());
    other.attest(json!([{"id": "disk", "type": "secret", "name": "disk-key"}]));
    let report = || {
        let mut command = broker.admin(&["exposure", "--format", "json"]).unwrap();
        serde_json::from_str::<Value>(&Said::by(&mut command).unwrap().done().unwrap()).unwrap()
    };
    let held = || {
        let guests = admin.send("GET", "/v1/admin/workloads", None).unwrap().body;
        guests.as_array().unwrap().iter().map(|guest| guest["leases"].as_array().unwrap().len()).sum::<usize>()
    };
    let class = |report: &Value, name: &str| {
        let classes = report["classes"].as_array().unwrap();
        classes.iter().find(|class| class["class"] == name).unwrap().clone()
    };
    let all = report();
    assert_eq!((all["open"].as_u64(), held()), (Some(5), 5), "{all}");
    let secrets = class(&all, "secret");
    assert_eq!((secrets["open"].as_u64(), secrets["guests"].as_u64()), (Some(3), Some(2)), "{all}");
    assert!(secrets["longest_seconds"].as_u64() <= all["cap_seconds"].as_u64() && all["cap_seconds"] == 900);
    guest.release(&lease(&first, 0));
    guest.release(&guest.id);
    let rest = report();
    assert_eq!((rest["open"].as_u64(), held()), (Some(2), 2), "{rest}");
    assert_eq!(class(&rest, "secret")["last_given"], secrets["last_given"]);
    let text = Said::by(&mut broker.admin(&["exposure"]).unwrap()).unwrap().done().unwrap();
    assert!(text.lines().last().unwrap().starts_with("all") && text.contains("attestation-result"), "{text}");
    // A smaller cap shortens the next grants.
    let more = "result_seconds = 60";
    let capped = Broker::start(&Setup { more, ..Setup::default() }).unwrap();
    Guest::new(capped.client().unwrap()).attest(json!([]));
    let report = capped.administrator().unwrap().send("GET", "/v1/admin/exposure", None).unwrap().body;
    assert_eq!((&report["cap_seconds"], &report["classes"][0]["longest_seconds"]), (&json!(60), &json!(60)));
}

#[test]
fn a_proof_over_a_nonce_of_its_own_shows_nothing() {
    let broker = broker();
    let mut guest = Guest::new(broker.client().unwrap());
    guest.attest(two_secrets());
    for action in [LeaseAction::Watch, LeaseAction::Bundles, LeaseAction::Release] {
        let answer = guest.with_own_nonce(action, &guest.id);
        assert_eq!((answer.status, answer.code()), (403, "binding.nonce.unknown"), "{}", answer.text);
    }
}
