//! What a person reads when a disk stays closed: cause, decision, what to do; each cause with its own exit status.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, Stream};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{KEY, console, unlock};

/// Text without what differs from run to run: the decision and the port.
fn normal(text: &str, decision: &str, url: &str) -> String {
    text.replace(decision, "DECISION").replace(url.trim_start_matches("https://"), "BROKER")
}

fn decision(text: &str) -> &str {
    let line = text.lines().find_map(|line| line.strip_prefix("countersign-agent:   decision: "));
    line.unwrap_or_else(|| panic!("expected a decision in {text}"))
}

#[test]
fn a_refusal_is_final() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    let guest = Guest::start("").unwrap();
    let other = hex::encode([0x11; 48]);
    guest.becomes(&format!("[snp]\nmeasurement = \"{other}\"")).unwrap();
    let said = Said::by(unlock(&guest, &broker, "data").args(["--out", "-"])).unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (1, &b""[..]), "{}", said.stderr);
    let shown = console(&guest);
    assert_eq!(shown, said.stderr);
    let expected = "countersign-agent: the volume data stays closed
countersign-agent: refused: reference.no_match
countersign-agent:   reason: expected the measurements to be in a reference set; the nearest differs from web-test v1 in launch digest
countersign-agent:   reason: executables is 33 (warning)
countersign-agent:   reason: the measurements are in no reference set
countersign-agent:   decision: DECISION
countersign-agent:   what to do: what runs in this guest is not among the reference values; the operator sees all of it with: countersign explain DECISION
";
    assert_eq!(normal(&shown, decision(&shown), &broker.url()), expected);
}

#[test]
fn a_secret_of_another_workload_is_refused_with_the_decision() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    let guest = Guest::start("").unwrap();
    let said = Said::by(unlock(&guest, &broker, "data").args(["--out", "-"])).unwrap();
    assert_eq!(said.status, 1, "{}", said.stderr);
    let shown = console(&guest);
    let expected = "countersign-agent: the volume data stays closed
countersign-agent: refused: release.policy.denied
countersign-agent:   reason: the grant luks/data is not for the workload that was attested
countersign-agent:   decision: DECISION
countersign-agent:   what to do: the operator's policy does not give this to this guest; the operator sees all of it with: countersign explain DECISION
";
    assert_eq!(normal(&shown, decision(&shown), &broker.url()), expected);
}

#[test]
fn no_network_is_tried_again_and_then_said() {
    if !can_mount() {
        return;
    }
    let guest = Guest::start("").unwrap();
    let broker = Broker::start(&Setup::default()).unwrap();
    let mut command = guest.agent().unwrap();
    command.args(["unlock", "data", "--out", "-", "--timeout", "1", "--broker", "https://broker.invalid:8443"]);
    command.arg("--broker-ca").arg(broker.ca()).arg("--console").arg(guest.path("console"));
    std::fs::write(guest.path("console"), b"").unwrap();
    let said = Said::by(&mut command).unwrap();
    assert_eq!(said.status, 3, "{}", said.stderr);
    let shown = console(&guest);
    assert!(shown.contains("; trying again in "), "{shown}");
    let last: Vec<_> = shown.lines().rev().take(3).collect();
    assert!(last.last().unwrap().ends_with("the volume data stays closed"), "{shown}");
    assert_eq!(
        *last.first().unwrap(),
        "countersign-agent:   what to do: there is no network on the way to the broker: check this machine's link, address, \
         route and DNS, and the broker's name"
    );
}

#[test]
fn a_broker_that_comes_back_is_waited_for() {
    if !can_mount() {
        return;
    }
    let guest = Guest::start("").unwrap();
    let mut broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    broker.stop().unwrap();
    let said = Said::by(unlock(&guest, &broker, "data").args(["--out", "-", "--timeout", "1"])).unwrap();
    assert_eq!(said.status, 3, "{}", said.stderr);
    let advice =
        "the network is up and the broker does not answer: check that it runs, its address and port, and firewalls";
    assert!(said.stderr.contains(advice), "{}", said.stderr);
    let mut command = unlock(&guest, &broker, "data");
    let asking = thread::spawn(move || Said::by(command.args(["--out", "-"])).unwrap());
    thread::sleep(Duration::from_secs(1));
    broker.restart().unwrap();
    let said = asking.join().unwrap();
    assert_eq!(said.stdout, KEY, "{}", said.stderr);
    assert!(said.stderr.contains("; trying again in "), "{}", said.stderr);
}

#[test]
fn another_broker_gets_no_evidence_and_gives_no_key() {
    if !can_mount() {
        return;
    }
    let guest = Guest::start("").unwrap();
    let (ours, other) = (Broker::start(&Setup::default()).unwrap(), Broker::start(&Setup::default()).unwrap());
    let mut command = guest.agent().unwrap();
    command.args(["unlock", "data", "--out", "-", "--broker", &other.url(), "--broker-ca"]).arg(ours.ca());
    let said = Said::by(command.arg("--console").arg(guest.path("console"))).unwrap();
    assert_eq!(said.status, 5, "{}", said.stderr);
    let expected = "countersign-agent: the volume data stays closed
countersign-agent: expected the pinned broker: invalid peer certificate: BadSignature
countersign-agent:   what to do: another server answers, or the broker's certificate changed: check the address and the pin
";
    assert_eq!(said.stderr, expected);
}

#[test]
fn a_wrong_clock_is_told_from_a_wrong_certificate() {
    if !can_mount() {
        return;
    }
    let guest = Guest::start("").unwrap();
    let year = |year| time::Date::from_ordinal_date(year, 1).unwrap().midnight().assume_utc();
    let date = |time: OffsetDateTime| time.format(&Rfc2822).unwrap().replace("+0000", "GMT");
    let (long_ago, now) = (date(year(2020) + time::Duration::days(9)), date(OffsetDateTime::now_utc()));
    let table = [
        (year(2100), year(2101), None, "is valid from 2100-01-01T00:00:00Z on: set the clock\n"),
        (
            year(2020),
            year(2021),
            None,
            "was valid until 2021-01-01T00:00:00Z: set the clock, or if it is right, renew the certificate\n",
        ),
        (
            year(2020),
            year(2021),
            Some(now),
            "and the broker's clock agrees (not proven): the broker's certificate is not valid at that time: renew it\n",
        ),
        (year(2020), year(2021), Some(long_ago), " min ahead\n"),
        // Whatever it says, nothing is decided by it.
        (year(2020), year(2021), Some("soon".to_owned()), "renew the certificate\n"),
    ];
    for (from, until, says, words) in table {
        let (port, ca) = server(from, until, says);
        std::fs::write(guest.path("ca.pem"), ca).unwrap();
        let mut command = guest.agent().unwrap();
        command.args(["unlock", "data", "--out", "-", "--broker", &format!("https://127.0.0.1:{port}")]);
        command.arg("--broker-ca").arg(guest.path("ca.pem")).arg("--console").arg(guest.path("console"));
        let said = Said::by(&mut command).unwrap();
        assert_eq!(said.status, 6, "{}", said.stderr);
        assert!(said.stderr.contains("  what to do: this machine's clock says 20"), "{}", said.stderr);
        assert!(said.stderr.ends_with(words), "{}", said.stderr);
    }
}

/// A TLS server whose certificate is valid for these dates and whose clock says this; and its authority (PEM).
fn server(from: OffsetDateTime, until: OffsetDateTime, says: Option<String>) -> (u16, String) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (from, until);
    let certificate = params.signed_by(&key, &authority).unwrap();
    let chain = vec![certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        while let Ok((mut tcp, _)) = listener.accept() {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = Stream::new(&mut tls, &mut tcp);
            // The client breaks off when it has seen the certificate, and comes back to ask what time it is.
            let asked = stream.read(&mut [0; 4096]).is_ok();
            if let Some(date) = says.as_ref().filter(|_| asked) {
                let _taken = write!(stream, "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    (port, authority.pem())
}
