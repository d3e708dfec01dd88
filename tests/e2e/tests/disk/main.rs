//! Disks: keys from the broker to what opens them, and what the console says when they stay closed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod clevis;
mod console;
mod device;
mod keys;
mod package;
mod socket;

use std::{path::Path, process::Command};

use e2e::{broker::Broker, guest::Guest, process::Said};

/// Not text: a key may hold any byte.
const KEY: &[u8; 32] = b"\x00\xff\n0123456789abcdefghijklmnopqrs";

/// `countersign-agent unlock VOLUME` against `broker`, with a file in place of the console.
fn unlock(guest: &Guest, broker: &Broker, volume: &str) -> Command {
    let mut command = guest.agent().unwrap();
    command.args(["unlock", volume, "--broker", &broker.url(), "--broker-ca"]).arg(broker.ca());
    command.arg("--console").arg(guest.path("console")).arg("--runtime-directory").arg(guest.path("run"));
    std::fs::write(guest.path("console"), b"").unwrap();
    command
}

/// What stands on the console.
fn console(guest: &Guest) -> String {
    std::fs::read_to_string(guest.path("console")).unwrap().replace("\r\n", "\n")
}

/// A LUKS2 disk in a file that `key` opens. Whether this machine has cryptsetup is said once.
fn disk(path: &Path, key: &[u8]) -> bool {
    if Command::new("cryptsetup").arg("--version").output().is_err() {
        say_skipped("cryptsetup");
        return false;
    }
    let file = path.with_extension("key");
    std::fs::write(&file, key).unwrap();
    std::fs::File::create(path).unwrap().set_len(32 << 20).unwrap();
    let mut format = Command::new("cryptsetup");
    format.args(["luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2"]);
    format.args(["--pbkdf-force-iterations", "1000", "--key-file"]).arg(&file).arg(path);
    Said::by(&mut format).unwrap().done().unwrap();
    std::fs::remove_file(&file).unwrap();
    true
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn say_skipped(what: &str) {
    eprintln!("{what} is not here: skipped");
}
