//! Fresh evidence that is worse, in every way that it can get worse: the renewal is refused, and every lease of that guest ends
//! everywhere within a second.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    binaries::binary,
    broker::{Broker, GOOD_MEASUREMENT, Setup},
    http::{Answer, Client},
    process::Said,
};
use evidence_formats::bytes::LaunchDigest;
use serde_json::{Value, json};
use softtee::amd::ReportSpec;

use crate::{guest::Guest, leases::holds, stream::Events};

const IDENTITY: &str = "[identity]\ntrust_domain = \"example.org\"\n[[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\n\
                        audiences = [\"db.example\"]\n[[identity.token]]\nname = \"api\"\naudience = \"api.example\"\nalgorithm = \"ES256\"\n\
                        workloads = [\"web\"]\n";
const BUILT_IN_APPRAISAL: &str = include_str!("../../../../broker/verifier/src/policy/default_appraisal.rego");

/// A guest with a lease of each kind.
struct Rich {
    guest: Guest,
    leases: Vec<String>,
    /// The result, a token and a JWT-SVID: whatever says `status`.
    tokens: Vec<(String, String)>,
}

impl Rich {
    fn attest(client: &Client) -> Self {
        let mut guest = Guest::new(client.clone());
        let answer = guest.attest(json!([
            {"id": "secret", "type": "secret", "name": "disk-key"},
            {"id": "token", "type": "token", "name": "api"},
            {"id": "svid", "type": "jwt-svid", "name": "web", "audience": "db.example"},
        ]));
        let grants = answer["grants"].as_array().unwrap();
        assert_eq!(grants.len(), 3, "{answer}");
        let mut leases: Vec<_> = grants.iter().map(|grant| grant["lease"]["id"].as_str().unwrap().to_owned()).collect();
        leases.push(guest.id.clone());
        let opened =
            |place: usize| String::from_utf8(guest.open(&grants[place]["sealed"]).value.expose().to_vec()).unwrap();
        let tokens = vec![
            (answer["result"].as_str().unwrap().to_owned(), "aud".to_owned()),
            (opened(1), "api.example".to_owned()),
            (opened(2), "db.example".to_owned()),
        ];
        Self { guest, leases, tokens }
    }

    fn all(&self) -> Vec<String> {
        let mut all = self.leases.clone();
        all.sort();
        all
    }

    /// Lease table, status list and event stream, all within a second of `begun`.
    fn has_ended_everywhere(&self, broker: &Broker, admin: &Client, events: &Events, begun: Instant, cause: &str) {
        let wanted: Vec<_> = self.all().into_iter().map(|lease| (lease, cause.to_owned())).collect();
        assert_eq!(events.ends(wanted.len()), wanted);
        let shown = admin.send("GET", &format!("/v1/admin/workloads/{}", self.guest.id), None).unwrap();
        assert_eq!(shown.body["leases"], json!([]), "{}", shown.text);
        let client = broker.client().unwrap();
        for (token, _) in &self.tokens {
            assert!(!holds(&client, broker, token), "{token}");
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        for lease in &self.leases {
            assert_eq!(self.guest.renew(lease, json!([]), |_| {}).code(), "release.lease.ended");
        }
        for (place, (token, _)) in self.tokens.iter().enumerate() {
            let verified = verified(broker, token, place == 2);
            assert_eq!(verified["code"], "authenticate.token.ended", "{verified}");
        }
    }
}

/// What `countersign token verify` says, with the status list.
fn verified(broker: &Broker, token: &str, svid: bool) -> Value {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("token"), token).unwrap();
    let mut command = Command::new(binary("countersign").unwrap());
    command.args(["token", "verify", "token", "--format", "json", "--server", &broker.url(), "--ca"]).arg(broker.ca());
    match svid {
        true => command.args(["--trust-domain", "example.org"]),
        false => command.args(["--issuer", &broker.url()]),
    };
    let said = Said::by(command.current_dir(place.path())).unwrap();
    serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr))
}

/// What makes the evidence of the next renewal worse.
enum Worse {
    /// The report itself.
    Report(fn(&mut ReportSpec)),
    /// The configuration, read again.
    Configuration(&'static str),
    /// The appraisal policy.
    Policy(String),
    /// A reference set that was replaced.
    Retired,
}

#[test]
fn a_renewal_on_worse_evidence_ends_every_lease_of_the_guest_everywhere_within_a_second() {
    let (floor, policy) = (
        "\n[baseline.snp.minimum_tcb.milan.reported]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 255\n",
        BUILT_IN_APPRAISAL.replace("hardware := 0 if simulated", "hardware := 97 if simulated"),
    );
    let cases = [
        ("debug on", Worse::Report(|report| report.policy |= 1 << 19), "baseline.snp.debug"),
        ("another image", Worse::Report(|report| report.measurement = LaunchDigest([7; 48])), "reference.no_match"),
        ("TCB floor raised", Worse::Configuration(floor), "baseline.snp.tcb_reported"),
        ("stricter policy", Worse::Policy(policy), "policy."),
        ("reference set retired", Worse::Retired, "reference."),
    ];
    for (name, worse, code) in cases {
        let broker = Broker::start(&Setup { more: IDENTITY, ..Setup::default() }).unwrap();
        broker.put_secret("disk-key", b"correct horse").unwrap();
        let (client, admin) = (broker.client().unwrap(), broker.administrator().unwrap());
        let events = Events::open(&admin, "");
        let (bad, good) = (Rich::attest(&client), Rich::attest(&client));
        for (place, (token, _)) in bad.tokens.iter().enumerate() {
            assert_eq!(verified(&broker, token, place == 2)["verdict"], "accepted");
        }
        let (begun, refused) = renew_worse(&broker, &bad, worse);
        assert_eq!(refused.status, 403, "{name}: {}", refused.text);
        assert!(refused.code().starts_with(code), "{name}: {}", refused.text);
        bad.has_ended_everywhere(&broker, &admin, &events, begun, "evidence");
        // The other guest did not ask, and holds what it has.
        assert!(holds(&client, &broker, &good.tokens[0].0), "{name}");
    }
}

/// Makes it worse and renews; when the renewal was sent, and its answer.
fn renew_worse(broker: &Broker, bad: &Rich, worse: Worse) -> (Instant, Answer) {
    let lease = &bad.leases[0];
    let renew = |change: fn(&mut ReportSpec)| {
        let begun = Instant::now();
        (begun, bad.guest.renew(lease, json!([]), change))
    };
    match worse {
        Worse::Report(change) => renew(change),
        Worse::Configuration(more) => {
            broker.reconfigure(|text| text + more).unwrap();
            broker.hang_up().unwrap();
            let waited = Instant::now();
            while !broker.log().unwrap().contains("configuration reloaded") {
                assert!(waited.elapsed() < Duration::from_secs(5), "{}", broker.log().unwrap());
                std::thread::sleep(Duration::from_millis(20));
            }
            renew(|_| {})
        }
        Worse::Policy(policy) => {
            let place = tempfile::tempdir().unwrap();
            let file = place.path().join("appraisal.rego");
            fs::write(&file, policy).unwrap();
            let mut set = broker.admin(&["policy", "set", "appraisal"]).unwrap();
            Said::by(set.arg(&file)).unwrap().done().unwrap();
            renew(|_| {})
        }
        Worse::Retired => {
            let body = json!({"id": "web-test", "version": 1, "at": "2020-01-02T00:00:00Z"});
            let retired =
                broker.administrator().unwrap().send("POST", "/v1/admin/reference-values/retire", Some(&body));
            assert_eq!(retired.unwrap().status, 200);
            renew(|_| {})
        }
    }
}

#[test]
fn a_revoked_measurement_ends_what_rests_on_it_and_refuses_the_renewal() {
    let broker = Broker::start(&Setup { more: IDENTITY, ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", b"correct horse").unwrap();
    let (client, admin) = (broker.client().unwrap(), broker.administrator().unwrap());
    let events = Events::open(&admin, "");
    let rich = Rich::attest(&client);
    let begun = Instant::now();
    let body = json!({"kind": "measurement", "value": hex::encode(GOOD_MEASUREMENT), "reason": "CVE-2026-1"});
    assert_eq!(admin.send("POST", "/v1/admin/revocations", Some(&body)).unwrap().status, 201);
    rich.has_ended_everywhere(&broker, &admin, &events, begun, "revoked");
    assert_eq!(rich.guest.try_attest(json!([])).code(), "release.revoked.measurement");
}
