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

/// Reads files and, not recursively, the files of folders, in the order of their names. A file in a folder that cannot be
/// used is a note.
///
/// # Errors
/// When something named cannot be read, or a folder holds more than 256 files.
pub(crate) fn candidates(paths: &[PathBuf], notes: &mut Vec<String>) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for path in paths {
        if !path.is_dir() {
            candidates.push(Candidate { path: path.clone(), bytes: read(path)?, named: true });
            continue;
        }
        for file in files_in(path)? {
            match read(&file) {
                Ok(bytes) => candidates.push(Candidate { path: file, bytes, named: false }),
                Err(error) => notes.push(format!("ignored: {error:#}")),
            }
        }
    }
    Ok(candidates)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = || format!("listing {}", folder.display());
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(listing)? {
        let entry = entry.with_context(listing)?.path();
        if entry.is_file() {
            files.push(entry);
        }
    }
    anyhow::ensure!(files.len() <= MOST_FILES, "{} holds more than {MOST_FILES} files", folder.display());
    files.sort();
    Ok(files)
}
