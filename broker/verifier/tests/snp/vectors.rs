//! Finding and reading the vectors in `../shared/vectors/snp`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use evidence_formats::{code::Coded, evidence::Evidence};
use serde_json::Value;
use verifier::{
    Authentic, Claims, CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors,
    authenticate,
};

/// The vectors beside the checkout, or none with a line that says so.
pub(crate) fn root() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found =
        ["..", "../.."].iter().map(|up| workspace.join(up).join("shared/vectors/snp")).find(|path| path.is_dir());
    if found.is_none() {
        println!("../shared/vectors is not here: skipped");
    }
    found
}

/// One case: what a verifier is given, and what is expected.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) expected: Value,
}

/// Every case directory under `folder`, in order.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.json").is_file())
        .map(|directory| Case {
            name: directory.file_name().unwrap().to_string_lossy().into_owned(),
            expected: serde_json::from_slice(&fs::read(directory.join("expected.json")).unwrap()).unwrap(),
            directory,
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    pub(crate) fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.directory.join(name)).ok()
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.expected.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn time(&self, pointer: &str) -> Timestamp {
        Timestamp::parse_rfc3339(self.text(pointer)).unwrap()
    }

    pub(crate) fn report(&self) -> Vec<u8> {
        self.file("report.bin").unwrap()
    }

    /// Everything in the directory that a verifier would be given as an endorsement.
    pub(crate) fn endorsements(&self) -> Endorsements {
        let mut endorsements = Endorsements::new();
        for name in ["vek.der", "ica.der", "ark.der", "crl.der"] {
            // What cannot be read is remembered by the set, as for a file that an operator names.
            let _ = self.file(name).map(|bytes| endorsements.add(&bytes));
        }
        endorsements
    }
}

/// The synthetic hierarchy that most negative cases are signed under.
pub(crate) fn synthetic_anchors(root: &Path) -> TrustAnchors {
    let folder = root.join("negative/synth");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    TrustAnchors::from_files(files.iter().map(Vec::as_slice)).unwrap()
}

/// Terms that check everything but the report data, with `revocation` as given.
pub(crate) fn terms(anchors: &TrustAnchors, revocation: Revocation, now: Timestamp) -> Terms<'_> {
    let expected = Expected::Unchecked { reason: "the vector has no nonce" };
    Terms {
        anchors,
        revocation,
        expected,
        now,
        memory: &Forgetful,
        crl_floors: CrlFloors::NONE,
        tpm: verifier::tpm::TpmTerms::DEFAULT,
    }
}

/// Authenticates; the error is its code, with `?` behind it when undecided.
pub(crate) fn outcome(
    evidence: &Evidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, String> {
    authenticate(evidence, endorsements, terms).map_err(|error| {
        let undecided = if error.is_missing_endorsement() { "?" } else { "" };
        format!("{}{undecided}", error.code())
    })
}
