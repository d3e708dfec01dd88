//! Token exchange (RFC 8693): what an attested guest gets for a token, and what nobody gets.

mod agent;
mod bound;
mod foreign;
mod python;
mod review;
mod scene;
mod subjects;

use keys::dpop::{self, ShownToken};
use serde_json::{Value, json};

use self::scene::{Form, ORDERS, Scene, TOOLS, code_of, kubernetes};
use crate::tokens::now;

#[test]
fn an_attested_guest_gets_a_token_for_its_attestation_alone() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let answer = scene.exchange(&guest, &Form::of(&result).audience(ORDERS).scope("orders.read"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.body["token_type"], "DPoP");
    assert_eq!(answer.body["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(answer.body["scope"], "orders.read");
    let token = answer.body["access_token"].as_str().unwrap();
    let read = scene.resource_server(token, Some(&scene.use_proof(&guest, token))).unwrap();
    assert_eq!(read.subject, "spiffe://example.org/workload/web");
    assert_eq!((read.scope.as_slice(), read.actors.len()), (["orders.read".to_owned()].as_slice(), 0));
    let lives = read.expires_at - read.claims["iat"].as_i64().unwrap();
    assert!((1..=300).contains(&lives) && Some(lives) == answer.body["expires_in"].as_i64());
    assert!(read.expires_at <= scene::claims(&result)["exp"].as_i64().unwrap());
    // Everything that may be had, and a shorter life, when that is what is asked.
    let all = scene.exchange(&guest, &Form::of(&result).audience(ORDERS).with("expires_in", "7"));
    assert_eq!(all.body["scope"], "orders.read orders.write", "{}", all.text);
    assert_eq!(all.body["expires_in"], 7);
    let explained = scene.broker.explain(answer.body["decision"].as_str().unwrap()).unwrap();
    assert!(explained.contains("exchange orders: version 1 released"), "{explained}");
    assert!(explained.contains("on behalf of attestation for https://orders.example"), "{explained}");
}

#[test]
fn what_is_not_allowed_has_its_error_and_its_code() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let form = || Form::of(&result).audience(ORDERS);
    let cases = [
        (Form::of(&result).audience("https://elsewhere.example"), "invalid_target", "release.policy.denied"),
        (Form::of(&result).audience("https://billing.example"), "invalid_target", "release.policy.denied"),
        (Form::of(&result), "invalid_target", "release.exchange.target"),
        (form().audience("https://billing.example"), "invalid_target", "release.exchange.target"),
        (form().scope("orders.read orders.delete"), "invalid_scope", "release.exchange.scope"),
        (form().with("grant_type", "password"), "invalid_request", "request.exchange.doubled"),
        (form().with("requested_token_type", "urn:x"), "invalid_request", "request.exchange.malformed"),
        (form().with("expires_in", "0"), "invalid_grant", "release.exchange.lifetime"),
        (Form::of(&swapped(&result)).audience(ORDERS), "invalid_grant", "authenticate.token.signature"),
        (Form::of("a.b.c").audience(ORDERS), "invalid_grant", "parse.token.form"),
        (Form::of(&result).audience(TOOLS), "invalid_request", "release.exchange.purpose"),
    ];
    for (form, error, code) in cases {
        let answer = scene.exchange(&guest, &form);
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!((answer.body["error"].as_str(), answer.code()), (Some(error), code), "{}", answer.text);
    }
    // Two of one target, and no third.
    let tools = || Form::of(&result).audience(TOOLS).with("purpose", "close ticket 7");
    for _ in 0..2 {
        assert_eq!(scene.exchange(&guest, &tools()).status, 200);
    }
    assert_eq!(code_of(&scene.exchange(&guest, &tools())), ("invalid_target", "release.exchange.budget"));
    // Who attests anew has the same budget.
    let anew = scene.attest(&mut guest);
    let again = Form::of(&anew).audience(TOOLS).with("purpose", "close ticket 8");
    assert_eq!(code_of(&scene.exchange(&guest, &again)), ("invalid_target", "release.exchange.budget"));
    let denied = scene.exchange(&guest, &Form::of(&result).audience("https://billing.example"));
    let explained = scene.broker.explain(denied.body["decision"].as_str().unwrap()).unwrap();
    assert!(explained.contains("is not for the workload that was attested"), "{explained}");
}

/// The token with another signature.
fn swapped(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{message}.{first}{}", &signature[1..])
}

#[test]
fn a_token_ends_with_what_it_rests_on() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let token = |guest: &_| {
        let answer = scene.exchange(guest, &Form::of(&result).audience(ORDERS));
        assert_eq!(answer.status, 200, "{}", answer.text);
        (answer.body["access_token"].as_str().unwrap().to_owned(), answer.body["lease"].as_str().unwrap().to_owned())
    };
    let (first, lease) = token(&guest);
    assert!(scene.holds(&first));
    assert_eq!(guest.renew(&lease, json!([]), |_| {}).code(), "release.lease.exchange");
    assert_eq!(guest.release(&lease).status, 200);
    assert!(!scene.holds(&first));
    let (second, _) = token(&guest);
    // The guest attests again: the old result counts no more, what it was exchanged for still does.
    assert_eq!(guest.renew(&guest.id, json!([]), |_| {}).status, 200);
    assert!(scene.holds(&second));
    let old = scene.exchange(&guest, &Form::of(&result).audience(ORDERS));
    assert_eq!(code_of(&old), ("invalid_grant", "release.exchange.superseded"));
    let revoke = json!({"kind": "workload", "value": "web", "reason": "drill"});
    assert_eq!(
        scene.broker.administrator().unwrap().send("POST", "/v1/admin/revocations", Some(&revoke)).unwrap().status,
        201
    );
    assert!(!scene.holds(&second));
    let over = scene.exchange(&guest, &Form::of(&result).audience(ORDERS));
    assert_eq!(code_of(&over), ("invalid_grant", "release.lease.ended"));
}

#[test]
fn an_expired_result_is_an_invalid_grant() {
    let scene = Scene::start("result_seconds = 2\n");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let end = scene::claims(&result)["exp"].as_i64().unwrap();
    while now() < end {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let expired = scene.exchange(&guest, &Form::of(&result).audience(ORDERS));
    assert_eq!(code_of(&expired), ("invalid_grant", "authenticate.token.expired"));
}

#[test]
fn an_exchange_of_an_exchange_narrows_and_names_every_actor() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let subject = scene.issue(&kubernetes("shop", "web"));
    let first = scene.exchange(&guest, &Form::on_behalf(&subject, &result).audience(ORDERS));
    assert_eq!(first.status, 200, "{}", first.text);
    let wide = first.body["access_token"].as_str().unwrap();
    let again = |form: Form| scene.exchange(&guest, &form);
    let narrow = again(Form::on_behalf(wide, &result).audience(ORDERS).scope("orders.read"));
    assert_eq!(narrow.status, 200, "{}", narrow.text);
    let narrow = narrow.body["access_token"].as_str().unwrap();
    assert!(scene::claims(narrow)["exp"].as_i64() <= scene::claims(wide)["exp"].as_i64());
    assert_eq!(scene::claims(narrow)["sub"], "cluster-a:system:serviceaccount:shop:web");
    assert_eq!(scene::claims(narrow)["act"], json!({"sub": "spiffe://example.org/workload/web"}));
    let widened = again(Form::on_behalf(narrow, &result).audience(ORDERS).scope("orders.write"));
    assert_eq!(code_of(&widened), ("invalid_scope", "release.exchange.scope"));
    let moved = again(Form::on_behalf(narrow, &result).audience("https://tools.example").with("purpose", "x"));
    assert_eq!(code_of(&moved), ("invalid_grant", "release.exchange.conditions"));
    // Another guest of the same workload has not the key that the token is bound to.
    let mut other = scene.guest();
    let theirs = scene.attest(&mut other);
    let stolen = scene.exchange(&other, &Form::on_behalf(wide, &theirs).audience(ORDERS));
    assert_eq!(code_of(&stolen), ("invalid_grant", "binding.token.proof_required"));
}

#[test]
fn the_metadata_say_where_and_how() {
    let scene = Scene::start("");
    let metadata = scene.client.send("GET", "/.well-known/oauth-authorization-server", None).unwrap().body;
    assert_eq!(metadata["issuer"], scene.broker.url());
    assert_eq!(metadata["token_endpoint"], format!("{}/v1/token", scene.broker.url()));
    assert_eq!(metadata["grant_types_supported"][0], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(metadata["dpop_signing_alg_values_supported"], json!(["ES256"]));
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    // Without a nonce the answer brings one (RFC 9449 section 8).
    let url = metadata["token_endpoint"].as_str().unwrap();
    let request = dpop::Request { method: "POST", url, id: "1", now: now(), token: ShownToken::None, nonce: None };
    let proof = dpop::prove(&guest.key.signing_key().unwrap(), &request).unwrap();
    let form = Form::of(&result).audience(ORDERS).to_string();
    let answer = scene.client.post_form("/v1/token", &format!("DPoP: {proof}\r\n"), &form).unwrap();
    assert_eq!(code_of(&answer), ("use_dpop_nonce", "binding.dpop.nonce"));
    let wrong: Value = scene.client.send("POST", "/v1/token", Some(&json!({}))).unwrap().body;
    assert_eq!(wrong["code"], "request.media_type");
}
