use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use e2e::{
    guest::{Guest as Machine, can_mount},
    postgres::{Postgres, psql},
    process::Said,
};

use crate::setup::broker;

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
