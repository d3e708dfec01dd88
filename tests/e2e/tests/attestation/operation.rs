//! What an operator does to a running broker, and what a flood does.

use std::{
    fs,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
};
use serde_json::json;

use crate::SECRET;

#[test]
fn revocation_lists_that_arrive_count_after_a_hang_up_signal() {
    if !can_mount() {
        return;
    }
    let mut broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let hidden = tempfile::tempdir().unwrap();
    let lists: Vec<_> = fs::read_dir(broker.endorsements()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let lists: Vec<_> = lists.into_iter().filter(|path| path.to_string_lossy().contains("crl")).collect();
    assert!(!lists.is_empty());
    for list in &lists {
        fs::copy(list, hidden.path().join(list.file_name().unwrap())).unwrap();
        fs::remove_file(list).unwrap();
    }
    broker.stop().unwrap();
    broker.restart().unwrap();
    let guest = Guest::start("").unwrap();
    let said = guest.get(&broker, "disk-key", &[]).unwrap();
    assert_ne!(said.status, 0);
    assert!(said.stderr.contains("endorsement.snp.crl_missing"), "{}", said.stderr);

    for list in &lists {
        fs::copy(hidden.path().join(list.file_name().unwrap()), list).unwrap();
    }
    broker.hang_up().unwrap();
    // The signal is answered a moment later.
    let begun = Instant::now();
    while guest.get(&broker, "disk-key", &[]).unwrap().status != 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", broker.log().unwrap());
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_flood_is_told_when_to_come_back() {
    let broker = Broker::start(&Setup { more: "requests_per_second = 20", ..Setup::default() }).unwrap();
    let client = broker.client().unwrap();
    let flood = || -> Vec<_> {
        let ask = |_| client.send("POST", "/v1/challenge", Some(&json!({})));
        (0..40).map(ask).map(Result::unwrap).collect()
    };
    let answers: Vec<_> = scope(|scope| {
        let peers: Vec<_> = (0..8).map(|_| scope.spawn(flood)).collect();
        peers.into_iter().flat_map(|peer| peer.join().unwrap()).collect()
    });
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len());
    for answer in refused {
        assert_eq!((answer.status, answer.code(), answer.retry_after), (429, "request.rate", Some(1)));
    }
}
