//! What a service manager sees: readiness, signs of life, sockets that it hands over.

use std::{os::unix::net::UnixDatagram, path::Path, process::Command, time::Duration};

use e2e::{
    guest::{Guest, can_mount},
    process::{Process, Said},
};

use crate::agent::{Agent, broker, entry, until};

#[test]
fn the_service_manager_is_told_how_things_are() {
    if !can_mount() {
        return;
    }
    let broker = broker(600);
    let guest = Guest::start("").unwrap();
    let path = guest.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let wait = |wanted: &str| {
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|said: &String| said.contains(wanted)) {
            seen.push(next());
            assert!(seen.len() < 200, "{seen:?}");
        }
        seen
    };
    let mut agent = Agent::start_in(guest, &broker, &format!("ready = 'attested'\n{}", entry()), |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    });
    let before = wait("READY=1");
    assert!(before.first().unwrap().contains("STATUS=waits for the broker"), "{before:?}");
    wait("STATUS=identities: 1");
    wait("WATCHDOG=1");
    agent.process.signal(rustix::process::Signal::HUP).unwrap();
    assert!(wait("RELOADING=1").last().unwrap().contains("MONOTONIC_USEC="));
    wait("READY=1");
    agent.process.signal(rustix::process::Signal::TERM).unwrap();
    wait("STOPPING=1");
    until("an end", || agent.process.ended().unwrap().is_some());
    assert_eq!(agent.process.ended().unwrap().unwrap().code(), Some(0), "{}", agent.log());
}

/// Listens and becomes the agent, as a service manager does it.
const ACTIVATE: &str = "import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='workload')
os.execv(sys.argv[2], sys.argv[2:])";

#[test]
fn a_socket_that_was_handed_over_is_used_and_left() {
    if !can_mount() {
        return;
    }
    let broker = broker(600);
    let guest = Guest::start("").unwrap();
    let agent = Agent::command(&guest, &broker, &entry());
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATE]).arg(guest.path("workload.sock")).arg(agent.get_program()).args(agent.get_args());
    command.current_dir(guest.path("")).stderr(std::fs::File::create(guest.path("log")).unwrap());
    let process = Process::start(&mut command).unwrap();
    let mut agent = Agent::around(process, guest);
    agent.wait();
    agent.process.end().unwrap();
    assert!(agent.socket().exists(), "it belongs to the manager: {}", agent.log());
}

#[test]
fn the_units_are_what_systemd_reads_and_little_is_left_open() {
    let here = tempfile::tempdir().unwrap();
    let agent = e2e::binaries::binary("countersign-agent").unwrap();
    let mut units = Vec::new();
    for name in ["countersign-agent.service", "countersign-agent.socket"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-agent/systemd").join(name);
        let text = std::fs::read_to_string(source).unwrap();
        let unit = here.path().join(name);
        std::fs::write(&unit, text.replace("/usr/bin/countersign-agent", agent.to_str().unwrap())).unwrap();
        units.push(unit);
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(&units).env("SYSTEMD_UNIT_PATH", format!("{}:", here.path().display()));
    let verified = Said::by(&mut verify).unwrap();
    assert!(verified.status == 0 && !verified.stderr.contains("countersign-agent"), "{}", verified.stderr);
    units.truncate(1);
    let mut security = Command::new("systemd-analyze");
    // Of 100: what is left is root itself, the network and the program's own rights.
    security.args(["security", "--offline=true", "--threshold=35"]).args(&units);
    let security = Said::by(&mut security).unwrap();
    assert_eq!(security.status, 0, "{}", String::from_utf8_lossy(&security.stdout));
}
