//! Every vTPM vector gets its true verdict, and every attack the code that names its cause.
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

use base64::{Engine, engine::general_purpose::STANDARD};
use evidence_formats::{
    azure::{AzureSnpEvidence, AzureTdxEvidence},
    bytes::ReportData,
    code::Coded,
    digest::HashAlgorithm,
    evidence::Evidence,
    tpm::TpmEvidence,
};
use serde_json::{Value, json};
use verifier::{
    Claims, CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors, authenticate,
    tpm::{AkProvenance, PinnedAk, TpmClaims, TpmTerms, UkiSection, predict_pcr11},
};

const UNCHECKED: Expected = Expected::Unchecked { reason: "not given" };

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/vtpm")).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

/// What `--type` says.
enum Kind {
    Tpm,
    AzureSnp,
    AzureTdx,
}

/// One vector with what it is verified with; tests change a field and look at the verdict.
struct Case {
    document: Value,
    kind: Kind,
    endorsements: Vec<Vec<u8>>,
    expected: Expected,
    revocation: Revocation,
    at: &'static str,
    tpm: TpmTerms,
}

impl Case {
    fn new(quote: &[u8], signature: &[u8]) -> Self {
        Self {
            document: json!({
                "quote": {"message": STANDARD.encode(quote), "signature": STANDARD.encode(signature)},
                "pcrs": {},
            }),
            kind: Kind::Tpm,
            endorsements: Vec::new(),
            expected: UNCHECKED,
            revocation: Revocation::IfPresent,
            at: "2026-11-22T00:00:00Z",
            tpm: TpmTerms::default(),
        }
    }

    /// A vector made with a real swtpm: `quote` names the quote's files.
    fn swtpm(folder: &Path, quote: &str) -> Self {
        let read = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut case = Self::new(&read(&format!("{quote}.msg")), &read(&format!("{quote}.sig")));
        let area = read(if quote.ends_with("ecc") { "ak_ecc_pub.tpm2b" } else { "ak_pub.tpm2b" });
        case.document["ak_public"] = json!(STANDARD.encode(&area[2..]));
        case.document["event_log"] = json!(STANDARD.encode(read("eventlog.bin")));
        for bank in ["sha1", "sha256", "sha384"] {
            if let Ok(pcrs) = fs::read(folder.join(format!("pcrs_{bank}.json"))) {
                case.document["pcrs"][bank] = serde_json::from_slice(&pcrs).unwrap();
            }
        }
        case.tpm.extra_data = Some(read("nonce.bin"));
        let pin = fs::read(folder.join("enrolled_ak.name")).unwrap_or_else(|_| area[2..].to_vec());
        case.tpm.pinned_ak = Some(PinnedAk::parse(&pin).unwrap());
        case
    }

    /// A vector with a bare RSA signature and a PEM key.
    fn pem(folder: &Path, quote: &str) -> Self {
        let read = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut case = Self::new(&read(&format!("{quote}.msg")), &read(&format!("{quote}.sig")));
        for file in ["pcrs_sha256.json", "pcrs_sha256_presented.json"] {
            if let Ok(pcrs) = fs::read(folder.join(file)) {
                case.document["pcrs"]["sha256"] = serde_json::from_slice(&pcrs).unwrap();
            }
        }
        case.tpm.extra_data = fs::read(folder.join("nonce.bin")).ok();
        case.tpm.pinned_ak = Some(PinnedAk::parse(&read("ak_pub.pem")).unwrap());
        case
    }

    /// A vector of an Azure confidential VM on SEV-SNP.
    fn azure(folder: &Path) -> Self {
        let mut case = Self::pem(folder, "quote");
        case.kind = Kind::AzureSnp;
        case.document["hcl_report"] = json!(STANDARD.encode(fs::read(folder.join("hcl_report.bin")).unwrap()));
        case.endorsements.extend(fs::read(folder.join("vcek.der")).ok());
        case.tpm.pinned_ak = None;
        case
    }

    /// A vector of an Azure confidential VM on TDX, with collateral of its processor from early 2026.
    fn azure_tdx(vectors: &Path, name: &str) -> Self {
        let folder = vectors.join(name);
        let mut case = Self::azure(&folder);
        case.kind = Kind::AzureTdx;
        case.document["td_quote"] = json!(STANDARD.encode(fs::read(folder.join("td_quote.bin")).unwrap()));
        let (collateral, at) = if name.contains("flashbots") {
            (vectors.join("azure-tdx-attrs-v1"), "2026-03-20T00:00:00Z")
        } else {
            (vectors.join("../tdx/azure_trustee_v4/collateral/20260222"), "2026-02-25T00:00:00Z")
        };
        let not_collateral = [
            "expected.json",
            "evidence-original.json",
            "pcrs_sha256.json",
            "var_data.json",
            "ak_pub.pem",
            "ek_pub.pem",
        ];
        for entry in fs::read_dir(collateral).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.ends_with(".bin") && !name.starts_with("quote") && !not_collateral.contains(&name) {
                case.endorsements.push(fs::read(&path).unwrap());
            }
        }
        case.at = at;
        case.revocation = Revocation::Require;
        case
    }

    fn verify(&self) -> Result<Claims, String> {
        let bytes = self.document.to_string().into_bytes();
        let code = |error: &dyn Coded| error.code().as_str().to_owned();
        let evidence = match self.kind {
            Kind::Tpm => TpmEvidence::from_document(&bytes).map(Evidence::Tpm).map_err(|error| code(&error))?,
            Kind::AzureSnp => AzureSnpEvidence::from_document(&bytes)
                .map(|evidence| Evidence::AzureSnp(Box::new(evidence)))
                .map_err(|error| code(&error))?,
            Kind::AzureTdx => AzureTdxEvidence::from_document(&bytes)
                .map(|evidence| Evidence::AzureTdx(Box::new(evidence)))
                .map_err(|error| code(&error))?,
        };
        let mut endorsements = Endorsements::new();
        for file in &self.endorsements {
            endorsements.add(file).unwrap();
        }
        let terms = Terms {
            anchors: &TrustAnchors::vendor(),
            revocation: self.revocation,
            expected: self.expected,
            now: Timestamp::parse_rfc3339(self.at).unwrap(),
            memory: &Forgetful,
            crl_floors: CrlFloors::NONE,
            tpm: &self.tpm,
        };
        let authentic = authenticate(&evidence, &endorsements, &terms).map_err(|error| code(&error))?;
        Ok(authentic.claims().clone())
    }

    fn code(&self) -> String {
        self.verify().map_or_else(|code| code, |_| "accepted".to_owned())
    }

    fn claims(&self) -> TpmClaims {
        let claims = self.verify().unwrap_or_else(|code| panic!("{code}"));
        claims.raw.tpm().unwrap().clone()
    }
}

#[test]
fn every_vector_of_a_tpm_has_its_verdict() {
    let Some(vectors) = vectors() else { return };
    let table = [
        ("swtpm-full-ubuntu2404", "accepted"),
        ("attack-log-noaction-injection", "accepted"),
        ("attack-log-cmdline-data-flip", "authenticate.tpm.log_event_data"),
        ("attack-log-pcr4-append-after-ebs", "authenticate.tpm.log_boot_order"),
        ("attack-log-pcr4-relabel-bootloader", "authenticate.tpm.log_boot_order"),
        ("attack-log-secureboot-after-separator", "authenticate.tpm.log_secure_boot"),
        ("attack-log-secureboot-data-flip", "authenticate.tpm.log_event_data"),
        ("attack-soft-ak", "authenticate.tpm.ak_not_pinned"),
        ("attack-unrestricted-tpm-key", "authenticate.tpm.ak_attributes"),
        ("neg-attest-type-certify", "parse.tpm.attest_type"),
        ("neg-log-digest-tamper", "authenticate.tpm.log_replay"),
        ("neg-log-truncated", "parse.eventlog.event_size"),
        ("neg-quote-bitflip", "authenticate.tpm.signature"),
        ("neg-quote-nonce-prefix", "binding.tpm.extra_data"),
        ("neg-quote-wrong-nonce", "binding.tpm.extra_data"),
        ("attack-log-relabel-unused-and-append", "authenticate.tpm.log_event_type"),
        ("attack-log-type-rewrite", "authenticate.tpm.log_event_type"),
    ];
    let mut seen = 0;
    for (name, wanted) in table {
        let folder = vectors.join(name);
        // Some vectors of the index are not shipped.
        if !folder.is_dir() {
            eprintln!("{name} is not here: skipped");
            continue;
        }
        assert_eq!(Case::swtpm(&folder, "quote_sha256_rsa").code(), wanted, "{name}");
        seen += 1;
    }
    assert!(seen >= 14, "{seen} vectors");
}

#[test]
fn a_software_key_is_refused_before_its_quote_is_looked_at() {
    let Some(vectors) = vectors() else { return };
    let mut case = Case::swtpm(&vectors.join("attack-soft-ak"), "quote_sha256_rsa");
    case.tpm.pinned_ak = None;
    assert_eq!(case.code(), "authenticate.tpm.ak_unproven");
}

#[test]
fn other_banks_and_schemes_verify_when_they_are_demanded_and_sha1_never_does() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("swtpm-full-ubuntu2404");
    let ecc = Case::swtpm(&folder, "quote_sha256_ecc");
    assert_eq!(ecc.code(), "accepted");
    let mut sha384 = Case::swtpm(&folder, "quote_sha384_rsa");
    assert_eq!(sha384.code(), "authenticate.tpm.pcr_selection");
    sha384.tpm.pcrs = "sha384:0-23".parse().unwrap();
    assert_eq!(sha384.code(), "accepted");
    assert_eq!(Case::swtpm(&folder, "quote_sha1_rsa").code(), "authenticate.tpm.pcr_selection");
}

#[test]
fn a_quote_with_one_bank_selected_thrice_is_refused() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("attack-pcr-substitution-dup-bank");
    assert_eq!(Case::pem(&folder, "quote").code(), "authenticate.tpm.pcr_selection");
    let mut honest = Case::pem(&folder, "honest_quote");
    honest.document["pcrs"]["sha256"] =
        serde_json::from_slice(&fs::read(folder.join("pcrs_sha256_real.json")).unwrap()).unwrap();
    assert_eq!(honest.code(), "accepted");
}

#[test]
fn quotes_of_other_tpms_verify_by_an_enrolled_key() {
    let Some(vectors) = vectors() else { return };
    let trustee = Case::pem(&vectors.join("tpm-trustee-evidence"), "quote");
    assert_eq!(trustee.code(), "accepted");
    let azure = Case::pem(&vectors.join("azure-vtpm-quote-kinvolk"), "quote");
    assert_eq!(azure.code(), "accepted");

    let folder = vectors.join("gcp-gce-cos-85-nonce9009");
    let mut gce = Case::pem(&folder, "quote1_sha256");
    gce.document["ak_public"] = json!(STANDARD.encode(fs::read(folder.join("ak_pub.tpmt")).unwrap()));
    gce.document["event_log"] = json!(STANDARD.encode(fs::read(folder.join("eventlog.bin")).unwrap()));
    let claims = gce.claims();
    assert_eq!(claims.ak_provenance, AkProvenance::Pinned);
    let boot = claims.boot.unwrap();
    assert!(boot.secure_boot.unwrap().enabled);
    assert_eq!(boot.boot_applications.unwrap().len(), 3);
    assert!(boot.kernel_command_lines[0].starts_with("/syslinux/vmlinuz.A init="));

    let folder = vectors.join("gcp-windows-shielded-vm");
    let mut windows = Case::pem(&folder, "quote");
    windows.document["pcrs"]["sha1"] =
        serde_json::from_slice(&fs::read(folder.join("pcrs_sha1.json")).unwrap()).unwrap();
    assert_eq!(windows.code(), "authenticate.tpm.signature_hash");
}

#[test]
fn claims_of_a_full_boot_say_what_is_proven_and_what_is_not() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("swtpm-full-ubuntu2404");
    let mut case = Case::swtpm(&folder, "quote_sha256_rsa");
    let claims = case.verify().unwrap();
    assert!(claims.unchecked.iter().any(|unchecked| unchecked.what == "unlogged_pcrs"), "{:?}", claims.unchecked);
    case.document["ima_log"] = json!(STANDARD.encode(fs::read(folder.join("ima_ascii.txt")).unwrap()));
    let claims = case.verify().unwrap();
    assert_eq!(claims.unchecked, []);
    assert_eq!(claims.measurement.runtime["pcr4"].events["boot_application"].len(), 2);
    assert!(!claims.measurement.runtime.contains_key("pcr16"));
    assert!(!claims.measurement.runtime.contains_key("pcr23"));
    let tpm = case.claims();
    let boot = tpm.boot.unwrap();
    let secure_boot = boot.secure_boot.unwrap();
    assert!(!secure_boot.enabled && !secure_boot.switched_on);
    assert_eq!(secure_boot.sbat_level.as_deref(), Some("sbat,1,2021030218"));
    assert_eq!(
        boot.kernel_command_lines,
        ["/vmlinuz-6.8.0-1010-gcp root=PARTUUID=8270f3c9-b4e4-4345-80ee-5a62db7ebf3f ro console=ttyS0,115200 panic=-1"]
    );
    let ima = tpm.ima.unwrap();
    assert!(ima.boot_aggregate && ima.entries == 3 && ima.unproven_entries == 0 && ima.violations == 0);
    // An informational event that says Secure Boot is on changes nothing.
    let injected = Case::swtpm(&vectors.join("attack-log-noaction-injection"), "quote_sha256_rsa").claims();
    assert!(!injected.boot.unwrap().secure_boot.unwrap().switched_on);
}

#[test]
fn every_change_to_a_good_quote_is_refused_by_name() {
    let Some(vectors) = vectors() else { return };
    let good = || Case::swtpm(&vectors.join("swtpm-full-ubuntu2404"), "quote_sha256_rsa");
    assert_eq!(good().code(), "accepted");
    let refused = |wanted: &str, change: &dyn Fn(&mut Case)| {
        let mut case = good();
        change(&mut case);
        assert_eq!(case.code(), wanted);
    };
    refused("authenticate.tpm.pcr_selection", &|case| case.tpm.pcrs = "sha256:0-22".parse().unwrap());
    refused("authenticate.tpm.pcr_selection", &|case| case.tpm.pcrs = "sha384:0-23".parse().unwrap());
    refused("authenticate.tpm.pcr_digest", &|case| case.document["pcrs"]["sha256"]["9"] = json!("00".repeat(32)));
    refused("authenticate.tpm.pcr_missing", &|case| {
        case.document["pcrs"]["sha256"].as_object_mut().unwrap().remove("9");
    });
    refused("authenticate.tpm.ak_not_pinned", &|case| {
        let mut name = vec![0, 0x0B];
        name.extend([0; 32]);
        case.tpm.pinned_ak = Some(PinnedAk::parse(&name).unwrap());
    });
    refused("authenticate.tpm.ak_not_pinned", &|case| {
        let foreign = fs::read(vectors.join("azure-vtpm-quote-kinvolk/ak_pub.pem")).unwrap();
        case.tpm.pinned_ak = Some(PinnedAk::parse(&foreign).unwrap());
    });
    refused("binding.tpm.extra_data", &|case| case.tpm.extra_data = Some(Vec::new()));
    refused("binding.tpm.extra_data", &|case| {
        case.tpm.extra_data = None;
        case.expected = Expected::ReportData(ReportData([0; 64]));
    });
    refused("authenticate.tpm.signature", &|case| {
        let mut signature = STANDARD.decode(case.document["quote"]["signature"].as_str().unwrap()).unwrap();
        signature[100] ^= 1;
        case.document["quote"]["signature"] = json!(STANDARD.encode(signature));
    });
    refused("authenticate.tpm.signature_scheme", &|case| {
        let mut signature = STANDARD.decode(case.document["quote"]["signature"].as_str().unwrap()).unwrap();
        signature[1] = 0x16;
        case.document["quote"]["signature"] = json!(STANDARD.encode(signature));
    });
}

#[test]
fn the_binding_digest_stands_bare_or_as_report_data() {
    let Some(vectors) = vectors() else { return };
    let mut case = Case::swtpm(&vectors.join("swtpm-full-ubuntu2404"), "quote_sha256_rsa");
    let nonce = case.tpm.extra_data.take().unwrap();
    let mut data = [0; 64];
    data[..48].copy_from_slice(&nonce);
    case.expected = Expected::ReportData(ReportData(data));
    assert_eq!(case.code(), "accepted");
    data[63] = 1;
    case.expected = Expected::ReportData(ReportData(data));
    assert_eq!(case.code(), "binding.tpm.extra_data");
}

#[test]
fn google_certificates_prove_attestation_keys_and_not_endorsement_keys() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("gcp-ek-ak-certs");
    let der = |file: &str| -> Vec<u8> {
        let bytes = fs::read(folder.join(file)).unwrap();
        let pem = verifier::x509::parse_pem(&bytes);
        pem.map_or(bytes, |blocks| blocks[0].contents.clone())
    };
    let intermediates = ["gcp_ek_ak_ca_intermediate_v3.crt", "tpm_ek_intermediate_2.crt", "tpm_ek_intermediate_3.crt"];
    for name in ["pca_tpm_rsa", "pca_tpm_ecc", "uca_tpm_rsa", "uca_tpm_ecc"] {
        let certified = |usage: &str| {
            let mut case = Case::swtpm(&vectors.join("swtpm-full-ubuntu2404"), "quote_sha256_rsa");
            case.tpm.pinned_ak = None;
            case.document.as_object_mut().unwrap().remove("ak_public");
            case.document["ak_certificates"] = json!([STANDARD.encode(der(&format!("{name}_{usage}_cert.pem")))]);
            case.endorsements = intermediates.iter().map(|file| der(file)).collect();
            case
        };
        // The chain stands, and the quote is not by this key.
        let refused = certified("sign").code();
        assert!(refused.starts_with("authenticate.tpm.signature"), "{name}: {refused}");
        assert_eq!(certified("enc").code(), "authenticate.tpm.ak_certificate_usage", "{name}");
        let mut strict = certified("sign");
        strict.revocation = Revocation::Require;
        assert_eq!(strict.code(), "endorsement.tpm.crl_missing", "{name}");
        let mut orphan = certified("sign");
        orphan.endorsements.clear();
        assert_eq!(orphan.code(), "endorsement.tpm.ak_issuer_missing", "{name}");
        let mut early = certified("sign");
        early.at = "2020-01-01T00:00:00Z";
        assert_eq!(early.code(), "authenticate.tpm.ak_certificate_validity", "{name}");
        let mut foreign = certified("sign");
        let area = fs::read(vectors.join("swtpm-full-ubuntu2404/ak_pub.tpm2b")).unwrap();
        foreign.document["ak_public"] = json!(STANDARD.encode(&area[2..]));
        assert_eq!(foreign.code(), "authenticate.tpm.ak_mismatch", "{name}");
    }
}

#[test]
fn every_azure_snp_vector_has_its_verdict() {
    let Some(vectors) = vectors() else { return };
    let table = [
        ("azure-snp-attrs-v1", "accepted"),
        ("azure-snp-trustee-fixture", "accepted"),
        ("azure-snp-trustee-v0", "accepted"),
        ("azure-snp-trustee-v1", "accepted"),
        ("azure-snp-trustee-v2", "accepted"),
        ("neg-azure-hcl-bad-magic", "parse.hcl.magic"),
        ("neg-azure-hcl-hash-type-sha384", "parse.hcl.hash_type"),
        ("neg-azure-hcl-report-type-swap", "parse.hcl.hardware_report"),
        ("neg-azure-snp-foreign-vcek", "authenticate.snp.hwid"),
        ("neg-azure-snp-report-flip", "authenticate.snp.signature"),
        ("neg-azure-snp-secureboot-claim-flip", "authenticate.azure.claims_binding"),
        ("neg-azure-snp-vardata-flip", "authenticate.azure.claims_binding"),
        ("neg-azure-snp-wrong-nonce", "binding.tpm.extra_data"),
        ("neg-azure-hcl-varsize-overflow", "parse.hcl.sizes"),
        ("neg-azure-snp-foreign-quote", "authenticate.tpm.signature"),
        ("azure-snp-attrs-live", "accepted"),
        ("azure-snp-attrs-milan-v3", "accepted"),
        ("azure-snp-trustee-genoa", "accepted"),
    ];
    let mut seen = 0;
    for (name, wanted) in table {
        let folder = vectors.join(name);
        if !folder.is_dir() {
            eprintln!("{name} is not here: skipped");
            continue;
        }
        assert_eq!(Case::azure(&folder).code(), wanted, "{name}");
        seen += 1;
    }
    assert!(seen >= 13, "{seen} vectors");
}

#[test]
fn user_data_is_compared_whole_whatever_version_the_evidence_claims() {
    let Some(vectors) = vectors() else { return };
    let bound = |name: &str| {
        let mut case = Case::azure(&vectors.join(name));
        let nonce = case.tpm.extra_data.take().unwrap();
        let mut data = [0; 64];
        data[..nonce.len()].copy_from_slice(&nonce);
        case.expected = Expected::ReportData(ReportData(data));
        case
    };
    assert_eq!(bound("azure-snp-trustee-v2").code(), "accepted");
    assert_eq!(bound("neg-azure-snp-userdata-downgrade").code(), "binding.azure.user_data");
    // Without an expectation, what was not compared is listed.
    let claims = Case::azure(&vectors.join("azure-snp-trustee-v1")).verify().unwrap();
    let unchecked: Vec<_> = claims.unchecked.iter().map(|unchecked| unchecked.what).collect();
    assert!(unchecked.contains(&"user_data") && unchecked.contains(&"paravisor_measurement"), "{unchecked:?}");
}

#[test]
fn the_attestation_key_of_an_azure_vm_is_the_one_of_its_runtime_claims() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("azure-snp-trustee-v2");
    let good = || Case::azure(&folder);
    let claims = good().claims();
    assert_eq!(claims.ak_provenance, AkProvenance::HclSnp);
    assert_eq!(claims.pcrs.len(), 24);
    let mut foreign = good();
    foreign.document["ak_public"] =
        json!(STANDARD.encode(fs::read(vectors.join("swtpm-full-ubuntu2404/ak_pub.tpm2b")).unwrap()));
    assert_eq!(foreign.code(), "authenticate.tpm.ak_mismatch");
    let mut pinned = good();
    pinned.tpm.pinned_ak = Some(PinnedAk::parse(&fs::read(folder.join("ak_pub.pem")).unwrap()).unwrap());
    assert_eq!(pinned.code(), "accepted");
    let other = fs::read(vectors.join("azure-snp-trustee-v1/ak_pub.pem")).unwrap();
    pinned.tpm.pinned_ak = Some(PinnedAk::parse(&other).unwrap());
    assert_eq!(pinned.code(), "authenticate.tpm.ak_not_pinned");
    let mut without_key = good();
    without_key.endorsements.clear();
    assert!(without_key.code().starts_with("endorsement.snp."), "{}", without_key.code());
    let mut log = good();
    let foreign_log = fs::read(vectors.join("swtpm-full-ubuntu2404/eventlog.bin")).unwrap();
    log.document["event_log"] = json!(STANDARD.encode(foreign_log));
    assert_eq!(log.code(), "authenticate.tpm.log_replay");
}

#[test]
fn every_azure_tdx_vector_has_its_verdict() {
    let Some(vectors) = vectors() else { return };
    let accepted =
        ["azure-tdx-attrs-v1", "azure-tdx-trustee-fixture", "azure-tdx-trustee-v0", "azure-tdx-flashbots-akcert-2025"];
    for name in accepted {
        let case = Case::azure_tdx(&vectors, name);
        assert_eq!(case.code(), "accepted", "{name}");
        assert_eq!(case.claims().ak_provenance, AkProvenance::HclTdx, "{name}");
    }
    // The quote of another TD: genuine, and it does not bind these claims.
    let mut foreign = Case::azure_tdx(&vectors, "azure-tdx-attrs-v1");
    let other = fs::read(vectors.join("../tdx/azure_zkdcap_v4/quote.bin")).unwrap();
    foreign.document["td_quote"] = json!(STANDARD.encode(other));
    assert_eq!(foreign.code(), "authenticate.azure.claims_binding");
    let mut missing = Case::azure_tdx(&vectors, "azure-tdx-attrs-v1");
    missing.document.as_object_mut().unwrap().remove("td_quote");
    assert_eq!(missing.code(), "parse.azure.member_missing");
    // Only the quote counts, and the report inside the paravisor's must be of the same TD.
    let mut report = Case::azure_tdx(&vectors, "azure-tdx-attrs-v1");
    let mut hcl = STANDARD.decode(report.document["hcl_report"].as_str().unwrap()).unwrap();
    hcl[32 + 512 + 16] ^= 1;
    report.document["hcl_report"] = json!(STANDARD.encode(hcl));
    assert_eq!(report.code(), "authenticate.azure.td_report");
}

#[test]
fn a_certificate_beside_the_runtime_claims_must_be_for_their_key() {
    let Some(vectors) = vectors() else { return };
    let mut case = Case::azure_tdx(&vectors, "azure-tdx-flashbots-akcert-2025");
    // As read from its NV index, with zeros up to the size of the index.
    let nv = fs::read(vectors.join("azure-tdx-flashbots-akcert-2025/ak_cert_nv_raw.bin")).unwrap();
    case.document["ak_certificates"] = json!([STANDARD.encode(nv)]);
    let unchecked: Vec<_> = case.verify().unwrap().unchecked.iter().map(|unchecked| unchecked.what).collect();
    assert!(unchecked.contains(&"ak_certificate"), "{unchecked:?}");
    let mut other = Case::azure_tdx(&vectors, "azure-tdx-trustee-v0");
    other.document["ak_certificates"] = case.document["ak_certificates"].clone();
    assert_eq!(other.code(), "authenticate.tpm.ak_mismatch");
}

#[test]
fn pcr_11_of_a_unified_kernel_image_is_predicted_as_systemd_measures_it() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("uki-pcr11-systemd-measure");
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    let contents = [read("initrd"), read("linux"), read("osrel"), read("cmdline")];
    let names = [UkiSection::Initrd, UkiSection::Linux, UkiSection::OsRelease, UkiSection::CommandLine];
    let sections: Vec<_> = names.into_iter().zip(contents.iter().map(Vec::as_slice)).collect();
    let expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
    for bank in [HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
        let wanted = expected["expected_pcr11"][bank.name()].as_object().unwrap();
        for (phases, value) in wanted {
            let phases: Vec<&str> = phases.split(':').filter(|phase| !phase.is_empty()).collect();
            assert_eq!(predict_pcr11(bank, &sections, &phases).to_string(), value.as_str().unwrap(), "{phases:?}");
        }
    }
}
