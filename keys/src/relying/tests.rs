#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::{
    cwt,
    dpop::{RecentProofs, Request, ShownToken},
    random::SystemRandom,
    sign::{Signer, SigningKey, TokenType, sign_jwt},
    status::StatusList,
};

const NOW: i64 = 1_800_000_000;
const URL: &str = "https://rs.example/orders";

fn key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap()
}

fn bare(key: &SigningKey) -> Value {
    serde_json::to_value(key.verifying_key().bare()).unwrap()
}

/// A broker, and the key of a guest.
struct Scene {
    broker: SigningKey,
    jwks: Jwks,
    guest: SigningKey,
    recent: RecentProofs,
}

impl Scene {
    fn new() -> Self {
        let broker = key();
        let jwks = Jwks::new([broker.verifying_key().clone()]);
        Self { broker, jwks, guest: key(), recent: RecentProofs::new(16) }
    }

    fn trust(&self) -> Trust<'_> {
        let audience = Audience::Exactly("https://rs.example");
        Trust { jwks: &self.jwks, issuer: "https://b", audience, now: NOW, leeway: 0 }
    }

    fn sign(&self, token_type: TokenType, claims: &Value) -> String {
        sign_jwt(&self.broker, token_type, claims).unwrap()
    }

    fn access(&self, cnf: Value) -> String {
        let mut claims = json!({
            "iss": "https://b", "sub": "cluster:system:serviceaccount:shop:web", "aud": "https://rs.example", "exp": NOW + 60,
            "jti": "t1", "scope": "read write", "act": {"sub": "spiffe://example.org/workload/web", "act": {"sub": "ci"}},
            "status": {"status_list": {"idx": 3, "uri": "https://b/v1/status/0"}},
        });
        if !cnf.is_null() {
            claims["cnf"] = cnf;
        }
        self.sign(TokenType::AccessToken, &claims)
    }

    fn proof(&self, key: &SigningKey, token: &str, id: &str) -> String {
        let shown = ShownToken::Token(token);
        let request = Request { method: "GET", url: URL, id, now: NOW, token: shown, nonce: None };
        dpop::prove(key, &request).unwrap()
    }
}

fn shown<'a>(proof: &'a str, guard: &'a mut dyn ReplayGuard) -> Presented<'a> {
    Presented::Dpop { proof, method: "GET", url: URL, nonce: ExpectedNonce::ByCaller, window: 60, guard }
}

#[test]
fn a_bound_token_is_good_with_its_key_alone_and_once() {
    let scene = Scene::new();
    let token = scene.access(json!({"jkt": scene.guest.verifying_key().key_id()}));
    let (proof, theirs) = (scene.proof(&scene.guest, &token, "1"), scene.proof(&key(), &token, "2"));
    let mut recent = scene.recent.clone();
    let read = access_token(&token, &scene.trust(), shown(&proof, &mut recent)).unwrap();
    assert_eq!(read.scope, ["read", "write"]);
    let actors: Vec<_> = read.actors.iter().map(|actor| actor.subject.as_str()).collect();
    assert_eq!(actors, ["spiffe://example.org/workload/web", "ci"]);
    assert!(matches!(read.confirmed, Confirmed::Dpop { .. }));
    let again = access_token(&token, &scene.trust(), shown(&proof, &mut recent));
    assert_eq!(again, Err(RelyingError::Dpop(DpopError::Replayed)));
    let stolen = access_token(&token, &scene.trust(), shown(&theirs, &mut scene.recent.clone()));
    assert_eq!(stolen, Err(RelyingError::Dpop(DpopError::OtherKey)));
    for presented in [Presented::Bearer, Presented::Certificate { der: b"certificate" }] {
        assert_eq!(access_token(&token, &scene.trust(), presented), Err(RelyingError::ProofRequired));
    }
    let other = scene.proof(&scene.guest, "another token", "3");
    let moved = access_token(&token, &scene.trust(), shown(&other, &mut scene.recent.clone()));
    assert_eq!(moved, Err(RelyingError::Dpop(DpopError::Token)));
}

#[test]
fn a_certificate_bound_token_is_good_with_its_certificate_alone() {
    let scene = Scene::new();
    let token = scene.access(json!({"x5t#S256": certificate_thumbprint(b"certificate")}));
    let good = access_token(&token, &scene.trust(), Presented::Certificate { der: b"certificate" }).unwrap();
    assert!(matches!(good.confirmed, Confirmed::Certificate { .. }));
    let other = access_token(&token, &scene.trust(), Presented::Certificate { der: b"another" });
    assert_eq!(other, Err(RelyingError::Certificate));
    let proof = scene.proof(&scene.guest, &token, "1");
    let dpop = access_token(&token, &scene.trust(), shown(&proof, &mut scene.recent.clone()));
    assert_eq!(dpop, Err(RelyingError::ProofRequired));
    assert_eq!(access_token(&token, &scene.trust(), Presented::Bearer), Err(RelyingError::ProofRequired));
    let bearer = scene.access(Value::Null);
    assert!(access_token(&bearer, &scene.trust(), Presented::Bearer).is_ok());
    let proof = scene.proof(&scene.guest, &bearer, "2");
    assert_eq!(
        access_token(&bearer, &scene.trust(), shown(&proof, &mut scene.recent.clone())),
        Err(RelyingError::Unbound)
    );
}

#[test]
fn an_unknown_confirmation_is_no_bearer_token() {
    let scene = Scene::new();
    let jkt = scene.guest.verifying_key().key_id();
    let x25519 = json!({"jwk": {"kty": "OKP", "crv": "X25519", "x": "AA"}});
    for cnf in [json!({}), json!({"kid": "k"}), json!({"jkt": jkt, "x5t#S256": "AA"}), x25519] {
        let token = scene.access(cnf.clone());
        let refused = access_token(&token, &scene.trust(), Presented::Bearer);
        assert_eq!(refused, Err(RelyingError::Confirmation), "{cnf}");
    }
}

#[test]
fn a_token_of_another_kind_is_refused() {
    let scene = Scene::new();
    let claims = json!({"iss": "https://b", "sub": "s", "aud": "https://rs.example", "exp": NOW + 60, "jti": "j"});
    let token = scene.sign(TokenType::Jwt, &claims);
    let refused = access_token(&token, &scene.trust(), Presented::Bearer).unwrap_err();
    assert_eq!(refused.code(), "authenticate.token.type");
    assert_eq!(attestation_result(&token, &scene.trust(), Presented::Bearer).unwrap_err().code(), refused.code());
}

fn ear(scene: &Scene) -> Value {
    let mut jwk = bare(&scene.guest);
    jwk["alg"] = json!("ECDH-ES+A256KW");
    json!({
        "eat_profile": "tag:ietf.org,2026:rats/ear#04", "iss": "https://b", "aud": "https://rs.example", "iat": NOW, "nbf": NOW,
        "exp": NOW + 60, "jti": "a1", "eat_nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "cnf": {"jwk": jwk},
        "status": {"status_list": {"idx": 1, "uri": "https://b/v1/status/0"}},
        "ear_verifier_id": {"developer": "d", "build": "b"}, "ear_status": "affirming",
        "submods": {"cpu": {"ear_status": "affirming"}, "vtpm": {"ear_status": "warning"}},
    })
}

#[test]
fn both_forms_of_a_result_say_the_same_to_the_guest_itself() {
    let scene = Scene::new();
    let claims = ear(&scene);
    let jwt = scene.sign(TokenType::EatJwt, &claims);
    let binary = cwt::sign(&scene.broker, &claims).unwrap();
    let of_jwt = scene.proof(&scene.guest, &jwt, "1");
    let of_cwt = scene.proof(&scene.guest, &crate::encoding::encode(&binary), "2");
    let one = attestation_result(&jwt, &scene.trust(), shown(&of_jwt, &mut scene.recent.clone())).unwrap();
    let other = attestation_result_cwt(&binary, &scene.trust(), shown(&of_cwt, &mut scene.recent.clone())).unwrap();
    for read in [&one, &other] {
        assert_eq!((read.token_id.as_str(), read.status), ("a1", EarStatus::Warning));
        assert_eq!(read.status_place.as_ref().unwrap().idx, 1);
    }
    assert_eq!((one.confirmed, one.nonce), (other.confirmed, other.nonce));
    assert_eq!(attestation_result(&jwt, &scene.trust(), Presented::Bearer), Err(RelyingError::ProofRequired));
    let unchecked = Presented::Unchecked { reason: "offline" };
    assert!(matches!(
        attestation_result(&jwt, &scene.trust(), unchecked).unwrap().confirmed,
        Confirmed::Unchecked { .. }
    ));
}

#[test]
fn a_result_without_a_verdict_or_with_an_unknown_one_is_refused() {
    let scene = Scene::new();
    let unchecked = || Presented::Unchecked { reason: "test" };
    for (pointer, value) in
        [("/submods", json!({})), ("/submods/cpu/ear_status", json!("fine")), ("/ear_status", json!(3))]
    {
        let mut claims = ear(&scene);
        *claims.pointer_mut(pointer).unwrap() = value;
        let token = scene.sign(TokenType::EatJwt, &claims);
        let refused = attestation_result(&token, &scene.trust(), unchecked()).unwrap_err();
        assert_eq!(refused.code(), "parse.token.claims", "{pointer}");
    }
    let mut legacy = ear(&scene);
    legacy.as_object_mut().unwrap().remove("ear_status");
    legacy["submods"] = json!({"cpu": {"ear.status": "contraindicated"}});
    let token = scene.sign(TokenType::EatJwt, &legacy);
    let read = attestation_result(&token, &scene.trust(), unchecked()).unwrap();
    assert_eq!(read.status, EarStatus::Contraindicated);
}

#[test]
fn a_jwt_svid_is_of_its_trust_domain_and_for_its_audience() {
    let scene = Scene::new();
    let trust = Trust { issuer: "example.org", ..scene.trust() };
    let svid = |sub: &str| {
        let claims = json!({"sub": sub, "aud": ["https://rs.example"], "exp": NOW + 60});
        jwt_svid(&scene.sign(TokenType::Jwt, &claims), &trust, Presented::Bearer)
    };
    assert_eq!(svid("spiffe://example.org/workload/web").unwrap().confirmed, Confirmed::Bearer);
    for wrong in [
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.organic/web",
        "spiffe://other.org/web",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/a b",
        "spiffe://example.org/a%2fb",
        &format!("spiffe://example.org/{}", "x".repeat(2048)),
        "web",
    ] {
        assert_eq!(svid(wrong), Err(RelyingError::SvidSubject), "{wrong}");
    }
    let claims = json!({"sub": "spiffe://example.org/web", "aud": "https://rs.example", "exp": NOW + 60});
    let other = scene.sign(TokenType::AccessToken, &claims);
    assert_eq!(jwt_svid(&other, &trust, Presented::Bearer), Err(RelyingError::SvidHeader));
    // For nobody, also where the audience is not looked at.
    let claims = json!({"sub": "spiffe://example.org/web", "aud": [], "exp": NOW + 60});
    let trust = Trust { audience: Audience::Unchecked { reason: "test" }, ..trust };
    let refused = jwt_svid(&scene.sign(TokenType::Jwt, &claims), &trust, Presented::Bearer);
    assert_eq!(refused, Err(RelyingError::Token(TokenError::Audience)));
}

#[test]
fn an_ended_lease_is_seen_in_the_list_that_the_token_names() {
    let scene = Scene::new();
    let list = json!({
        "iss": "https://b", "sub": "https://b/v1/status/0", "exp": NOW + 300, "ttl": 1,
        "status_list": serde_json::to_value(StatusList::new(16, [3])).unwrap(),
    });
    let list = StatusListToken::verify(&scene.sign(TokenType::StatusList, &list), &scene.trust()).unwrap();
    let place = |idx, uri: &str| crate::status::StatusPlace { idx, uri: uri.to_owned() };
    assert_eq!(list.require_valid(&place(2, "https://b/v1/status/0"), NOW), Ok(()));
    assert_eq!(list.require_valid(&place(3, "https://b/v1/status/0"), NOW), Err(StatusError::Ended));
    assert_eq!(list.require_valid(&place(16, "https://b/v1/status/0"), NOW), Err(StatusError::OtherList));
    assert_eq!(list.require_valid(&place(2, "https://b/v1/status/1"), NOW), Err(StatusError::OtherList));
    // A list that was kept over its time says nothing.
    assert_eq!(list.require_valid(&place(2, "https://b/v1/status/0"), NOW + 299), Ok(()));
    assert_eq!(list.require_valid(&place(2, "https://b/v1/status/0"), NOW + 300), Err(StatusError::Stale));
    let token = scene.access(Value::Null);
    assert!(StatusListToken::verify(&token, &scene.trust()).is_err());
}

#[test]
fn a_thief_without_the_key_does_not_fill_the_memory_of_proofs() {
    let scene = Scene::new();
    let token = scene.access(json!({"jkt": scene.guest.verifying_key().key_id()}));
    let mut recent = RecentProofs::new(2);
    let thief = key();
    for id in ["1", "2", "3"] {
        let theirs = scene.proof(&thief, &token, id);
        let stolen = access_token(&token, &scene.trust(), shown(&theirs, &mut recent));
        assert_eq!(stolen, Err(RelyingError::Dpop(DpopError::OtherKey)));
    }
    let proof = scene.proof(&scene.guest, &token, "1");
    assert!(access_token(&token, &scene.trust(), shown(&proof, &mut recent)).is_ok());
}

#[test]
fn a_token_names_so_many_actors_and_no_more() {
    let scene = Scene::new();
    let of = |count: usize| {
        let act = (1..count).fold(json!({"sub": "first"}), |inner, _| json!({"sub": "next", "act": inner}));
        let claims = json!({"iss": "https://b", "sub": "s", "aud": "https://rs.example", "exp": NOW + 60, "jti": "j", "act": act});
        access_token(&scene.sign(TokenType::AccessToken, &claims), &scene.trust(), Presented::Bearer)
    };
    assert_eq!(of(ACTORS_LIMIT).unwrap().actors.len(), ACTORS_LIMIT);
    assert_eq!(of(ACTORS_LIMIT.saturating_add(1)).unwrap_err().code(), "parse.token.claims");
}
