//! Many guests at once.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use e2e::http::attest_request;
use softtee::services::Kind;

use crate::guests::{SnpGuest, fetching, services, tee_key};

const CHIPS: u8 = 50;
const GUESTS_OF_A_CHIP: usize = 20;
const LIMITS: &str = "attestations = 2048\nconnections = 4096\nrequests_per_second = 1000000\nrequest_seconds = 600\n\
                      header_seconds = 120\n";

#[test]
fn a_thousand_first_attestations_from_fifty_chips_ask_for_fifty_certificates() {
    let services = services();
    let setup = format!("{LIMITS}{}", crate::guests::sources(&services.url()));
    let broker = crate::guests::broker(&format!("{setup}wait_seconds = 120\nconcurrency = 8\n"));
    let client = broker.client().unwrap().waiting(Duration::from_secs(300));
    // The evidence is gathered before the crowd starts, so that it is a crowd.
    let workers: Vec<_> = (0..CHIPS)
        .map(|chip| {
            let client = client.clone();
            thread::spawn(move || {
                let guest = SnpGuest::on_chip(chip);
                let request = |_| {
                    let (key, nonce) = (tee_key(), client.challenge().unwrap());
                    attest_request(&nonce, key.public(), &guest.evidence(&nonce, key.public()), "disk-key").unwrap()
                };
                (0..GUESTS_OF_A_CHIP).map(request).collect::<Vec<_>>()
            })
        })
        .collect();
    let requests: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    assert_eq!(services.total(), 0);

    let start = Arc::new(Barrier::new(requests.len()));
    let guests: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let (client, start) = (client.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                client.send("POST", "/v1/attest", Some(&request)).unwrap()
            })
        })
        .collect();
    for guest in guests {
        let answer = guest.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(services.count(Kind::Vcek), u64::from(CHIPS));
    assert_eq!(services.count(Kind::Crl), 1);
}

#[test]
fn a_second_guest_of_a_chip_asks_for_nothing() {
    let services = services();
    let broker = fetching(&services, "");
    let client = broker.client().unwrap();
    let guest = SnpGuest::on_chip(1);
    assert_eq!(guest.attest(&client).status, 200);
    let asked = services.total();
    assert_eq!(guest.attest(&client).status, 200);
    assert_eq!(services.total(), asked);
    assert_eq!(SnpGuest::on_chip(2).attest(&client).status, 200);
    assert_eq!((services.count(Kind::Vcek), services.count(Kind::Crl)), (2, 1));
}
