//! Boot from the disk with a virtual TPM: the firmware and the EFI stub measure the unified kernel image.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path, process::Command};

use boot::{
    deployment::{Deployment, Plan, RAN, STOPPED},
    recipes::Root,
    vtpm::Vtpm,
};
use e2e::process::Said;

const PLAN: Plan<'_> = Plan { root: Root::Verified, has_processor: false, trusts: None, systemd: false };

#[test]
fn the_good_image_has_the_predicted_pcrs_and_opens_its_disk() {
    let deployment = Deployment::new(&PLAN).unwrap();
    let tpm = Vtpm::start().unwrap();
    deployment.boot_disk(&tpm).unwrap().wait_for(RAN).unwrap();
    let decision = deployment.last_decision().unwrap();
    let predicted = deployment.predicted("vtpm").unwrap();
    let predicted = predicted.get("runtime").and_then(serde_json::Value::as_object).unwrap();
    assert_eq!(predicted.len(), 6, "{predicted:?}");
    for (register, value) in predicted {
        let reported = decision.pointer(&format!("/claims/measurement/runtime/{register}/value"));
        assert_eq!(reported, Some(value), "{register}");
    }
    assert!(deployment.inventory().unwrap().contains("secret/disk-key"));
}

/// The host changes the disk; the firmware boots it and measures the change.
fn broker_refuses(change: impl FnOnce(&Deployment)) {
    let deployment = Deployment::new(&PLAN).unwrap();
    change(&deployment);
    let tpm = Vtpm::start().unwrap();
    let console = deployment.boot_disk(&tpm).unwrap().wait_off().unwrap();
    for told in [STOPPED, "refused: reference."] {
        assert!(console.contains(told), "expected {told:?} on the console:\n{console}");
    }
    assert!(!console.contains("is open") && !console.contains("workload:"), "{console}");
    assert!(!deployment.inventory().unwrap().contains("disk-key"));
}

/// Puts a file into the EFI system partition of the image's disk, which starts at the first mebibyte.
fn put(deployment: &Deployment, file: &Path, path: &str) {
    let disk = format!("{}@@1M", deployment.image.file("disk.raw").display());
    for folder in path.match_indices('/').skip(1).map(|(at, _)| path.split_at(at).0) {
        let mut make = Command::new("mmd");
        // It may be there already.
        let _there = Said::by(make.args(["-D", "s", "-i", &disk, &format!("::{folder}")])).unwrap();
    }
    let mut copy = Command::new("mcopy");
    Said::by(copy.args(["-o", "-i", &disk]).arg(file).arg(format!("::{path}"))).unwrap().done().unwrap();
}

#[test]
fn a_changed_image_is_refused() {
    broker_refuses(|deployment| {
        let mut image = fs::read(deployment.image.file("linux.efi")).unwrap();
        let words = b"countersign.roothash=";
        // A word of the command line that nothing reads, of the same length.
        let at = image.windows(words.len()).position(|window| window == words).unwrap();
        let quiet = image.get(..at).unwrap().windows(5).rposition(|window| window == b"quiet").unwrap();
        image.get_mut(quiet..quiet + 5).unwrap().copy_from_slice(b"quieT");
        let changed = deployment.place().join("changed.efi");
        fs::write(&changed, image).unwrap();
        put(deployment, &changed, "/EFI/BOOT/BOOTX64.EFI");
    });
}

#[test]
fn an_addition_to_the_command_line_is_refused() {
    broker_refuses(|deployment| {
        let addition = deployment.base().join("addition.efi");
        put(deployment, &addition, "/loader/addons/more.addon.efi");
    });
}
