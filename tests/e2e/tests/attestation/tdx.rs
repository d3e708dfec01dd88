//! The same on TDX: nothing outside of the platform's own modules knows the difference.

use std::{fs, path::Path, process::Command};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
};
use serde_json::{Value, json};
use softtee::tsm::TdxState;

use crate::{SECRET, assert_refused, decision};

const TDX: &str = "provider = \"tdx_guest\"\n";

/// Launch and command line of softtee's healthy TD.
fn measurements() -> String {
    let state = TdxState::default();
    let info = state.td(&state.platform()).info;
    let [_, _, rtmr2, _] = info.rtmr;
    format!("[{{\"launch\": \"{}\", \"runtime\": {{\"rtmr2\": \"{rtmr2}\"}}}}]", info.mr_td)
}

/// Launch, and the boot loaders that the event log names.
fn boot_loader(event_log: &Path) -> String {
    let mut inspect = Command::new(binary("countersign").unwrap());
    let printed = Said::by(inspect.args(["inspect", "--type", "ccel"]).arg(event_log)).unwrap().done().unwrap();
    let log: Value = serde_json::from_str(&printed).unwrap();
    let events = log.get("events").and_then(Value::as_array).unwrap();
    let loaded = events.iter().filter(|event| event.get("type") == Some(&json!("EV_EFI_BOOT_SERVICES_APPLICATION")));
    let digests: Vec<_> = loaded.map(|event| event.pointer("/digests/sha384").unwrap()).collect();
    let state = TdxState::default();
    let launch = state.td(&state.platform()).info.mr_td.to_string();
    json!([{"launch": launch, "events": {"rtmr1": {"boot_loader": digests}}}]).to_string()
}

#[test]
fn the_right_td_gets_its_secret_and_wrong_ones_are_refused() {
    if !can_mount() {
        return;
    }
    let measurements = measurements();
    let broker = Broker::start(&Setup { measurements: Some(&measurements), ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start(TDX).unwrap();
    guest.leave_event_log().unwrap();
    let said = guest.get(&broker, "disk-key", &[]).unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);

    let table = [
        ("[tdx]\nattributes = 0x10000001", "baseline.tdx.debug"),
        ("[tdx]\noutdated = true", "baseline.tdx.tcb_status"),
        ("[tdx]\nrogue = true", "authenticate.tdx."),
        ("[tdx]\ncommand_line = \"init=/bin/sh\"", "reference."),
        // REPORT_DATA of the quote stays, a bit of MRTD (header 48, body offset 136) changes after signing.
        ("[faults]\nflip_byte = 184", "authenticate.tdx."),
    ];
    for (state, code) in table {
        guest.becomes(&format!("{TDX}{state}\n")).unwrap();
        guest.leave_event_log().unwrap();
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        assert_refused(&said, code);
        assert!(broker.explain(decision(&said)).unwrap().contains(code), "{state}");
    }
}

#[test]
fn an_event_log_that_does_not_replay_is_refused_and_without_one_there_are_no_events() {
    if !can_mount() {
        return;
    }
    let guest = Guest::start(TDX).unwrap();
    guest.leave_event_log().unwrap();
    let measurements = boot_loader(&guest.path("ccel"));
    let broker = Broker::start(&Setup { measurements: Some(&measurements), ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let said = guest.get(&broker, "disk-key", &[]).unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);

    fs::remove_file(guest.path("ccel")).unwrap();
    assert_refused(&guest.get(&broker, "disk-key", &[]).unwrap(), "reference.no_match");

    // The log of a healthy boot beside the registers of another one.
    guest.leave_event_log().unwrap();
    guest.becomes(&format!("{TDX}[tdx]\ncommand_line = \"init=/bin/sh\"\n")).unwrap();
    assert_refused(&guest.get(&broker, "disk-key", &[]).unwrap(), "authenticate.");
}

#[test]
fn an_outdated_platform_is_accepted_by_name_and_until_a_date() {
    if !can_mount() {
        return;
    }
    let measurements = measurements();
    for (until, accepted) in [("2100-01-01T00:00:00Z", true), ("2020-01-01T00:00:00Z", false)] {
        let more = format!("[baseline.tdx]\naccept_tcb = [{{ status = \"OutOfDate\", until = \"{until}\" }}]\n");
        let setup = Setup { measurements: Some(&measurements), more: &more, ..Setup::default() };
        let broker = Broker::start(&setup).unwrap();
        broker.put_secret("disk-key", SECRET).unwrap();
        let guest = Guest::start(&format!("{TDX}[tdx]\noutdated = true\n")).unwrap();
        guest.leave_event_log().unwrap();
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        if accepted {
            assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
        } else {
            assert_refused(&said, "baseline.tdx.tcb_status");
        }
    }
}
