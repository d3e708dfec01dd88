//! Azure confidential VMs end to end: the agent asks a paravisor, the broker believes the hardware.
#![expect(clippy::unwrap_used, reason = "tests")]

mod healthy;
mod logs;
mod mixed;
mod refused;

use e2e::{
    broker::{Broker, Setup},
    paravisor::AzureGuest,
    process::Said,
};
use evidence_formats::digest::{Digest, HashAlgorithm};
use serde_json::json;

const SECRET: &[u8] = b"disk key of a confidential VM";
const TDX: &str = "provider = \"tdx_guest\"\n";
/// What the system measures into PCR 11.
const IMAGE: &[u8] = b"unified kernel image";

fn measured() -> Digest {
    HashAlgorithm::Sha256.digest(&[IMAGE])
}

/// A broker that knows the image by PCR 11 and the paravisor by its launch.
fn broker() -> Broker {
    broker_with(&format!("{:?}", "4d".repeat(48)))
}

fn broker_with(paravisor_launch: &str) -> Broker {
    let pcr11 = Digest::zero(HashAlgorithm::Sha256).extended(measured().as_bytes());
    let measurements = json!([{"runtime": {"pcr11": pcr11.to_string()}}]).to_string();
    let broker = Broker::start(&Setup { measurements: Some(&measurements), ..Setup::default() }).unwrap();
    broker.add_paravisor(paravisor_launch).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    broker
}

/// A VM that booted the image.
fn booted(state: &str) -> AzureGuest {
    let guest = AzureGuest::start(state).unwrap();
    guest.tpm().unwrap().pcr_extend(11, &[measured()]).unwrap();
    guest
}

/// A refusal: exit status 1, nothing on standard output, `code` first.
fn assert_refused(said: &Said, code: &str) {
    assert_eq!(said.status, 1, "expected {code}, found {}", said.stderr);
    assert_eq!(said.stdout, b"");
    let first = said.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("countersign-agent: refused: {code}")), "expected {code}: {}", said.stderr);
}
