//! Tests of reference values.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use evidence_formats::{bytes::LaunchDigest, code::Coded};
use proptest::prelude::*;

use super::*;
use crate::{
    Signer,
    fixtures::{LAUNCH, claims, launch, now, set, values, vtpm_claims},
};

type Fault = fn(&mut Measurement);

fn document(set: &str) -> String {
    format!(r#"{{"format":"countersign.reference-values/1","sets":[{set}]}}"#)
}

fn with_measurement(measurement: &str) -> String {
    document(&format!(
        r#"{{"id":"web-prod","version":1,"workload":"web","not_before":"2026-01-01T00:00:00Z","not_after":"2027-01-01T00:00:00Z","provenance":"build 7","measurements":[{measurement}]}}"#
    ))
}

#[test]
fn the_documented_sample_is_read_and_written_back() {
    let page = include_str!("../../../../docs/reference-values.md");
    let sample = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let read = ReferenceValues::parse(sample.as_bytes()).unwrap();
    assert!(read.sets().len() >= 2);
    let again = ReferenceValues::parse(&serde_json::to_vec(&read).unwrap()).unwrap();
    assert_eq!(again, read);
}

#[test]
fn documents_are_closed_and_bounded() {
    let launch = "9f".repeat(48);
    let good = with_measurement(&format!(r#"{{"launch":"{launch}"}}"#));
    assert!(ReferenceValues::parse(good.as_bytes()).is_ok());
    let digest = "11".repeat(32);
    let bad = [
        String::new(),
        "{}".to_owned(),
        good.replace("values/1", "values/2"),
        good.replace(r#""version":1"#, r#""version":0"#),
        good.replace(r#""version":1"#, r#""version":-1"#),
        good.replace(r#""version":1"#, r#""version":1,"version":2"#),
        good.replace(r#""version":1"#, r#""version":1,"extra":2"#),
        good.replace("2027-01-01", "2025-01-01"),
        good.replace(r#""id":"web-prod""#, r#""id":"web prod""#),
        good.replace(r#""provenance":"build 7""#, r#""provenance":"""#),
        good.replace("9f9f", "9f9"),
        good.replace("9f9f", "9fzz"),
        format!("{good} x"),
        with_measurement(""),
        with_measurement("{}"),
        with_measurement(&format!(r#"{{"host_data":"{digest}"}}"#)),
        with_measurement(r#"{"runtime":{"pcr4":"11"}}"#),
        with_measurement(&format!(r#"{{"runtime":{{"pcr24":"{digest}"}}}}"#)),
        with_measurement(&format!(r#"{{"runtime":{{"rtmr0":"{digest}"}}}}"#)),
        with_measurement(&format!(r#"{{"runtime":{{"pcr4":"{digest}","pcr4":"{digest}"}}}}"#)),
        with_measurement(&format!(r#"{{"events":{{"pcr4":{{"kernel":["{digest}"],"kernel":["{digest}"]}}}}}}"#)),
        with_measurement(r#"{"events":{"pcr4":{"kernel":[]}}}"#),
        with_measurement(r#"{"events":{"pcr4":{}}}"#),
        with_measurement(r#"{"events":{"pcr4":{"kernel":["0123456789abcdef0123456789abcdef"]}}}"#),
        with_measurement(r#"{"events":{"pcr4":{"kernel":[""]}}}"#),
        with_measurement(&format!(r#"{{"runtime":{{"pcr4":"{digest}"}}}}"#))
            .replace(r#""workload":"web""#, r#""workload":"web","kind":"paravisor""#),
        with_measurement(&format!(r#"{{"launch":"{launch}","min_guest_svn":1}}"#)),
        with_measurement(&format!(r#"{{"launch":"{launch}","platform":"moon"}}"#)),
        " ".repeat(2 * 1024 * 1024),
    ];
    for document in bad {
        let error = ReferenceValues::parse(document.as_bytes()).unwrap_err();
        assert_eq!(error.code().as_str(), "reference.document", "{}", document.get(..300).unwrap_or(&document));
    }
}

#[test]
fn a_version_is_used_once() {
    let mut values = values([set(1, launch(LAUNCH))]);
    let error = values.insert(set(1, launch(LaunchDigest([1; 48])))).unwrap_err();
    assert_eq!(error.code().as_str(), "reference.duplicate");
    let unknown = values.apply(&"web-prod".parse().unwrap(), 2, Change::Retire { at: now() }).unwrap_err();
    assert_eq!(unknown.code().as_str(), "reference.unknown_set");
}

#[test]
fn several_versions_hold_at_once() {
    let mut other = set(2, launch(LaunchDigest([1; 48])));
    other.measurements.push(launch(LAUNCH));
    let outcome = values([set(1, launch(LAUNCH)), other]).judge(&claims(), now());
    let versions: Vec<u32> = outcome.matched().iter().map(|set| set.version).collect();
    assert_eq!(versions, [1, 2]);
    assert!(outcome.refusal().is_none());
}

#[test]
fn each_end_of_life_refuses_with_its_code() {
    let code = |change: fn(&mut ReferenceSet)| {
        let mut set = set(1, launch(LAUNCH));
        change(&mut set);
        let outcome = values([set]).judge(&claims(), now());
        assert!(outcome.matched().is_empty());
        outcome.refusal().unwrap().code().as_str()
    };
    assert_eq!(code(|set| set.not_after = now()), "reference.expired");
    assert_eq!(code(|set| set.retire_at = Some(now())), "reference.retired");
    assert_eq!(code(|set| set.not_before = now().plus_seconds(1)), "reference.not_yet_valid");
    assert_eq!(code(|set| set.proposed = true), "reference.proposed");
    assert_eq!(code(|set| set.revoked_at = Some(now().plus_seconds(100))), "reference.revoked");
}

#[test]
fn a_near_miss_is_named() {
    let mut wanted = Measurement { host_data: Some("01".repeat(32).parse().unwrap()), ..launch(LAUNCH) };
    wanted.name = Some("8 vCPUs".to_owned());
    let outcome = values([set(3, launch(LaunchDigest([1; 48]))), set(4, wanted)]).judge(&claims(), now());
    let texts: Vec<String> = outcome.near_misses().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["differs from web-prod v4 (8 vCPUs) in host data only", "differs from web-prod v3 in launch digest"]
    );
}

#[test]
fn a_kernel_event_is_a_near_miss_of_its_own() {
    let mut wanted = launch(LAUNCH);
    let kernel = NamedEvents([("kernel".to_owned(), vec!["55".repeat(32).parse().unwrap()])].into());
    wanted.events.insert("pcr4".parse().unwrap(), kernel);
    let outcome = values([set(4, wanted)]).judge(&vtpm_claims(), now());
    assert_eq!(outcome.near_misses()[0].to_string(), "differs from web-prod v4 in kernel only");
}

#[test]
fn an_event_may_be_a_text() {
    let mut guest = vtpm_claims();
    guest.unchecked.clear();
    let text = "console=ttyS0 ro".to_owned();
    guest.measurement.runtime.get_mut("pcr4").unwrap().events.insert("command_line".to_owned(), vec![text.clone()]);
    let pinned = |text: &str| {
        let events = NamedEvents([("command_line".to_owned(), vec![text.parse().unwrap()])].into());
        let events = [("pcr4".parse().unwrap(), events)].into();
        values([set(1, Measurement { events, ..Measurement::default() })]).judge(&guest, now()).matched().len()
    };
    assert_eq!((pinned(&text), pinned("console=ttyS0 rw")), (1, 0));
}

#[test]
fn every_member_of_an_alternative_must_agree() {
    let mut guest = vtpm_claims();
    guest.unchecked.clear();
    guest.signer =
        Some(Signer { id_key_digest: "66".repeat(48), author_key_digest: Some("77".repeat(48)), guest_svn: Some(5) });
    let whole = Measurement {
        name: None,
        hwmodel: vec!["amd-milan".to_owned(), "amd-genoa".to_owned()],
        platform: Some(crate::Platform::Azure),
        launch: Some(LAUNCH),
        runtime: [("pcr4".parse().unwrap(), "44".repeat(32).parse().unwrap())].into(),
        events: [(
            "pcr4".parse().unwrap(),
            NamedEvents([("kernel".to_owned(), vec!["33".repeat(32).parse().unwrap()])].into()),
        )]
        .into(),
        host_data: Some("00".repeat(32).parse().unwrap()),
        id_key_digest: Some("66".repeat(48).parse().unwrap()),
        author_key_digest: Some("77".repeat(48).parse().unwrap()),
        min_guest_svn: Some(5),
    };
    let outcome = values([set(1, whole.clone())]).judge(&guest, now());
    assert_eq!(
        outcome.matched()[0].pinned,
        [
            "hwmodel",
            "platform",
            "host_data",
            "launch",
            "runtime.pcr4",
            "event.kernel",
            "id_key_digest",
            "author_key_digest",
            "guest_svn"
        ]
    );
    let faults: [(&str, Fault); 9] = [
        ("hwmodel", |m| m.hwmodel = vec!["intel-tdx".to_owned()]),
        ("platform", |m| m.platform = Some(crate::Platform::Bare)),
        ("launch", |m| m.launch = Some(LaunchDigest([1; 48]))),
        ("runtime.pcr4", |m| m.runtime = [("pcr4".parse().unwrap(), "45".repeat(32).parse().unwrap())].into()),
        ("runtime.pcr5", |m| m.runtime = [("pcr5".parse().unwrap(), "44".repeat(32).parse().unwrap())].into()),
        ("host_data", |m| m.host_data = Some("01".repeat(32).parse().unwrap())),
        ("id_key_digest", |m| m.id_key_digest = Some("67".repeat(48).parse().unwrap())),
        ("author_key_digest", |m| m.author_key_digest = Some("78".repeat(48).parse().unwrap())),
        ("guest_svn", |m| m.min_guest_svn = Some(6)),
    ];
    for (what, fault) in faults {
        let mut wrong = whole.clone();
        fault(&mut wrong);
        let outcome = values([set(1, wrong)]).judge(&guest, now());
        let miss = &outcome.near_misses()[0];
        assert_eq!(miss.differences.iter().map(|d| d.what.as_str()).collect::<Vec<_>>(), [what]);
    }
}

#[test]
fn a_zero_signer_digest_never_matches() {
    let mut guest = claims();
    guest.signer = Some(Signer { id_key_digest: "00".repeat(48), author_key_digest: None, guest_svn: None });
    let wanted = Measurement { id_key_digest: Some("00".repeat(48).parse().unwrap()), ..Measurement::default() };
    assert!(values([set(1, wanted)]).judge(&guest, now()).matched().is_empty());
}

proptest! {
    /// A document with a few bytes changed is refused or read; what was read is written and read back the same.
    #[test]
    fn a_damaged_document_never_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let page = include_str!("../../../../docs/reference-values.md");
        let mut document = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().as_bytes().to_vec();
        for (index, byte) in edits {
            let at = index.index(document.len());
            document[at] = byte;
        }
        if cut {
            document.truncate(end.index(document.len()));
        }
        if let Ok(read) = ReferenceValues::parse(&document) {
            prop_assert_eq!(ReferenceValues::parse(&serde_json::to_vec(&read).unwrap()).unwrap(), read);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = ReferenceValues::parse(&bytes);
    }
}
