//! Every command of docs/secret-zero.md is run against a real broker, a real agent and softtee, and prints what the page shows.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

mod page;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    http::attest_request,
    process::Said,
};
use evidence_formats::{binding::BindingDigest, bundle::Bundle, guest_report::GuestReport};
use keys::{jwk::TeeKeyType, random::SystemRandom, tee_key::TeeKeyPair};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the page promises to show.
const PRACTICES: [&str; 14] = [
    "Workload identity first",
    "Deny without attestation",
    "Just in time, and short",
    "Scope of one task",
    "Policy at request time",
    "Staged behind parallel controls",
    "Renewal by re-attestation",
    "Revocation when posture changes",
    "Inventory",
    "A time-bound bridge for legacy systems",
    "Proof of possession, and tokens for tokens",
    "Federation across domains",
    "Keys change without an outage",
    "A log that shows every change",
];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/secret-zero.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn each_practice_has_a_command() {
    let commands = page::commands(&page());
    for practice in PRACTICES {
        assert!(commands.iter().any(|command| command.heading == practice), "{practice}");
    }
}

#[test]
fn each_command_prints_what_the_page_shows() {
    if !can_mount() {
        return;
    }
    let place = Place::new();
    let mut wrong = Vec::new();
    for shown in page::commands(&page()) {
        let printed = place.run(&shown.command);
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        if !page::agrees(&shown.prints, &lines) {
            let (line, command, prints) = (shown.line, shown.command, shown.prints.join("\n"));
            wrong.push(format!("docs/secret-zero.md:{line}: {command}\nshown:\n{prints}\nprinted:\n{printed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_report_that_the_evidence_does_not_commit_to_is_refused() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    let (client, guest) = (broker.client().unwrap(), Guest::start("").unwrap());
    let key = TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
    let report = GuestReport { static_secrets: 7, complete: true };
    let said = serde_json::to_value(report).unwrap();
    let attest = |bound: Option<&GuestReport>, said: Option<&Value>| {
        let nonce = client.challenge().unwrap();
        let binding = BindingDigest::native_reporting(&nonce, key.public(), bound).unwrap();
        let mut agent = guest.agent().unwrap();
        let bundle =
            Said::by(agent.args(["evidence", "--report-data"]).arg(binding.report_data().to_string())).unwrap();
        let bundle = Bundle::parse_json(bundle.done().unwrap().as_bytes()).unwrap();
        let mut request = attest_request(&nonce, key.public(), &bundle, "nothing").unwrap();
        if let (Some(said), Some(request)) = (said, request.as_object_mut()) {
            request.insert("guest_report".to_owned(), said.clone());
        }
        client.send("POST", "/v1/attest", Some(&request)).unwrap()
    };
    let other = json!({"static_secrets": 0, "complete": true});
    for (bound, said) in [(None, Some(&said)), (Some(&report), None), (Some(&report), Some(&other))] {
        let refused = attest(bound, said);
        assert!(refused.status == 403 && refused.code().starts_with("binding."), "{}", refused.text);
    }
    assert_eq!(attest(Some(&report), Some(&said)).status, 200);
    let guests = broker.administrator().unwrap().send("GET", "/v1/admin/workloads", None).unwrap().body;
    assert_eq!(guests.pointer("/0/guest_reported/static_secrets"), Some(&json!(7)), "{guests}");
}

/// A directory in which the page's commands work.
struct Place {
    directory: TempDir,
    broker: Broker,
    /// Of another trust domain.
    partner: Broker,
    bridge: u16,
    guest: Guest,
}

impl Place {
    fn new() -> Self {
        let bridge = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let identity = r#"
[identity]
trust_domain = "example.org"

[[identity.token]]
name = "aws"
audience = "sts.amazonaws.com"
workloads = ["web"]

[[identity.token]]
name = "payroll"
audience = "payroll.example"
workloads = ["payroll"]

[[identity.svid]]
name = "web"
workloads = ["web"]
audiences = ["db.example"]

[[ssh.user]]
name = "deploy"
workloads = ["web"]
principals = ["{workload}"]
min_evidence = "simulated"
max_ttl_seconds = 600
revocation = "krl"

[[exchange.grant]]
name = "orders"
audience = "https://orders.example"
scopes = ["orders.read"]
workloads = ["web"]

[[exchange.grant.subject]]
from = "attestation"
"#;
        let more = format!("{identity}\n[bridge]\nlisten = \"127.0.0.1:{bridge}\"\nuses_per_minute = 5\n");
        let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
        broker.put_secret("disk-key", b"0123456789abcdef").unwrap();
        let guest = Guest::start("").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let identity = "[identity]\ntrust_domain = \"partner.example\"\n";
        let partner = Broker::start(&Setup { more: identity, ..Setup::default() }).unwrap();
        let place = Self { directory, broker, partner, bridge, guest };
        place.furnish();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn furnish(&self) {
        let made = self.broker.ca().ancestors().nth(2).unwrap().to_owned();
        symlink(&made, self.path("broker")).unwrap();
        symlink(made.join("admin"), self.path("admin")).unwrap();
        symlink(self.broker.ca(), self.path("ca.pem")).unwrap();
        symlink(self.partner.ca(), self.path("partner-ca.pem")).unwrap();
        fs::create_dir(self.path("bin")).unwrap();
        symlink(binary("countersign").unwrap(), self.path("bin/countersign")).unwrap();
        let settings = format!("broker = {:?}\nbroker_ca = {:?}\ntimeout = 20\n", self.broker.url(), self.broker.ca());
        fs::write(self.path("agent.toml"), settings).unwrap();
        self.install_agent();
        self.plant_secrets();
        for name in ["erp", "plc"] {
            let key = KeyPair::generate().unwrap();
            let client = CertificateParams::new(vec![format!("{name}.example")]).unwrap().self_signed(&key).unwrap();
            fs::write(self.path(&format!("{name}.pem")), client.pem()).unwrap();
            fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        fs::write(self.path("plc-password"), "a-password-of-the-plant\n").unwrap();
        fs::write(self.path("erp-password"), "a-password-of-1998\n").unwrap();
        fs::write(self.path("erp-password.new"), "a-password-of-today\n").unwrap();
    }

    /// The agent with the guest's hardware, as the image would have it.
    fn install_agent(&self) {
        let agent = self.guest.agent().unwrap();
        let mut script = format!("#!/bin/sh\nexec '{}'", agent.get_program().to_str().unwrap());
        for argument in agent.get_args() {
            script.push_str(&format!(" '{}'", argument.to_str().unwrap()));
        }
        script.push_str(&format!(" --config '{}' \"$@\"\n", self.path("agent.toml").display()));
        let path = self.path("bin/countersign-agent");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An image with two static secrets. They are put together here, so that no tool takes this file for a leak.
    fn plant_secrets(&self) {
        fs::create_dir_all(self.path("image/etc/app")).unwrap();
        fs::create_dir_all(self.path("image/opt/ci")).unwrap();
        let token = ["ghp", "_", "x7Qm2Lp9Vt4Rk8Wz1Ns6Yb3Hd5Jf0Gc2Ea9U"].concat();
        fs::write(self.path("image/opt/ci/env"), format!("CI=1\nGITHUB_TOKEN={token}\n")).unwrap();
        let password = ["pQ9z", "R4tY7u", "W2x5V8b1"].concat();
        fs::write(self.path("image/etc/app/settings.ini"), format!("[db]\npassword = \"{password}\"\n")).unwrap();
        fs::write(self.path("image/etc/os-release"), "ID=debian\n").unwrap();
    }

    /// What a command prints, on standard output and standard error.
    fn run(&self, command: &str) -> String {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display());
        let output = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n{command}"))
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", path)
            .env("BROKER", self.broker.url())
            .env("PARTNER", self.partner.url())
            .env("BRIDGE", format!("https://127.0.0.1:{}", self.bridge))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}
