//! The life of a policy: tried on what was decided, set, and taken back with one command.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{fs, path::PathBuf};

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
};

const SECRET: &[u8] = b"disk key of the policy test";
const BUILT_IN_RELEASE: &str = include_str!("../../../../broker/verifier/src/policy/default_release.rego");
const BUILT_IN_APPRAISAL: &str = include_str!("../../../../broker/verifier/src/policy/default_appraisal.rego");

fn says(broker: &Broker, arguments: &[&str]) -> Said {
    Said::by(&mut broker.admin(arguments).unwrap()).unwrap()
}

fn told(broker: &Broker, arguments: &[&str]) -> String {
    let said = says(broker, arguments);
    assert_eq!(said.status, 0, "{arguments:?}: {}", said.stderr);
    String::from_utf8(said.stdout).unwrap()
}

struct Files(tempfile::TempDir);

impl Files {
    fn with(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn a_policy_is_tried_on_yesterday_set_and_taken_back() {
    if !can_mount() {
        return;
    }
    let files = Files(tempfile::tempdir().unwrap());
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    assert_eq!(guest.get(&broker, "disk-key", &[]).unwrap().stdout, SECRET);
    assert_ne!(guest.get(&broker, "absent", &[]).unwrap().status, 0);

    // Without its line about simulated platforms this is the policy that decides; with it nothing is released here.
    let strict = files.with("strict.rego", BUILT_IN_RELEASE);
    let replayed = told(&broker, &["policy", "replay", "release", &strict, "--since", "1h"]);
    let row = replayed.lines().find(|line| line.contains("disk-key")).unwrap();
    assert!(
        row.contains("allowed") && row.contains("denied") && row.contains("the platform is simulated"),
        "{replayed}"
    );
    assert!(!replayed.lines().any(|line| line.contains("absent")), "{replayed}");
    assert!(replayed.contains("2 decisions since") && replayed.contains("1 changes"), "{replayed}");

    told(&broker, &["policy", "set", "release", &strict]);
    let refused = guest.get(&broker, "disk-key", &[]).unwrap();
    assert!(refused.status != 0 && refused.stderr.contains("the platform is simulated"), "{}", refused.stderr);

    told(&broker, &["policy", "rollback", "release"]);
    assert_eq!(guest.get(&broker, "disk-key", &[]).unwrap().stdout, SECRET);
    let versions: Vec<serde_json::Value> =
        serde_json::from_str(&told(&broker, &["policy", "list", "release", "--format", "json"])).unwrap();
    let numbers: Vec<_> =
        versions.iter().map(|version| (version["version"].as_u64(), version["restores"].as_u64())).collect();
    assert_eq!(numbers, [(Some(3), Some(1)), (Some(2), None), (Some(1), None), (Some(0), None)]);
    assert_eq!(versions[0]["digest"], versions[2]["digest"]);
    assert_eq!(versions[0]["author"], "admin");
    let diff = told(&broker, &["policy", "diff", "release", "1", "2"]);
    assert!(diff.contains("+deny contains \"the platform is simulated\""), "{diff}");
    assert_eq!(told(&broker, &["policy", "diff", "release", "1"]).trim(), "the texts are the same");

    told(&broker, &["policy", "rollback", "release", "--to", "0"]);
    assert_ne!(guest.get(&broker, "disk-key", &[]).unwrap().status, 0);
    let none = says(&broker, &["policy", "rollback", "appraisal"]);
    assert!(none.status != 0 && none.stderr.contains("request.not_found"), "{}", none.stderr);
}

#[test]
fn an_appraisal_policy_is_tried_on_yesterday() {
    if !can_mount() {
        return;
    }
    let files = Files(tempfile::tempdir().unwrap());
    let broker = Broker::start(&Setup::default()).unwrap();
    let guest = Guest::start("").unwrap();
    // A refusal is recorded as well, and stays one: here the grant does not exist, the evidence is good.
    assert_ne!(guest.get(&broker, "absent", &[]).unwrap().status, 0);
    guest.becomes("[snp]\nproduct = \"genoa\"\n").unwrap();
    assert_ne!(guest.get(&broker, "absent", &[]).unwrap().status, 0);

    let same = files.with("same.rego", BUILT_IN_APPRAISAL);
    let replayed = told(&broker, &["policy", "replay", "appraisal", &same, "--since", "1h"]);
    assert!(replayed.contains("2 judged") && replayed.contains("0 changes"), "{replayed}");
    let only_genoa = BUILT_IN_APPRAISAL.replacen(
        "baseline_passed if ",
        "baseline_passed if {\n\tinput.claims.hwmodel == \"amd-genoa\"\n\tno_violations\n}\n\nno_violations if ",
        1,
    );
    let only_genoa = files.with("genoa.rego", &only_genoa);
    let report: serde_json::Value = serde_json::from_str(&told(
        &broker,
        &["policy", "replay", "appraisal", &only_genoa, "--since", "1h", "--format", "json"],
    ))
    .unwrap();
    let changes = report["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{report}");
    assert_eq!(changes[0]["was"], "affirmed");
    assert_eq!(changes[0]["would_be"], "refused: policy.contraindicated");
    assert!(changes[0]["why"].as_array().unwrap().contains(&"configuration 2 → 96".into()), "{report}");

    let mistaken = files.with("mistaken.rego", &format!("{BUILT_IN_APPRAISAL}\nx if input.claims.debugg\n"));
    let checked = says(&broker, &["policy", "set", "appraisal", &mistaken]);
    assert!(checked.status == 0 && checked.stderr.contains("did you mean debug?"), "{}", checked.stderr);
}
