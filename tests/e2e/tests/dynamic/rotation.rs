//! Legacy secrets that the broker changes in the legacy system on schedule.

use std::{fs, net::TcpListener, process::Command, thread::sleep, time::Duration};

use e2e::{
    broker::{Broker, Setup},
    postgres::Postgres,
    process::Said,
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::setup::{server, within};

/// A legacy client of a database role that has always had a password.
struct Legacy {
    broker: Broker,
    bridge: u16,
    place: TempDir,
}

impl Legacy {
    fn start(postgres: &Postgres) -> Self {
        postgres.sql("CREATE ROLE erp LOGIN PASSWORD 'a-password-of-1998' ADMIN manager").unwrap();
        let bridge = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let more = server(postgres, "orders", "orders-rw", 900, "GRANT app TO {role}")
            + &format!(
                "[bridge]\nlisten = \"127.0.0.1:{bridge}\"\nuses_per_minute = 600\n
                 [[exceptions.rotation]]\nname = \"erp-db\"\nserver = \"orders\"\nrole = \"erp\"\n"
            );
        let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
        let place = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let client = CertificateParams::new(vec!["erp.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(place.path().join("erp.pem"), client.pem()).unwrap();
        fs::write(place.path().join("erp.key"), key.serialize_pem()).unwrap();
        Self { broker, bridge, place }
    }

    fn store(&self, password: &str) {
        fs::write(self.place.path().join("password"), password).unwrap();
        let mut put = self.broker.admin(&["secrets", "put", "erp-password", "--bridge"]).unwrap();
        Said::by(put.arg("--file").arg(self.place.path().join("password"))).unwrap().done().unwrap();
    }

    fn except(&self, more: &[&str]) -> Said {
        let fixed = ["exceptions", "add", "erp", "--owner", "erp-team", "--reason", "no federation", "--system", "erp"];
        let mut add = self.broker.admin(&fixed).unwrap();
        add.args(["--secret", "erp-password", "--days", "1", "--client-certificate"]);
        Said::by(add.arg(self.place.path().join("erp.pem")).args(more)).unwrap()
    }

    /// The password as the legacy client gets it now.
    fn password(&self) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--cert", "erp.pem", "--key", "erp.key", "--request", "POST", "--cacert"]);
        curl.arg(self.broker.ca()).arg(format!("https://127.0.0.1:{}/v1/bridge/erp", self.bridge));
        Said::by(curl.current_dir(self.place.path())).unwrap().done().unwrap()
    }

    fn history(&self) -> String {
        Said::by(&mut self.broker.admin(&["exceptions", "show", "erp"]).unwrap()).unwrap().done().unwrap()
    }
}

fn logs_in(postgres: &Postgres, password: &str) -> bool {
    postgres.login("erp", password, "SELECT 1").unwrap().status == 0
}

#[test]
fn a_legacy_password_is_changed_on_schedule_in_the_database_first() {
    let mut postgres = Postgres::start().unwrap();
    let mut legacy = Legacy::start(&postgres);
    legacy.store("a-password-of-1998");
    let unknown = legacy.except(&["--rotate-every", "5s", "--rotate-by", "nobody"]);
    assert!(unknown.stderr.contains("request.exception.driver"), "{unknown:?}");
    let hasty = legacy.except(&["--rotate-every", "1s", "--rotate-by", "erp-db"]);
    assert!(hasty.stderr.contains("request.exception.schedule"), "{hasty:?}");
    legacy.except(&["--rotate-every", "5s", "--rotate-by", "erp-db"]).done().unwrap();
    let first = legacy.password();
    assert_eq!(first, "a-password-of-1998");

    within(Duration::from_secs(20), "the password was changed", || legacy.password() != first);
    let second = legacy.password();
    assert_eq!(second.len(), 43, "256 bits");
    assert!(logs_in(&postgres, &second) && !logs_in(&postgres, &first));
    assert!(legacy.history().contains("rotated"), "{}", legacy.history());
    // The database saw a verifier, and nobody else saw anything.
    let current = legacy.password();
    for log in [postgres.log().unwrap(), legacy.broker.log().unwrap()] {
        assert!(!log.contains(&second) && !log.contains(&current));
    }

    // While the database cannot be reached the name stands for what it has; a crash in between loses nothing.
    postgres.stop().unwrap();
    within(Duration::from_secs(20), "somebody is told", || legacy.history().contains("rotation-due"));
    let standing = legacy.password();
    sleep(Duration::from_secs(1));
    legacy.broker.crash_and_restart().unwrap();
    assert_eq!(legacy.password(), standing);
    postgres.restart().unwrap();
    within(Duration::from_secs(30), "the password was changed after the outage", || legacy.password() != standing);
    within(Duration::from_secs(5), "the newest password works", || logs_in(&postgres, &legacy.password()));
    assert!(!logs_in(&postgres, &standing));
}

#[test]
fn what_no_driver_changes_is_told_once_for_each_version() {
    let postgres = Postgres::start().unwrap();
    let legacy = Legacy::start(&postgres);
    legacy.store("one");
    legacy.except(&["--rotate-every", "5s"]).done().unwrap();
    let told = || legacy.history().matches("rotation-due").count();
    within(Duration::from_secs(20), "somebody is told", || told() == 1);
    assert_eq!(legacy.password(), "one");
    legacy.store("two");
    within(Duration::from_secs(20), "somebody is told of the second version", || told() == 2);
    sleep(Duration::from_secs(3));
    assert_eq!((told(), legacy.password().as_str()), (2, "two"));
}
