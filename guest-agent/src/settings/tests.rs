#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::cli::{AkChoice, EnrollChoice, TpmArgs};

fn parse(text: &str) -> Result<SettingsFile, SettingsError> {
    SettingsFile::parse(text, Path::new("agent.toml"))
}

#[test]
fn the_sample_names_every_setting_and_is_valid() {
    let sample = include_str!("../../../docs/agent.toml").replace("# privilege_level", "privilege_level");
    let SettingsFile {
        broker,
        broker_ca,
        broker_spki,
        key_type,
        timeout,
        tsm_root,
        sev_guest_device,
        cc_event_log,
        measurement_registers,
        runtime_event_log,
        init_data,
        metadata_service,
        privilege_level,
        tpm,
        unlock:
            UnlockSection { timeout: disk_timeout, console, cryptsetup, runtime_directory: directory, secrets, offline: _ },
        serve,
    } = parse(&sample).unwrap();
    let served = ServeSettings::new(serve).unwrap();
    assert_eq!((served.entries.len(), served.sinks.len()), (1, 1));
    assert_eq!(served, ServeSettings { socket: "/run/countersign/workload.sock".into(), ..served.clone() });
    assert_eq!(BrokerAddress::parse(&broker.unwrap()).unwrap().port, 8443);
    assert!(BrokerPins::load(None, &broker_spki).is_ok());
    assert_eq!(broker_ca.unwrap(), Path::new("/etc/countersign/broker-ca.pem"));
    assert_eq!((key_type, timeout, privilege_level), (Some(KeyKind::P256), Some(DEFAULT_TIMEOUT), Some(0)));
    let default = Paths::default();
    assert_eq!(tsm_root.unwrap(), default.tsm_root.path());
    assert_eq!(sev_guest_device.unwrap(), default.sev_guest);
    assert_eq!(cc_event_log.unwrap(), default.cc_event_log);
    assert_eq!(measurement_registers.unwrap(), default.registers.registers);
    assert_eq!(runtime_event_log.unwrap(), default.registers.log);
    assert!(init_data.is_none());
    assert_eq!(metadata_service.unwrap(), default.metadata.to_string());
    let TpmSection { address, event_log, ima_log, ak, pcrs, enroll } = tpm;
    assert!(address.is_some() && event_log.is_some() && ima_log.is_some() && pcrs.is_some());
    assert!(disk_timeout.is_some() && console.is_some() && cryptsetup.is_some() && directory.is_some());
    assert_eq!(secrets.len(), 1);
    assert_eq!(parse(&sample).unwrap().offline().unwrap(), None);
    let kept = parse(&sample.replace("enabled = false", "enabled = true")).unwrap().offline().unwrap();
    // As without the other settings.
    assert_eq!(kept, parse("[unlock.offline]\nenabled = true").unwrap().offline().unwrap());
    assert!(kept.is_some());
    assert_eq!((ak, enroll), (Some(AkChoice::EccP256), Some(EnrollChoice::Auto)));
    assert_eq!(parse(&sample).unwrap().tpm(&TpmArgs::default()).unwrap(), default.tpm);
}

#[test]
fn an_unknown_setting_is_refused() {
    assert!(matches!(parse("brokr = \"https://x\""), Err(SettingsError::Syntax { .. })));
    assert!(matches!(parse("timeout = \"1 min\""), Err(SettingsError::Syntax { .. })));
}

#[test]
fn without_a_pin_nothing_runs() {
    let file = parse("broker = \"https://localhost\"").unwrap();
    assert!(matches!(file.broker(&BrokerArgs::default()), Err(SettingsError::NoPin)));
    assert!(matches!(parse("").unwrap().broker(&BrokerArgs::default()), Err(SettingsError::NoBroker)));
}

#[test]
fn flags_override_the_file() {
    let pin = format!("sha256/{}", "A".repeat(43));
    let text = format!("broker = \"https://one\"\nbroker_spki = [\"{pin}\"]\ntimeout = 7\nkey_type = \"x-wing\"");
    let file = parse(&text).unwrap();
    let settings = file.broker(&BrokerArgs::default()).unwrap();
    assert_eq!((settings.address.host.as_str(), settings.key_kind), ("one", KeyKind::XWing));
    assert_eq!(settings.timeout, Duration::from_secs(7));
    let flags = BrokerArgs {
        broker: Some("https://two:444".into()),
        key_type: Some(KeyKind::X25519),
        timeout: Some(8),
        ..BrokerArgs::default()
    };
    let settings = file.broker(&flags).unwrap();
    assert_eq!((settings.address.port, settings.key_kind), (444, KeyKind::X25519));
    assert_eq!(settings.timeout, Duration::from_secs(8));
}

#[test]
fn numbers_out_of_range_are_refused() {
    let file = parse("timeout = 0\nprivilege_level = 4").unwrap();
    assert!(matches!(file.tee(&TeeArgs::default()), Err(SettingsError::Range { setting: "privilege_level", .. })));
    let pin = format!("sha256/{}", "A".repeat(43));
    let flags = BrokerArgs { broker: Some("https://x".into()), broker_spki: vec![pin], ..BrokerArgs::default() };
    assert!(matches!(file.broker(&flags), Err(SettingsError::Range { setting: "timeout", .. })));
}

#[test]
fn addresses_are_https_with_a_plain_path_and_nothing_more() {
    let address = BrokerAddress::parse("https://[::1]:8443/").unwrap();
    assert_eq!((address.host.as_str(), address.port, address.authority.as_str()), ("::1", 8443, "[::1]:8443"));
    assert_eq!(address.base, "");
    for (text, base) in [("https://x/t/acme", "/t/acme"), ("https://x:1/t/acme/", "/t/acme"), ("https://x", "")] {
        assert_eq!(BrokerAddress::parse(text).unwrap().base, base);
    }
    assert_eq!(BrokerAddress::parse("https://broker.example").unwrap().port, 443);
    for text in [
        "http://x",
        "x",
        "https://",
        "https://x?q",
        "https://x/t?q",
        "https://x//t",
        "https://x/t//",
        "https://x/t/../u",
        "https://x/%74",
        "https://x/t;a",
        "https://u:p@x",
        "https://x:99999",
        "/x",
    ] {
        assert!(BrokerAddress::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_disk_has_its_own_patience_and_its_own_secret() {
    let settings = parse("broker = \"https://b\"\nbroker_spki = [\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]\ntimeout = 5\n[unlock.secrets]\ndata = \"team/disk\"\n").unwrap();
    let flags = BrokerArgs::default();
    assert_eq!(settings.broker(&flags).unwrap().timeout, Duration::from_secs(5));
    assert_eq!(settings.broker_at_boot(&flags).unwrap().timeout, Duration::from_secs(900));
    let flags = BrokerArgs { timeout: Some(7), ..flags };
    assert_eq!(settings.broker_at_boot(&flags).unwrap().timeout, Duration::from_secs(7));
    assert_eq!(settings.secret_of(&"data".parse().unwrap()), "team/disk");
    assert_eq!(settings.secret_of(&"swap".parse().unwrap()), "luks/swap");
    assert!(parse("[unlock.secrets]\n\"../data\" = \"x\"").is_err());
}
