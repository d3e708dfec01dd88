//! A broker that makes roles in a PostgreSQL of our own.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{
    broker::{Broker, Setup},
    postgres::{MANAGER, Postgres},
    process::Said,
};
use serde_json::{Value, json};

use crate::guest::Guest;

/// What a guest logs in with.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) lease: String,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) value: Value,
}

/// The configuration of a server called `server` with one kind of role, `role`.
pub(crate) fn server(postgres: &Postgres, server: &str, role: &str, ttl: u32, creation: &str) -> String {
    format!(
        "[[postgres]]
         name = \"{server}\"
         host = \"127.0.0.1\"
         port = {}
         database = \"orders\"
         user = \"{MANAGER}\"
         password_file = {:?}
         ca = {:?}
         min_evidence = \"simulated\"
         max_ttl_seconds = {ttl}
         revocation = [\"REASSIGN OWNED BY {{role}} TO app\", \"DROP OWNED BY {{role}}\"]
         [[postgres.role]]
         name = \"{role}\"
         workloads = [\"web\"]
         creation = [\"CREATE ROLE {{role}} LOGIN PASSWORD {{password}} VALID UNTIL {{valid_until}}\", {creation:?}]\n",
        postgres.port(),
        postgres.path("manager.password"),
        postgres.path("ca.pem"),
    )
}

/// A broker with the roles `orders-rw` (15 minutes) and `orders-short` (2 seconds).
pub(crate) fn broker(postgres: &Postgres) -> Broker {
    let more = server(postgres, "orders", "orders-rw", 900, "GRANT app TO {role}")
        + &server(postgres, "orders-two", "orders-short", 2, "GRANT app TO {role}");
    Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap()
}

pub(crate) fn wish(name: &str) -> Value {
    json!([{"id": "db", "type": "postgres", "name": name}])
}

/// The role of the first grant of an answer.
pub(crate) fn role(guest: &Guest, answer: &Value) -> Role {
    let grant = &answer["grants"][0];
    assert!(grant.is_object(), "{answer}");
    let value: Value = serde_json::from_slice(guest.open(&grant["sealed"]).value.expose()).unwrap();
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    let lease = grant["lease"]["id"].as_str().unwrap().to_owned();
    Role { lease, name: text("username"), password: text("password"), value }
}

/// A fresh guest with a role.
pub(crate) fn guest_with_role(broker: &Broker, name: &str) -> (Guest, Role) {
    let mut guest = Guest::new(broker.client().unwrap());
    let answer = guest.attest(wish(name));
    let role = role(&guest, &answer);
    (guest, role)
}

/// Logs in with the role and runs statements.
pub(crate) fn login(postgres: &Postgres, role: &Role, statements: &str) -> Said {
    postgres.login(&role.name, &role.password, statements).unwrap()
}

/// Waits until `holds`, for `most` at most; how long it took.
pub(crate) fn within(most: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < most, "expected within {most:?}: {what}");
        sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

/// Waits a second at most until the role is gone.
pub(crate) fn gone_within_a_second(postgres: &Postgres, role: &Role, why: &str) {
    let took = within(Duration::from_secs(1), &format!("the role is gone: {why}"), || !is_there(postgres, role));
    eprintln!("{why}: gone after {took:?}");
}

pub(crate) fn is_there(postgres: &Postgres, role: &Role) -> bool {
    postgres.roles().unwrap().contains(&role.name)
}
