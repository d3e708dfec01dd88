//! What services send is authenticated before it is kept, and kept fresh.

use std::{thread::sleep, time::Duration};

use e2e::process::Said;
use evidence_formats::snp::ProductLine;
use serde_json::Value;
use softtee::services::{Faults, Kind, What};

use crate::guests::{SnpGuest, assert_unavailable, attest_td, broker, document, faulty, fetching, services, status};

const CRL: &str = "amd/crl/Milan/vcek";

fn number(status: &Value) -> String {
    document(status, CRL).unwrap().get("number").and_then(Value::as_str).unwrap().to_owned()
}

#[test]
fn every_product_line_and_a_td_are_served() {
    let services = services();
    let broker = fetching(&services, "");
    let client = broker.client().unwrap();
    for product in ProductLine::ALL {
        let answer = SnpGuest::of(product, 9).attest(&client);
        assert_eq!(answer.status, 200, "{product}: {}", answer.body);
    }
    let answer = attest_td(&client);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let held = status(&broker);
    let expected = [
        "amd/crl/Genoa/vcek",
        "amd/crl/Milan/vcek",
        "amd/crl/Turin/vcek",
        "intel/pck-crl/platform",
        "intel/qe-identity/standard",
        "intel/root-crl",
        "intel/tcb-info/b0c06f000000/standard",
    ];
    for id in expected {
        let document = document(&held, id).unwrap_or_else(|| panic!("{id}: {held}"));
        assert_eq!(document.get("state").and_then(Value::as_str), Some("current"));
    }
    assert_eq!(held.pointer("/chips/0/certificates"), Some(&Value::from(1)));
    let table = Said::by(&mut broker.admin(&["endorsements", "status"]).unwrap()).unwrap().done().unwrap();
    assert!(table.contains("intel/root-crl") && table.contains("CHIP CERTIFICATES"), "{table}");
}

#[test]
fn a_wrong_certificate_is_never_kept() {
    let services = services();
    // Each refusal is remembered for a second, so that the next fault meets a fresh question.
    let broker = fetching(&services, "negative_seconds = 1");
    let client = broker.client().unwrap();
    for (what, chip) in [What::Truncated, What::WrongProduct, What::Rogue, What::Redirect].into_iter().zip(1..) {
        faulty(&services, Kind::Vcek, what, None);
        assert_unavailable(&SnpGuest::on_chip(chip).attest(&client));
        assert_eq!(status(&broker).get("chips"), Some(&Value::Array(Vec::new())), "{what:?}");
    }
    services.become_faulty(Faults::default());
    assert!(served_later(|| SnpGuest::on_chip(1).attest(&client).status == 200));
}

#[test]
fn a_wrong_list_is_never_kept() {
    let services = services();
    let broker = fetching(&services, "negative_seconds = 1");
    let client = broker.client().unwrap();
    for what in [What::Truncated, What::WrongProduct, What::Rogue, What::Stale] {
        faulty(&services, Kind::Crl, what, None);
        assert_unavailable(&SnpGuest::on_chip(1).attest(&client));
        assert_eq!(document(&status(&broker), CRL), None, "{what:?}");
        sleep(Duration::from_millis(1200));
    }
    services.become_faulty(Faults::default());
    assert!(served_later(|| SnpGuest::on_chip(1).attest(&client).status == 200));
}

fn served_later(served: impl Fn() -> bool) -> bool {
    (0..80).any(|_| {
        sleep(Duration::from_millis(250));
        served()
    })
}

#[test]
fn a_wrong_document_of_intels_is_never_kept() {
    let kinds = [
        (Kind::TcbInfo, "intel/tcb-info/b0c06f000000/standard"),
        (Kind::QeIdentity, "intel/qe-identity/standard"),
        (Kind::PckCrl, "intel/pck-crl/platform"),
        (Kind::RootCrl, "intel/root-crl"),
    ];
    for (kind, id) in kinds {
        let services = services();
        let broker = fetching(&services, "negative_seconds = 1");
        let client = broker.client().unwrap();
        for what in [What::Truncated, What::Rogue, What::Stale] {
            faulty(&services, kind, what, None);
            assert_unavailable(&attest_td(&client));
            assert_eq!(document(&status(&broker), id), None, "{what:?}");
            sleep(Duration::from_millis(1200));
        }
        services.become_faulty(Faults::default());
        let fetched = Said::by(&mut broker.admin(&["endorsements", "fetch", id]).unwrap()).unwrap();
        assert_eq!(fetched.status, 0, "{}", fetched.stderr);
        assert_eq!(attest_td(&client).status, 200);
    }
}

#[test]
fn a_list_is_never_replaced_by_an_older_one() {
    let services = services();
    let broker = fetching(&services, "");
    let fetch = || Said::by(&mut broker.admin(&["endorsements", "fetch", CRL]).unwrap()).unwrap();
    services.become_faulty(Faults { list_number: Some(9), ..Faults::default() });
    assert_eq!(fetch().status, 0);
    for faults in [
        Faults { list_number: Some(8), ..Faults::default() },
        Faults {
            list_number: Some(9),
            fault: vec![softtee::services::Fault { on: Kind::Crl, what: What::LowerNumber, times: None, seconds: 0 }],
            ..Faults::default()
        },
    ] {
        services.become_faulty(faults);
        let refused = fetch();
        assert_eq!(refused.status, 1);
        assert_eq!(number(&status(&broker)), "9");
    }
    services.become_faulty(Faults { list_number: Some(10), ..Faults::default() });
    assert_eq!(fetch().status, 0);
    assert_eq!(number(&status(&broker)), "a");
}

#[test]
fn what_is_held_is_refreshed_ahead_of_its_end() {
    let services = services();
    let broker = fetching(&services, "refresh_seconds = 1");
    assert_eq!(SnpGuest::on_chip(1).attest(&broker.client().unwrap()).status, 200);
    assert_eq!(number(&status(&broker)), "7");
    services.become_faulty(Faults { list_number: Some(8), ..Faults::default() });
    let refreshed = (0..120).any(|_| {
        sleep(Duration::from_millis(250));
        number(&status(&broker)) == "8"
    });
    assert!(refreshed);
    assert_eq!(services.count(Kind::Vcek), 1);
}

#[test]
fn azures_service_is_asked_for_its_own_chip_and_the_next_source_for_others() {
    let services = services();
    let url = services.url();
    let sources = format!(
        "[endorsements]\nsources = [{{ kind = \"thim\", url = \"{url}\" }}, {{ kind = \"kds\", url = \"{url}\" }}]\n"
    );
    let broker = broker(&sources);
    let client = broker.client().unwrap();
    // The chip of softtee's metadata service starts with 1.
    assert_eq!(SnpGuest::on_chip(1).attest(&client).status, 200);
    assert_eq!((services.count(Kind::Thim), services.count(Kind::Vcek)), (1, 0));
    assert_eq!(SnpGuest::on_chip(2).attest(&client).status, 200);
    assert_eq!((services.count(Kind::Thim), services.count(Kind::Vcek)), (2, 1));
}
