//! What stands beside a quote in a bundle: the runtime event log and init-data.

use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    code::Coded,
    eventlog::{RuntimeEvent, RuntimeLog, RuntimeRegister},
    evidence::Evidence,
    init_data::InitData,
    tdx::MrConfigId,
};
use softtee::intel::TdxPlatform;
use softtee::tsm::Extensions;
use verifier::{Claims, baseline::Baseline};

use crate::bench::Bench;

fn event(content: &str) -> RuntimeEvent {
    RuntimeEvent::new("app", "start", content).unwrap()
}

/// A TD that measured `extended`, with a log of `logged`.
fn judge(bench: &Bench, extended: &[&str], logged: Option<&[&str]>) -> Result<Claims, String> {
    let extensions = Extensions::default();
    for content in extended {
        let digest = evidence_formats::bytes::Sha384Digest(event(content).digest().as_bytes().try_into().unwrap());
        extensions.extend(3, digest);
    }
    let mut td = bench.platform.td();
    td.info.rtmr = extensions.onto(td.info.rtmr);
    let boot_log = TdxPlatform::event_log();
    let mut bundle = bench.platform.bundle(&bench.platform.quote(&td), Some(&boot_log)).unwrap();
    if let Some(logged) = logged {
        let mut bytes = RuntimeLog::empty();
        logged.iter().for_each(|content| bytes.extend(event(content).to_record(RuntimeRegister::Rtmr3)));
        bundle.insert(ItemName::EventlogRuntime, BundleItem { media_type: MediaType::RuntimeLog, bytes }).unwrap();
    }
    bench.judge(&Evidence::from_bundle(&bundle).unwrap())
}

#[test]
fn the_runtime_log_continues_the_firmware_s() {
    let bench = Bench::new();
    let claims = judge(&bench, &["a", "b"], Some(&["a", "b"])).unwrap();
    assert_eq!(claims.measurement.runtime["rtmr3"].events["runtime:app:start"], ["a", "b"]);
    assert_eq!(claims.measurement.runtime["rtmr2"].events.keys().next().unwrap(), "command_line_digest");
    assert!(judge(&bench, &[], Some(&[])).is_ok());
    let refused = Err("authenticate.tdx.event_log_replay".to_owned());
    for logged in [None, Some(["a"].as_slice()), Some(&["b", "a"]), Some(&["a", "b", "b"]), Some(&["a", "c"])] {
        assert_eq!(judge(&bench, &["a", "b"], logged), refused, "{logged:?}");
    }
    assert_eq!(judge(&bench, &[], Some(&["a"])), refused);
}

#[test]
fn a_runtime_log_alone_says_nothing() {
    let platform = TdxPlatform::new();
    let mut bundle = platform.bundle(&platform.quote(&platform.td()), None).unwrap();
    let item = BundleItem { media_type: MediaType::RuntimeLog, bytes: RuntimeLog::empty() };
    bundle.insert(ItemName::EventlogRuntime, item).unwrap();
    assert_eq!(Evidence::from_bundle(&bundle).unwrap_err().code().as_str(), "parse.bundle.missing_item");
}

/// A bundle of a TD with this MRCONFIGID and this document.
fn with_init_data(bench: &Bench, mr_config_id: [u8; 48], document: &[u8]) -> Bundle {
    let mut td = bench.platform.td();
    td.info.mr_config_id = MrConfigId(mr_config_id);
    let mut bundle = bench.platform.bundle(&bench.platform.quote(&td), None).unwrap();
    let item = BundleItem { media_type: MediaType::Toml, bytes: document.to_vec() };
    bundle.insert(ItemName::Initdata, item).unwrap();
    bundle
}

#[test]
fn init_data_is_bound_by_all_of_mr_config_id() {
    let bench = Bench::new();
    for (algorithm, cut) in [("sha256", false), ("sha384", false), ("sha512", true)] {
        let document = format!("version = \"0.1.0\"\nalgorithm = \"{algorithm}\"\n[data]\nkey = \"value\"\n");
        let mut digest = InitData::parse(document.as_bytes()).unwrap().digest().as_bytes().to_vec();
        digest.resize(48, 0);
        let bound: [u8; 48] = digest.try_into().unwrap();
        let judge = |mr_config_id| {
            bench.judge(&Evidence::from_bundle(&with_init_data(&bench, mr_config_id, document.as_bytes())).unwrap())
        };
        if cut {
            assert_eq!(judge(bound).unwrap_err(), "binding.tdx.init_data");
            continue;
        }
        let claims = judge(bound).unwrap();
        assert_eq!(claims.init_data.as_ref().unwrap().algorithm.name(), algorithm);
        let require = Baseline::from_toml("[baseline.tdx]\ninit_data = \"require\"").unwrap();
        assert_eq!(require.judge(&claims), Baseline::default().judge(&claims));
        for at in [0, 31, 47] {
            let mut other = bound;
            other[at] ^= 1;
            assert_eq!(judge(other).unwrap_err(), "binding.tdx.init_data", "{algorithm} {at}");
        }
    }
}

#[test]
fn init_data_can_be_required() {
    let bench = Bench::new();
    let quote = bench.platform.quote(&bench.platform.td());
    let claims = bench.judge(&Evidence::from_bundle(&bench.platform.bundle(&quote, None).unwrap()).unwrap()).unwrap();
    assert_eq!(claims.init_data, None);
    assert_eq!(Baseline::default().judge(&claims).violations, []);
    let require = Baseline::from_toml("[baseline.tdx]\ninit_data = \"require\"").unwrap();
    assert_eq!(require.judge(&claims).violations[0].code.as_str(), "baseline.tdx.init_data");
    assert!(Baseline::from_toml("[baseline.tdx]\ninit_data = \"ignore\"").is_err());
}
