//! Measured direct boot: firmware that checks hashes, a launch digest over them, and the kernel's own configfs-tsm.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests; figures are for people")]

use std::{env, fs, thread::sleep, time::Duration};

use boot::{
    deployment::{Deployment, PROOF, Plan, RAN, STOPPED},
    files::{BootFiles, Part},
    recipes::Root,
    traces::Traces,
};
use e2e::broker::{Broker, Setup};

/// Most processor time from the network to the open disk, for the whole emulated machine: agent, cryptsetup and kernel. Alone on a
/// machine it is about two seconds and a half; a processor whose other half works takes up to twice as long for the same.
const UNLOCKING: Duration = Duration::from_secs(12);

/// What the guest says of its time.
fn show_figures(console: &str) {
    for line in console.lines().filter(|line| line.starts_with("countersign:")) {
        println!("{line}");
    }
}

#[test]
fn the_good_image_opens_its_disk_and_leaves_no_trace_of_the_key() {
    let deployment = Deployment::new(&Plan::default()).unwrap();
    let mut machine = deployment.boot().unwrap();
    machine.wait_for("countersign: the network is up").unwrap();
    let before = machine.processor_time().unwrap();
    machine.wait_for("countersign: volume data is open").unwrap();
    let taken = machine.processor_time().unwrap().saturating_sub(before);
    let console = machine.wait_for(RAN).unwrap();
    show_figures(&console);
    println!("from the network to the open disk the machine took {taken:?} of a processor that emulates another one");
    assert!(taken < UNLOCKING, "expected less than {UNLOCKING:?} of processor time, found {taken:?}");

    // What the boot reported is what was predicted when the image was built.
    let decision = deployment.last_decision().unwrap();
    let reported = decision.pointer("/claims/measurement/launch").unwrap();
    assert_eq!(Some(reported), deployment.predicted("snp").unwrap().get("launch"), "{decision}");
    let inventory = deployment.inventory().unwrap();
    assert!(inventory.contains("secret/disk-key") && inventory.contains("vm"), "{inventory}");

    // All memory of the guest: logs, arguments and environments of processes, and every file system.
    let key = Traces::of(&deployment.key);
    assert!(!key.are_in(console.as_bytes()));
    let memory = machine.memory().unwrap();
    for disk in machine.disks() {
        assert_eq!(key.pages_of(&disk).unwrap(), 0, "expected no trace of the key on {}", disk.display());
    }
    assert!(Traces::of_text(PROOF).pages_of(&memory).unwrap() > 0, "expected to find what is there");
    assert_eq!(key.pages_of(&memory).unwrap(), 0, "expected no trace of the key in the guest's memory");
    let network = machine.network().unwrap();
    let launch = hex::decode(reported.as_str().unwrap()).unwrap();
    assert!(Traces::of(&launch).are_in(&network), "expected to find the report, which is no secret");
    assert!(!key.are_in(&network));
}

#[test]
fn an_encrypted_root_file_system_boots() {
    let deployment = Deployment::new(&Plan { root: Root::Encrypted, ..Plan::default() }).unwrap();
    let console = deployment.boot().unwrap().wait_for(RAN).unwrap();
    assert!(console.contains("volume root is open"), "{console}");
}

/// The host hands over a changed part, and the table of the good image, so that the launch digest stays good.
fn firmware_refuses(part: Part) {
    let deployment = Deployment::new(&Plan::default()).unwrap();
    let table = BootFiles::of(&deployment.image).unwrap().hash_table().unwrap();
    let changed = BootFiles::with_changed(&deployment.image, part).unwrap();
    let mut machine = deployment.boot_files(&changed, &table).unwrap();
    machine.wait_dead().unwrap();
    let console = machine.console().unwrap();
    assert!(!console.contains("countersign:") && !console.contains("Linux"), "{console}");
    assert!(deployment.last_decision().is_err(), "expected that nobody asked the broker");
}

#[test]
fn the_firmware_refuses_a_changed_kernel() {
    firmware_refuses(Part::Kernel);
}

#[test]
fn the_firmware_refuses_a_changed_initrd() {
    firmware_refuses(Part::Initrd);
}

#[test]
fn the_firmware_refuses_a_changed_command_line() {
    firmware_refuses(Part::CommandLine);
}

/// The host hands over a changed part and its hash: the firmware boots it, and the hardware measures another digest.
fn broker_refuses(part: Part) {
    let deployment = Deployment::new(&Plan::default()).unwrap();
    let changed = BootFiles::with_changed(&deployment.image, part).unwrap();
    let mut machine = deployment.boot_files(&changed, &changed.hash_table().unwrap()).unwrap();
    let console = machine.wait_off().unwrap();
    show_figures(&console);
    let decision = deployment.last_decision().unwrap();
    let id = decision.get("id").and_then(serde_json::Value::as_str).unwrap();
    for told in [STOPPED, "refused: reference.", "is not among the reference values", id] {
        assert!(console.contains(told), "expected {told:?} on the console:\n{console}");
    }
    assert!(!console.contains("is open") && !console.contains("workload:"), "{console}");
    assert!(!deployment.inventory().unwrap().contains("disk-key"));
}

#[test]
fn the_broker_refuses_a_changed_kernel() {
    broker_refuses(Part::Kernel);
}

#[test]
fn the_broker_refuses_a_changed_initrd() {
    broker_refuses(Part::Initrd);
}

#[test]
fn the_broker_refuses_a_changed_command_line() {
    broker_refuses(Part::CommandLine);
}

#[test]
fn the_boot_completes_when_the_broker_is_back_after_a_minute() {
    let mut deployment = Deployment::new(&Plan::default()).unwrap();
    deployment.broker.stop().unwrap();
    let mut machine = deployment.boot().unwrap();
    machine.wait_for("trying again").unwrap();
    let away = env::var("BROKER_AWAY_SECONDS").map_or(60, |text| text.parse().unwrap());
    sleep(Duration::from_secs(away));
    assert!(!machine.console().unwrap().contains(STOPPED));
    deployment.broker.restart().unwrap();
    machine.wait_for(RAN).unwrap();
}

#[test]
fn a_broker_with_another_certificate_is_refused() {
    let other = Broker::start(&Setup::default()).unwrap();
    let deployment = Deployment::new(&Plan { trusts: Some(&other.ca()), ..Plan::default() }).unwrap();
    let console = deployment.boot().unwrap().wait_off().unwrap();
    for told in [STOPPED, "another server answers, or the broker's certificate changed"] {
        assert!(console.contains(told), "expected {told:?} on the console:\n{console}");
    }
    assert!(deployment.last_decision().is_err(), "expected that no evidence was sent");
}

#[test]
fn a_changed_root_file_system_is_refused() {
    let deployment = Deployment::new(&Plan::default()).unwrap();
    let mut disk = fs::read(deployment.image.file("disk.raw")).unwrap();
    // The superblock of erofs begins with its magic number, at byte 1024 of the partition; flipped is a byte of the file system's identifier.
    let partition =
        disk.chunks(1 << 20).position(|chunk| chunk.get(1024..1028) == Some(&[0xe2, 0xe1, 0xf5, 0xe0])).unwrap();
    *disk.get_mut((partition << 20) + 1024 + 48).unwrap() ^= 1;
    fs::write(deployment.image.file("disk.raw"), disk).unwrap();
    let console = deployment.boot().unwrap().wait_off().unwrap();
    for told in [STOPPED, "the root file system is not the one of the command line"] {
        assert!(console.contains(told), "expected {told:?} on the console:\n{console}");
    }
    assert!(deployment.last_decision().is_err(), "expected that no key was asked for");
}
