//! Services that throttle, fail or are gone.

use std::{thread::sleep, time::Duration};

use e2e::guest::{Guest, can_mount};
use softtee::services::{Fault, Faults, Kind, What};

use crate::{
    SECRET,
    guests::{SnpGuest, assert_unavailable, attest_td, faulty, fetching, services},
};

#[test]
fn a_throttling_service_costs_nobody_whose_documents_are_here_and_others_are_told_to_come_back() {
    let services = services();
    let broker = fetching(&services, "");
    let client = broker.client().unwrap();
    let (known, stranger) = (SnpGuest::on_chip(1), SnpGuest::on_chip(2));
    assert_eq!(known.attest(&client).status, 200);

    faulty(&services, Kind::Vcek, What::Throttle, Some(3));
    let mut told: usize = 0;
    let served = (0..60).any(|_| {
        assert_eq!(known.attest(&client).status, 200);
        let answer = stranger.attest(&client);
        if answer.status == 200 {
            return true;
        }
        assert_unavailable(&answer);
        told = told.saturating_add(1);
        sleep(Duration::from_millis(200));
        false
    });
    assert!(served && told > 0);
    // The service was left alone as it asked: three times no, then the certificate.
    assert_eq!(services.count(Kind::Vcek), 1 + 3 + 1);
}

#[test]
fn an_agent_tries_again_until_the_certificate_comes() {
    if !can_mount() {
        return;
    }
    let services = services();
    let broker = fetching(&services, "");
    faulty(&services, Kind::Vcek, What::Throttle, Some(2));
    let guest = Guest::start("[snp]\ncertificates = \"none\"\n").unwrap();
    let said = guest.get(&broker, "disk-key", &[]).unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
    assert!(said.stderr.contains("503"), "{}", said.stderr);
    assert_eq!(services.count(Kind::Vcek), 3);
}

#[test]
fn an_answer_without_a_decision_leaves_the_nonce_alive() {
    let services = services();
    let broker = fetching(&services, "");
    let client = broker.client().unwrap();
    let guest = SnpGuest::on_chip(1);
    faulty(&services, Kind::Vcek, What::Throttle, Some(1));
    let (key, nonce) = (crate::guests::tee_key(), client.challenge().unwrap());
    let evidence = guest.evidence(&nonce, key.public());
    let request = e2e::http::attest_request(&nonce, key.public(), &evidence, "disk-key").unwrap();
    assert_unavailable(&client.send("POST", "/v1/attest", Some(&request)).unwrap());
    let later = (0..50).map(|_| {
        sleep(Duration::from_millis(200));
        client.send("POST", "/v1/attest", Some(&request)).unwrap()
    });
    let answer = later.into_iter().find(|answer| answer.status != 503).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_restart_needs_no_network() {
    let services = services();
    let mut broker = fetching(&services, "");
    let client = broker.client().unwrap();
    let guest = SnpGuest::on_chip(1);
    assert_eq!(guest.attest(&client).status, 200);
    let td = attest_td(&client);
    assert_eq!(td.status, 200, "{}", td.body);
    drop(services);
    broker.stop().unwrap();
    broker.restart().unwrap();
    assert_eq!(guest.attest(&client).status, 200);
    assert_eq!(attest_td(&client).status, 200);
    assert_unavailable(&SnpGuest::on_chip(2).attest(&client));
}

#[test]
fn a_chip_that_its_vendor_does_not_know_is_refused_and_not_asked_for_again() {
    let services = services();
    let broker = fetching(&services, "");
    let client = broker.client().unwrap();
    faulty(&services, Kind::Vcek, What::Absent, None);
    for _ in 0..3 {
        let answer = SnpGuest::on_chip(1).attest(&client);
        assert_eq!((answer.status, answer.code()), (403, "endorsement.snp.vek_missing"), "{}", answer.body);
    }
    assert_eq!(services.count(Kind::Vcek), 1);
}

#[test]
fn without_sources_a_missing_document_is_a_refusal() {
    let broker = crate::guests::broker("");
    let answer = SnpGuest::on_chip(1).attest(&broker.client().unwrap());
    assert_eq!((answer.status, answer.code()), (403, "endorsement.snp.vek_missing"), "{}", answer.body);
}

#[test]
fn a_slow_service_is_waited_for_and_its_answer_kept_although_the_guest_gave_up() {
    let services = services();
    let broker = fetching(&services, "wait_seconds = 1\nfetch_seconds = 30");
    let client = broker.client().unwrap();
    let guest = SnpGuest::on_chip(1);
    services.become_faulty(Faults::one(Fault { on: Kind::Vcek, what: What::Slow, times: Some(1), seconds: 4 }));
    assert_unavailable(&guest.attest(&client));
    let served = (0..60).any(|_| {
        sleep(Duration::from_millis(250));
        guest.attest(&client).status == 200
    });
    assert!(served);
    assert_eq!(services.count(Kind::Vcek), 1);
}
