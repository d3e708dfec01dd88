//! A broker that is killed at random points loses no stored secret and accepts no nonce twice.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::arithmetic_side_effects, reason = "tests")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use e2e::{
    broker::{Broker, Setup, WORKLOAD},
    http::{Answer, Client, attest_request},
    random::Seeded,
};
use evidence_formats::{
    binding::BindingDigest,
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    snp::ProductLine,
};
use keys::{grant::GrantPayload, jwk::TeeKeyType, random::SystemRandom, seal::Sealed, tee_key::TeeKeyPair};
use serde_json::Value;
use softtee::amd::SecureProcessor;

const ATTESTATIONS: u32 = 200;
const SECRETS_EVERY: u32 = 10;
const BUDGET: Duration = Duration::from_secs(170);

/// An attestation that was sent, perhaps several times.
struct Sent {
    request: Value,
    accepted: u32,
}

/// Evidence of softtee's healthy guest; the chip's certificates are among the broker's endorsements.
fn request(client: &Client, chip: &SecureProcessor, name: &str) -> Option<(Value, TeeKeyPair)> {
    let nonce = client.challenge().ok()?;
    let key = TeeKeyPair::generate(TeeKeyType::X25519, &mut SystemRandom::new()).unwrap();
    let mut report = chip.guest();
    report.report_data = BindingDigest::native(&nonce, key.public()).unwrap().report_data();
    let mut bundle = Bundle::new();
    let cpu = BundleItem { media_type: MediaType::SnpReport, bytes: chip.report(&report) };
    bundle.insert(ItemName::Cpu, cpu).unwrap();
    let certificates = BundleItem { media_type: MediaType::SnpCertTable, bytes: chip.certificates().to_bytes() };
    bundle.insert(ItemName::Certs, certificates).unwrap();
    Some((attest_request(&nonce, key.public(), &bundle, name).unwrap(), key))
}

/// Sends until there is an answer; the broker may be away for a moment.
fn answer(client: &Client, request: &Value, until: Instant) -> Answer {
    while Instant::now() < until {
        if let Ok(answer) = client.send("POST", "/v1/attest", Some(request))
            && answer.status < 500
        {
            return answer;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("expected an answer in time");
}

fn value(answer: &Answer, key: &TeeKeyPair) -> Vec<u8> {
    let sealed = answer.body.pointer("/grants/0/sealed").unwrap_or_else(|| panic!("expected a grant: {}", answer.body));
    let sealed: Sealed = serde_json::from_value(sealed.clone()).unwrap();
    GrantPayload::parse(&key.open(&sealed).unwrap()).unwrap().value.expose().to_vec()
}

#[test]
fn kill_9_loses_no_secret_and_accepts_no_nonce_twice() {
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let until = Instant::now() + BUDGET;
    let broker = Broker::start(&Setup::default()).unwrap();
    let client = broker.client().unwrap();
    let broker = Arc::new(Mutex::new(broker));
    let (stop, kills) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let killer = {
        let (broker, stop, kills, mut random) = (broker.clone(), stop.clone(), kills.clone(), Seeded::new(seed));
        spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(random.below(400)));
                broker.lock().unwrap().crash_and_restart().unwrap();
                kills.fetch_add(1, Ordering::Relaxed);
            }
        })
    };

    let chip = SecureProcessor::new(ProductLine::Milan);
    let mut random = Seeded::new(!seed);
    let mut stored = BTreeMap::new();
    let mut sent: Vec<Sent> = Vec::new();
    while sent.len() < usize::try_from(ATTESTATIONS).unwrap() {
        assert!(Instant::now() < until, "{} attestations in the time", sent.len());
        let round = u32::try_from(sent.len()).unwrap();
        if round % SECRETS_EVERY == 0 && !stored.contains_key(&name(round)) {
            let content = random.next().to_le_bytes().to_vec();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &content).unwrap();
            // Only what the broker said is stored counts.
            let put = broker_put(&broker, &name(round), file.path());
            if put {
                stored.insert(name(round), content);
            }
            continue;
        }
        let wanted = name(round - round % SECRETS_EVERY);
        let Some((request, key)) = request(&client, &chip, &wanted) else { continue };
        let mut this = Sent { request, accepted: 0 };
        if let Ok(first) = client.send("POST", "/v1/attest", Some(&this.request)) {
            match (first.status, first.code()) {
                (200, _) => {
                    this.accepted += 1;
                    assert_eq!(value(&first, &key), *stored.get(&wanted).unwrap());
                }
                (403, "binding.nonce.replayed") => panic!("expected the first use to be no replay"),
                (status, _) => assert!(status >= 500 || status == 429, "{status} {}", first.body),
            }
        }
        // An impatient client sends the same again, as some do after a broken connection.
        if random.below(3) == 0 {
            let again = answer(&client, &this.request, until);
            count(&mut this, &again);
        }
        sent.push(this);
    }
    stop.store(true, Ordering::Relaxed);
    killer.join().unwrap();
    eprintln!("{} kills", kills.load(Ordering::Relaxed));
    assert!(kills.load(Ordering::Relaxed) >= 10, "expected the broker to be killed often");

    let accepted_before: u32 = sent.iter().map(|sent| sent.accepted).sum();
    assert!(accepted_before > ATTESTATIONS / 4, "expected many attestations to pass: {accepted_before}");
    for this in &mut sent {
        for _ in 0..2 {
            let again = answer(&client, &this.request, until);
            count(this, &again);
        }
    }
    for (name, content) in &stored {
        let (request, key) = request(&client, &chip, name).unwrap();
        assert_eq!(value(&answer(&client, &request, until), &key), *content, "{name}");
    }
}

fn name(round: u32) -> String {
    format!("secret-{round}")
}

/// One more answer to a request: accepted at most once in all, otherwise refused as a replay.
fn count(sent: &mut Sent, answer: &Answer) {
    match (answer.status, answer.code()) {
        (200, _) => sent.accepted += 1,
        (403, "binding.nonce.replayed") => {}
        (status, _) => panic!("expected an acceptance or a replay, found {status}: {}", answer.body),
    }
    assert!(sent.accepted <= 1, "a nonce was accepted twice");
}

fn broker_put(broker: &Mutex<Broker>, name: &str, file: &std::path::Path) -> bool {
    // The command is made under the lock and runs without it, so that the broker can be killed meanwhile.
    let mut command = broker.lock().unwrap().admin(&["secrets", "put", name, "--workload", WORKLOAD]).unwrap();
    command.arg("--file").arg(file).output().unwrap().status.success()
}
