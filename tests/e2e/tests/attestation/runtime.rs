//! What a running guest measures, and what its host handed over at launch.

use std::fs;

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
};
use evidence_formats::init_data::InitData;
use serde_json::json;
use softtee::tsm::TdxState;

use crate::{SECRET, assert_refused, decision};

const TDX: &str = "provider = \"tdx_guest\"\n";

/// Launch, and the events that the running guest must have measured into RTMR3.
fn started(images: &[&str]) -> String {
    let state = TdxState::default();
    let launch = state.td(&state.platform()).info.mr_td.to_string();
    json!([{"launch": launch, "events": {"rtmr3": {"runtime:example.org/app:start": images}}}]).to_string()
}

fn extend(guest: &Guest, content: &str) -> Said {
    let mut command = guest.agent().unwrap();
    Said::by(command.args(["extend", "--domain", "example.org/app", "--operation", "start", content])).unwrap()
}

#[test]
fn a_measured_event_is_accepted_with_its_log_and_refused_without_it_or_edited() {
    if !can_mount() {
        return;
    }
    let measurements = started(&["sha256:0a", "sha256:0b"]);
    let broker = Broker::start(&Setup { measurements: Some(&measurements), ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start(TDX).unwrap();
    guest.leave_event_log().unwrap();
    assert_refused(&guest.get(&broker, "disk-key", &[]).unwrap(), "reference.no_match");

    for image in ["sha256:0a", "sha256:0b"] {
        let said = extend(&guest, image);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    }
    let said = guest.get(&broker, "disk-key", &[]).unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);

    // The text of an event is what was extended: neither changed, nor left out, nor the whole log.
    let log = guest.path("runtime-eventlog");
    let good = fs::read(&log).unwrap();
    let mut edited = good.clone();
    *edited.last_mut().unwrap() = b'c';
    let record = good.len() - 65;
    let table = [
        (Some(edited), "parse.runtime_log.event"),
        (good.get(..good.len() - 1).map(<[u8]>::to_vec), "parse.eventlog."),
        (good.get(..record).map(<[u8]>::to_vec), "parse."),
        (None, "authenticate.tdx.event_log_replay"),
    ];
    for (bytes, code) in table {
        match bytes {
            Some(bytes) => fs::write(&log, bytes).unwrap(),
            None => fs::remove_file(&log).unwrap(),
        }
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        assert_eq!(said.status, 1, "{code}: {}", said.stderr);
        assert!(said.stderr.contains(&format!("refused: {code}")), "{code}: {}", said.stderr);
    }
    fs::write(&log, &good).unwrap();
    assert_eq!(guest.get(&broker, "disk-key", &[]).unwrap().status, 0);

    // A third event makes it another guest, whatever its log says.
    assert_eq!(extend(&guest, "sha256:0c").status, 0);
    assert_refused(&guest.get(&broker, "disk-key", &[]).unwrap(), "reference.no_match");
    fs::write(&log, &good).unwrap();
    assert_refused(&guest.get(&broker, "disk-key", &[]).unwrap(), "authenticate.tdx.event_log_replay");
}

/// A guest whose launch commits to `document`, with `field` in the state's table.
fn committed(table: &str, field: &str, document: &[u8], length: usize) -> String {
    let mut digest = InitData::parse(document).unwrap().digest().as_bytes().to_vec();
    digest.resize(length, 0);
    format!("[{table}]\n{field} = \"{}\"\n", hex::encode(digest))
}

#[test]
fn init_data_must_be_what_the_launch_committed_to() {
    if !can_mount() {
        return;
    }
    let state = TdxState::default();
    let launch = state.td(&state.platform()).info.mr_td.to_string();
    let measurements =
        json!([{"launch": launch, "events": {"rtmr0": {"secure_boot": ["enabled"]}}}, {"launch": "4d".repeat(48)}]);
    let measurements = measurements.to_string();
    let more = "[baseline.tdx]\ninit_data = \"require\"\n[baseline.snp]\ninit_data = \"require\"\n";
    let setup = Setup { measurements: Some(&measurements), more, ..Setup::default() };
    let broker = Broker::start(&setup).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let document = b"version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"policy.rego\" = \"package agent\"\n";
    for (provider, table, field, length) in [("", "snp", "host_data", 32), (TDX, "tdx", "mr_config_id", 48)] {
        let bound = format!("{provider}{}", committed(table, field, document, length));
        let guest = Guest::start(&bound).unwrap();
        guest.leave_event_log().unwrap();
        let file = guest.path("init-data.toml");
        fs::write(&file, document).unwrap();
        let with = ["--init-data", file.to_str().unwrap()];
        let said = guest.get(&broker, "disk-key", &with).unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{table}: {}", said.stderr);
        // Required, and not there.
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        assert_refused(&said, &format!("baseline.{table}.init_data"));
        assert!(broker.explain(decision(&said)).unwrap().contains("init-data that the launch committed to"));
        // Another document than the launch's; and a launch that committed to none.
        fs::write(&file, [document.as_slice(), b"\n"].concat()).unwrap();
        assert_refused(&guest.get(&broker, "disk-key", &with).unwrap(), &format!("binding.{table}.init_data"));
        fs::write(&file, document).unwrap();
        guest.becomes(provider).unwrap();
        guest.leave_event_log().unwrap();
        assert_refused(&guest.get(&broker, "disk-key", &with).unwrap(), &format!("binding.{table}.init_data"));
    }
}
