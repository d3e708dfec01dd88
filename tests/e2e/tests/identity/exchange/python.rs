//! A client that knows nothing of this project: `cryptography` and PyJWT, and the metadata document.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use keys::{random::SystemRandom, tee_key::TeeKeyPair};
use serde_json::{Value, json};

use super::scene::{ORDERS, Scene};
use crate::guest::Guest;

/// Makes proofs as RFC 9449 says, exchanges as RFC 8693 and RFC 8414 say, and uses the token.
const CLIENT: &str = r#"
import base64, hashlib, json, ssl, sys, time, urllib.error, urllib.parse, urllib.request, uuid
import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

issuer, ca, key_file, result, audience = sys.argv[1:6]
context = ssl.create_default_context(cafile=ca)
key = load_pem_private_key(open(key_file, 'rb').read(), None)
numbers = key.public_key().public_numbers()
text = lambda data: base64.urlsafe_b64encode(data).rstrip(b'=').decode()
jwk = {'kty': 'EC', 'crv': 'P-256', 'x': text(numbers.x.to_bytes(32, 'big')), 'y': text(numbers.y.to_bytes(32, 'big'))}

def fetch(url):
    return json.load(urllib.request.urlopen(url, context=context))

def proof(method, url, **more):
    claims = {'jti': str(uuid.uuid4()), 'htm': method, 'htu': url, 'iat': int(time.time()), **more}
    return jwt.encode(claims, key, algorithm='ES256', headers={'typ': 'dpop+jwt', 'jwk': jwk})

def post(url, form, headers):
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers)
    try:
        answer = urllib.request.urlopen(request, context=context)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.headers, json.load(answer)

metadata = fetch(issuer + '/.well-known/oauth-authorization-server')
assert metadata['issuer'] == issuer and 'ES256' in metadata['dpop_signing_alg_values_supported']
endpoint = metadata['token_endpoint']
form = {
    'grant_type': metadata['grant_types_supported'][0], 'audience': audience, 'scope': 'orders.read',
    'subject_token': result, 'subject_token_type': 'urn:ietf:params:oauth:token-type:jwt',
}
status, headers, answer = post(endpoint, form, {'DPoP': proof('POST', endpoint)})
assert status == 400 and answer['error'] == 'use_dpop_nonce', answer
status, headers, answer = post(endpoint, form, {'DPoP': proof('POST', endpoint, nonce=headers['DPoP-Nonce'])})
assert status == 200 and answer['token_type'] == 'DPoP' and headers['Cache-Control'] == 'no-store', answer
token = answer['access_token']
keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(fetch(metadata['jwks_uri'])).keys}
header = jwt.get_unverified_header(token)
assert header['typ'] == 'at+jwt', header
claims = jwt.decode(token, keys[header['kid']].key, algorithms=['ES256'], audience=audience, issuer=issuer)
thumbprint = text(hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(',', ':')).encode()).digest())
assert claims['cnf'] == {'jkt': thumbprint}, claims
url = audience + '/orders'
print(json.dumps({'token': token, 'proof': proof('GET', url, ath=text(hashlib.sha256(token.encode()).digest()))}))
"#;

#[test]
fn a_client_that_we_did_not_write_exchanges_from_the_metadata_alone() {
    let python = Path::new("/usr/bin/python3");
    let able = Command::new(python).args(["-c", "import jwt, cryptography"]).stderr(Stdio::null()).status();
    if !able.is_ok_and(|status| status.success()) {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("python3-jwt is not here: skipped");
        }
        return;
    }
    let scene = Scene::start("");
    let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key_file = scene.place.path().join("key.pem");
    std::fs::write(&key_file, made.serialize_pem()).unwrap();
    let key = TeeKeyPair::from_pkcs8(&keys::secret::SecretBytes::new(made.serialize_der())).unwrap();
    let mut guest = Guest::with_key(scene.client.clone(), key);
    let result = guest.attest(json!([]))["result"].as_str().unwrap().to_owned();
    let mut client = Command::new(python);
    client.args(["-c", CLIENT, &scene.broker.url()]).arg(scene.broker.ca()).arg(&key_file).args([&result, ORDERS]);
    let output = client.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (token, proof) = (made["token"].as_str().unwrap(), made["proof"].as_str().unwrap());
    let read = scene.resource_server(token, Some(proof)).unwrap();
    assert_eq!(read.scope, ["orders.read"]);
    assert_eq!(scene.resource_server(token, Some(proof)).unwrap_err(), "binding.dpop.replayed");
    let other = TeeKeyPair::generate(keys::jwk::TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
    let thief = Guest::with_key(scene.client.clone(), other);
    let theirs = scene.use_proof(&thief, token);
    assert_eq!(scene.resource_server(token, Some(&theirs)).unwrap_err(), "binding.dpop.other_key");
}
