use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use e2e::{
    broker::{Broker, GOOD_MEASUREMENT, Setup},
    postgres::{MANAGER_PASSWORD, Postgres, psql},
    process::{Process, Said},
};
use serde_json::json;

use crate::{
    guest::Guest,
    setup::{broker, gone_within_a_second, guest_with_role, is_there, login, role, server, wish, within},
};

#[test]
fn a_role_is_there_for_its_lease_and_gone_a_second_after_whatever_ends_it() {
    let postgres = Postgres::start().unwrap();
    let broker = broker(&postgres);
    let admin = broker.administrator().unwrap();

    let (guest, first) = guest_with_role(&broker, "orders-rw");
    assert!(first.name.starts_with("countersign_") && !first.name.contains(&first.lease[..8]), "{first:?}");
    assert_eq!((&first.value["sslmode"], &first.value["database"]), (&json!("verify-full"), &json!("orders")));
    login(&postgres, &first, "INSERT INTO lines VALUES ('one'); CREATE TABLE mine (n INT)").done().unwrap();
    let until = postgres
        .sql(&format!("SELECT rolvaliduntil AT TIME ZONE 'UTC' FROM pg_roles WHERE rolname = '{}'", first.name));
    let expires_at = first.value["expires_at"].as_str().unwrap();
    assert_eq!(until.unwrap().trim().replace(' ', "T") + "Z", expires_at);
    let listed = admin.send("GET", "/v1/admin/database-roles", None).unwrap();
    assert_eq!(
        (&listed.body[0]["role"], &listed.body[0]["state"]),
        (&json!(first.name), &json!("active")),
        "{}",
        listed.text
    );
    let inventory = Said::by(&mut broker.admin(&["workloads", "--open"]).unwrap()).unwrap().done().unwrap();
    assert!(inventory.contains("postgres/orders-rw"), "{inventory}");

    // A session that is open when the lease ends is ended with it.
    let address = format!("host=127.0.0.1 port={} dbname=orders user={} sslmode=require", postgres.port(), first.name);
    let mut open = psql(&address, "SELECT pg_sleep(60)");
    let mut open = Process::start(open.env("PGPASSWORD", &first.password).stderr(Stdio::null())).unwrap();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", first.name);
    within(Duration::from_secs(5), "a session", || postgres.sql(&sessions).unwrap().trim() == "1");
    assert_eq!(guest.release(&first.lease).status, 200);
    gone_within_a_second(&postgres, &first, "released");
    within(Duration::from_secs(1), "the session ended", || open.ended().is_ok_and(|ended| ended.is_some()));
    let refused = login(&postgres, &first, "SELECT 1");
    assert!(refused.status != 0 && refused.stderr.contains("password authentication failed"), "{}", refused.stderr);
    // What it owned belongs to whom the operator named.
    assert_eq!(postgres.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'").unwrap().trim(), "app");

    let measurement = hex::encode(GOOD_MEASUREMENT);
    let named = [
        ("workload", "web"),
        ("measurement", measurement.as_str()),
        ("reference-set", "web-test@1"),
        ("policy", "release-v1"),
        ("credential", "postgres/orders-rw"),
    ];
    for (kind, value) in named {
        let (_guest, role) = guest_with_role(&broker, "orders-rw");
        login(&postgres, &role, "SELECT 1").done().unwrap();
        revoke(&broker, kind, value);
        gone_within_a_second(&postgres, &role, kind);
    }
    let (guest, role) = guest_with_role(&broker, "orders-rw");
    revoke(&broker, "lease", &role.lease);
    gone_within_a_second(&postgres, &role, "lease");
    drop(guest);
    let (guest, role) = guest_with_role(&broker, "orders-rw");
    revoke(&broker, "guest", &guest.id);
    gone_within_a_second(&postgres, &role, "guest");
    let (guest, role) = guest_with_role(&broker, "orders-rw");
    let worse = guest.renew(&guest.id, json!([]), |report| report.policy |= 1 << 19);
    assert_eq!(worse.code(), "baseline.snp.debug", "{}", worse.text);
    gone_within_a_second(&postgres, &role, "worse evidence");

    let (_guest, role) = guest_with_role(&broker, "orders-short");
    sleep(Duration::from_secs(1));
    assert!(is_there(&postgres, &role));
    within(Duration::from_secs(3), "the role is gone: expired", || !is_there(&postgres, &role));
    assert_eq!(postgres.roles().unwrap(), Vec::<String>::new());
}

fn revoke(broker: &Broker, kind: &str, value: &str) {
    let admin = broker.administrator().unwrap();
    let request = json!({"kind": kind, "value": value, "reason": "drill"});
    let answer = admin.send("POST", "/v1/admin/revocations", Some(&request)).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text);
    if let Some(id) = answer.body["id"].as_str() {
        assert_eq!(admin.send("DELETE", &format!("/v1/admin/revocations/{id}"), None).unwrap().status, 204);
    }
}

#[test]
fn a_renewal_prolongs_the_same_role_and_a_server_that_is_away_ends_nothing() {
    let mut postgres = Postgres::start().unwrap();
    let mut broker = broker(&postgres);
    let (guest, first) = guest_with_role(&broker, "orders-rw");
    sleep(Duration::from_millis(1100));
    let renewed = guest.renew(&first.lease, json!([]), |_| {});
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let second = role(&guest, &renewed.body);
    assert_eq!((&second.name, &second.password, &second.lease), (&first.name, &first.password, &first.lease));
    assert!(second.value["expires_at"].as_str() > first.value["expires_at"].as_str());
    let until = postgres
        .sql(&format!("SELECT rolvaliduntil AT TIME ZONE 'UTC' FROM pg_roles WHERE rolname = '{}'", first.name));
    assert_eq!(until.unwrap().trim().replace(' ', "T") + "Z", second.value["expires_at"].as_str().unwrap());
    login(&postgres, &second, "SELECT 1").done().unwrap();

    postgres.stop().unwrap();
    let away = guest.renew(&first.lease, json!([]), |_| {});
    assert_eq!(away.body["denied"][0]["code"], "release.postgres.unavailable", "{}", away.text);
    let fresh = Guest::new(broker.client().unwrap()).try_attest(wish("orders-rw"));
    assert_eq!(fresh.body["denied"][0]["code"], "release.postgres.unavailable", "{}", fresh.text);
    let decision = fresh.body["attestation_id"].as_str().unwrap();
    assert!(broker.explain(decision).unwrap().contains("release.postgres.unavailable"));
    // The lease of the renewal that came to nothing stands, and ends while nobody can drop the role.
    assert_eq!(guest.release(&first.lease).status, 200);
    sleep(Duration::from_millis(600));
    postgres.restart().unwrap();
    within(Duration::from_secs(5), "the role is gone after the server came back", || !is_there(&postgres, &first));

    // The lease ends while there is no broker.
    let (_guest, short) = guest_with_role(&broker, "orders-short");
    broker.stop().unwrap();
    sleep(Duration::from_millis(2500));
    assert!(is_there(&postgres, &short));
    let late = login(&postgres, &short, "SELECT 1");
    assert!(late.status != 0, "a role outlives its lease by nobody's login");
    broker.restart().unwrap();
    gone_within_a_second(&postgres, &short, "after the broker came back");
}

#[test]
fn no_password_is_in_a_log_and_only_the_named_evidence_suffices() {
    let postgres = Postgres::start().unwrap();
    let strict = server(&postgres, "strict", "orders-strict", 900, "GRANT app TO {role}")
        .replace("min_evidence = \"simulated\"", "min_evidence = \"hardware\"");
    let full = server(&postgres, "full", "orders-full", 900, "GRANT app TO {role}")
        .replace("max_ttl_seconds", "max_roles = 1\nmax_ttl_seconds");
    let broken = server(&postgres, "broken", "orders-broken", 900, "GRANT nobody_knows TO {role}");
    let broken_too =
        server(&postgres, "broken-too", "orders-unparsable", 900, "ALTER ROLE {role} PASSWORD PASSWORD {password}");
    let more = [strict, full, broken, broken_too].concat();
    let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
    let code = |name: &str| {
        let answer = Guest::new(broker.client().unwrap()).try_attest(wish(name));
        answer.body["denied"][0]["code"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(code("orders-strict"), "release.evidence.insufficient");
    assert_eq!(code("no-such-role"), "release.policy.denied");
    let (_guest, role) = guest_with_role(&broker, "orders-full");
    assert_eq!(code("orders-full"), "release.postgres.full");
    assert_eq!(code("orders-broken"), "release.postgres.unavailable");
    assert_eq!(code("orders-unparsable"), "release.postgres.unavailable");
    // A statement that fails takes the role with it.
    assert_eq!(postgres.roles().unwrap(), std::slice::from_ref(&role.name));
    login(&postgres, &role, "SELECT 1").done().unwrap();
    for (whose, log) in [("broker", broker.log().unwrap()), ("database", postgres.log().unwrap())] {
        assert!(log.contains(&role.name), "{whose}: {log}");
        for secret in [role.password.as_str(), MANAGER_PASSWORD] {
            assert!(!log.replace(&format!("PASSWORD '{MANAGER_PASSWORD}'"), "").contains(secret), "{whose}");
        }
    }
    assert!(!broker.log().unwrap().contains("SCRAM-SHA-256$"));
}

#[test]
fn a_role_of_this_broker_that_is_in_no_row_is_dropped_and_others_stay() {
    let postgres = Postgres::start().unwrap();
    let mut broker = broker(&postgres);
    let (_guest, mine) = guest_with_role(&broker, "orders-rw");
    let comment = postgres
        .sql(&format!("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{}'", mine.name));
    let comment = comment.unwrap();
    let store = comment.split(' ').nth(1).unwrap();
    let make = |name: &str, comment: &str| {
        let password = MANAGER_PASSWORD;
        let sql = format!("CREATE ROLE {name} LOGIN; COMMENT ON ROLE {name} IS '{comment}'");
        postgres.login("manager", password, &sql).unwrap().done().unwrap();
    };
    make("countersign_stray", &format!("countersign {store} lease lost"));
    make("countersign_foreign", &format!("countersign {} lease lost", "0".repeat(32)));
    make("other_stray", &format!("countersign {store} lease lost"));
    broker.crash_and_restart().unwrap();
    within(Duration::from_secs(5), "the stray is gone", || {
        !postgres.roles().unwrap().contains(&"countersign_stray".to_owned())
    });
    let mut rest = postgres.roles().unwrap();
    rest.sort();
    let mut wanted = vec!["countersign_foreign".to_owned(), mine.name.clone()];
    wanted.sort();
    assert_eq!(rest, wanted);
    assert!(broker.log().unwrap().contains("a role of ours is in no row"));
    login(&postgres, &mine, "SELECT 1").done().unwrap();
}

#[test]
fn a_server_that_is_not_the_configured_one_gets_no_password() {
    let postgres = Postgres::start().unwrap();
    let other = tempfile::tempdir().unwrap();
    let ca = other.path().join("ca.pem");
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    make.args(["-subj", "/CN=test CA", "-keyout"]).arg(other.path().join("key")).arg("-out").arg(&ca);
    Said::by(&mut make).unwrap().done().unwrap();
    let right = format!("ca = {:?}", postgres.path("ca.pem"));
    let more =
        server(&postgres, "orders", "orders-rw", 900, "GRANT app TO {role}").replace(&right, &format!("ca = {ca:?}"));
    let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
    let answer = Guest::new(broker.client().unwrap()).try_attest(wish("orders-rw"));
    assert_eq!(answer.body["denied"][0]["code"], "release.postgres.unavailable", "{}", answer.text);
    assert!(!postgres.log().unwrap().contains("user=manager"), "nobody logged in");
    assert_eq!(postgres.roles().unwrap(), Vec::<String>::new());
}
