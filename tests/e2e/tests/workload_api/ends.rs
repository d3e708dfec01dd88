//! How identities end, and what workloads see of it.

use std::time::{Duration, Instant};

use e2e::{
    broker::{Broker, Setup},
    guest::can_mount,
    process::Said,
};
use tokio_stream::StreamExt;

use crate::agent::{Agent, broker, configure, entry, until};

/// Waits for the end of a stream after `act`; how it ended, and how long it took.
fn ending(agent: &Agent, act: impl FnOnce()) -> (String, Duration) {
    agent.wait();
    agent.with(async |client| {
        let mut stream = client.stream_x509_contexts().await.unwrap();
        stream.next().await.unwrap().unwrap();
        // What the agent waits for at the broker is on its way by now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        act();
        let begun = Instant::now();
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return (format!("{error:?}"), begun.elapsed()),
                None => return ("nothing".to_owned(), begun.elapsed()),
            }
        }
    })
}

#[test]
fn a_revocation_ends_streams_within_two_seconds() {
    if !can_mount() {
        return;
    }
    let broker = broker(600);
    let agent = Agent::start(&broker, &entry());
    agent.wait();
    let token = agent.with(async |client| client.fetch_jwt_svid(["db.example"], None).await).unwrap();
    let validate = || agent.with(async |client| client.validate_jwt_token("db.example", token.token()).await);
    validate().unwrap();
    let (error, took) = ending(&agent, || {
        let mut ended = broker.admin(&["revoke", "credential", "jwt-svid/web", "--reason", "drill"]).unwrap();
        Said::by(&mut ended).unwrap().done().unwrap();
        let mut revoke = broker.admin(&["revoke", "workload", "web", "--reason", "drill"]).unwrap();
        Said::by(&mut revoke).unwrap().done().unwrap();
    });
    assert!(error.contains("PermissionDenied"), "{error}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(agent.refusal().contains("PermissionDenied"));
    let refused = agent.with(async |client| client.fetch_jwt_svid(["db.example"], None).await).unwrap_err();
    assert!(format!("{refused:?}").contains("PermissionDenied"), "{refused:?}");
    until("a refusal of the token", || {
        validate().is_err_and(|error| format!("{error:?}").contains("whose lease holds"))
    });
}

#[test]
fn worse_evidence_at_renewal_ends_streams() {
    if !can_mount() {
        return;
    }
    let broker = broker(6);
    let agent = Agent::start(&broker, &entry());
    let (error, _) = ending(&agent, || {
        let other = "5a".repeat(48);
        agent.guest.becomes(&format!("[snp]\nmeasurement = \"{other}\"\n")).unwrap();
    });
    assert!(error.contains("PermissionDenied"), "{error}");
    assert!(agent.log().contains("the broker refuses: reference."), "{}", agent.log());
}

#[test]
fn without_a_broker_the_last_credential_holds_until_its_end_and_then_nothing() {
    if !can_mount() {
        return;
    }
    let mut broker = broker(6);
    let agent = Agent::start(&broker, &entry());
    agent.wait();
    broker.stop().unwrap();
    let begun = Instant::now();
    agent.wait();
    until("an end", || agent.with(async |client| client.fetch_x509_svid().await).is_err());
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(8), "{took:?}");
    assert!(agent.refusal().contains("Unavailable"), "{}", agent.refusal());
    broker.restart().unwrap();
    agent.wait();
}

#[test]
fn settings_are_read_again_on_request() {
    if !can_mount() {
        return;
    }
    let broker = broker(600);
    let agent = Agent::start(&broker, &entry());
    let (error, _) = ending(&agent, || {
        let nobody = "[[serve.entry]]\nsvid = 'web'\nmatch = { uid = 4242 }\n";
        configure(&agent.guest, &broker, nobody);
        agent.process.signal(rustix::process::Signal::HUP).unwrap();
    });
    assert!(error.contains("Unavailable"), "{error}");
    assert!(agent.refusal().contains("PermissionDenied"));
    // Settings that are no good change nothing.
    configure(&agent.guest, &broker, "entry = 1");
    agent.process.signal(rustix::process::Signal::HUP).unwrap();
    until("a complaint", || agent.log().contains("the settings stay as they were"));
    configure(&agent.guest, &broker, &entry());
    agent.process.signal(rustix::process::Signal::HUP).unwrap();
    agent.wait();
}

#[test]
fn an_orderly_end_gives_leases_back() {
    if !can_mount() {
        return;
    }
    let broker = broker(600);
    let mut agent = Agent::start(&broker, &entry());
    agent.wait();
    let open = || {
        let mut list = broker.admin(&["workloads", "--open"]).unwrap();
        Said::by(&mut list).unwrap().done().unwrap()
    };
    assert!(open().contains("x509-svid/web") && open().contains("jwt-svid/web"), "{}", open());
    agent.process.end().unwrap();
    assert!(!open().contains("svid/web"), "{}", open());
    assert!(!agent.socket().exists(), "{}", agent.log());
    assert!(agent.log().contains("3 leases given back"), "{}", agent.log());
}

/// Another trust domain takes back its key: workloads here reject its identities within the refresh hint, without an
/// attestation in between.
#[test]
fn a_key_that_another_domain_takes_back_leaves_workloads_within_the_refresh_hint() {
    if !can_mount() {
        return;
    }
    const HINT: u64 = 10;
    let start = |domain: &str, federates_with: &str| {
        let more = format!(
            "[identity]\ntrust_domain = \"{domain}\"\n[identity.bundle]\nrefresh_hint_seconds = {HINT}\n\
             [[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\naudiences = [\"db.example\"]\n\
             federates_with = [{federates_with}]\nttl_seconds = 600\n"
        );
        Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap()
    };
    let (a, b) = (start("a.example", ""), start("b.example", "\"a.example\""));
    let url = format!("{}/.well-known/spiffe-bundle", a.url());
    let mut add = b.admin(&["federation", "add", "a.example", "--profile", "https_web", "--url", &url]).unwrap();
    Said::by(add.arg("--ca").arg(a.ca())).unwrap().done().unwrap();
    let agent = Agent::start(&b, &entry());
    let authorities = || {
        agent.with(async |client| {
            let set = client.fetch_x509_bundles().await.ok()?;
            let domain = spiffe::TrustDomain::new("a.example").ok()?;
            Some(set.get(&domain)?.authorities().iter().map(|der| der.as_bytes().to_vec()).collect::<Vec<_>>())
        })
    };
    agent.wait();
    until("the bundle of the other domain", || authorities().is_some_and(|found| found.len() == 1));
    let before = authorities().unwrap();
    let mut rotate = a.admin(&["keys", "rotate", "x509-ca", "--at-once"]).unwrap();
    Said::by(&mut rotate).unwrap().done().unwrap();
    let begun = Instant::now();
    until("the key is gone", || authorities().is_some_and(|now| now.iter().all(|key| !before.contains(key))));
    assert!(begun.elapsed() < Duration::from_secs(HINT), "{:?}", begun.elapsed());
}
