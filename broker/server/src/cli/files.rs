//! The files that the offline commands read.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The largest file of any kind: an evidence bundle (4 MiB) with room for its JSON.
const LARGEST_FILE: u64 = 6 << 20;
/// Files of one folder that are looked at.
const MOST_FILES: usize = 256;

/// Reads a whole file, up to the limit.
///
/// # Errors
/// When it cannot be read or is larger than 6 MiB: a usage error (exit status 2).
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    anyhow::ensure!(size <= LARGEST_FILE, "{} is larger than {LARGEST_FILE} bytes", path.display());
    Ok(bytes)
}

/// A file that may hold endorsements.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// Named on the command line, as opposed to found in a folder.
    pub(crate) named: bool,
}

/// Reads files and, not recursively, the files of folders, in the order of their names.
///
/// # Errors
/// When something named cannot be read, or a folder holds more than 256 files.
pub(crate) fn candidates(paths: &[PathBuf]) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for path in paths {
        if !path.is_dir() {
            candidates.push(Candidate { path: path.clone(), bytes: read(path)?, named: true });
            continue;
        }
        let mut files = Vec::new();
        for entry in path.read_dir().with_context(|| format!("listing {}", path.display()))? {
            let entry = entry.with_context(|| format!("listing {}", path.display()))?.path();
            if entry.is_file() {
                files.push(entry);
            }
        }
        anyhow::ensure!(files.len() <= MOST_FILES, "{} holds more than {MOST_FILES} files", path.display());
        files.sort();
        for file in files {
            candidates.push(Candidate { bytes: read(&file)?, path: file, named: false });
        }
    }
    Ok(candidates)
}
