//! Real quotes and their mutations, beside the checkout; and the samples of a published crate.

use std::{
    fs,
    path::{Path, PathBuf},
};

use evidence_formats::{
    code::Coded,
    evidence::{Evidence, TdxEvidence},
};
use serde_json::Value;
use verifier::{
    Claims, CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors, authenticate,
};

/// Evidence with everything it is verified with.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: PathBuf,
    pub(crate) root: Vec<u8>,
    pub(crate) now: i64,
}

/// The vectors, or a line that says that they are not here.
pub(crate) fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let places = ["../shared/vectors/tdx", "../../shared/vectors/tdx"];
    let found = places.iter().map(|path| root.join(path)).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every real quote with each of its collateral sets (named after the set), and every mutation.
pub(crate) fn cases(vectors: &Path) -> Vec<Case> {
    let intel = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tdx/roots/intel_sgx_root_ca.der")).unwrap();
    let folders = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for folder in folders(vectors).into_iter().chain(folders(&vectors.join("_neg"))) {
        let Ok(quote) = fs::read(folder.join("quote.bin")) else { continue };
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if let Ok(root) = fs::read(folder.join("root.der")) {
            let now = json(&folder.join("case.json"))["now"].as_i64().unwrap();
            cases.push(Case { name, quote, collateral: folder.join("collateral"), root, now });
            continue;
        }
        for set in json(&folder.join("expected.json"))["collateral_sets"].as_array().unwrap() {
            let directory = set["dir"].as_str().unwrap();
            cases.push(Case {
                name: format!("{name} {directory}"),
                quote: quote.clone(),
                collateral: folder.join(directory),
                root: intel.clone(),
                now: set["now"].as_i64().unwrap(),
            });
        }
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// Every document in a folder; what is none is ignored, as the command line does.
pub(crate) fn endorsements(folder: &Path) -> Endorsements {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut endorsements = Endorsements::new();
    for path in paths {
        let _unknown = endorsements.add(&fs::read(&path).unwrap());
    }
    endorsements
}

/// Claims, or the code of the refusal.
pub(crate) fn judge(
    quote: &[u8],
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    now: i64,
) -> Result<Claims, String> {
    let evidence = TdxEvidence::parse(quote, None).map_err(|error| error.code().to_string())?;
    let terms = Terms {
        anchors,
        revocation: Revocation::Require,
        expected: Expected::Unchecked { reason: "a test" },
        now: Timestamp::from_unix(now),
        memory: &Forgetful,
        crl_floors: CrlFloors::NONE,
        tpm: verifier::tpm::TpmTerms::DEFAULT,
    };
    let outcome = authenticate(&Evidence::Tdx(Box::new(evidence)), endorsements, &terms);
    outcome.map(|authentic| authentic.claims().clone()).map_err(|error| error.code().to_string())
}

/// A genuine quote that the `dcap-qvl` package carries, its collateral, and a time at which it is good.
pub(crate) struct Sample {
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: Vec<u8>,
    pub(crate) now: i64,
}

/// The sample of this name.
pub(crate) fn sample(name: &str, now: &str) -> Sample {
    let metadata = cargo_metadata::MetadataCommand::new().other_options(["--offline".to_owned()]).exec().unwrap();
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "dcap-qvl").unwrap();
    let folder = package.manifest_path.parent().unwrap().join("sample");
    Sample {
        quote: fs::read(folder.join(name)).unwrap(),
        collateral: fs::read(folder.join(format!("{name}_collateral.json"))).unwrap(),
        now: Timestamp::parse_rfc3339(now).unwrap().as_unix(),
    }
}
