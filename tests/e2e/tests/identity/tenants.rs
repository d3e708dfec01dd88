//! Several tenants in one broker: each signs, decides and is administered by itself, and nothing of one counts at another.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup},
    guest::{Guest as Machine, can_mount},
    http::{Answer, Client},
    process::{Process, Said},
    tenant::Tenant,
};
use keys::{
    dpop::{self, ShownToken},
    jwk::TeeKeyType,
    random::{Random, SystemRandom},
    sign::{Jwks, SignatureAlgorithm},
    tee_key::TeeKeyPair,
    token::{Audience, Expected, verify},
};
use serde_json::{Value, json};

use crate::{
    guest::Guest,
    spiffe::{Svid, openssl_verifies, spiffe_id},
    tokens::{grant, now},
};

/// Identities and an exchange, as a table of the tenant whose prefix this is.
fn identities(prefix: &str, trust_domain: &str, federates_with: &str) -> String {
    format!(
        r#"
[{prefix}identity]
trust_domain = "{trust_domain}"
[{prefix}identity.bundle]
refresh_hint_seconds = 5
[[{prefix}identity.svid]]
name = "web"
workloads = ["web"]
audiences = ["db.example"]
federates_with = [{federates_with}]
[[{prefix}exchange.grant]]
name = "orders"
audience = "https://orders.example"
workloads = ["web"]
[[{prefix}exchange.grant.subject]]
from = "attestation"
[[{prefix}exchange.grant.subject]]
from = "jwt-svid"
[[{prefix}ssh.user]]
name = "shell"
workloads = ["web"]
principals = ["web"]
min_evidence = "simulated"
max_ttl_seconds = 300
revocation = "krl"
"#
    )
}

/// A broker with the tenants default, acme and beta, and both others set up as the tests' brokers are.
struct Scene {
    broker: Broker,
    acme: Tenant,
    beta: Tenant,
}

impl Scene {
    fn start() -> Self {
        let more = [
            identities("", "default.example", ""),
            "[[tenant]]\nname = \"acme\"\n".to_owned(),
            identities("tenant.", "acme.example", "\"beta.example\""),
            "[[tenant]]\nname = \"beta\"\n".to_owned(),
            identities("tenant.", "beta.example", ""),
        ];
        let broker = Broker::start(&Setup { more: &more.concat(), ..Setup::default() }).unwrap();
        let tenant = |name| {
            let tenant = Tenant::of(&broker, name).unwrap();
            tenant.knows_the_guest().unwrap();
            tenant.releases_to_simulated().unwrap();
            tenant
        };
        let (acme, beta) = (tenant("acme"), tenant("beta"));
        Self { broker, acme, beta }
    }
}

/// A guest that can sign, at a tenant.
fn guest(client: Client) -> Guest {
    let key = TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
    Guest::with_key(client, key)
}

fn get(client: &Client, path: &str) -> Value {
    let answer = client.send("GET", path, None).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.body
}

fn jwks(client: &Client) -> Jwks {
    Jwks::parse(get(client, "/.well-known/jwks.json").to_string().as_bytes()).unwrap()
}

/// The claims of a token under a key set.
fn verified(token: &str, jwks: &Jwks, issuer: &str, audience: &str) -> Result<Value, String> {
    let algorithms = &[SignatureAlgorithm::Es256];
    let expected = Expected { algorithms, issuer, audience: Audience::Exactly(audience), now: now(), leeway: 5 };
    verify(token, jwks, &expected).map_err(|error| error.to_string())
}

fn jwt_svid(guest: &mut Guest) -> String {
    let ask = json!({"id": "g", "type": "jwt-svid", "name": "web", "audience": "db.example"});
    String::from_utf8(grant(guest, ask)).unwrap()
}

/// Tokens of an exchange, by parameter.
type Shown<'a> = &'a [(&'a str, &'a str)];

/// An exchange at `client` with a proof of the guest's key, made as that tenant wants it.
fn exchange(client: &Client, issuer: &str, guest: &Guest, tokens: Shown<'_>) -> Answer {
    let mut id = [0; 16];
    SystemRandom::new().fill(&mut id).unwrap();
    let (id, url) = (hex::encode(id), format!("{issuer}/v1/token"));
    let nonce = client.challenge().unwrap().to_string();
    let token = ShownToken::None;
    let request = dpop::Request { method: "POST", url: &url, id: &id, now: now(), token, nonce: Some(&nonce) };
    let proof = dpop::prove(&guest.key.signing_key().unwrap(), &request).unwrap();
    let mut form =
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&audience=https://orders.example".to_owned();
    for (name, token) in tokens {
        let kind = if *name == "actor_token" {
            "urn:countersign:token-type:ear%2Bjwt"
        } else {
            "urn:ietf:params:oauth:token-type:jwt"
        };
        form.push_str(&format!("&{name}={token}&{name}_type={kind}"));
    }
    client.post_form("/v1/token", &format!("DPoP: {proof}\r\n"), &form).unwrap()
}

#[test]
fn each_tenant_has_its_own_trust_domain_keys_and_documents() {
    let scene = Scene::start();
    let places = [
        (scene.broker.client().unwrap(), scene.broker.url(), "default.example"),
        (scene.acme.client(), scene.acme.url().to_owned(), "acme.example"),
        (scene.beta.client(), scene.beta.url().to_owned(), "beta.example"),
    ];
    let mut made = Vec::new();
    for (client, issuer, domain) in &places {
        let mut guest = guest(client.clone());
        let svid = Svid::fetch(&mut guest, "web");
        assert_eq!(spiffe_id(&svid.chain()[0]).unwrap(), format!("spiffe://{domain}/workload/web"));
        let result = guest.attest(json!([]))["result"].as_str().unwrap().to_owned();
        let token = jwt_svid(&mut guest);
        let claims = verified(&token, &jwks(client), issuer, "db.example").unwrap();
        assert_eq!(claims["sub"], format!("spiffe://{domain}/workload/web"));
        let list = claims["status"]["status_list"]["uri"].as_str().unwrap().to_owned();
        let path = list.strip_prefix(issuer.as_str()).unwrap();
        assert_eq!(client.send("GET", path, None).unwrap().status, 200);
        made.push((svid, result, token));
    }
    for (own, (svid, result, token)) in made.iter().enumerate() {
        for (other, (client, issuer, _)) in places.iter().enumerate() {
            let (bundle, jwks) = (get(client, "/.well-known/spiffe-bundle"), jwks(client));
            assert_eq!(openssl_verifies(svid.pem(), &bundle), own == other, "{own} at {other}");
            let of_bundle = Jwks::parse(bundle.to_string().as_bytes()).unwrap();
            // The keys, whatever the token says about its issuer.
            let (_, said, _) = &places[own];
            assert_eq!(verified(token, &jwks, said, "db.example").is_ok(), own == other, "{own} at {other}");
            assert_eq!(verified(token, &of_bundle, said, "db.example").is_ok(), own == other, "{own} at {other}");
            assert_eq!(verified(result, &jwks, said, said).is_ok(), own == other, "{own} at {other}");
            assert_eq!(verified(token, &jwks, issuer, "db.example").is_ok(), own == other);
        }
        // Each line of the CA's keys is one tenant's as well.
        let lines = |client: &Client| client.send("GET", "/v1/ssh/ca/user", None).unwrap().text;
        for (_, (client, ..)) in places.iter().enumerate().filter(|(other, _)| *other != own) {
            assert_ne!(lines(&places[own].0), lines(client));
        }
    }
}

#[test]
fn an_issuer_with_a_path_is_discovered_in_both_ways() {
    let scene = Scene::start();
    let (whole, issuer) = (scene.broker.client().unwrap(), scene.acme.url());
    for path in ["/t/acme/.well-known/openid-configuration", "/.well-known/openid-configuration/t/acme"] {
        let document = get(&whole, path);
        assert_eq!(document["issuer"], issuer, "{document}");
        assert_eq!(document["jwks_uri"], format!("{issuer}/.well-known/jwks.json"));
    }
    for path in ["/t/acme/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/t/acme"] {
        let document = get(&whole, path);
        assert_eq!(document["issuer"], issuer, "{document}");
        assert_eq!(document["token_endpoint"], format!("{issuer}/v1/token"));
    }
    assert_eq!(get(&whole, "/.well-known/openid-configuration")["issuer"], scene.broker.url());
    for path in ["/t/nobody/v1/challenge", "/t/acme/nowhere", "/t/acme", "/.well-known/openid-configuration/t/nobody"] {
        let answer = whole.send("POST", path, Some(&json!({}))).unwrap();
        assert_eq!((answer.status, answer.code()), (404, "request.not_found"), "{path}");
    }
}

#[test]
fn a_nonce_a_lease_and_a_token_of_one_tenant_count_at_no_other() {
    let scene = Scene::start();
    let (acme, beta) = (scene.acme.client(), scene.beta.client());
    let anywhere = [beta.clone(), scene.broker.client().unwrap()];
    let mut own = guest(acme.clone());
    let result = own.attest(json!([]))["result"].as_str().unwrap().to_owned();
    let token = jwt_svid(&mut own);
    let svid = Svid::fetch(&mut own, "web");
    assert_eq!(own.bundles(&svid.lease).status, 200, "its proof is good where it belongs");
    for other in &anywhere {
        let (_, request) = own.request(json!([]), |_| {});
        let refused = other.send("POST", "/v1/attest", Some(&request)).unwrap();
        assert_eq!((refused.status, refused.code()), (403, "binding.nonce.unknown"), "{}", refused.text);
        // The proof of the lease under a good nonce of the other tenant.
        own.turn_to(other.clone());
        for lease in [&svid.lease, &own.id] {
            assert_eq!(own.release(lease).code(), "release.lease.proof");
            assert_eq!(own.bundles(lease).code(), "release.lease.proof");
            assert_eq!(own.renew(lease, json!([]), |_| {}).code(), "release.lease.proof");
        }
        own.turn_to(acme.clone());
    }
    assert_eq!(own.bundles(&svid.lease).status, 200, "it still holds");
    // Exchange: another tenant's result as subject and as actor, and its JWT-SVID as subject of a guest of this one.
    let mut here = guest(beta.clone());
    let ours = here.attest(json!([]))["result"].as_str().unwrap().to_owned();
    let issuer = scene.beta.url();
    let cases: [(&str, &Guest, Shown<'_>); 5] = [
        ("authenticate.token.unknown_key", &own, &[("subject_token", &result)]),
        ("authenticate.token.unknown_issuer", &here, &[("subject_token", &token), ("actor_token", &ours)]),
        ("authenticate.token.unknown_issuer", &here, &[("subject_token", &result), ("actor_token", &ours)]),
        ("authenticate.token.unknown_key", &own, &[("subject_token", &ours), ("actor_token", &result)]),
        ("", &here, &[("subject_token", &ours)]),
    ];
    for (code, who, tokens) in cases {
        let answer = exchange(&beta, issuer, who, tokens);
        assert_eq!((answer.status == 200, answer.code()), (code.is_empty(), code), "{}", answer.text);
    }
    assert_eq!(exchange(&acme, scene.acme.url(), &own, &[("subject_token", &result)]).status, 200);
    // A proof that was made for one tenant's endpoint, under the other's nonce.
    let misdirected = exchange(&beta, scene.acme.url(), &here, &[("subject_token", &ours)]);
    assert!(misdirected.status == 400 && misdirected.code() == "binding.dpop.url", "{}", misdirected.text);
}

#[test]
fn an_administrator_of_one_tenant_is_nobody_at_another() {
    let scene = Scene::start();
    let acme = scene.acme.administrator_anywhere().unwrap();
    let operator = scene.broker.administrator().unwrap();
    let openapi = get(&acme, "/v1/openapi.json");
    let mut asked = 0;
    for (route, item) in openapi["paths"].as_object().unwrap() {
        let administered = route.starts_with("/v1/admin/") || route == "/v1/events";
        let common = route.starts_with("/v1/admin/tenants") || route.starts_with("/v1/admin/endorsements");
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters" && administered) {
            let path = route.replace("{name}", "x").replace("{kind}", "release").replace("{id}", "x");
            let path = path.replace("/v1/events", "/v1/events?after=x");
            let ask = |who: &Client, path: &str| who.send(&method.to_uppercase(), path, Some(&json!({}))).unwrap();
            let refused = ask(&acme, &path);
            assert_eq!((refused.status, refused.code()), (401, "request.unauthenticated"), "{method} {path}");
            for who in [&acme, &operator] {
                let refused = ask(who, &format!("/t/beta{path}"));
                let code = if common { "request.not_found" } else { "request.unauthenticated" };
                assert_eq!(refused.code(), code, "{method} /t/beta{path}: {}", refused.text);
            }
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");
    // The operator knows who is there, and reads no rows of theirs.
    let listed: Value = serde_json::from_str(
        &Said::by(&mut scene.broker.admin(&["tenants", "list", "--format", "json"]).unwrap()).unwrap().done().unwrap(),
    )
    .unwrap();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|tenant| tenant["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme", "beta", "default"]);
    assert_eq!(listed[0]["trust_domain"], "acme.example");
    assert_eq!((&listed[0]["path"], &listed[0]["administrators"]), (&json!("/t/acme"), &json!(1)));
    let of_acme = get(&operator, "/v1/admin/tenants/acme/administrators");
    assert_eq!(of_acme[0]["name"], "acme-admin");
    assert_eq!(get(&scene.acme.administrator().unwrap(), "/v1/admin/administrators"), of_acme);
    let unknown = json!({"name": "x", "role": "admin", "fingerprint": "00".repeat(32)});
    let refused = operator.send("POST", "/v1/admin/tenants/nobody/administrators", Some(&unknown)).unwrap();
    assert_eq!(refused.code(), "request.not_found");
}

#[test]
fn rows_of_one_tenant_are_read_by_its_administrator_alone() {
    let scene = Scene::start();
    let (acme, beta) = (&scene.acme, &scene.beta);
    acme.put_secret("disk-key", b"acme's").unwrap();
    acme.put_secret("only-acmes", b"acme's").unwrap();
    beta.put_secret("disk-key", b"beta's").unwrap();
    let ask = |name: &str| json!([{"id": "g", "type": "secret", "name": name}]);
    for (tenant, value) in [(acme, b"acme's"), (beta, b"beta's")] {
        let mut guest = guest(tenant.client());
        let answer = guest.attest(ask("disk-key"));
        assert_eq!(guest.open(&answer["grants"][0]["sealed"]).value.expose(), value);
    }
    let mut of_beta = guest(beta.client());
    let answer = of_beta.attest(ask("only-acmes"));
    assert_eq!(answer["grants"], json!([]), "{answer}");
    // What beta's administrator sees is beta's, by list and by name.
    let (one, other) = (acme.administrator().unwrap(), beta.administrator().unwrap());
    let secrets = get(&other, "/v1/admin/secrets").to_string();
    assert!(secrets.contains("disk-key") && !secrets.contains("only-acmes"), "{secrets}");
    let refused = other.send("GET", "/v1/admin/secrets/only-acmes", None).unwrap();
    assert_eq!(refused.code(), "request.not_found", "{}", refused.text);
    let decision = get(&one, "/v1/admin/decisions")[0]["id"].as_str().unwrap().to_owned();
    let refused = other.send("GET", &format!("/v1/admin/decisions/{decision}"), None).unwrap();
    assert_eq!(refused.code(), "request.not_found", "{}", refused.text);
    let theirs = get(&one, "/v1/admin/workloads");
    let guest_of_acme = theirs[0]["id"].as_str().unwrap();
    assert!(!get(&other, "/v1/admin/workloads").to_string().contains(guest_of_acme));
    for path in ["decisions", "keys", "reference-values/history"] {
        let (one, other) = (get(&one, &format!("/v1/admin/{path}")), get(&other, &format!("/v1/admin/{path}")));
        assert_ne!(one, other, "{path}");
    }
    // A revocation list is that of a tenant's own CA.
    let keys = get(&one, "/v1/admin/keys");
    let ca = keys.as_array().unwrap().iter().find(|key| key["purpose"] == "x509-ca").unwrap()["id"].as_str().unwrap();
    let list = |tenant: &Tenant| tenant.client().send("GET", &format!("/v1/crl/{ca}"), None).unwrap();
    assert_eq!(list(acme).status, 200);
    assert_eq!(list(beta).code(), "request.not_found");
    // The database says the same of each row, and no key of the one stands with the other.
    let rows = rows_by_tenant(&scene.broker);
    for table in ["administrators", "protected_keys", "secrets", "decisions", "guests", "leases", "reference_sets"] {
        let counts = rows[table].as_object().unwrap();
        assert!(counts.contains_key("acme") && counts.contains_key("beta"), "{table}: {counts:?}");
    }
    assert_eq!(rows["secrets"], json!({"acme": 2, "beta": 1}));
    // A revocation ends what rests on it at its tenant, and nothing elsewhere.
    let lease = answer["attestation_id"].as_str().unwrap();
    let revoke = json!({"kind": "workload", "value": "web", "reason": "drill"});
    assert_eq!(one.send("POST", "/v1/admin/revocations", Some(&revoke)).unwrap().status, 201);
    assert_eq!(of_beta.renew(lease, json!([]), |_| {}).status, 200);
    assert_ne!(guest(acme.client()).try_attest(json!([])).status, 200);
    assert_eq!(get(&other, "/v1/admin/revocations"), json!([]));
    // Nor does acme end what is beta's, whatever id it names.
    for kind in ["lease", "guest"] {
        let revoke = json!({"kind": kind, "value": lease, "reason": "drill"});
        let ended = one.send("POST", "/v1/admin/revocations", Some(&revoke)).unwrap();
        assert_eq!(ended.body["ended"].as_u64().unwrap_or(0), 0, "{}", ended.text);
    }
    assert_eq!(of_beta.renew(lease, json!([]), |_| {}).status, 200);
}

/// How many rows each tenant has, by table.
fn rows_by_tenant(broker: &Broker) -> Value {
    let script = "import json, sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        tables = [t for t, in db.execute(\"SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%tenant %TEXT%'\")]\n\
        print(json.dumps({t: dict(db.execute(f'SELECT tenant, COUNT(*) FROM {t} GROUP BY tenant')) for t in tables}))";
    let mut python = Command::new("python3");
    let said = Said::by(python.args(["-c", script]).arg(broker.store().join("countersign.db"))).unwrap();
    serde_json::from_str(&said.done().unwrap()).unwrap()
}

#[test]
fn the_same_evidence_is_decided_by_each_tenants_own_rules() {
    let more = "[[tenant]]\nname = \"acme\"\n[[tenant]]\nname = \"beta\"\n[[tenant]]\nname = \"gamma\"\n\
                [tenant.baseline.snp]\nallow_debug = true\n";
    let broker = Broker::start(&Setup { more, ..Setup::default() }).unwrap();
    let tenant = |name| Tenant::of(&broker, name).unwrap();
    let (acme, beta, gamma) = (tenant("acme"), tenant("beta"), tenant("gamma"));
    for tenant in [&acme, &gamma] {
        tenant.knows_the_guest().unwrap();
    }
    for tenant in [&acme, &beta] {
        tenant.releases_to_simulated().unwrap();
    }
    for tenant in [&acme, &beta, &gamma] {
        tenant.put_secret("disk-key", b"key").unwrap();
    }
    let ask = || json!([{"id": "g", "type": "secret", "name": "disk-key"}]);
    let released = guest(acme.client()).try_attest(ask());
    assert_eq!(
        (released.status, released.body["grants"].as_array().map(Vec::len)),
        (200, Some(1)),
        "{}",
        released.text
    );
    let unknown = guest(beta.client()).try_attest(ask());
    assert_eq!((unknown.status, unknown.code()), (403, "reference.none_configured"));
    // Known, and the built-in release policy wants real hardware.
    let denied = guest(gamma.client()).try_attest(ask());
    assert_eq!(
        (denied.status, &denied.body["denied"][0]["code"]),
        (200, &json!("release.policy.denied")),
        "{}",
        denied.text
    );
    // What one tenant's baseline relaxes is relaxed for that one alone.
    let debug = |tenant: &Tenant| {
        let (_, request) = guest(tenant.client()).request(json!([]), |report| report.policy |= 1 << 19);
        tenant.client().send("POST", "/v1/attest", Some(&request)).unwrap()
    };
    assert_eq!(debug(&acme).code(), "baseline.snp.debug");
    assert_ne!(debug(&gamma).code(), "baseline.snp.debug");
}

#[test]
fn tenants_of_one_broker_federate_like_any_others() {
    let scene = Scene::start();
    let url = format!("{}/.well-known/spiffe-bundle", scene.beta.url());
    let ca = scene.broker.ca();
    let mut add = scene.acme.admin(&["federation", "add", "beta.example", "--profile", "https_web"]).unwrap();
    Said::by(add.arg("--url").arg(&url).arg("--ca").arg(&ca)).unwrap().done().unwrap();
    let mut itself = scene.beta.admin(&["federation", "add", "beta.example", "--profile", "https_web"]).unwrap();
    assert_ne!(Said::by(itself.arg("--url").arg(&url).arg("--ca").arg(&ca)).unwrap().status, 0, "a domain with itself");
    let mut theirs = guest(scene.beta.client());
    let theirs = Svid::fetch(&mut theirs, "web");
    for _ in 0..50 {
        let mut ours = guest(scene.acme.client());
        let ours = Svid::fetch(&mut ours, "web");
        if let Some(bundle) = ours.value["trust_bundles"].get("beta.example") {
            assert!(openssl_verifies(theirs.pem(), bundle) && !openssl_verifies(ours.pem(), bundle));
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("expected the bundle within five seconds");
}

#[test]
fn real_agents_get_what_their_tenant_gives_and_take_the_path_everywhere() {
    if !can_mount() {
        return;
    }
    let scene = Scene::start();
    for (tenant, value) in [(&scene.acme, "acme's key"), (&scene.beta, "beta's key")] {
        tenant.put_secret("disk-key", value.as_bytes()).unwrap();
        let machine = Machine::start("").unwrap();
        let agent = |args: &[&str]| {
            let mut agent = machine.agent().unwrap();
            agent.args(args).args(["--timeout", "20", "--broker", tenant.url(), "--broker-ca"]);
            Said::by(agent.arg(scene.broker.ca())).unwrap()
        };
        assert_eq!(agent(&["get", "disk-key"]).done().unwrap(), value);
        let result = agent(&["attest"]).done().unwrap();
        verified(result.trim(), &jwks(&tenant.client()), tenant.url(), tenant.url()).unwrap();
        // With a slash at its end, and with a path that is none of this broker.
        let mut other = machine.agent().unwrap();
        other.args(["get", "disk-key", "--timeout", "20", "--broker", &format!("{}/", tenant.url()), "--broker-ca"]);
        assert_eq!(Said::by(other.arg(scene.broker.ca())).unwrap().done().unwrap(), value);
        let mut other = machine.agent().unwrap();
        other.args(["get", "disk-key", "--timeout", "5", "--broker", &format!("{}x", tenant.url()), "--broker-ca"]);
        let said = Said::by(other.arg(scene.broker.ca())).unwrap();
        assert!(said.status != 0 && said.stderr.contains("request.not_found"), "{}", said.stderr);
    }
}

#[test]
fn a_broker_whose_tenants_share_a_name_or_a_trust_domain_does_not_start() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("broker");
    let mut init = Command::new(binary("countersign").unwrap());
    Said::by(init.arg("init").args(["--offline", "--listen", "127.0.0.1:1", "--dir"]).arg(&directory))
        .unwrap()
        .done()
        .unwrap();
    let file = directory.join("countersign.toml");
    let text = fs::read_to_string(&file).unwrap();
    let domain = "[tenant.identity]\ntrust_domain = \"one.example\"\n";
    let cases = [
        ("parse.config.tenant_twice", "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"a\"\n".to_owned()),
        ("parse.config.tenant_name", "[[tenant]]\nname = \"default\"\n".to_owned()),
        (
            "parse.config.tenant_trust_domain",
            format!("[identity]\ntrust_domain = \"one.example\"\n[[tenant]]\nname = \"a\"\n{domain}"),
        ),
        (
            "parse.config.tenant_trust_domain",
            format!("[[tenant]]\nname = \"a\"\n{domain}[[tenant]]\nname = \"b\"\n{domain}"),
        ),
    ];
    for (code, tenants) in cases {
        fs::write(&file, format!("{text}\n{tenants}")).unwrap();
        let log = place.path().join("log");
        let mut serve = Command::new(binary("countersign").unwrap());
        serve.arg("serve").arg("--config").arg(&file).stderr(fs::File::create(&log).unwrap());
        let mut serve = Process::start(&mut serve).unwrap();
        let begun = Instant::now();
        let ended = loop {
            if let Some(ended) = serve.ended().unwrap() {
                break ended;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it serves: {tenants}");
            sleep(Duration::from_millis(20));
        };
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(ended.code(), Some(2), "{said}");
        assert!(said.contains(code), "{said}");
    }
}
