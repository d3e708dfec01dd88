//! Revocation lists of X.509-SVIDs, as OpenSSL reads them.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{
    broker::{Broker, Setup},
    http::Client,
    process::Said,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    guest::Guest,
    spiffe::{Svid, openssl},
};

/// A broker whose certificates say that their list is at a listener without TLS.
fn broker() -> Broker {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = format!(
        "[identity]\ntrust_domain = \"example.org\"\n\n[identity.authority]\ncrl_url = \"http://127.0.0.1:{port}/\"\n\n\
         [[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\n\n[mirror]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap()
}

/// A directory with the SVID and the bundle.
fn written(svid: &Svid) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("svid.pem"), svid.pem()).unwrap();
    fs::write(place.path().join("bundle.pem"), svid.value["bundle"].as_str().unwrap()).unwrap();
    place
}

/// What OpenSSL says of the SVID when it may not do without a list, and gets it from where the certificate says.
fn verified(place: &Path) -> Said {
    openssl(place, &["verify", "-x509_strict", "-CAfile", "bundle.pem", "-crl_check", "-crl_download", "svid.pem"])
}

fn is_revoked(place: &Path) -> bool {
    let said = verified(place);
    assert!(said.status == 0 || said.stderr.contains("certificate revoked"), "{said:?}");
    said.status != 0
}

/// The same with the file of all lists.
fn is_revoked_by_file(place: &Path, client: &Client) -> bool {
    let lists = client.send("GET", "/v1/crl", None).unwrap();
    assert_eq!(lists.status, 200, "{}", lists.text);
    fs::write(place.join("lists.pem"), lists.text).unwrap();
    let said = openssl(place, &["verify", "-CAfile", "bundle.pem", "-crl_check", "-CRLfile", "lists.pem", "svid.pem"]);
    assert!(said.status == 0 || said.stderr.contains("certificate revoked"), "{said:?}");
    said.status != 0
}

/// The number of the newest list in the file.
fn number(place: &Path) -> u64 {
    let said = openssl(place, &["crl", "-in", "lists.pem", "-noout", "-crlnumber"]).done().unwrap();
    u64::from_str_radix(said.trim().trim_start_matches("crlNumber=").trim_start_matches("0x"), 16).unwrap()
}

fn within_a_second(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(1), "{what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn openssl_refuses_a_certificate_from_the_end_of_its_lease_on() {
    let mut broker = broker();
    let client = broker.client().unwrap();
    let mut guest = Guest::new(client.clone());
    let svid = Svid::fetch(&mut guest, "web");
    let place = written(&svid);
    let place = place.path();
    assert!(!is_revoked(place) && !is_revoked_by_file(place, &client));
    let first = number(place);

    // A sibling and a renewed certificate of the same lease.
    let mut other = Guest::new(client.clone());
    let other = written(&Svid::fetch(&mut other, "web"));
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let wanted = json!([{"id": svid.lease, "type": "x509-svid", "name": "web", "csr": csr}]);
    let renewed = guest.renew(&svid.lease, wanted, |_| {});
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let value = guest.open(&renewed.body["grants"][0]["sealed"]).value;
    let value = serde_json::from_slice(value.expose()).unwrap();
    let renewed = written(&Svid { key, value, lease: svid.lease.clone() });
    assert!(!is_revoked(place) && !is_revoked(renewed.path()));

    assert_eq!(guest.release(&svid.lease).status, 200);
    within_a_second("the certificate of the first attestation", || is_revoked(place));
    within_a_second("the renewed certificate", || is_revoked(renewed.path()));
    assert!(is_revoked_by_file(place, &client) && is_revoked_by_file(renewed.path(), &client));
    assert!(!is_revoked(other.path()), "another guest's certificate");
    let second = number(place);
    assert!(second > first);

    // Neither a restart nor another CA brings the certificate back, or the number.
    broker.crash_and_restart().unwrap();
    assert!(is_revoked(place) && is_revoked_by_file(place, &client));
    assert!(number(place) > second);
    Said::by(&mut broker.admin(&["keys", "rotate", "x509-ca"]).unwrap()).unwrap().done().unwrap();
    within_a_second("the list of the next CA", || {
        let lists = client.send("GET", "/v1/crl", None).unwrap().text;
        lists.matches("BEGIN X509 CRL").count() == 2
    });
    assert!(is_revoked(place) && is_revoked_by_file(place, &client));
    assert!(!is_revoked(other.path()));
    let mut revoke = broker.admin(&["revoke", "workload", "web", "--reason", "vulnerable"]).unwrap();
    Said::by(&mut revoke).unwrap().done().unwrap();
    within_a_second("a revoked workload", || is_revoked(other.path()));
    assert_eq!(client.send("GET", "/v1/crl/nobody", None).unwrap().code(), "request.not_found");
}
