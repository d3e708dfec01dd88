//! Every vTPM vector, and the samples of the oracle crates, judged by both. Where the verdicts differ a row says why; a row
//! that says what is not so fails.

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use az_cvm_vtpm::{
    hcl::{HclReport, ReportType},
    tdx::TdReport,
    vtpm::Quote,
};
use az_snp_vtpm::{
    certs::{AmdChain, Vcek},
    report::{AttestationReport, Validateable},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use evidence_formats::{
    azure::{AzureSnpEvidence, AzureTdxEvidence},
    code::Coded,
    evidence::Evidence,
    tpm::TpmEvidence,
};
use openssl::{pkey::PKey, x509::X509};
use serde_json::{Value, json};
use verifier::{
    CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors, authenticate,
    tpm::{PinnedAk, TpmTerms},
};

/// Vectors with another verdict here than there: ours, theirs, and why ours is the right one.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    (
        "attack-pcr-substitution-dup-bank",
        "authenticate.tpm.pcr_selection",
        "accepted",
        "the oracle hashes the values it is given and leaves the selection to its caller; here the selection is part of the verdict",
    ),
    (
        "neg-azure-hcl-bad-magic",
        "parse.hcl.magic",
        "accepted",
        "nothing measures the header, and the oracle does not read its signature; here a blob that is not of the format is none",
    ),
];

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/vtpm")).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

/// One folder's files.
struct Vector {
    folder: PathBuf,
}

impl Vector {
    fn read(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(file)).ok()
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// The nonce that was asked for, or, where nobody wrote it down, the one in the quote.
    fn nonce(&self) -> Vec<u8> {
        self.read("nonce.bin").unwrap_or_else(|| {
            let quote = evidence_formats::tpm::TpmQuote::parse(&self.read("quote.msg").unwrap());
            quote.map(|quote| quote.extra_data).unwrap_or_default()
        })
    }

    fn pcrs(&self) -> Value {
        let file = ["pcrs_sha256_presented.json", "pcrs_sha256.json"].iter().find_map(|file| self.read(file));
        serde_json::from_slice(&file.unwrap()).unwrap()
    }
}

/// The oracle: the checks that the crates offer, in the order of their documentation.
fn theirs(vector: &Vector) -> Result<(), String> {
    let hcl = vector.read("hcl_report.bin");
    let key = match &hcl {
        Some(hcl) => their_report(vector, hcl)?,
        None => PKey::public_key_from_pem(&vector.read("ak_pub.pem").unwrap()).map_err(text)?,
    };
    let mut pcrs: Vec<(u8, Vec<u8>)> = vector
        .pcrs()
        .as_object()
        .unwrap()
        .iter()
        .map(|(index, value)| (index.parse().unwrap(), hex::decode(value.as_str().unwrap()).unwrap()))
        .collect();
    pcrs.sort();
    let signature = vector.read("quote.sig").unwrap();
    // TPMT_SIGNATURE: scheme, hash and length stand before the signature itself.
    let signature = if signature.len() % 64 == 0 { signature } else { signature[6..].to_vec() };
    let quote: Quote = serde_json::from_value(json!({
        "signature": signature,
        "message": vector.read("quote.msg").unwrap(),
        "pcrs": pcrs.into_iter().map(|(_, value)| value).collect::<Vec<_>>(),
    }))
    .map_err(text)?;
    quote.verify(&key, &vector.nonce()).map_err(text)
}

/// HCL report, hardware report and the binding between them; the key that the claims name.
fn their_report(vector: &Vector, hcl: &[u8]) -> Result<PKey<openssl::pkey::Public>, String> {
    let report = HclReport::new(hcl.to_vec()).map_err(text)?;
    let claims = catch_unwind(std::panic::AssertUnwindSafe(|| report.var_data_sha256())).or(Err("panic".to_owned()))?;
    let bound = match report.report_type() {
        ReportType::Snp => {
            let snp: AttestationReport = (&report).try_into().map_err(text)?;
            let vcek = Vcek(X509::from_der(&vector.read("vcek.der").ok_or("no VCEK")?).map_err(text)?);
            chains().iter().find(|chain| vcek.validate(chain).is_ok()).ok_or("VCEK chain")?;
            snp.validate(&vcek).map_err(text)?;
            snp.report_data.to_vec()
        }
        ReportType::Tdx => {
            let report: TdReport = (&report).try_into().map_err(text)?;
            report.report_mac.reportdata.to_vec()
        }
    };
    if bound[..32] != claims {
        return Err("claims binding".to_owned());
    }
    let jwk = report.ak_pub().map_err(text)?;
    PKey::public_key_from_der(&jwk.key.to_der()).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The chains that AMD publishes, from the verifier's own pinned copies.
fn chains() -> Vec<AmdChain> {
    let roots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../broker/verifier/src/snp/roots");
    let read = |name: String| X509::from_der(&fs::read(roots.join(name)).unwrap()).unwrap();
    let chain = |product| AmdChain { ark: read(format!("{product}_ark.der")), ask: read(format!("{product}_ask.der")) };
    let chains: Vec<AmdChain> = ["milan", "genoa", "turin"].map(chain).into();
    assert!(chains.iter().all(|chain| chain.validate().is_ok()));
    chains
}

/// The verifier, with no more than the oracle is given.
fn ours(vector: &Vector) -> Result<(), String> {
    let mut document = json!({
        "quote": {
            "message": STANDARD.encode(vector.read("quote.msg").unwrap()),
            "signature": STANDARD.encode(vector.read("quote.sig").unwrap()),
        },
        "pcrs": {"sha256": vector.pcrs()},
    });
    let hcl = vector.read("hcl_report.bin");
    if let Some(hcl) = &hcl {
        document["hcl_report"] = json!(STANDARD.encode(hcl));
    }
    let td_quote = vector.read("td_quote.bin");
    if let Some(quote) = &td_quote {
        document["td_quote"] = json!(STANDARD.encode(quote));
    }
    let bytes = document.to_string().into_bytes();
    let code = |error: &dyn Coded| error.code().as_str().to_owned();
    let evidence = match (&hcl, &td_quote) {
        (None, _) => TpmEvidence::from_document(&bytes).map(Evidence::Tpm).map_err(|error| code(&error))?,
        (Some(_), Some(_)) => AzureTdxEvidence::from_document(&bytes)
            .map(|evidence| Evidence::AzureTdx(Box::new(evidence)))
            .map_err(|error| code(&error))?,
        (Some(_), None) => AzureSnpEvidence::from_document(&bytes)
            .map(|evidence| Evidence::AzureSnp(Box::new(evidence)))
            .map_err(|error| code(&error))?,
    };
    let mut endorsements = Endorsements::new();
    for file in endorsements_of(vector) {
        let _unknown = endorsements.add(&file);
    }
    let pin = || PinnedAk::parse(&vector.read("ak_pub.pem").unwrap()).unwrap();
    let tpm = TpmTerms { extra_data: Some(vector.nonce()), pinned_ak: hcl.is_none().then(pin), ..TpmTerms::default() };
    // TDX collateral of the vectors is from these weeks.
    let at = match (td_quote.is_some(), vector.name().contains("flashbots")) {
        (false, _) => "2026-11-22T00:00:00Z",
        (true, true) => "2026-03-20T00:00:00Z",
        (true, false) => "2026-02-25T00:00:00Z",
    };
    let terms = Terms {
        anchors: &TrustAnchors::vendor(),
        revocation: Revocation::IfPresent,
        expected: Expected::Unchecked { reason: "the oracle compares the nonce of the quote alone" },
        now: Timestamp::parse_rfc3339(at).unwrap(),
        memory: &Forgetful,
        crl_floors: CrlFloors::NONE,
        tpm: &tpm,
    };
    authenticate(&evidence, &endorsements, &terms).map(drop).map_err(|error| code(&error))
}

fn endorsements_of(vector: &Vector) -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = vector.read("vcek.der").into_iter().collect();
    if vector.read("td_quote.bin").is_some() {
        let vectors = vector.folder.parent().unwrap();
        let collateral = if vector.name().contains("flashbots") {
            vectors.join("azure-tdx-attrs-v1")
        } else {
            vectors.join("../tdx/azure_trustee_v4/collateral/20260222")
        };
        for entry in fs::read_dir(collateral).unwrap() {
            let path = entry.unwrap().path();
            if !path.extension().is_some_and(|extension| extension == "bin") {
                files.push(fs::read(path).unwrap());
            }
        }
    }
    files
}

fn word(verdict: &Result<(), String>) -> &str {
    verdict.as_ref().err().map_or("accepted", String::as_str)
}

#[test]
fn every_difference_has_its_reason() {
    let Some(vectors) = vectors() else { return };
    let mut folders: Vec<PathBuf> = fs::read_dir(vectors).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut found = Vec::new();
    let mut agreed = 0;
    for folder in folders {
        let vector = Vector { folder };
        let comparable = ["quote.msg", "quote.sig", "ak_pub.pem"].iter().all(|file| vector.read(file).is_some())
            && (vector.read("pcrs_sha256.json").is_some() || vector.read("pcrs_sha256_presented.json").is_some());
        if !comparable {
            continue;
        }
        let (ours, theirs) = (ours(&vector), theirs(&vector));
        if ours.is_ok() == theirs.is_ok() {
            agreed += 1;
        } else {
            found.push((vector.name(), word(&ours).to_owned(), word(&theirs).to_owned()));
        }
    }
    let rows: Vec<(String, String, String)> =
        DIFFERENCES.iter().map(|(name, ours, theirs, _)| ((*name).into(), (*ours).into(), (*theirs).into())).collect();
    assert!(DIFFERENCES.iter().all(|(.., reason)| reason.len() > 20));
    assert_eq!(found, rows, "{agreed} agreed");
    assert!(agreed >= 10, "{agreed} agreed");
}

/// The directory of an oracle's sources: its samples are part of its package.
fn sources_of(package: &str) -> PathBuf {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let found = metadata.packages.iter().find(|found| found.name.as_str() == package).unwrap();
    found.manifest_path.parent().unwrap().as_std_path().to_owned()
}

/// The oracles' own samples have no quote: both read the same key, the same claims and the same hardware report.
#[test]
fn the_oracles_own_samples_read_the_same() {
    for (package, file) in [("az-snp-vtpm", "hcl-report-snp.bin"), ("az-tdx-vtpm", "hcl-report-tdx.bin")] {
        let bytes = fs::read(sources_of(package).join("test").join(file)).unwrap();
        let theirs = HclReport::new(bytes.clone()).unwrap();
        let ours = evidence_formats::hcl::HclReport::parse(&bytes).unwrap();
        assert_eq!(ours.claims(), theirs.var_data(), "{package}");
        assert_eq!(ours.expected_report_data().0[..32], theirs.var_data_sha256());
        let runtime = evidence_formats::hcl::RuntimeClaims::parse(ours.claims()).unwrap();
        let jwk = serde_json::to_value(theirs.ak_pub().unwrap()).unwrap();
        let modulus = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(runtime.attestation_key.modulus());
        assert_eq!(jwk["n"], json!(modulus), "{package}");
        match theirs.report_type() {
            ReportType::Snp => {
                let report: AttestationReport = (&theirs).try_into().unwrap();
                let parsed = evidence_formats::snp::SnpReport::parse(ours.hardware_report()).unwrap();
                assert_eq!(parsed.fields().report_data.0.as_slice(), report.report_data.as_slice());
            }
            ReportType::Tdx => {
                let report: TdReport = (&theirs).try_into().unwrap();
                let parsed = evidence_formats::tdx::TdReport::parse(ours.hardware_report()).unwrap();
                assert_eq!(parsed.report_data.0.as_slice(), report.report_mac.reportdata.as_slice());
            }
        }
    }
}
