//! The agent where something other than the evidence is wrong.

use std::fs;

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
};

use crate::SECRET;

#[test]
fn only_the_pinned_broker_is_asked() {
    if !can_mount() {
        return;
    }
    let (ours, other) = (Broker::start(&Setup::default()).unwrap(), Broker::start(&Setup::default()).unwrap());
    ours.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    let ask = |pin: &[&str]| {
        let mut command = guest.agent().unwrap();
        Said::by(command.args(["get", "disk-key", "--broker", &ours.url()]).args(pin)).unwrap()
    };
    let (our_ca, other_ca) = (ours.ca(), other.ca());
    let said = ask(&["--broker-ca", our_ca.to_str().unwrap()]);
    assert_eq!(said.stdout, SECRET, "{}", said.stderr);
    let said = ask(&["--broker-ca", other_ca.to_str().unwrap()]);
    assert_eq!(said.status, 5);
    assert!(said.stderr.contains("expected the pinned broker"), "{}", said.stderr);
    let said = ask(&["--broker-spki", "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]);
    assert_eq!(said.status, 5);
    let said = ask(&[]);
    assert_eq!(said.status, 2);
    assert!(said.stderr.contains("expected a pin of the broker"), "{}", said.stderr);
}

#[test]
fn a_broken_host_gives_a_clear_error_and_leaves_no_directory_behind() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    let guest = Guest::start("").unwrap();
    let table = [
        ("[faults]\nfailure = \"EIO\"", "expected outblob to work"),
        ("[faults]\nfailure = \"ENXIO\"", "expected a driver behind configfs-tsm"),
        ("[faults]\nno_provider = true", "expected a driver behind configfs-tsm"),
        ("[faults]\ninterrupted_reports = 99", "expected no other writer in the report directory"),
        ("[faults]\nbusy = true", "expected no other writer in the report directory"),
        ("[faults]\ntruncate = 1000", "expected an SNP attestation report"),
        ("[faults]\nappend_zeros = 16", "expected an SNP attestation report"),
        // REPORT_DATA is at 0x50.
        ("[faults]\nflip_byte = 0x50", "expected a report that carries our report data"),
    ];
    for (state, words) in table {
        guest.becomes(state).unwrap();
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        assert_eq!(said.status, 4, "{state}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{state}: {}", said.stderr);
        assert_eq!(fs::read_dir(guest.path("tsm")).unwrap().count(), 0, "{state}");
    }
    guest.becomes("[faults]\nfailure = \"EINTR\"\nfailing_reports = 2").unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let said = guest.get(&broker, "disk-key", &[]).unwrap();
    assert_eq!(said.stdout, SECRET, "{}", said.stderr);
}

#[test]
fn the_agent_waits_for_a_broker_that_is_away() {
    if !can_mount() {
        return;
    }
    let mut broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    let mut command = guest.agent().unwrap();
    command.args(["get", "disk-key", "--timeout", "30", "--broker", &broker.url(), "--broker-ca"]).arg(broker.ca());
    broker.stop().unwrap();
    let waiting = std::thread::spawn(move || Said::by(&mut command).unwrap());
    std::thread::sleep(std::time::Duration::from_secs(2));
    broker.restart().unwrap();
    let said = waiting.join().unwrap();
    assert_eq!(said.stdout, SECRET, "{}", said.stderr);
    assert!(said.stderr.contains("trying again in"), "{}", said.stderr);
}

#[test]
fn settings_come_from_the_file_and_the_rest_of_the_surface_is_strict() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    let file = guest.path("agent.toml");
    fs::write(&file, format!("broker = {:?}\nbroker_ca = {:?}\n", broker.url(), broker.ca())).unwrap();
    let mut command = guest.agent().unwrap();
    let said = Said::by(command.args(["get", "disk-key", "--config"]).arg(&file)).unwrap();
    assert_eq!(said.stdout, SECRET, "{}", said.stderr);
    fs::write(&file, "brokr = \"https://127.0.0.1\"\n").unwrap();
    let mut command = guest.agent().unwrap();
    assert_eq!(Said::by(command.args(["get", "disk-key", "--config"]).arg(&file)).unwrap().status, 2);
    let mut command = guest.agent().unwrap();
    assert_eq!(Said::by(command.args(["evidence", "--report-data", "00"])).unwrap().status, 2);
}
