//! Real quotes, public areas and HCL reports parse to what is recorded beside them, and changed ones are refused by name.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use evidence_formats::{
    code::Coded,
    hcl::{HclHardware, HclReport, RuntimeClaims},
    tpm::{AkPublic, ObjectAttributes, SigningScheme, TpmEvidence, TpmKey, TpmName, TpmPublic, TpmQuote, TpmSignature},
};
use serde_json::{Value, json};

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/vtpm")).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

fn folders(vectors: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(vectors)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, path)| name.starts_with(prefix) && path.is_dir())
        .collect();
    found.sort();
    found
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{}/{file}: {error}", folder.display()))
}

fn expected(folder: &Path) -> Value {
    serde_json::from_slice(&read(folder, "expected.json")).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, impl Coded>) -> &'static str {
    result.unwrap_err().code().as_str()
}

#[test]
fn every_recorded_quote_parses_to_its_recorded_fields() {
    let Some(vectors) = vectors() else { return };
    let mut parsed = 0;
    for (name, folder) in folders(&vectors, "") {
        let file = folder.join("quote.msg");
        let attest = &expected(&folder)["parsed"]["attest"];
        if !file.exists() || name.starts_with("neg-") || attest.is_null() {
            continue;
        }
        let quote = TpmQuote::parse(&fs::read(file).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(hex::encode(&quote.extra_data), attest["extraData"], "{name}");
        assert_eq!(quote.qualified_signer.to_string(), attest["qualifiedSigner"], "{name}");
        assert_eq!(quote.clock.reset_count, attest["clockInfo"]["resetCount"], "{name}");
        assert_eq!(format!("0x{:016x}", quote.firmware_version), attest["firmwareVersion"], "{name}");
        assert_eq!(hex::encode(&quote.pcr_digest), attest["pcrDigest"], "{name}");
        let pcrs: Vec<_> = attest["pcrSelect"][0]["pcrs"].as_array().unwrap().clone();
        assert_eq!(json!(quote.selections[0].pcrs), json!(pcrs), "{name}");
        TpmSignature::parse(&read(&folder, "quote.sig")).unwrap_or_else(|error| panic!("{name}: {error}"));
        parsed += 1;
    }
    assert!(parsed >= 9, "{parsed} quotes");
}

#[test]
fn public_areas_have_their_recorded_names_and_keys() {
    let Some(vectors) = vectors() else { return };
    let mut parsed = 0;
    for (name, folder) in folders(&vectors, "") {
        for file in ["ak_pub.tpmt", "ak_pub.tpm2b", "ak_ecc_pub.tpm2b"] {
            let Ok(bytes) = fs::read(folder.join(file)) else { continue };
            let public = TpmPublic::parse(&bytes).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
            let expected = expected(&folder);
            let recorded = if file == "ak_ecc_pub.tpm2b" { &expected["ak_ecc"] } else { &expected["ak"] };
            if let Some(recorded_name) = recorded["name"].as_str() {
                assert_eq!(public.name().to_string(), recorded_name, "{name}/{file}");
                let primary = public.name().qualified_under(public.name_algorithm, &0x4000_000B_u32.to_be_bytes());
                assert_eq!(primary.to_string(), recorded["qualifiedName_if_primary_endorsement"], "{name}/{file}");
            }
            let restricted = !matches!(name.as_str(), "attack-unrestricted-tpm-key");
            assert_eq!(public.attributes.contains(ObjectAttributes::RESTRICTED), restricted, "{name}/{file}");
            parsed += 1;
        }
    }
    assert!(parsed >= 15, "{parsed} public areas");
}

#[test]
fn every_field_of_a_quote_is_exact() {
    let Some(vectors) = vectors() else { return };
    let good = read(&vectors.join("swtpm-full-ubuntu2404"), "quote_sha256_rsa.msg");
    let change = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        code(TpmQuote::parse(&bytes))
    };
    // qualifiedSigner 34 bytes at 8, extraData 48 bytes at 44, clockInfo at 92, firmware at 109, selection at 117.
    assert_eq!(change(0, 0), "parse.tpm.magic");
    assert_eq!(change(5, 0x17), "parse.tpm.attest_type");
    assert_eq!(change(7, 67), "parse.tpm.length");
    assert_eq!(change(9, 0x12), "parse.tpm.field");
    assert_eq!(change(43, 67), "parse.tpm.length");
    assert_eq!(change(108, 2), "parse.tpm.field");
    assert_eq!(change(120, 17), "parse.tpm.field");
    assert_eq!(change(122, 0x12), "parse.tpm.field");
    assert_eq!(change(123, 0), "parse.tpm.field");
    assert_eq!(change(123, 5), "parse.tpm.field");
    assert_eq!(code(TpmQuote::parse(&[good.clone(), vec![0]].concat())), "parse.tpm.trailing");
    for cut in 0..good.len() {
        assert_eq!(code(TpmQuote::parse(&good[..cut])), "parse.tpm.truncated", "cut to {cut}");
    }
}

#[test]
fn every_field_of_a_public_area_is_exact() {
    let Some(vectors) = vectors() else { return };
    let sized = read(&vectors.join("swtpm-full-ubuntu2404"), "ak_pub.tpm2b");
    let good = sized[2..].to_vec();
    let public = TpmPublic::parse(&good).unwrap();
    assert_eq!(TpmPublic::parse(&sized).unwrap(), public);
    assert!(matches!(public.scheme, SigningScheme::Rsassa(_)));
    assert!(matches!(&public.key, TpmKey::Rsa { modulus, exponent: 65_537 } if modulus.len() == 256));
    let change = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        code(TpmPublic::parse(&bytes))
    };
    assert_eq!(change(1, 0x25), "parse.tpm.field"); // symmetric cipher
    assert_eq!(change(3, 0x12), "parse.tpm.field"); // name algorithm
    assert_eq!(change(7, 0x73), "parse.tpm.field"); // reserved attribute
    assert_eq!(change(9, 33), "parse.tpm.length"); // policy longer than a digest
    assert_eq!(change(17, 0x08), "parse.tpm.length"); // key bits
    assert_eq!(code(TpmPublic::parse(&[good.clone(), vec![0]].concat())), "parse.tpm.trailing");
    for cut in 2..good.len() {
        assert_eq!(code(TpmPublic::parse(&good[..cut])), "parse.tpm.truncated", "cut to {cut}");
    }
}

#[test]
fn hcl_reports_parse_and_their_claims_are_bound() {
    let Some(vectors) = vectors() else { return };
    let mut parsed = 0;
    for (name, folder) in folders(&vectors, "azure-") {
        let Ok(bytes) = fs::read(folder.join("hcl_report.bin")) else { continue };
        let report = HclReport::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let is_tdx = name.starts_with("azure-tdx");
        assert_eq!(report.hardware() == HclHardware::Tdx, is_tdx, "{name}");
        assert_eq!(report.hardware_report(), read(&folder, "hw_report.bin"), "{name}");
        assert_eq!(report.claims(), read(&folder, "var_data.json"), "{name}");
        let offset = if is_tdx { 128 } else { 0x50 };
        let bound = report.hardware_report()[offset..offset + 64] == report.expected_report_data().0;
        assert_eq!(bound, name != "azure-snp-msft-unittest-2022", "{name}");
        let claims = RuntimeClaims::parse(report.claims()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(claims.flag("secure-boot").is_some(), "{name}");
        parsed += 1;
    }
    assert!(parsed >= 10, "{parsed} reports");
}

#[test]
fn changed_hcl_reports_are_refused_by_name() {
    let Some(vectors) = vectors() else { return };
    let hcl = |name: &str| code(HclReport::parse(&read(&vectors.join(name), "hcl_report.bin")));
    assert_eq!(hcl("neg-azure-hcl-bad-magic"), "parse.hcl.magic");
    assert_eq!(hcl("neg-azure-hcl-hash-type-sha384"), "parse.hcl.hash_type");
    assert_eq!(hcl("neg-azure-hcl-report-type-swap"), "parse.hcl.hardware_report");
    let good = read(&vectors.join("azure-snp-trustee-v2"), "hcl_report.bin");
    let table = [
        (4, 3, "parse.hcl.field"),    // header version
        (8, 1, "parse.hcl.sizes"),    // report size
        (12, 1, "parse.hcl.field"),   // request type
        (16, 1, "parse.hcl.field"),   // status
        (20, 1, "parse.hcl.field"),   // reserved
        (1216, 1, "parse.hcl.sizes"), // data size
        (1220, 2, "parse.hcl.field"), // request data version
        (1224, 5, "parse.hcl.report_type"),
        (1228, 3, "parse.hcl.hash_type"),
        (1232, 1, "parse.hcl.sizes"), // claims size
        (2599, 1, "parse.hcl.padding"),
    ];
    for (offset, value, wanted) in table {
        let mut bytes = good.clone();
        bytes[offset] = value;
        assert_eq!(code(HclReport::parse(&bytes)), wanted, "byte {offset}");
    }
    for cut in (0..1236).step_by(7) {
        assert_eq!(code(HclReport::parse(&good[..cut])), "parse.hcl.truncated", "cut to {cut}");
    }
}

#[test]
fn runtime_claims_bring_exactly_one_sound_attestation_key() {
    let n = |first: u8, last: u8| {
        use base64::Engine;
        let mut modulus = [0x55; 256];
        (modulus[0], modulus[255]) = (first, last);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(modulus)
    };
    let key = |kid: &str, n: &str| format!(r#"{{"kid":"{kid}","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"{n}"}}"#);
    let claims = |keys: &[String], rest: &str| {
        RuntimeClaims::parse(format!(r#"{{"keys":[{}],"vm-configuration":{{}}{rest}}}"#, keys.join(",")).as_bytes())
    };
    let ak = key("HCLAkPub", &n(0xC1, 1));
    assert!(claims(std::slice::from_ref(&ak), "").is_ok());
    assert_eq!(code(claims(&[], "")), "parse.hcl.attestation_key");
    assert_eq!(code(claims(&[ak.clone(), ak.clone()], "")), "parse.hcl.key");
    assert_eq!(code(claims(&[ak.clone(), key("HCLTransferKey", &n(0xC1, 1))], "")), "parse.hcl.key");
    assert_eq!(code(claims(&[key("HCLAkPub", &n(0x41, 1))], "")), "parse.hcl.key");
    assert_eq!(code(claims(&[key("HCLAkPub", &n(0xC1, 2))], "")), "parse.hcl.key");
    assert_eq!(code(claims(&[ak.replace("AQAB", "AAAD")], "")), "parse.hcl.key");
    assert_eq!(code(claims(&[ak.replace("\"kty\"", "\"kid\":\"x\",\"kty\"")], "")), "parse.hcl.claims");
    assert_eq!(code(claims(&[ak], r#","user-data":"00""#)), "parse.hcl.user_data");
}

#[test]
fn documents_take_any_base64_and_refuse_unknown_members() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("swtpm-full-ubuntu2404");
    use base64::{Engine, engine::general_purpose as b64};
    let (message, signature) = (read(&folder, "quote_sha256_rsa.msg"), read(&folder, "quote_sha256_rsa.sig"));
    let pcrs: Value = serde_json::from_slice(&read(&folder, "pcrs_sha256.json")).unwrap();
    let ak = read(&folder, "ak_pub.tpm2b")[2..].to_vec();
    let document = json!({
        "ak_public": b64::URL_SAFE_NO_PAD.encode(&ak),
        "quote": {"message": b64::STANDARD.encode(&message), "signature": b64::URL_SAFE.encode(&signature)},
        "pcrs": {"sha256": pcrs},
    });
    let parsed = TpmEvidence::from_document(document.to_string().as_bytes()).unwrap();
    assert_eq!(parsed.quote.as_bytes(), message);
    assert!(matches!(parsed.ak_public, Some(AkPublic::Area(area)) if area.as_bytes() == ak));
    assert_eq!(parsed.pcrs.values().next().unwrap().len(), 24);
    let mut unknown = document.clone();
    unknown["ak_name"] = json!("");
    assert_eq!(code(TpmEvidence::from_document(unknown.to_string().as_bytes())), "parse.tpm.document");
    let mut wrong = document.clone();
    wrong["pcrs"]["sha256"]["24"] = json!("00".repeat(32));
    assert_eq!(code(TpmEvidence::from_document(wrong.to_string().as_bytes())), "parse.tpm.pcr_value");
    let mut twice = document;
    twice["pcrs"]["sha256"]["07"] = json!("00".repeat(32));
    assert_eq!(code(TpmEvidence::from_document(twice.to_string().as_bytes())), "parse.tpm.pcr_value");
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = TpmQuote::parse(&bytes);
        let _ = TpmPublic::parse(&bytes);
        let _ = TpmSignature::parse(&bytes);
        let _ = TpmName::parse(&bytes);
        let _ = HclReport::parse(&bytes);
        let _ = RuntimeClaims::parse(&bytes);
        let _ = TpmEvidence::from_document(&bytes);
    }
}
