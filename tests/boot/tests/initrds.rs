//! Initrds that Debian's own tools make on a machine with the agent's package: what is in them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use boot::recipes::Recipes;

/// What no initrd that opens disks after attestation can be without.
const EVERY: [&str; 5] = [
    "usr/bin/countersign-agent",
    "usr/bin/clevis-decrypt-countersign",
    "etc/countersign/agent.toml",
    // The settings name it.
    "etc/countersign/ca.pem",
    "/kernel/drivers/virt/coco/sev-guest/sev-guest.ko",
];

fn has(tool: &str, files: &[&str]) {
    let list = Recipes::find().unwrap().base().join(format!("{tool}.list"));
    let list = fs::read_to_string(list).unwrap();
    for file in EVERY.iter().chain(files) {
        assert!(list.lines().any(|line| line.contains(file)), "expected {file} in the initrd of {tool}:\n{list}");
    }
}

#[test]
fn initramfs_tools_take_the_agent_its_pin_and_the_network() {
    has("initramfs-tools", &["scripts/init-premount/countersign", "libnss_dns.so.2", "dm-crypt.ko", "virtio_net.ko"]);
}

#[test]
fn dracut_takes_the_agent_and_the_sockets_that_are_enabled() {
    let socket = "etc/systemd/system/systemd-cryptsetup@root.service.wants/countersign-unlock@root.socket";
    let units =
        ["usr/lib/systemd/system/countersign-unlock@.service", "usr/lib/systemd/systemd-cryptsetup", "networkd"];
    has("dracut", &[&[socket][..], &units].concat());
}
