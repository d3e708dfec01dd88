//! `countersign-agent credentials exchange`, and `countersign token verify` on what came of it.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use e2e::{
    binaries::binary,
    guest::{Guest, can_mount},
    process::Said,
};
use keys::{
    dpop::{self, ShownToken},
    secret::SecretBytes,
    tee_key::TeeKeyPair,
};
use serde_json::Value;

use super::scene::{ORDERS, Scene, claims, id, kubernetes};
use crate::tokens::now;

#[test]
fn the_agent_exchanges_and_whoever_has_its_key_uses_the_token() {
    if !can_mount() {
        return;
    }
    let scene = Scene::start("");
    let guest = Guest::start("").unwrap();
    let run = |args: &[&str]| {
        let mut agent = guest.agent().unwrap();
        agent.args(["credentials", "exchange"]).args(args).args(["--key", "key.pem", "--broker", &scene.broker.url()]);
        Said::by(agent.arg("--broker-ca").arg(scene.broker.ca())).unwrap()
    };
    run(&[ORDERS, "--scope", "orders.read", "--out", "token"]).done().unwrap();
    for name in ["key.pem", "token"] {
        assert_eq!(guest.path(name).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let token = fs::read_to_string(guest.path("token")).unwrap();
    let key = pem::parse(fs::read(guest.path("key.pem")).unwrap()).unwrap();
    let key = TeeKeyPair::from_pkcs8(&SecretBytes::new(key.into_contents())).unwrap().signing_key().unwrap();
    let url = "https://orders.example/orders";
    let (jti, shown) = (id(), ShownToken::Token(&token));
    let request = dpop::Request { method: "GET", url, id: &jti, now: now(), token: shown, nonce: None };
    let proof = dpop::prove(&key, &request).unwrap();
    assert_eq!(scene.resource_server(&token, Some(&proof)).unwrap().scope, ["orders.read"]);

    // By hand, with the proof, with another request's, and without any.
    fs::write(guest.path("proof"), &proof).unwrap();
    let verify = |more: &[&str]| {
        let mut verify = Command::new(binary("countersign").unwrap());
        verify.args([
            "token",
            "verify",
            "token",
            "--format",
            "json",
            "--issuer",
            &scene.broker.url(),
            "--audience",
            ORDERS,
        ]);
        verify.args(["--server", &scene.broker.url(), "--ca"]).arg(scene.broker.ca()).args(more);
        let said = Said::by(verify.current_dir(guest.path("."))).unwrap();
        let printed: Value = serde_json::from_slice(&said.stdout).unwrap();
        (said.status, printed)
    };
    let (status, good) = verify(&["--dpop", "proof", "--method", "GET", "--url", url]);
    assert_eq!((status, &good["confirmed"]), (0, &"dpop".into()), "{good}");
    let (status, other) = verify(&["--dpop", "proof", "--method", "POST", "--url", url]);
    assert_eq!((status, &other["code"]), (1, &"binding.dpop.method".into()));
    let (status, without) = verify(&[]);
    assert!(status == 0 && without["unchecked"].to_string().contains("cnf"), "{without}");

    // On behalf of a pod, with the key that is there, and as JSON.
    fs::write(guest.path("pod"), scene.issue(&kubernetes("shop", "web"))).unwrap();
    let args = [ORDERS, "--subject-token", "pod", "--purpose", "nightly run", "--format", "json", "--out", "-"];
    let answer: Value = serde_json::from_str(&run(&args).done().unwrap()).unwrap();
    let second = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(second["sub"], "cluster-a:system:serviceaccount:shop:web");
    assert_eq!((&second["purpose"], &second["cnf"]), (&"nightly run".into(), &claims(&token)["cnf"]));
    fs::write(guest.path("pod"), scene.issue(&kubernetes("shop", "db"))).unwrap();
    let refused = run(&[ORDERS, "--subject-token", "pod", "--out", "-"]);
    assert!(refused.status == 1 && refused.stderr.contains("release.exchange.binding_mismatch"), "{}", refused.stderr);
}
