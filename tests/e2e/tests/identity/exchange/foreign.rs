//! Tokens of others: good together with the evidence of the right guest, and never alone.

use e2e::broker::{Broker, Setup};
use serde_json::{Value, json};

use super::scene::{self, Form, ORDERS, Scene, ci, code_of, kubernetes};
use crate::{guest::Guest, tokens};

#[test]
fn a_pods_token_counts_with_the_evidence_of_its_workload() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let ask = |subject: &str| scene.exchange(&guest, &Form::on_behalf(subject, &result).audience(ORDERS));
    let good = ask(&scene.issue(&kubernetes("shop", "web")));
    assert_eq!(good.status, 200, "{}", good.text);
    let token = good.body["access_token"].as_str().unwrap();
    let read = scene.resource_server(token, Some(&scene.use_proof(&guest, token))).unwrap();
    assert_eq!(read.subject, "cluster-a:system:serviceaccount:shop:web");
    let actors: Vec<_> = read.actors.iter().map(|actor| actor.subject.as_str()).collect();
    assert_eq!(actors, ["spiffe://example.org/workload/web"]);

    let changed = |pointer: &str, value: Value| {
        let mut claims = kubernetes("shop", "web");
        *claims.pointer_mut(pointer).unwrap() = value;
        scene.issue(&claims)
    };
    let cases = [
        // Pod A's token and workload B's evidence.
        (scene.issue(&kubernetes("shop", "db")), "release.exchange.binding_mismatch"),
        (scene.issue(&kubernetes("other", "web")), "release.exchange.conditions"),
        (scene.forge(&kubernetes("shop", "web")), "authenticate.token.unknown_key"),
        (changed("/aud", json!("elsewhere")), "authenticate.token.audience"),
        (changed("/iss", json!("https://nobody.example")), "authenticate.token.unknown_issuer"),
        (changed("/exp", json!(tokens::now() - 60)), "authenticate.token.expired"),
        (changed("/sub", json!("system:serviceaccount:shop:root")), "parse.token.claims"),
        (changed("/kubernetes.io/pod", Value::Null), "parse.token.claims"),
    ];
    for (subject, code) in &cases {
        assert_eq!(code_of(&ask(subject)), ("invalid_grant", *code));
    }
    let mismatch = ask(&cases[0].0);
    let explained = scene.broker.explain(mismatch.body["decision"].as_str().unwrap()).unwrap();
    assert!(explained.contains("/kubernetes.io/serviceaccount/name"), "{explained}");
    let explained = scene.broker.explain(ask(&cases[5].0).body["decision"].as_str().unwrap()).unwrap();
    assert!(explained.contains("authenticate.token.expired"), "{explained}");
}

#[test]
fn a_foreign_token_alone_gets_nothing() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let _result = scene.attest(&mut guest);
    let subject = scene.issue(&kubernetes("shop", "web"));
    let alone = scene.exchange(&guest, &Form::of(&subject).audience(ORDERS));
    assert_eq!(code_of(&alone), ("invalid_request", "release.exchange.unattested"));
    // Nor with another foreign token as its actor.
    let twice = scene.exchange(&guest, &Form::on_behalf(&subject, &subject).audience(ORDERS));
    assert_eq!(code_of(&twice), ("invalid_request", "release.exchange.unattested"));
}

#[test]
fn a_runners_token_is_for_its_repository_and_whom_it_allows() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let ask = |claims: &Value| scene.exchange(&guest, &Form::on_behalf(&scene.issue(claims), &result).audience(ORDERS));
    assert_eq!(ask(&ci("shop/orders")).status, 200);
    assert_eq!(code_of(&ask(&ci("shop/other"))), ("invalid_grant", "release.exchange.conditions"));
    let with = |name: &str, value: Value| {
        let mut claims = ci("shop/orders");
        claims[name] = value;
        claims
    };
    let allowed = ask(&with("may_act", json!({"sub": "spiffe://example.org/workload/web"})));
    assert_eq!(allowed.status, 200, "{}", allowed.text);
    for somebody in [json!({"sub": "somebody"}), json!({}), json!({"sub": "spiffe://example.org/workload/web", "x": 1})]
    {
        let refused = ask(&with("may_act", somebody));
        assert_eq!(code_of(&refused), ("invalid_grant", "release.exchange.may_act"));
    }
    // Who acted before stays in the token, and one more than may be is refused.
    let acted = ask(&with("act", json!({"sub": "deployer"})));
    let token = acted.body["access_token"].as_str().unwrap();
    let chain =
        json!({"sub": "spiffe://example.org/workload/web", "act": {"sub": "deployer", "iss": "https://ci.example"}});
    assert_eq!(scene::claims(token)["act"], chain);
    let many = (0..8).fold(json!({"sub": "first"}), |inner, n| json!({"sub": n.to_string(), "act": inner}));
    assert_eq!(code_of(&ask(&with("act", many))), ("invalid_grant", "release.exchange.actors"));
    // A token that is bound to somebody else's key, or that allows fewer scopes.
    let bound = ask(&with("cnf", json!({"jkt": "somebody-else"})));
    assert_eq!(code_of(&bound), ("invalid_grant", "binding.token.proof_required"));
    let scoped = ask(&with("scope", json!("orders.read")));
    assert_eq!(scoped.body["scope"], "orders.read", "{}", scoped.text);
}

/// Another broker is the external issuer: its keys are fetched over TLS, once.
#[test]
fn the_keys_of_an_issuer_are_fetched_and_kept() {
    let other = tokens::broker();
    let more = format!(
        r#"
[exchange]
dpop_nonce = "accepted"

[[exchange.issuer]]
name = "site-b"
kind = "oidc"
issuer = "{0}"
audience = "vault.example"
jwks_url = "{0}/.well-known/jwks.json"
ca = "{1}"

[[exchange.grant]]
name = "orders"
audience = "{ORDERS}"
workloads = ["web"]

[[exchange.grant.subject]]
from = "site-b"
conditions = {{ "/sub" = ["spiffe://example.org/workload/web"] }}
"#,
        other.url(),
        other.ca().display()
    );
    let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
    let mut theirs = Guest::new(other.client().unwrap());
    let subject = tokens::token(&mut theirs, "vault");
    let scene = Scene::with(broker);
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let ask = || scene.exchange(&guest, &Form::on_behalf(&subject, &result).audience(ORDERS));
    let good = ask();
    assert_eq!(good.status, 200, "{}", good.text);
    let claims = scene::claims(good.body["access_token"].as_str().unwrap());
    assert_eq!(
        (&claims["sub"], &claims["act"]["sub"]),
        (&json!("site-b:spiffe://example.org/workload/web"), &json!("web"))
    );
    // The issuer goes away; its keys stay for a while.
    drop(other);
    assert_eq!(ask().status, 200);
}
