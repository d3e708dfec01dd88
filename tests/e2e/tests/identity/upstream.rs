//! A broker whose CA of SVIDs is certified by another CA, which OpenSSL made.

use std::{fs, path::Path};

use e2e::broker::{Broker, Setup};

use crate::{
    guest::Guest,
    spiffe::{Svid, authorities, openssl, openssl_verifies, spiffe_id},
};

/// A root, and an intermediate with these extensions, as PEM files in `place`.
fn make(place: &Path, extensions: &str) {
    fs::write(place.join("extensions"), extensions).unwrap();
    let run = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        openssl(place, &arguments).done().unwrap();
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes";
    run(&format!(
        "req -x509 {key} -keyout root.key -out root.pem -subj /CN=root -days 30 -sha384 -addext keyUsage=keyCertSign"
    ));
    run(&format!("req -new {key} -keyout upstream.key -out upstream.csr -subj /CN=upstream"));
    run(
        "x509 -req -in upstream.csr -CA root.pem -CAkey root.key -out upstream.pem -days 20 -sha384 -extfile extensions",
    );
}

fn start(place: &Path) -> anyhow::Result<Broker> {
    let file = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let more = format!(
        "[identity]\ntrust_domain = \"example.org\"\n[identity.authority.upstream]\ncertificate = {:?}\nkey = {:?}\nroots = {:?}\n\
         [[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\n",
        file("upstream.pem"),
        file("upstream.key"),
        file("root.pem")
    );
    Broker::start(&Setup { more: &more, ..Setup::default() })
}

const GOOD: &str = "basicConstraints=critical,CA:TRUE,pathlen:1\nkeyUsage=critical,keyCertSign\n\
                    nameConstraints=critical,permitted;URI:example.org\n";

#[test]
fn under_an_upstream_ca_openssl_verifies_svids_up_to_the_upstreams_root() {
    let place = tempfile::tempdir().unwrap();
    make(place.path(), GOOD);
    let broker = start(place.path()).unwrap();
    let svid = Svid::fetch(&mut Guest::new(broker.client().unwrap()), "web");
    let bundle = &svid.value["trust_bundles"]["example.org"];
    let root = pem::parse(fs::read(place.path().join("root.pem")).unwrap()).unwrap().into_contents();
    assert_eq!(authorities(bundle).iter().map(|der| der.to_vec()).collect::<Vec<_>>(), [root]);
    let chain = svid.chain();
    assert_eq!(chain.len(), 3, "SVID, the broker's CA, the upstream CA");
    assert_eq!(spiffe_id(&chain[0]).unwrap(), "spiffe://example.org/workload/web");
    assert_eq!(spiffe_id(&chain[1]).unwrap(), "spiffe://example.org");
    assert!(openssl_verifies(svid.pem(), bundle));
    // Not without what stands between.
    let leaf = pem::encode(&pem::Pem::new("CERTIFICATE", chain[0].to_vec()));
    assert!(!openssl_verifies(&leaf, bundle));
}

#[test]
fn a_broker_does_not_start_with_an_upstream_ca_that_verifiers_would_refuse() {
    for (from, to, says) in [
        ("pathlen:1", "pathlen:0", "room for the broker's own CA"),
        ("CA:TRUE,pathlen:1", "CA:FALSE", "CA:TRUE"),
        ("URI:example.org", "URI:example.net", "permit URIs of the trust domain"),
    ] {
        let place = tempfile::tempdir().unwrap();
        make(place.path(), &GOOD.replace(from, to));
        let error = format!("{:#}", start(place.path()).unwrap_err());
        assert!(error.contains(says), "{says}: {error}");
    }
}
