//! The audit log of a real broker: what was done is in it, and whatever is done to it is found.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use support::{Broker, countersign};

struct Exported {
    lines: Vec<String>,
    records: usize,
    keys: PathBuf,
}

fn run(broker: &Broker, arguments: &[&str]) -> Output {
    let admin = broker.place().join("admin");
    let done = countersign(&[arguments, &["--admin", admin.to_str().unwrap()]].concat());
    assert!(done.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&done.stderr));
    done
}

/// A broker after a few acts, all of which a checkpoint covers.
fn broker() -> Broker {
    let broker = Broker::start("[audit]\ncheckpoint_seconds = 1");
    let value = broker.directory.path().join("value");
    fs::write(&value, "correct horse battery staple").unwrap();
    run(&broker, &["secrets", "put", "disk-key", "--file", value.to_str().unwrap(), "--workload", "web"]);
    run(&broker, &["revoke", "workload", "old-web", "--reason", "replaced"]);
    run(&broker, &["keys", "rotate", "jwt-svid"]);
    let head = newest(&broker);
    let deadline = Instant::now().checked_add(Duration::from_secs(60)).unwrap();
    while signed_to(&broker) < head {
        assert!(Instant::now() < deadline, "{}", broker.log());
        thread::sleep(Duration::from_millis(50));
    }
    broker
}

fn listed(broker: &Broker, query: &str) -> Vec<Value> {
    let answer = broker.admin("GET", &format!("/v1/admin/audit{query}"), "", b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

fn newest(broker: &Broker) -> u64 {
    listed(broker, "?limit=1000").last().unwrap()["sequence"].as_u64().unwrap()
}

fn signed_to(broker: &Broker) -> u64 {
    listed(broker, "/checkpoints").last().map_or(0, |last| last["sequence"].as_u64().unwrap())
}

fn export(broker: &Broker) -> Exported {
    let (out, keys) = (broker.directory.path().join("audit.jsonl"), broker.directory.path().join("audit.jwks"));
    let said = run(
        broker,
        &["audit", "export", "--out", out.to_str().unwrap(), "--keys-out", keys.to_str().unwrap(), "--format", "json"],
    );
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    let lines: Vec<String> = fs::read_to_string(&out).unwrap().lines().map(str::to_owned).collect();
    let records = lines.iter().filter(|line| !line.starts_with("{\"checkpoint\"")).count();
    assert_eq!(said["records"], json!(records));
    Exported { lines, records, keys }
}

/// Exit status and answer of `audit verify` over these lines.
fn verify(directory: &Path, lines: &[String], keys: &Path, more: &[&str]) -> (i32, Value) {
    let file = directory.join("changed.jsonl");
    fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let base = ["audit", "verify", "--file", file.to_str().unwrap(), "--keys", keys.to_str().unwrap()];
    let done = countersign(&[&base, more, &["--format", "json"]].concat());
    (done.status.code().unwrap(), serde_json::from_slice(&done.stdout).unwrap_or_default())
}

#[test]
fn an_export_holds_and_every_change_of_it_is_named() {
    let broker = broker();
    let directory = broker.directory.path();
    let Exported { lines, records, keys } = export(&broker);
    let check = |lines: &[String], more: &[&str]| verify(directory, lines, &keys, more);
    let (status, said) = check(&lines, &[]);
    assert_eq!((status, &said["verdict"]), (0, &json!("holds")), "{said}");
    assert_eq!(said["chain"]["signed_to"], json!(records), "{said}");
    let broken = |lines: &[String], more: &[&str], sequence: usize| {
        let (status, said) = check(lines, more);
        assert_eq!((status, &said["sequence"]), (1, &json!(sequence)), "{said}");
    };
    // One byte.
    for number in [0, records / 2, records - 1] {
        let mut changed = lines.clone();
        let mut bytes = changed[number].clone().into_bytes();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        changed[number] = String::from_utf8(bytes).unwrap();
        broken(&changed, &[], number + 1);
    }
    // One record.
    let mut removed = lines.clone();
    removed.remove(records / 2);
    broken(&removed, &[], records / 2 + 1);
    // Two records in each other's place.
    let mut swapped = lines.clone();
    swapped.swap(1, 3);
    broken(&swapped, &[], 2);
    // The end, with a checkpoint that was kept.
    let kept = directory.join("kept");
    fs::write(&kept, lines.last().unwrap()).unwrap();
    let kept = ["--checkpoints", kept.to_str().unwrap()];
    broken(&lines[..records - 2], &kept, records - 1);
    broken(&lines[..records - 2], &["--expect", &logged(&broker)], records - 1);
    // Without one it cannot be seen: that is what checkpoints are for.
    assert_eq!(check(&lines[..records - 2], &[]).0, 0);
    // Another broker's key signs nothing here.
    let other = Broker::start("");
    let foreign = other.admin("GET", "/v1/admin/audit/keys", "", b"").body;
    let foreign_keys = directory.join("foreign.jwks");
    fs::write(&foreign_keys, foreign).unwrap();
    assert_eq!(verify(directory, &lines, &foreign_keys, &[]).0, 2);
}

/// Number and hash of the newest checkpoint in the broker's log.
fn logged(broker: &Broker) -> String {
    let log = broker.log();
    let line = log.lines().rfind(|line| line.contains("audit checkpoint")).unwrap();
    let value = |name: &str| {
        let (_, rest) = line.split_once(name).unwrap();
        rest.trim_matches(|c: char| !c.is_ascii_hexdigit()).split(|c: char| !c.is_ascii_hexdigit()).next().unwrap()
    };
    format!("{}:{}", value("sequence"), value("hash"))
}

#[test]
fn every_act_is_in_the_log_with_who_did_it_and_no_secret() {
    let broker = broker();
    let all = listed(&broker, "?limit=1000");
    let of = |kind: &str| all.iter().filter(|record| record["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("administrator.added")[0]["body"]["name"], "admin");
    assert!(of("key.made").iter().any(|key| key["body"]["purpose"] == "audit-checkpoint"));
    assert_eq!(of("secret.stored")[0]["body"]["name"], "disk-key");
    assert_eq!(of("revocation.added")[0]["body"]["value"], "old-web");
    let acts: Vec<_> = of("admin.act").iter().map(|act| act["body"]["route"].clone()).collect();
    assert_eq!(acts, ["/v1/admin/secrets/{*name}", "/v1/admin/revocations", "/v1/admin/keys/rotate"]);
    assert!(of("admin.act").iter().all(|act| act["body"]["by"] == "admin"));
    // Asked for before it is done.
    let place = |kind: &str| of(kind)[0]["sequence"].as_u64().unwrap();
    assert!(place("admin.act") < place("secret.stored"));
    assert!(!serde_json::to_string(&all).unwrap().contains("correct horse"));
    assert_eq!(listed(&broker, "?kind=revocation.added&contains=old-web").len(), 1);
    // What nobody may do is not done, and not in the log either.
    let before = newest(&broker);
    let refused = broker.post("/v1/admin/revocations", "application/json", b"{}");
    assert_eq!(refused.code(), "request.unauthenticated");
    assert_eq!(newest(&broker), before);
}

/// Runs SQL on the store, as somebody with the file could.
fn sql(broker: &Broker, statements: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let file = broker.place().join("data/countersign.db");
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn a_store_that_somebody_changed_is_found() {
    let mut broker = broker();
    let config = broker.place().join("countersign.toml");
    let check = || {
        let done = countersign(&["audit", "verify", "--config", config.to_str().unwrap(), "--format", "json"]);
        let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        (done.status.code().unwrap(), said["sequence"].clone())
    };
    assert_eq!(check(), (0, Value::Null), "while the broker serves");
    assert!(broker.terminate());
    let file = broker.place().join("data/countersign.db");
    // What is still in the write-ahead log comes into the file.
    sql(&broker, "PRAGMA wal_checkpoint(TRUNCATE)");
    let copy = fs::read(&file).unwrap();
    for (change, named) in [
        ("UPDATE audit_log SET body = replace(body, 'old-web', 'new-web') WHERE kind = 'revocation.added'", None),
        ("UPDATE audit_log SET at = at + 1 WHERE sequence = 3", Some(3)),
        ("DELETE FROM audit_log WHERE sequence = 4", Some(4)),
        (
            "UPDATE audit_log SET sequence = 1000 WHERE sequence = 2; UPDATE audit_log SET sequence = 2 WHERE sequence = 5;
             UPDATE audit_log SET sequence = 5 WHERE sequence = 1000",
            Some(2),
        ),
        ("DELETE FROM audit_log WHERE sequence > 6", Some(7)),
        ("DELETE FROM audit_log WHERE sequence < 3", Some(3)),
    ] {
        sql(&broker, change);
        let (status, sequence) = check();
        assert_eq!(status, 1, "{change}");
        if let Some(named) = named {
            assert_eq!(sequence, json!(named), "{change}");
        } else {
            assert!(sequence.is_u64(), "{change}");
        }
        fs::write(&file, &copy).unwrap();
        for rest in ["-wal", "-shm"] {
            let _absent = fs::remove_file(file.with_file_name(format!("countersign.db{rest}")));
        }
        assert_eq!(check(), (0, Value::Null));
    }
}
