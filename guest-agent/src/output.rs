//! Writing results and secrets.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, IsTerminal, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use thiserror::Error;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// Whether one that is there already may be replaced.
        replace: bool,
    },
}

/// Why nothing was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A secret is not shown on a terminal unless that is asked for.
    #[error("expected --out FILE, or --out - to show the secret on this terminal")]
    Terminal,
    /// The file is there already.
    #[error("expected no file {} yet: --replace replaces it", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("expected to write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("expected to write standard output")]
    Stdout(#[source] io::Error),
}

impl Output {
    /// Writes a page of the manual for `command` and each command below it to a directory.
    pub(crate) fn manual(command: clap::Command, directory: &Path) -> Result<(), OutputError> {
        clap_mangen::generate_to(command, directory)
            .map_err(|source| OutputError::Write { path: directory.to_owned(), source })
    }

    /// For what is not secret: `-` is standard output, a file is replaced.
    pub(crate) fn public(out: &Path) -> Self {
        if out == Path::new("-") { Self::Stdout } else { Self::File { path: out.to_owned(), replace: true } }
    }

    /// For a secret: a terminal only when it was asked for by `-`. Decided before anything is fetched.
    pub(crate) fn secret(out: Option<&Path>, replace: bool) -> Result<Self, OutputError> {
        match out {
            None if io::stdout().is_terminal() => Err(OutputError::Terminal),
            None => Ok(Self::Stdout),
            Some(out) if out == Path::new("-") => Ok(Self::Stdout),
            Some(out) if !replace && out.symlink_metadata().is_ok() => {
                Err(OutputError::Exists { path: out.to_owned() })
            }
            Some(out) => Ok(Self::File { path: out.to_owned(), replace }),
        }
    }

    /// Writes all of `bytes`, or nothing to a file.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), OutputError> {
        match self {
            Self::Stdout => {
                // Unbuffered: a buffer would keep a copy of a secret.
                let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(OutputError::Stdout)?;
                File::from(stdout).write_all(bytes).map_err(OutputError::Stdout)
            }
            Self::File { path, replace } => write_file(path, *replace, bytes),
        }
    }
}

/// Writes beside the file and moves it there, so that a reader sees all of it or none.
fn write_file(path: &Path, replace: bool, bytes: &[u8]) -> Result<(), OutputError> {
    let failed = |source| OutputError::Write { path: path.to_owned(), source };
    let beside = temporary_beside(path).map_err(failed)?;
    let written = create_private(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    let moved = written.and_then(|()| Ok(renameat_with(CWD, &beside, CWD, path, flags)?));
    moved.map_err(|error| {
        // The error that is reported is why nothing was written; what is left beside it holds no name that anyone reads.
        let _left_behind = fs::remove_file(&beside);
        if Errno::from_io_error(&error) == Some(Errno::EXIST) && !replace {
            OutputError::Exists { path: path.to_owned() }
        } else {
            failed(error)
        }
    })
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_unspecified| ErrorKind::Other)?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", hex::encode(random)));
    Ok(path.with_file_name(beside))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_secret_file_is_private_whole_and_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        Output::secret(Some(&path), false).unwrap().write(b"value\0with\nbytes").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"value\0with\nbytes");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["key"]);
    }

    #[test]
    fn a_file_that_is_there_stays_unless_it_may_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let output = Output::secret(Some(&path), false).unwrap();
        fs::write(&path, b"old").unwrap();
        assert!(matches!(Output::secret(Some(&path), false), Err(OutputError::Exists { .. })));
        assert!(matches!(output.write(b"new"), Err(OutputError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        Output::secret(Some(&path), true).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["key"]);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("key"), directory.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(Output::secret(Some(&path), false), Err(OutputError::Exists { .. })));
        Output::secret(Some(&path), true).unwrap().write(b"new").unwrap();
        assert!(!target.exists());
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let output = Output::public(Path::new("/nonexistent/token"));
        assert!(matches!(output.write(b"x"), Err(OutputError::Write { .. })));
    }
}
