//! Clients that we did not write, as they are.

use std::process::Command;

use e2e::{guest::can_mount, process::Said};
use tokio_stream::StreamExt;

use crate::agent::{Agent, broker, entry, python};

const ID: &str = "spiffe://example.org/workload/web";

#[test]
fn the_rust_client_fetches_streams_sees_rotations_and_validates() {
    if !can_mount() {
        return;
    }
    let broker = broker(6);
    let agent = Agent::start(&broker, &entry());
    let first = agent.wait();
    assert_eq!((first.spiffe_id().to_string(), first.hint()), (ID.to_owned(), Some("internal")));
    agent.with(async |client| {
        let mut stream = client.stream_x509_contexts().await.unwrap();
        let mut keys = Vec::new();
        while keys.len() < 3 {
            let context = stream.next().await.unwrap().unwrap();
            let svid = context.default_svid().unwrap();
            assert_eq!(context.bundle_set().get(svid.spiffe_id().trust_domain()).unwrap().authorities().len(), 1);
            let key = svid.private_key().as_bytes().to_vec();
            // A message may also come for a bundle.
            if keys.last() != Some(&key) {
                keys.push(key);
            }
        }
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "a key for each certificate");

        let token = client.fetch_jwt_svid(["db.example"], None).await.unwrap();
        assert_eq!(token.spiffe_id().to_string(), ID);
        assert_eq!(client.validate_jwt_token("db.example", token.token()).await.unwrap().spiffe_id().to_string(), ID);
        let other = client.validate_jwt_token("mq.example", token.token()).await.unwrap_err();
        assert!(format!("{other:?}").contains("audience"), "{other:?}");
        let refused = client.fetch_jwt_svid(["mq.example"], None).await.unwrap_err();
        assert!(format!("{refused:?}").contains("PermissionDenied"), "{refused:?}");

        let keys = client.fetch_jwt_bundles().await.unwrap();
        let bundle = keys.get(token.spiffe_id().trust_domain()).unwrap();
        assert_eq!(bundle.jwt_authorities().count(), 1);
        let bundles = client.fetch_x509_bundles().await.unwrap();
        assert_eq!(bundles.get(token.spiffe_id().trust_domain()).unwrap().authorities().len(), 1);
    });
}

#[test]
fn the_python_client_works_unmodified_over_the_socket() {
    let Some(python) = python().filter(|_| can_mount()) else { return };
    let broker = broker(6);
    let agent = Agent::start(&broker, &entry());
    agent.wait();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/workload_api/client.py");
    let mut command = Command::new(python);
    command.arg(script).env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", agent.socket().display()));
    let said = Said::by(&mut command).unwrap();
    assert_eq!(said.status, 0, "{} {}", said.stderr, agent.log());
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said, format!("{ID}\n{ID}\n{ID}\nJwtSvidError\nrotated\n{ID}\n"));
}

#[test]
fn whoever_no_entry_is_for_gets_nothing() {
    if !can_mount() {
        return;
    }
    let broker = broker(60);
    let other = "[[serve.entry]]\nsvid = 'web'\naudiences = ['db.example']\nmatch = { uid = 4242 }\n";
    let program = "[[serve.entry]]\nsvid = 'web'\nmatch = { exe = '/bin/false' }\n";
    let agent = Agent::start(&broker, &format!("{other}{program}"));
    agent.with(async |client| {
        let x509 = format!("{:?}", client.fetch_x509_svid().await.unwrap_err());
        let bundles = format!("{:?}", client.fetch_x509_bundles().await.unwrap_err());
        let jwt = format!("{:?}", client.fetch_jwt_svid(["db.example"], None).await.unwrap_err());
        let keys = format!("{:?}", client.fetch_jwt_bundles().await.unwrap_err());
        let validate = format!("{:?}", client.validate_jwt_token("db.example", "a.b.c").await.unwrap_err());
        for error in [x509, bundles, jwt, keys, validate] {
            assert!(error.contains("PermissionDenied"), "{error}");
        }
    });
}

#[test]
fn a_program_is_known_by_its_path_and_content() {
    if !can_mount() {
        return;
    }
    let broker = broker(60);
    let exe = std::env::current_exe().unwrap();
    let sum = Said::by(Command::new("sha256sum").arg(&exe)).unwrap().done().unwrap();
    let sum = sum.split(' ').next().unwrap();
    let mine = format!("[[serve.entry]]\nsvid = 'web'\nmatch = {{ exe = {exe:?}, exe_sha256 = {sum:?} }}\n");
    let agent = Agent::start(&broker, &mine);
    assert_eq!(agent.wait().spiffe_id().to_string(), ID);
    drop(agent);
    // Another program at the same path is not it.
    let other = mine.replace(sum, &"0".repeat(64));
    assert!(Agent::start(&broker, &other).refusal().contains("PermissionDenied"));
}
