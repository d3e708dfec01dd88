//! The genuine vectors inside the package of the published `sev` crate, so that a fresh clone verifies real evidence.

use std::{fs, path::PathBuf, sync::LazyLock};

use cargo_metadata::MetadataCommand;

static TESTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    let is_oracle = |package: &&cargo_metadata::Package| package.name.as_str() == "sev" && package.version.major == 8;
    let package = metadata.packages.iter().find(is_oracle).unwrap();
    package.manifest_path.parent().unwrap().join("tests").into_std_path_buf()
});

/// A file below the package's `tests`.
pub(crate) fn file(name: &str) -> Vec<u8> {
    fs::read(TESTS.join(name)).unwrap()
}

/// Its Milan report.
pub(crate) fn milan_report() -> Vec<u8> {
    hex::decode(file("certs_data/report_milan.hex").trim_ascii()).unwrap()
}
