//! A broker that exchanges, an issuer of foreign tokens, guests with keys that sign, and a resource server.

use std::{cell::RefCell, fmt};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use e2e::{
    broker::{Broker, Setup},
    http::{Answer, Client},
};
use keys::{
    dpop::{self, ExpectedNonce, RecentProofs, ShownToken},
    jwk::TeeKeyType,
    random::{Random, SystemRandom},
    relying::{AccessToken, Presented, StatusListToken, Trust, access_token},
    sign::{Jwks, SignatureAlgorithm, Signer, SigningKey, TokenType, sign_jwt},
    status::StatusPlace,
    tee_key::TeeKeyPair,
    token::Audience,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{guest::Guest, tokens::now};

pub(super) const ORDERS: &str = "https://orders.example";
pub(super) const TOOLS: &str = "https://tools.example";
const CLUSTER: &str = "https://k8s.example";
const CI: &str = "https://ci.example";
pub(super) const RSA: &str = "https://rsa.example";
pub(super) const VAULT: &str = "https://vault.example";
pub(super) const ARCHIVE: &str = "https://archive.example";
const URL: &str = "https://orders.example/orders";

fn config(limits: &str, review: &str, jwks: &str) -> String {
    format!(
        r#"{limits}
[identity]
trust_domain = "example.org"

[[identity.svid]]
name = "web"
workloads = ["web"]
audiences = ["{{url}}", "db.example"]

[exchange]
mtls = true

[[exchange.issuer]]
name = "cluster-a"
kind = "kubernetes"
issuer = "{CLUSTER}"
audience = "countersign"
jwks_file = "{jwks}"
{review}

[[exchange.issuer]]
name = "ci"
kind = "oidc"
issuer = "{CI}"
audience = "countersign"
jwks_file = "{jwks}"

[[exchange.issuer]]
name = "rsa"
kind = "oidc"
issuer = "{RSA}"
audience = "countersign"
jwks_file = "{jwks}"
algorithms = ["RS256"]

[[exchange.grant]]
name = "archive"
audience = "{ARCHIVE}"
workloads = ["web"]

[[exchange.grant.subject]]
from = "attestation"

[[exchange.grant.subject]]
from = "access-token"

[[exchange.grant.subject]]
from = "jwt-svid"

[[exchange.grant]]
name = "vault"
audience = "{VAULT}"
workloads = ["web"]
attestation_seconds = 1

[[exchange.grant.subject]]
from = "attestation"

[[exchange.grant]]
name = "orders"
audience = "{ORDERS}"
scopes = ["orders.read", "orders.write"]
workloads = ["web"]

[[exchange.grant.subject]]
from = "attestation"

[[exchange.grant.subject]]
from = "access-token"

[[exchange.grant.subject]]
from = "cluster-a"
conditions = {{ "/kubernetes.io/namespace" = ["shop"] }}
bind = {{ "/kubernetes.io/serviceaccount/name" = "{{workload}}" }}

[[exchange.grant.subject]]
from = "ci"
conditions = {{ "/repository" = ["shop/orders"], "/ref" = ["refs/heads/main"] }}

[[exchange.grant]]
name = "billing"
audience = "https://billing.example"
workloads = ["db"]

[[exchange.grant.subject]]
from = "attestation"

[[exchange.grant]]
name = "tools"
audience = "{TOOLS}"
workloads = ["web"]
purpose_required = true
budget = {{ tokens = 2, targets = 1 }}

[[exchange.grant.subject]]
from = "attestation"
"#
    )
}

pub(super) struct Scene {
    pub(super) broker: Broker,
    pub(super) client: Client,
    issuer: SigningKey,
    proofs: RefCell<RecentProofs>,
    pub(super) place: TempDir,
}

/// The claims of a token, unverified.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

pub(super) fn code_of(answer: &Answer) -> (&str, &str) {
    (answer.body["error"].as_str().unwrap_or_default(), answer.code())
}

/// A random text.
pub(super) fn id() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).unwrap();
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A service account token's claims.
pub(super) fn kubernetes(namespace: &str, account: &str) -> Value {
    json!({
        "iss": CLUSTER, "aud": ["countersign"], "exp": now() + 600, "iat": now(),
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io": {
            "namespace": namespace, "serviceaccount": {"name": account, "uid": "u1"}, "pod": {"name": "web-1", "uid": "p1"},
            "node": {"name": "node-b", "uid": "n1"},
        },
    })
}

/// A CI runner's token's claims.
pub(super) fn ci(repository: &str) -> Value {
    json!({
        "iss": CI, "aud": "countersign", "exp": now() + 600, "sub": format!("repo:{repository}:ref:refs/heads/main"),
        "repository": repository, "ref": "refs/heads/main",
    })
}

impl Scene {
    pub(super) fn start(limits: &str) -> Self {
        Self::reviewed(limits, "")
    }

    /// With a line about who reviews the cluster's tokens.
    pub(super) fn reviewed(limits: &str, review: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let issuer = SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap();
        let jwks = place.path().join("jwks.json");
        std::fs::write(&jwks, serde_json::to_vec(&Jwks::new([issuer.verifying_key().clone()])).unwrap()).unwrap();
        let more = config(limits, review, jwks.to_str().unwrap());
        let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
        Self { issuer, place, ..Self::with(broker) }
    }

    /// With a broker of another configuration.
    pub(super) fn with(broker: Broker) -> Self {
        let client = broker.client().unwrap();
        let issuer = SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap();
        let proofs = RefCell::new(RecentProofs::new(1000));
        Self { broker, client, issuer, proofs, place: tempfile::tempdir().unwrap() }
    }

    pub(super) fn guest(&self) -> Guest {
        let key = TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
        Guest::with_key(self.client.clone(), key)
    }

    /// The guest's result.
    pub(super) fn attest(&self, guest: &mut Guest) -> String {
        guest.attest(json!([]))["result"].as_str().unwrap().to_owned()
    }

    /// A foreign token.
    pub(super) fn issue(&self, claims: &Value) -> String {
        sign_jwt(&self.issuer, TokenType::Jwt, claims).unwrap()
    }

    /// A foreign token of a key that nobody knows.
    pub(super) fn forge(&self, claims: &Value) -> String {
        let key = SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap();
        sign_jwt(&key, TokenType::Jwt, claims).unwrap()
    }

    /// A proof of the guest's key for the token endpoint.
    pub(super) fn proof(&self, guest: &Guest) -> String {
        let nonce = self.client.challenge().unwrap().to_string();
        let url = format!("{}/v1/token", self.broker.url());
        let (id, token) = (id(), ShownToken::None);
        let request = dpop::Request { method: "POST", url: &url, id: &id, now: now(), token, nonce: Some(&nonce) };
        dpop::prove(&guest.key.signing_key().unwrap(), &request).unwrap()
    }

    /// An exchange with a proof of the guest's key.
    pub(super) fn exchange(&self, guest: &Guest, form: &Form) -> Answer {
        self.send(&format!("DPoP: {}\r\n", self.proof(guest)), form)
    }

    pub(super) fn send(&self, headers: &str, form: &Form) -> Answer {
        self.client.post_form("/v1/token", headers, &form.to_string()).unwrap()
    }

    /// A proof of the guest's key for the use of `token`.
    pub(super) fn use_proof(&self, guest: &Guest, token: &str) -> String {
        let (id, shown) = (id(), ShownToken::Token(token));
        let request = dpop::Request { method: "GET", url: URL, id: &id, now: now(), token: shown, nonce: None };
        dpop::prove(&guest.key.signing_key().unwrap(), &request).unwrap()
    }

    pub(super) fn jwks(&self) -> Jwks {
        Jwks::parse(self.client.send("GET", "/.well-known/jwks.json", None).unwrap().text.as_bytes()).unwrap()
    }

    /// What a resource server says to `GET /orders`: the token, or the code of its 401.
    pub(super) fn resource_server(&self, token: &str, proof: Option<&str>) -> Result<AccessToken, &'static str> {
        let mut guard = self.proofs.borrow_mut();
        let presented = match proof {
            None => Presented::Bearer,
            Some(proof) => Presented::Dpop {
                proof,
                method: "GET",
                url: URL,
                nonce: ExpectedNonce::ByCaller,
                window: 60,
                guard: &mut *guard,
            },
        };
        self.accept(token, presented)
    }

    pub(super) fn accept(&self, token: &str, presented: Presented<'_>) -> Result<AccessToken, &'static str> {
        let (jwks, issuer) = (self.jwks(), self.broker.url());
        let audience = Audience::Exactly(ORDERS);
        let trust = Trust { jwks: &jwks, issuer: &issuer, audience, now: now(), leeway: 5 };
        let read = access_token(token, &trust, presented).map_err(|error| error.code())?;
        let place = read.status.clone().unwrap();
        self.list(&place, &trust).require_valid(&place, now()).map_err(|error| error.code())?;
        Ok(read)
    }

    fn list(&self, place: &StatusPlace, trust: &Trust<'_>) -> StatusListToken {
        let path = place.uri.strip_prefix(&self.broker.url()).unwrap();
        let list = self.client.send("GET", path, None).unwrap();
        StatusListToken::verify(&list.text, trust).unwrap()
    }

    /// Whether the lease of a token holds.
    pub(super) fn holds(&self, token: &str) -> bool {
        let unchecked = Presented::Unchecked { reason: "only the lease is looked at" };
        match self.accept(token, unchecked) {
            Ok(_) => true,
            Err(code) => {
                assert_eq!(code, "authenticate.token.ended");
                false
            }
        }
    }
}

/// A request, parameter by parameter.
#[derive(Clone)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    fn new() -> Self {
        Self(Vec::new()).with("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
    }

    /// The guest for itself.
    pub(super) fn of(result: &str) -> Self {
        Self::new().with("subject_token", result).with("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")
    }

    /// The guest on behalf of somebody.
    pub(super) fn on_behalf(subject: &str, result: &str) -> Self {
        Self::of(subject).with("actor_token", result).with("actor_token_type", "urn:countersign:token-type:ear+jwt")
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn audience(self, audience: &str) -> Self {
        self.with("audience", audience)
    }

    pub(super) fn scope(self, scope: &str) -> Self {
        self.with("scope", scope)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let value = value.replace('%', "%25").replace('&', "%26").replace('+', "%2B").replace(' ', "+");
            write!(f, "{}{name}={value}", if index == 0 { "" } else { "&" })?;
        }
        Ok(())
    }
}
