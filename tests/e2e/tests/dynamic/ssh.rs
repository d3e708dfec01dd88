use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup},
    guest::{Guest as Machine, can_mount},
    process::{Process, Said},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{guest::Guest, setup::within};

const ENTRIES: &str = "
[[ssh.user]]
name = \"deploy\"
workloads = [\"web\"]
principals = [\"{workload}\", \"{workload}-{platform}\"]
min_evidence = \"simulated\"
max_ttl_seconds = 600
revocation = \"krl\"

[[ssh.user]]
name = \"forced\"
workloads = [\"web\"]
principals = [\"{workload}\"]
critical_options = { force-command = \"echo only this\" }
extensions = [\"permit-pty\"]
min_evidence = \"simulated\"
max_ttl_seconds = 2
revocation = \"expiry\"

[[ssh.user]]
name = \"machine\"
workloads = [\"web\"]
principals = [\"{chip}:x\"]
min_evidence = \"simulated\"
max_ttl_seconds = 60
revocation = \"krl\"

[[ssh.user]]
name = \"strict\"
workloads = [\"web\"]
principals = [\"{workload}\"]
min_evidence = \"tpm\"
max_ttl_seconds = 60
revocation = \"krl\"

[[ssh.host]]
name = \"web-host\"
workloads = [\"web\"]
principals = [\"{workload}.test\"]
min_evidence = \"simulated\"
max_ttl_seconds = 600
revocation = \"krl\"
";

fn broker() -> Broker {
    Broker::start(&Setup { more: ENTRIES, ..Setup::default() }).unwrap()
}

/// `ssh-keygen`: a key pair called `name`; its public line.
fn key(place: &Path, name: &str) -> String {
    let mut make = Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name]).current_dir(place);
    Said::by(&mut make).unwrap().done().unwrap();
    fs::read_to_string(place.join(name).with_extension("pub")).unwrap()
}

/// Attests for a certificate of `entry` for the key `name`, and writes it where ssh looks for it; lease and value.
fn certify(guest: &mut Guest, place: &Path, entry: &str, name: &str) -> (String, Value) {
    let public = key(place, name);
    let answer = guest.attest(json!([{"id": "s", "type": "ssh-cert", "name": entry, "public_key": public.trim()}]));
    assert!(answer["grants"][0].is_object(), "{answer}");
    let value: Value = serde_json::from_slice(guest.open(&answer["grants"][0]["sealed"]).value.expose()).unwrap();
    let line = value["certificate"].as_str().unwrap();
    fs::write(place.join(format!("{name}-cert.pub")), format!("{line}\n")).unwrap();
    (answer["grants"][0]["lease"]["id"].as_str().unwrap().to_owned(), value)
}

fn write_from_broker(broker: &Broker, args: &[&str], out: &Path) {
    let mut command = Command::new(binary("countersign").unwrap());
    command.arg("ssh").args(args).args(["--server", &broker.url(), "--ca"]).arg(broker.ca()).arg("--out").arg(out);
    Said::by(&mut command).unwrap().done().unwrap();
}

/// A real sshd that trusts the broker's CAs and nothing else.
struct Sshd {
    _process: Process,
    directory: TempDir,
    port: u16,
}

impl Sshd {
    /// With a host certificate, under which `guest` serves.
    fn start(broker: &Broker, guest: &mut Guest) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        certify(guest, place, "web-host", "host");
        write_from_broker(broker, &["ca", "user"], &place.join("user-ca"));
        write_from_broker(broker, &["ca", "host", "--known-hosts", "*.test"], &place.join("known-hosts"));
        write_from_broker(broker, &["revoked", "user"], &place.join("revoked"));
        write_from_broker(broker, &["revoked", "host"], &place.join("revoked-hosts"));
        fs::write(place.join("principals"), "web\n").unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let file = |name: &str| place.join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nHostCertificate {}\nTrustedUserCAKeys {}\n\
             RevokedKeys {}\nAuthorizedPrincipalsFile {}\nAuthorizedKeysFile none\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin yes\nLogLevel VERBOSE\n",
            file("host"),
            file("host-cert.pub"),
            file("user-ca"),
            file("revoked"),
            file("principals"),
        );
        fs::write(place.join("sshd_config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            // sshd wants its empty directory, which a boot makes.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = fs::File::create(place.join("log")).unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", &file("sshd_config")]).stdin(Stdio::null()).stderr(log);
        let process = Process::start(&mut command).unwrap();
        within(Duration::from_secs(10), "sshd listens", || {
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Self { _process: process, directory, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `ssh` with the key in `place`, which knows no host but by its certificate.
    fn login(&self, key: &Path, command: &str) -> Said {
        let option = |name: &str, path: &Path| format!("-o{name}={}", path.display());
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-T", "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oStrictHostKeyChecking=yes"]);
        ssh.args(["-oIdentityAgent=none", "-oGlobalKnownHostsFile=none", "-oUpdateHostKeys=no", "-oConnectTimeout=10"]);
        ssh.arg(option("UserKnownHostsFile", &self.path("known-hosts")));
        ssh.arg(option("RevokedHostKeys", &self.path("revoked-hosts")));
        ssh.args(["-oHostKeyAlias=web.test", "-p", &self.port.to_string(), "-i"]).arg(key);
        ssh.args(["127.0.0.1", command]);
        Said::by(&mut ssh).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

#[test]
fn sshd_accepts_a_certificate_until_its_lease_ends_and_for_its_principal_only() {
    let broker = broker();
    let mut host = Guest::new(broker.client().unwrap());
    let sshd = Sshd::start(&broker, &mut host);
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let mut guest = Guest::new(broker.client().unwrap());
    let (lease, value) = certify(&mut guest, place, "deploy", "id");
    assert_eq!(value["principals"], json!(["web", "web-simulated"]));
    let said = sshd.login(&place.join("id"), "echo in");
    assert_eq!((said.status, said.stdout.as_slice()), (0, &b"in\n"[..]), "{}\n{}", said.stderr, sshd.log());
    assert!(sshd.log().contains(&format!("ID \"countersign:default:web:{lease}\"")), "{}", sshd.log());

    // The key alone is nobody, and so is the certificate with another key.
    let (bare, other) = (place.join("bare"), place.join("other"));
    fs::copy(place.join("id"), &bare).unwrap();
    fs::set_permissions(&bare, fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(sshd.login(&bare, "true").status, 0);
    key(place, "other");
    fs::copy(place.join("id-cert.pub"), place.join("other-cert.pub")).unwrap();
    assert_ne!(sshd.login(&other, "true").status, 0);

    // Another principal.
    fs::write(sshd.path("principals"), "database\n").unwrap();
    assert_ne!(sshd.login(&place.join("id"), "true").status, 0);
    assert!(sshd.log().contains("Certificate does not contain an authorized principal"), "{}", sshd.log());
    fs::write(sshd.path("principals"), "web\n").unwrap();
    assert_eq!(sshd.login(&place.join("id"), "true").status, 0);

    // Its lease ends; sshd reads the list at each login.
    let sibling = {
        let mut guest = Guest::new(broker.client().unwrap());
        certify(&mut guest, place, "deploy", "sibling");
        place.join("sibling")
    };
    assert_eq!(guest.release(&lease).status, 200);
    write_from_broker(&broker, &["revoked", "user"], &sshd.path("revoked"));
    assert_ne!(sshd.login(&place.join("id"), "true").status, 0);
    assert!(sshd.log().contains("revoked"), "{}", sshd.log());
    assert_eq!(sshd.login(&sibling, "true").status, 0, "{}", sshd.log());
    let mut query = Command::new("ssh-keygen");
    let said = Said::by(query.arg("-Qf").arg(sshd.path("revoked")).arg(place.join("id-cert.pub"))).unwrap();
    assert!(said.status != 0 && String::from_utf8_lossy(&said.stdout).contains("REVOKED"), "{}", said.stderr);
    let revoke = ["revoke", "workload", "web", "--reason", "drill"];
    Said::by(&mut broker.admin(&revoke).unwrap()).unwrap().done().unwrap();
    write_from_broker(&broker, &["revoked", "user"], &sshd.path("revoked"));
    assert_ne!(sshd.login(&sibling, "true").status, 0);
}

#[test]
fn ssh_believes_a_host_certificate_until_its_lease_ends() {
    let broker = broker();
    let mut host = Guest::new(broker.client().unwrap());
    let sshd = Sshd::start(&broker, &mut host);
    let place = tempfile::tempdir().unwrap();
    let id = place.path().join("id");
    let mut guest = Guest::new(broker.client().unwrap());
    certify(&mut guest, place.path(), "deploy", "id");
    assert_eq!(sshd.login(&id, "true").status, 0, "{}", sshd.log());
    // A certificate of a user is none of a host, and the other way round.
    for (kind, other) in [("user", "host"), ("host", "user")] {
        let keys = broker.client().unwrap().send("GET", &format!("/v1/ssh/ca/{kind}"), None).unwrap().text;
        let others = broker.client().unwrap().send("GET", &format!("/v1/ssh/ca/{other}"), None).unwrap().text;
        assert!(keys.starts_with("ecdsa-sha2-nistp256 ") && keys != others);
    }
    host.release(&host.id);
    write_from_broker(&broker, &["revoked", "host"], &sshd.path("revoked-hosts"));
    let refused = sshd.login(&id, "true");
    assert!(refused.status != 0 && refused.stderr.contains("revoked"), "{}", refused.stderr);
}

#[test]
fn a_certificate_permits_what_its_entry_says_and_no_longer() {
    let broker = broker();
    let mut host = Guest::new(broker.client().unwrap());
    let sshd = Sshd::start(&broker, &mut host);
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let mut guest = Guest::new(broker.client().unwrap());
    certify(&mut guest, place, "forced", "id");
    let said = sshd.login(&place.join("id"), "echo something else");
    assert_eq!((said.status, said.stdout.as_slice()), (0, &b"only this\n"[..]), "{}", said.stderr);
    let mut show = Command::new("ssh-keygen");
    let shown = Said::by(show.arg("-Lf").arg(place.join("id-cert.pub"))).unwrap().done().unwrap();
    for wanted in
        ["user certificate", "permit-pty", "force-command echo only this", "Signing CA: ECDSA", "                web\n"]
    {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let shown = {
        let mut show = Command::new("ssh-keygen");
        certify(&mut Guest::new(broker.client().unwrap()), place, "deploy", "plain");
        Said::by(show.arg("-Lf").arg(place.join("plain-cert.pub"))).unwrap().done().unwrap()
    };
    assert!(shown.contains("Critical Options: (none)") && shown.contains("Extensions: (none)"), "{shown}");
    sleep(Duration::from_millis(3100));
    assert_ne!(sshd.login(&place.join("id"), "true").status, 0);
    assert!(sshd.log().contains("expired"), "{}", sshd.log());

    let public = fs::read_to_string(place.join("id.pub")).unwrap();
    let code = |name: &str, public: Option<&str>| {
        let guest = Guest::new(broker.client().unwrap());
        let wish = json!([{"id": "s", "type": "ssh-cert", "name": name, "public_key": public}]);
        let answer = guest.try_attest(wish);
        answer.body["denied"][0]["code"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
    };
    // What the evidence says is not a name, or is not said at all.
    assert!(
        ["release.ssh.principal", "release.identity.claim"].contains(&code("machine", Some(public.trim())).as_str())
    );
    assert_eq!(code("strict", Some(public.trim())), "release.evidence.insufficient");
    assert_eq!(code("no-such-entry", Some(public.trim())), "release.policy.denied");
    for wrong in [None, Some("ssh-rsa AAAA"), Some("nonsense")] {
        assert_eq!(code("deploy", wrong), "release.ssh.key", "{wrong:?}");
    }
}

#[test]
fn the_agent_keeps_the_key_and_renews_the_certificate() {
    if !can_mount() {
        return;
    }
    let broker = broker();
    let sshd = Sshd::start(&broker, &mut Guest::new(broker.client().unwrap()));
    let machine = Machine::start("").unwrap();
    let run = |name: &str, key: &str| {
        let mut command = machine.agent().unwrap();
        command.args(["credentials", "ssh-cert", name, "--key", key, "--broker", &broker.url(), "--broker-ca"]);
        Said::by(command.arg(broker.ca())).unwrap()
    };
    run("deploy", "id").done().unwrap();
    let (key, certificate) = (fs::read(machine.path("id")).unwrap(), fs::read(machine.path("id-cert.pub")).unwrap());
    assert_eq!(machine.path("id").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(sshd.login(&machine.path("id"), "true").status, 0, "{}", sshd.log());
    run("deploy", "id").done().unwrap();
    assert_eq!(fs::read(machine.path("id")).unwrap(), key);
    assert_ne!(fs::read(machine.path("id-cert.pub")).unwrap(), certificate);
    assert_eq!(sshd.login(&machine.path("id"), "true").status, 0, "{}", sshd.log());
    // A key that ssh-keygen made.
    key_of(&machine, "theirs");
    run("deploy", "theirs").done().unwrap();
    assert_eq!(sshd.login(&machine.path("theirs"), "true").status, 0, "{}", sshd.log());
    let refused = run("strict", "id");
    assert!(refused.status == 1 && refused.stderr.contains("release.evidence.insufficient"), "{}", refused.stderr);
}

fn key_of(machine: &Machine, name: &str) {
    let path = machine.path(name);
    key(path.parent().unwrap(), name);
}
