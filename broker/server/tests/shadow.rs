//! Rules that are tried: they tell what they would have decided, and release nothing.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/guest.rs"]
mod guest;
#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::fs;

use guest::{Guest, attest, broker};
use serde_json::{Value, json};
use support::{Broker, countersign};

const NEVER: &str = "package countersign.release\ndefault allow := false\nmax_ttl := 60\ndeny := {\"frozen\"}\n";
const ALWAYS: &str = "package countersign.release\ndefault allow := true\nmax_ttl := 600\ndeny := set()\n";

fn admin(broker: &Broker, arguments: &[&str]) {
    let admin = broker.place().join("admin");
    let done = countersign(&[arguments, &["--admin", admin.to_str().unwrap()]].concat());
    assert!(done.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&done.stderr));
}

fn stage(broker: &Broker, kind: &str, source: &str, more: &[&str]) {
    let file = broker.place().join("staged.rego");
    fs::write(&file, source).unwrap();
    admin(broker, &[&["policy", "stage", kind, file.to_str().unwrap()], more].concat());
}

/// Which grants the guest got and which not.
fn granted(broker: &Broker, guest: &Guest) -> (Vec<String>, Vec<String>) {
    let answer = attest(broker, &guest.request(&broker.nonce(), |_| {})).json();
    let ids = |list: &str| {
        let list = answer[list].as_array().cloned().unwrap_or_default();
        list.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    (ids("grants"), ids("denied"))
}

/// `(compared, differed)` of a subject over all rules that begin with `rule`, and the newest difference.
fn report(broker: &Broker, rule: &str, subject: &str) -> ((u64, u64), Value) {
    let report = broker.admin("GET", "/v1/admin/shadow", "", b"").json();
    let is = |one: &&Value| one["rule"].as_str().unwrap().starts_with(rule) && one["subject"] == subject;
    let count = |name: &str| {
        let all = report["compared"].as_array().unwrap();
        all.iter().filter(is).map(|one| one[name].as_u64().unwrap()).sum::<u64>()
    };
    let newest = report["differences"].as_array().unwrap().iter().find(is).cloned().unwrap_or_default();
    ((count("compared"), count("differed")), newest)
}

#[test]
fn a_staged_rule_is_told_and_only_ever_takes_away() {
    let guest = Guest::new();
    let broker = broker(&guest);
    let normal = (vec!["g1".to_owned()], vec!["g2".to_owned(), "g3".to_owned()]);
    assert_eq!(granted(&broker, &guest), normal);
    // Stricter: what is in force decides.
    stage(&broker, "release", NEVER, &[]);
    assert_eq!(granted(&broker, &guest), normal);
    let (counts, newest) = report(&broker, "staged-release", "disk-key");
    assert_eq!(counts, (1, 1));
    assert_eq!(
        (&newest["was"], &newest["would_be"], &newest["why"]),
        (&json!("allowed"), &json!("denied"), &json!("frozen"))
    );
    assert_eq!(report(&broker, "staged-release", "not-for-web").0, (1, 0));
    assert_eq!(report(&broker, "staged-release", "absent").0, (0, 0), "guests make no rows up");
    // Enforced for one grant.
    stage(&broker, "release", NEVER, &["--enforce", "disk-key"]);
    assert_eq!(granted(&broker, &guest), (vec![], vec!["g1".to_owned(), "g2".to_owned(), "g3".to_owned()]));
    // Looser: nothing more is released, enforced or not.
    for more in [&["--enforce", "not-for-web", "--enforce", "absent"][..], &[]] {
        stage(&broker, "release", ALWAYS, more);
        assert_eq!(granted(&broker, &guest), normal);
    }
    let newest = report(&broker, "staged-release", "not-for-web").1;
    assert_eq!((&newest["was"], &newest["would_be"]), (&json!("denied"), &json!("allowed")));
    admin(&broker, &["policy", "unstage", "release"]);
    evidence_is_tried(&broker, &guest);
}

fn evidence_is_tried(broker: &Broker, guest: &Guest) {
    // A proposed set would let another kernel in; it does not.
    let mut other = guest.processor.guest().measurement;
    other.0[0] ^= 1;
    let document = json!({"format": "countersign.reference-values/1", "sets": [{
        "id": "web-next", "version": 1, "workload": "web", "provenance": "test", "proposed": true,
        "not_before": "2026-01-01T00:00:00Z", "not_after": "2036-01-01T00:00:00Z",
        "measurements": [{"launch": other.to_string()}],
    }]});
    let file = broker.place().join("next.json");
    fs::write(&file, serde_json::to_vec(&document).unwrap()).unwrap();
    admin(broker, &["reference-values", "add", file.to_str().unwrap()]);
    let answer = attest(broker, &guest.request(&broker.nonce(), |report| report.measurement.0[0] ^= 1));
    assert_eq!(answer.status, 403, "{answer:?}");
    let (counts, newest) = report(broker, "web-next@1", "evidence");
    assert_eq!(counts, (1, 1));
    assert!(newest["was"].as_str().unwrap().starts_with("refused: reference."), "{newest}");
    assert_eq!(newest["would_be"], "affirmed");
    // A staged appraisal policy that affirms nothing refuses nobody.
    let source = "package countersign.appraisal\ntrust_vector := {\"hardware\": 96}\nreasons := {\"tried\"}\n";
    stage(broker, "appraisal", source, &[]);
    assert_eq!(granted(broker, guest).0, ["g1"]);
    let newest = report(broker, "staged-appraisal", "evidence").1;
    assert_eq!(newest["was"], "affirmed");
    assert!(newest["would_be"].as_str().unwrap().starts_with("refused: policy."), "{newest}");
}
