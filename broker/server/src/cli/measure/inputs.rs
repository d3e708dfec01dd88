//! The files that measurements are computed from, and what is remembered of them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use evidence_formats::digest::HashAlgorithm;
use verifier::measure::firmware::MAX_FIRMWARE;

/// Largest kernel, initrd or unified kernel image in bytes.
const LARGEST_IMAGE: usize = 1 << 30;

/// A file, and what it is for people.
#[derive(Debug)]
pub(super) struct Input {
    what: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Input {
    /// Reads a firmware image.
    ///
    /// # Errors
    /// When it cannot be read or is larger than any firmware.
    pub(super) fn firmware(what: &'static str, path: &Path) -> Result<Self> {
        Self::read(what, path, MAX_FIRMWARE)
    }

    /// Reads a kernel, an initrd or an image of both.
    ///
    /// # Errors
    /// When it cannot be read or is larger than 1 GiB.
    pub(super) fn image(what: &'static str, path: &Path) -> Result<Self> {
        Self::read(what, path, LARGEST_IMAGE)
    }

    /// Reads the first bytes of a disk; the source says how many.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn head(what: &'static str, path: &Path, length: usize) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut bytes = Vec::new();
        let most = u64::try_from(length).unwrap_or(u64::MAX);
        file.take(most).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { what, bytes })
    }

    /// Reads a file of at most `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be read or is larger.
    pub(super) fn read(what: &'static str, path: &Path, limit: usize) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
        ensure!(bytes.len() <= limit, "{} is larger than {limit} bytes", path.display());
        Ok(Self { what, bytes })
    }

    /// `kernel sha256:…`.
    pub(super) fn source(&self) -> String {
        source(self.what, &self.bytes)
    }
}

/// What was measured, by its digest.
pub(super) fn source(what: &str, bytes: &[u8]) -> String {
    format!("{what} sha256:{}", HashAlgorithm::Sha256.digest(&[bytes]))
}

/// What is started directly, without a disk.
#[derive(Debug, clap::Args)]
pub(super) struct KernelArgs {
    /// Kernel that the host hands over beside the firmware (QEMU -kernel)
    #[arg(long, value_name = "FILE")]
    pub(super) kernel: Option<PathBuf>,
    /// Initrd of that kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(super) initrd: Option<PathBuf>,
    /// Command line of that kernel, exactly as the host hands it over
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    pub(super) cmdline: Option<String>,
}

/// The files of [`KernelArgs`].
#[derive(Debug)]
pub(super) struct KernelInputs {
    pub(super) kernel: Input,
    pub(super) initrd: Option<Input>,
    pub(super) cmdline: String,
}

impl KernelArgs {
    /// Reads them, when there is a kernel.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(&self) -> Result<Option<KernelInputs>> {
        let Some(kernel) = &self.kernel else { return Ok(None) };
        Ok(Some(KernelInputs {
            kernel: Input::image("kernel", kernel)?,
            initrd: self.initrd.as_deref().map(|path| Input::image("initrd", path)).transpose()?,
            cmdline: self.cmdline.clone().unwrap_or_default(),
        }))
    }
}

impl KernelInputs {
    /// The initrd's content; without one nothing.
    pub(super) fn initrd(&self) -> &[u8] {
        self.initrd.as_ref().map_or(&[], |initrd| &initrd.bytes)
    }

    /// Kernel, initrd and command line by their digests.
    pub(super) fn sources(&self) -> Vec<String> {
        let mut sources = vec![self.kernel.source()];
        sources.extend(self.initrd.as_ref().map(Input::source));
        sources.push(source("cmdline", self.cmdline.as_bytes()));
        sources
    }
}
