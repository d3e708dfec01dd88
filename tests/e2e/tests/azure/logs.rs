//! The event log at the end of the tree: what the hardware vouches for down to one section of the kernel image.

use e2e::{
    broker::{Broker, Setup},
    paravisor::AzureGuest,
};
use evidence_formats::digest::HashAlgorithm;
use serde_json::json;
use softtee::{boot_log::BootLog, swtpm::is_installed};

use crate::{SECRET, TDX, assert_refused};

const BOOTS: &str = "[paravisor]\ncommand_line = \"console=hvc0\"\n";

/// A broker that knows an image by its kernel and command line.
fn broker() -> Broker {
    let digest = |content: &str| HashAlgorithm::Sha256.digest(&[content.as_bytes()]).to_string();
    let sections = json!({".linux": [digest("kernel")], ".cmdline": [digest("console=hvc0")]});
    let measurements = json!([{"events": {"pcr11": sections}}]).to_string();
    let more = "[baseline.tpm]\nrequire_event_log = true\nrequire_secure_boot = true\n";
    let broker = Broker::start(&Setup { measurements: Some(&measurements), more, ..Setup::default() }).unwrap();
    broker.add_paravisor(&format!("{:?}", "4d".repeat(48))).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    broker
}

#[test]
fn an_image_is_known_by_its_sections_and_an_edited_log_is_refused() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    for state in ["", TDX] {
        let guest = AzureGuest::start(&format!("{state}{BOOTS}")).unwrap();
        let said = guest.get(&broker, "disk-key").unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{state}: {}", said.stderr);

        let good = BootLog::healthy("console=hvc0", true).to_bytes();
        // The separator of PCR 7 says something else than was measured; the digest of the command line is another one.
        let another = BootLog::healthy("init=/bin/sh", true).to_bytes();
        let secure_boot_off = BootLog::healthy("console=hvc0", false).to_bytes();
        let table = [
            (another, "authenticate.tpm."),
            (secure_boot_off, "authenticate.tpm."),
            (good.split_at(good.len() - 1).0.to_vec(), "parse.eventlog."),
        ];
        for (log, code) in table {
            guest.leave_boot_log(&log).unwrap();
            assert_refused(&guest.get(&broker, "disk-key").unwrap(), code);
        }
        guest.leave_boot_log(b"").unwrap();
        assert_refused(&guest.get(&broker, "disk-key").unwrap(), "baseline.tpm.event_log");
    }
}

#[test]
fn another_command_line_and_a_paravisor_that_contradicts_the_log_are_refused() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    let guest = AzureGuest::start("[paravisor]\ncommand_line = \"init=/bin/sh\"\n").unwrap();
    assert_refused(&guest.get(&broker, "disk-key").unwrap(), "reference.no_match");
    let guest = AzureGuest::start(BOOTS).unwrap();
    guest.becomes(&format!("{BOOTS}secure_boot = false\n")).unwrap();
    assert_refused(&guest.get(&broker, "disk-key").unwrap(), "authenticate.azure.secure_boot");
    let guest = AzureGuest::start(&format!("{BOOTS}secure_boot = false\n")).unwrap();
    assert_refused(&guest.get(&broker, "disk-key").unwrap(), "baseline.tpm.secure_boot");
}
