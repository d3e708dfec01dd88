use std::{fs, os::unix::fs::PermissionsExt, process::Command, thread::sleep, time::Duration};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup},
    guest::{Guest as Machine, can_mount},
    postgres::{Postgres, psql},
    process::Said,
};

use crate::setup::{broker, server, within};

#[test]
fn the_agent_writes_a_role_in_the_forms_that_psql_reads() {
    if !can_mount() {
        return;
    }
    let postgres = Postgres::start().unwrap();
    let broker = broker(&postgres);
    let machine = Machine::start("").unwrap();
    let run = |args: &[&str]| {
        let mut command = machine.agent().unwrap();
        command.args(["credentials", "postgres", "orders-rw"]).args(args);
        Said::by(command.args(["--broker", &broker.url(), "--broker-ca"]).arg(broker.ca())).unwrap()
    };
    let who = |address: &str, change: &dyn Fn(&mut Command)| {
        let mut command =
            psql(address, "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        change(&mut command);
        let said = Said::by(&mut command).unwrap().done().unwrap();
        assert!(said.starts_with("countersign_") && said.trim().ends_with(" true"), "{said}");
    };
    run(&["--out", "service.conf", "--ca-out", "pg-ca.pem"]).done().unwrap();
    assert_eq!(machine.path("service.conf").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    who("service=orders-rw", &|command| {
        command.env("PGSERVICEFILE", machine.path("service.conf"));
    });
    run(&["--form", "uri", "--out", "uri", "--ca-out", "pg-ca.pem"]).done().unwrap();
    let uri = fs::read_to_string(machine.path("uri")).unwrap();
    assert!(uri.contains("sslmode=verify-full"), "a test may show it: {uri}");
    who(uri.trim(), &|_| {});
    run(&["--form", "pgpass", "--out", "pgpass"]).done().unwrap();
    let line = fs::read_to_string(machine.path("pgpass")).unwrap();
    let user = line.split(':').nth(3).unwrap();
    let address = format!("host=127.0.0.1 port={} dbname=orders user={user} sslmode=require", postgres.port());
    who(&address, &|command| {
        command.env("PGPASSFILE", machine.path("pgpass"));
    });
    let json = run(&["--form", "json", "--out", "-"]).done().unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["database"], "orders");
}

#[test]
fn a_role_and_a_certificate_are_kept_renewed_and_given_back_by_lease_files() {
    if !can_mount() {
        return;
    }
    let postgres = Postgres::start().unwrap();
    let ssh = "
[[ssh.user]]
name = \"deploy\"
workloads = [\"web\"]
principals = [\"{workload}\"]
min_evidence = \"simulated\"
max_ttl_seconds = 600
revocation = \"krl\"
";
    let more = server(&postgres, "orders", "orders-rw", 900, "GRANT app TO {role}") + ssh;
    let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
    let machine = Machine::start("").unwrap();
    let run = |args: &[&str]| {
        let mut command = machine.agent().unwrap();
        Said::by(command.args(args).args(["--broker", &broker.url(), "--broker-ca"]).arg(broker.ca())).unwrap()
    };
    let file = |name: &str| fs::read_to_string(machine.path(name)).unwrap();
    let form = ["--form", "pgpass", "--out", "pgpass", "--lease-file", "db.lease"];
    run(&[&["credentials", "postgres", "orders-rw"][..], &form].concat()).done().unwrap();
    assert_eq!(machine.path("db.lease").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let name = file("pgpass").split(':').nth(3).unwrap().to_owned();
    let until = || {
        postgres
            .sql(&format!("SELECT extract(epoch FROM rolvaliduntil) FROM pg_roles WHERE rolname = '{name}'"))
            .unwrap()
    };
    let (first, written) = (until(), file("pgpass"));
    sleep(Duration::from_millis(1100));
    run(&["lease", "renew", "db.lease"]).done().unwrap();
    assert!(until() > first, "the role holds longer");
    assert_eq!(file("pgpass"), written);
    run(&["lease", "release", "db.lease"]).done().unwrap();
    within(Duration::from_secs(1), "the role is gone", || until().trim().is_empty());

    run(&["credentials", "ssh-cert", "deploy", "--key", "id", "--lease-file", "ssh.lease"]).done().unwrap();
    let first = file("id-cert.pub");
    sleep(Duration::from_millis(1100));
    run(&["lease", "renew", "ssh.lease"]).done().unwrap();
    let second = file("id-cert.pub");
    assert_ne!(first, second, "a certificate that holds longer");
    run(&["lease", "release", "ssh.lease"]).done().unwrap();
    let mut revoked = Command::new(binary("countersign").unwrap());
    revoked.args(["ssh", "revoked", "user", "--server", &broker.url(), "--ca"]).arg(broker.ca());
    Said::by(revoked.arg("--out").arg(machine.path("revoked"))).unwrap().done().unwrap();
    let mut query = Command::new("ssh-keygen");
    query.args(["-Q", "-f", "revoked", "id-cert.pub"]).current_dir(machine.path("."));
    assert!(Said::by(&mut query).unwrap().status != 0, "both certificates are on the list");
}
