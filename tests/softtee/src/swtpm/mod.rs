//! A real TPM 2.0 in software: `swtpm` of Debian, on a unix socket in a temporary directory, with endorsement key
//! certificates of a made-up manufacturer.
//!
//! A [`SwTpm`] ends its process when it is dropped. It can be restarted, copied and set back to an earlier state, which is
//! what an operator of virtual machines can do to a vTPM.
mod pki;
mod process;
mod wrap;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tee::tpm::{EkKind, NvAttributes, NvIndex, NvPublic, Tpm, TpmAddress};
use tempfile::TempDir;

pub use pki::{KeyCertificate, TpmPki};
use process::Process;
pub use wrap::{Credential, make_credential, wrap_secret};

/// A running TPM.
#[derive(Debug)]
pub struct SwTpm {
    // First: ends before its directory goes.
    process: Process,
    place: Place,
}

/// Where a TPM keeps its state and its socket.
#[derive(Debug)]
enum Place {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

/// The whole state of a TPM at one moment, seeds and counters included.
#[derive(Debug)]
pub struct TpmState(TempDir);

/// Whether `swtpm` is installed; says so once when it is not.
#[must_use]
pub fn is_installed() -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&paths).any(|directory| directory.join("swtpm").is_file());
    if !there {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("swtpm is not here: skipped");
        }
    }
    there
}

impl SwTpm {
    /// A new TPM with certificates of [`TpmPki::new`] for its endorsement keys.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        let tpm = Self::bare()?;
        tpm.certify(&TpmPki::new())?;
        Ok(tpm)
    }

    /// A new TPM as it comes out of nowhere: without certificates.
    ///
    /// # Errors
    /// When it does not start.
    pub fn bare() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let process = Process::start(directory.path())?;
        Ok(Self { process, place: Place::Temporary(directory) })
    }

    /// The TPM whose state is in `directory`, which stays there; made and certified when the directory is empty.
    ///
    /// # Errors
    /// When it does not start.
    pub fn at(directory: &Path) -> Result<Self> {
        let is_new = !directory.join("state").exists();
        let tpm = Self { process: Process::start(directory)?, place: Place::Kept(directory.to_owned()) };
        if is_new {
            tpm.certify(&TpmPki::new())?;
        }
        Ok(tpm)
    }

    /// A machine with the state of another one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn of(state: &TpmState) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        copy(state.0.path(), &directory.path().join("state"))?;
        let process = Process::start(directory.path())?;
        Ok(Self { process, place: Place::Temporary(directory) })
    }

    /// Where it answers. It speaks with one client at a time; the next one waits until that has closed.
    #[must_use]
    pub fn address(&self) -> TpmAddress {
        TpmAddress::Unix(self.process.socket().to_owned())
    }

    /// A connection to it.
    ///
    /// # Errors
    /// When it is away.
    pub fn connect(&self) -> Result<Tpm> {
        Ok(Tpm::open(&self.address())?)
    }

    /// Leaves certificates of `pki` for both endorsement keys where a manufacturer would.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn certify(&self, pki: &TpmPki) -> Result<()> {
        let tpm = self.connect()?;
        for kind in EkKind::ALL {
            let key = tpm.create_ek(kind)?;
            let certificate = pki.ek_certificate(key.public())?.der();
            leave(&tpm, kind.certificate_index(), &certificate)?;
        }
        Ok(())
    }

    /// Power off and on: the state stays, PCRs start anew, the reset counter goes up by one.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn restart(&mut self) -> Result<()> {
        self.connect()?.shutdown()?;
        self.process.end()?;
        self.process = Process::start(self.place.path())?;
        Ok(())
    }

    /// A copy of the state of the machine while it is off, in order: it is switched off and on.
    ///
    /// # Errors
    /// When it cannot be copied, or does not start again.
    pub fn state_when_off(&mut self) -> Result<TpmState> {
        self.connect()?.shutdown()?;
        self.process.end()?;
        let state = self.state()?;
        self.process = Process::start(self.place.path())?;
        Ok(state)
    }

    /// A copy of the state of the running machine. To the TPM that starts from it the power was lost, and its clock is not
    /// safe for a while.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn state(&self) -> Result<TpmState> {
        let copied = tempfile::tempdir()?;
        copy(&self.place.path().join("state"), copied.path())?;
        Ok(TpmState(copied))
    }

    /// Power off, back to an earlier state, power on.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn roll_back(&mut self, state: &TpmState) -> Result<()> {
        self.process.end()?;
        copy(state.0.path(), &self.place.path().join("state"))?;
        self.process = Process::start(self.place.path())?;
        Ok(())
    }

    /// Whether it ended by itself, which it never should.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn has_ended(&mut self) -> Result<bool> {
        self.process.has_ended()
    }
}

/// Writes `content` (at most 2048 bytes: an index of swtpm holds no more) to an index that the platform makes and everybody may read; what was there before goes.
///
/// # Errors
/// When the TPM refuses.
pub fn leave(tpm: &Tpm, index: NvIndex, content: &[u8]) -> Result<()> {
    if let Some(old) = tpm.nv_public(index)? {
        tpm.nv_undefine(&old)?;
    }
    let attributes = [
        NvAttributes::PP_WRITE,
        NvAttributes::PP_READ,
        NvAttributes::OWNER_READ,
        NvAttributes::AUTH_READ,
        NvAttributes::NO_DA,
        NvAttributes::PLATFORM_CREATE,
    ];
    let attributes = attributes.into_iter().fold(NvAttributes(0), NvAttributes::union);
    let size = u16::try_from(content.len()).context("expected at most 64 KiB for an NV index")?;
    tpm.nv_define(&NvPublic { index, attributes, size })?;
    Ok(tpm.nv_write(index, content)?)
}

/// Copies the files of a directory, and nothing below.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != ".lock" {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
