//! What each kind of subject token is good for, and how old the attestation beside it may be.

use std::{thread, time::Duration};

use e2e::broker::{Broker, Setup};
use serde_json::json;

use super::scene::{self, ARCHIVE, Form, ORDERS, RSA, Scene, VAULT, ci, code_of};
use crate::tokens::now;

#[test]
fn a_jwt_svid_is_a_subject_when_it_is_for_this_broker_and_its_lease_holds() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let svid = |id: &str, audience: &str| json!({"id": id, "type": "jwt-svid", "name": "web", "audience": audience});
    let url = scene.broker.url();
    let body = guest.attest(json!([svid("ours", &url), svid("theirs", "db.example")]));
    let result = body["result"].as_str().unwrap();
    let token = |place: usize| {
        let value = guest.open(&body["grants"][place]["sealed"]).value;
        String::from_utf8(value.expose().to_vec()).unwrap()
    };
    let (ours, theirs) = (token(0), token(1));
    let ask = |subject: &str| scene.exchange(&guest, &Form::on_behalf(subject, result).audience(ARCHIVE));
    let good = ask(&ours);
    assert_eq!(good.status, 200, "{}", good.text);
    let claims = scene::claims(good.body["access_token"].as_str().unwrap());
    let id = "spiffe://example.org/workload/web";
    assert_eq!((&claims["sub"], &claims["act"]["sub"]), (&json!(id), &json!(id)));
    assert_eq!(code_of(&ask(&theirs)), ("invalid_grant", "authenticate.token.audience"));
    assert_eq!(guest.release(body["grants"][0]["lease"]["id"].as_str().unwrap()).status, 200);
    assert_eq!(code_of(&ask(&ours)), ("invalid_grant", "release.lease.ended"));
}

#[test]
fn the_result_of_another_guest_is_no_subject() {
    let scene = Scene::start("");
    let (mut one, mut other) = (scene.guest(), scene.guest());
    let (theirs, own) = (scene.attest(&mut one), scene.attest(&mut other));
    let ask = |subject: &str| scene.exchange(&other, &Form::on_behalf(subject, &own).audience(ORDERS));
    let good = ask(&own);
    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!(code_of(&ask(&theirs)), ("invalid_grant", "release.exchange.superseded"));
}

#[test]
fn an_access_token_is_good_for_its_own_audience_alone() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let token = |audience: &str| {
        let answer = scene.exchange(&guest, &Form::of(&result).audience(audience));
        answer.body["access_token"].as_str().unwrap().to_owned()
    };
    let (orders, archive) = (token(ORDERS), token(ARCHIVE));
    let ask = |subject: &str| scene.exchange(&guest, &Form::on_behalf(subject, &result).audience(ARCHIVE));
    assert_eq!(ask(&archive).status, 200);
    assert_eq!(code_of(&ask(&orders)), ("invalid_target", "release.exchange.target"));
}

#[test]
fn an_attestation_that_is_too_old_for_an_entry_is_refused() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let issued = scene::claims(&result)["iat"].as_i64().unwrap();
    while now() <= issued + 1 {
        thread::sleep(Duration::from_millis(100));
    }
    let ask = |audience: &str| scene.exchange(&guest, &Form::of(&result).audience(audience));
    assert_eq!(code_of(&ask(VAULT)), ("invalid_grant", "release.exchange.attestation_age"));
    assert_eq!(ask(ORDERS).status, 200);
}

#[test]
fn foreign_tokens_are_signed_as_their_issuer_signs_and_say_who_in_few_words() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let ask = |subject: &str| scene.exchange(&guest, &Form::on_behalf(subject, &result).audience(ORDERS));
    let mut claims = ci("shop/orders");
    claims["iss"] = json!(RSA);
    assert_eq!(code_of(&ask(&scene.issue(&claims))), ("invalid_grant", "authenticate.token.algorithm"));
    for sub in [String::new(), "x".repeat(513)] {
        let mut claims = ci("shop/orders");
        claims["sub"] = json!(sub);
        assert_eq!(code_of(&ask(&scene.issue(&claims))), ("invalid_grant", "parse.token.claims"));
    }
    // A result that is said to be something else is not the guest's word.
    let subject = scene.issue(&ci("shop/orders"));
    let form = Form::of(&subject)
        .with("actor_token", &result)
        .with("actor_token_type", "urn:ietf:params:oauth:token-type:access_token")
        .audience(ORDERS);
    assert_eq!(code_of(&scene.exchange(&guest, &form)), ("invalid_request", "release.exchange.unattested"));
}

/// Of many requests within a second few are let through, whichever address they come from: the limit is the key's.
#[test]
fn a_guest_exchanges_so_often_and_no_more() {
    let more = format!(
        "[exchange]\nrequests_per_second = 1\n\n[[exchange.grant]]\nname = \"orders\"\naudience = \"{ORDERS}\"\n\
         workloads = [\"web\"]\n\n[[exchange.grant.subject]]\nfrom = \"attestation\"\n"
    );
    let scene = Scene::with(Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap());
    let mut guest = scene.guest();
    let form = Form::of(&scene.attest(&mut guest)).audience(ORDERS).to_string();
    let proofs: Vec<String> = (0..12).map(|_| format!("DPoP: {}\r\n", scene.proof(&guest))).collect();
    let (client, form) = (&scene.client, &form);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let send = |proof: &String| {
            let proof = proof.clone();
            scope.spawn(move || client.post_form("/v1/token", &proof, form).unwrap().status)
        };
        let all: Vec<_> = proofs.iter().map(send).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}
