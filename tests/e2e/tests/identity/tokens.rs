use std::{
    io::Write,
    process::{Command, Stdio},
};

use e2e::{
    broker::{Broker, Setup},
    http::Client,
    process::Said,
};
use keys::{
    sign::{Jwks, SignatureAlgorithm},
    token::{Audience, Expected, TokenError, verify},
};
use serde_json::{Value, json};

use crate::guest::Guest;

pub(crate) const IDENTITY: &str = r#"
[identity]
trust_domain = "example.org"

[[identity.token]]
name = "aws"
audience = "sts.amazonaws.com"
workloads = ["web"]
[identity.token.claims]
hardware = "{hwmodel}"

[[identity.token]]
name = "azure"
audience = "api://AzureADTokenExchange"
workloads = ["web"]
subject = "system:countersign:{tenant}:{workload}"

[[identity.token]]
name = "gcp"
audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/c"
workloads = ["web"]
algorithm = "ES256"
ttl_seconds = 300

[[identity.token]]
name = "vault"
audience = "vault.example"
workloads = ["web"]
algorithm = "ES256"

[[identity.token]]
name = "not-for-web"
audience = "elsewhere"
workloads = ["db"]

[[identity.svid]]
name = "web"
workloads = ["web"]
audiences = ["db.example"]
"#;

pub(crate) fn broker() -> Broker {
    Broker::start(&Setup { more: IDENTITY, ..Setup::default() }).unwrap()
}

/// One grant's value.
pub(crate) fn grant(guest: &mut Guest, request: Value) -> Vec<u8> {
    let answer = guest.attest(json!([request]));
    let grants = answer["grants"].as_array().unwrap();
    assert_eq!(grants.len(), 1, "{answer}");
    guest.open(&grants[0]["sealed"]).value.expose().to_vec()
}

pub(crate) fn token(guest: &mut Guest, name: &str) -> String {
    String::from_utf8(grant(guest, json!({"id": "g", "type": "token", "name": name}))).unwrap()
}

pub(crate) fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

/// What a cloud's token service demands, as its public documentation says.
struct Service<'a> {
    algorithms: &'a [SignatureAlgorithm],
    audience: &'a str,
    subject: &'a str,
    longest: i64,
}

impl Service<'_> {
    /// Reads the discovery document as the service would, and judges the token.
    fn accepts(&self, client: &Client, issuer: &str, token: &str) -> Result<(), String> {
        if !issuer.starts_with("https://") {
            return Err("the issuer is not https".to_owned());
        }
        let discovery = client.send("GET", "/.well-known/openid-configuration", None).unwrap().body;
        if discovery["issuer"] != issuer {
            return Err(format!("another issuer: {discovery}"));
        }
        let jwks = discovery["jwks_uri"].as_str().unwrap().strip_prefix(issuer).unwrap().to_owned();
        let jwks = client.send("GET", &jwks, None).unwrap();
        assert!(jwks.body["keys"].as_array().unwrap().iter().all(|key| key["use"] == "sig" && key["kid"].is_string()));
        let jwks = Jwks::parse(jwks.text.as_bytes()).unwrap();
        let expected = Expected {
            algorithms: self.algorithms,
            issuer,
            audience: Audience::Exactly(self.audience),
            now: now(),
            leeway: 0,
        };
        let claims: Value = verify(token, &jwks, &expected).map_err(|error: TokenError| error.to_string())?;
        let time = |name: &str| claims[name].as_i64().unwrap();
        if claims["sub"] != self.subject || time("exp") - time("iat") > self.longest || time("nbf") > now() {
            return Err(format!("other claims: {claims}"));
        }
        Ok(())
    }
}

const SPIFFE_ID: &str = "spiffe://example.org/workload/web";

#[test]
fn each_clouds_federation_accepts_its_token_and_no_other() {
    use SignatureAlgorithm::{Es256, Rs256};
    let broker = broker();
    let client = broker.client().unwrap();
    let mut guest = Guest::new(client.clone());
    let day = 24 * 3600;
    let services = [
        (
            "aws",
            Service { algorithms: &[Rs256, Es256], audience: "sts.amazonaws.com", subject: SPIFFE_ID, longest: day },
        ),
        (
            "azure",
            Service {
                algorithms: &[Rs256],
                audience: "api://AzureADTokenExchange",
                subject: "system:countersign:default:web",
                longest: day,
            },
        ),
        (
            "gcp",
            Service {
                algorithms: &[Rs256, Es256],
                audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/c",
                subject: SPIFFE_ID,
                longest: 300,
            },
        ),
        ("vault", Service { algorithms: &[Es256], audience: "vault.example", subject: SPIFFE_ID, longest: 900 }),
    ];
    for (name, service) in &services {
        let token = token(&mut guest, name);
        service.accepts(&client, &broker.url(), &token).unwrap();
        for (other, refusing) in services.iter().filter(|(other, _)| other != name) {
            assert!(refusing.accepts(&client, &broker.url(), &token).is_err(), "{other} accepts the token for {name}");
        }
        assert!(service.accepts(&client, "https://elsewhere.example", &token).is_err());
    }
}

#[test]
fn a_token_is_not_given_to_another_workload_or_for_the_asking() {
    let broker = broker();
    let mut guest = Guest::new(broker.client().unwrap());
    for (kind, name, code) in [
        ("token", "not-for-web", "release.policy.denied"),
        ("token", "nowhere", "release.policy.denied"),
        ("jwt-svid", "web", "release.svid.audience"),
        ("x509-svid", "web", "release.svid.csr"),
    ] {
        let answer = guest.attest(json!([{"id": "g", "type": kind, "name": name}]));
        assert_eq!(answer["denied"][0]["code"], code, "{answer}");
    }
    let foreign = json!([{"id": "g", "type": "jwt-svid", "name": "web", "audience": "elsewhere"}]);
    assert_eq!(guest.attest(foreign)["denied"][0]["code"], "release.svid.audience");
    let wish = json!([{"id": "g", "type": "token", "name": "aws", "sub": "root"}]);
    assert_eq!(guest.try_attest(wish).status, 400);
}

#[test]
fn keys_change_with_overlap_and_at_once() {
    let broker = broker();
    let client = broker.client().unwrap();
    let mut guest = Guest::new(client.clone());
    let service = |token: &str| {
        let algorithms = &[SignatureAlgorithm::Rs256];
        let service = Service { algorithms, audience: "sts.amazonaws.com", subject: SPIFFE_ID, longest: 3600 };
        service.accepts(&client, &broker.url(), token)
    };
    let rotate = |more: &[&str]| {
        Said::by(broker.admin(&["keys", "rotate", "token-rs256"]).unwrap().args(more)).unwrap().done().unwrap()
    };
    let before = token(&mut guest, "aws");
    rotate(&[]);
    let listed = Said::by(&mut broker.admin(&["keys", "list"]).unwrap()).unwrap().done().unwrap();
    let states: Vec<_> = listed.lines().filter(|line| line.starts_with("token-rs256")).collect();
    assert!(states.len() == 2 && states.iter().any(|line| line.contains("next")), "{listed}");
    // Published, and not signing yet.
    let kid = |token: &str| {
        let jwks = client.send("GET", "/.well-known/jwks.json", None).unwrap().body;
        let keys = jwks["keys"].as_array().unwrap().clone();
        let named = |key: &Value| token.starts_with(&header(key["kid"].as_str().unwrap()));
        keys.iter().find(|key| named(key)).map(|key| key["kid"].as_str().unwrap().to_owned())
    };
    let during = token(&mut guest, "aws");
    assert_eq!(kid(&during), kid(&before));
    service(&before).unwrap();
    service(&during).unwrap();
    rotate(&["--at-once"]);
    let after = token(&mut guest, "aws");
    service(&after).unwrap();
    assert!(service(&before).unwrap_err().contains("key id"), "a compromised key verifies nothing");
    // Everything else is as it was.
    assert_eq!(guest.try_attest(json!([])).status, 200);
}

/// The start of a token that this key signed.
fn header(kid: &str) -> String {
    let json = format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JWT"}}"#);
    // Base64url without padding, by hand: no other test needs it.
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).collect();
    let mut text = String::new();
    for chunk in json.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(alphabet[usize::try_from((bits >> (18 - 6 * place)) & 0x3f).unwrap()]);
        }
    }
    text
}

/// What both scripts share: everything comes from the discovery document.
const DISCOVERY: &str = r"
import json, ssl, sys, urllib.request
issuer, ca, audience = sys.argv[1:4]
context = ssl.create_default_context(cafile=ca)
def fetch(url):
    return json.load(urllib.request.urlopen(url, context=context))
discovery = fetch(issuer + '/.well-known/openid-configuration')
keys = fetch(discovery['jwks_uri'])
algorithms = discovery['id_token_signing_alg_values_supported']
token = sys.stdin.read()
";
const PYJWT: &str = r"
import jwt
known = {key.key_id: key for key in jwt.PyJWKSet.from_dict(keys).keys}
key = known[jwt.get_unverified_header(token)['kid']]
print(json.dumps(jwt.decode(token, key.key, algorithms=algorithms, audience=audience, issuer=discovery['issuer'])))
";
const AUTHLIB: &str = r"
from authlib.jose import JsonWebKey, JsonWebToken
exactly = lambda value: {'essential': True, 'value': value}
wanted = {'iss': exactly(discovery['issuer']), 'aud': exactly(audience), 'exp': {'essential': True}}
claims = JsonWebToken(algorithms).decode(token, JsonWebKey.import_key_set(keys), claims_options=wanted)
claims.validate()
print(json.dumps(claims))
";

/// Runs a script over a token; the claims, or what it said against them.
fn python(script: &str, broker: &Broker, token: &str, audience: &str) -> Result<Value, String> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", &format!("{DISCOVERY}{script}"), &broker.url()])
        .arg(broker.ca())
        .arg(audience)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn libraries_that_we_did_not_write_verify_everything_from_the_discovery_document_alone() {
    let broker = broker();
    let mut guest = Guest::new(broker.client().unwrap());
    let ask = json!({"id": "g", "type": "jwt-svid", "name": "web", "audience": "db.example"});
    let svid = String::from_utf8(grant(&mut guest, ask)).unwrap();
    let tokens = [
        ("RS256 token", token(&mut guest, "aws"), "sts.amazonaws.com".to_owned()),
        ("ES256 token", token(&mut guest, "vault"), "vault.example".to_owned()),
        ("JWT-SVID", svid, "db.example".to_owned()),
        ("EAR", guest.attest(json!([]))["result"].as_str().unwrap().to_owned(), broker.url()),
    ];
    for (module, script, refusal) in [("jwt", PYJWT, "InvalidAudienceError"), ("authlib", AUTHLIB, "InvalidClaimError")]
    {
        let able =
            Command::new("/usr/bin/python3").args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
        if !able.is_ok_and(|status| status.success()) {
            #[expect(clippy::print_stderr, reason = "a skipped test says so")]
            {
                eprintln!("python3-{module} is not here: skipped");
            }
            continue;
        }
        for (name, token, audience) in &tokens {
            let claims = python(script, &broker, token, audience).unwrap_or_else(|error| panic!("{name}: {error}"));
            match *name {
                "EAR" => assert_eq!(claims["submods"]["cpu"]["ear_status"], "affirming", "{claims}"),
                _ => assert_eq!(claims["sub"], SPIFFE_ID, "{name}: {claims}"),
            }
            let elsewhere = python(script, &broker, token, "elsewhere").unwrap_err();
            assert!(elsewhere.contains(refusal), "{name}: {elsewhere}");
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let other = if signature.starts_with('A') { "B" } else { "A" };
            let forged = format!("{signed}.{other}{}", &signature[1..]);
            assert!(python(script, &broker, &forged, audience).is_err(), "{name}");
        }
    }
}
