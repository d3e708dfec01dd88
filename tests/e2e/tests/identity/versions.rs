//! Named versions of a secret.

use std::fs;

use e2e::{
    broker::{Broker, Setup},
    process::Said,
};
use serde_json::{Value, json};

use crate::guest::Guest;

/// What the guest gets of this version, or the code of the refusal.
fn ask(guest: &mut Guest, version: Option<u32>) -> Result<Vec<u8>, String> {
    let mut grant = json!({"id": "g", "type": "secret", "name": "api-key"});
    if let Some(version) = version {
        grant["version"] = version.into();
    }
    let body = guest.attest(json!([grant]));
    let denied = |denied: &Value| denied["code"].as_str().unwrap().to_owned();
    match body["grants"].get(0) {
        Some(grant) => Ok(guest.open(&grant["sealed"]).value.expose().to_vec()),
        None => Err(denied(&body["denied"][0])),
    }
}

#[test]
fn a_workload_that_was_taken_off_the_list_does_not_get_an_old_version() {
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("api-key", b"one").unwrap();
    broker.put_secret("api-key", b"two").unwrap();
    let mut guest = Guest::new(broker.client().unwrap());
    assert_eq!(ask(&mut guest, None).unwrap(), b"two");
    assert_eq!(ask(&mut guest, Some(1)).unwrap(), b"one");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("value");
    fs::write(&file, b"three").unwrap();
    let mut put = broker.admin(&["secrets", "put", "api-key", "--workload", "another"]).unwrap();
    Said::by(put.arg("--file").arg(&file)).unwrap().done().unwrap();
    for version in [None, Some(1), Some(2), Some(3)] {
        assert_eq!(ask(&mut guest, version).unwrap_err(), "release.policy.denied", "{version:?}");
    }
}
