//! The agent's lease commands.

use std::fs;

use e2e::{
    guest::{Guest, can_mount},
    process::Said,
};

use crate::agent::broker;

#[test]
fn a_lease_is_renewed_and_given_back_by_command() {
    if !can_mount() {
        return;
    }
    let broker = broker(600);
    broker.put_secret("disk-key", b"correct horse").unwrap();
    let guest = Guest::start("").unwrap();
    let run = |args: &[&str]| {
        let mut command = guest.agent().unwrap();
        Said::by(command.args(args).args(["--broker", &broker.url(), "--broker-ca"]).arg(broker.ca())).unwrap()
    };
    fs::create_dir(guest.path("svid")).unwrap();
    run(&["get", "disk-key", "--out", "key", "--lease-file", "key.lease"]).done().unwrap();
    run(&["credentials", "x509-svid", "web", "--directory", "svid", "--lease-file", "svid.lease"]).done().unwrap();
    assert_eq!(fs::read(guest.path("key")).unwrap(), b"correct horse");
    let first = fs::read(guest.path("svid/svid.pem")).unwrap();
    run(&["lease", "renew", "key.lease", "--out", "key"]).done().unwrap();
    run(&["lease", "renew", "svid.lease", "--directory", "svid"]).done().unwrap();
    assert_ne!(fs::read(guest.path("svid/svid.pem")).unwrap(), first);
    let mixed = run(&["lease", "renew", "svid.lease", "--out", "key"]);
    assert!(mixed.status == 3 && mixed.stderr.contains("--directory takes certificates"), "{}", mixed.stderr);

    let mut open = broker.admin(&["workloads", "--open"]).unwrap();
    let open = Said::by(&mut open).unwrap().done().unwrap();
    assert!(open.contains("secret/disk-key") && open.contains("x509-svid/web"), "{open}");
    let copy = fs::read(guest.path("key.lease")).unwrap();
    let released = run(&["lease", "release", "key.lease"]);
    assert!(released.status == 0 && released.stderr.contains("2 leases ended"), "{}", released.stderr);
    assert!(!guest.path("key.lease").exists());
    fs::write(guest.path("key.lease"), copy).unwrap();
    let ended = run(&["lease", "renew", "key.lease", "--out", "key"]);
    assert!(ended.status == 1 && ended.stderr.contains("release.lease.ended"), "{}", ended.stderr);
    fs::write(guest.path("no.lease"), b"{}").unwrap();
    assert_eq!(run(&["lease", "release", "no.lease"]).status, 2);
}
