//! What a direct boot hands to the machine, and changes that an attacker makes to it.

use std::{fs, io::Write, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use e2e::{binaries::binary, process::Said};
use evidence_formats::bytes::LaunchDigest;
use serde_json::Value;
use tempfile::TempDir;

use crate::{hash_table::hash_table, recipes::Image};

/// Firmware, kernel, initrd and command line.
#[derive(Debug)]
pub struct BootFiles {
    /// Firmware that checks hashes.
    pub firmware: PathBuf,
    /// Kernel.
    pub kernel: PathBuf,
    /// Initrd.
    pub initrd: PathBuf,
    /// Command line.
    pub command_line: String,
    /// Where changed copies are.
    changed: Option<TempDir>,
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A byte of the kernel's signature, which nothing that runs reads.
    Kernel,
    /// One more file in the initrd.
    Initrd,
    /// One more word on the command line.
    CommandLine,
}

impl BootFiles {
    /// Those of an image.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of(image: &Image) -> Result<Self> {
        Ok(Self {
            firmware: image.file("OVMF.amdsev.fd"),
            kernel: image.file("vmlinuz"),
            initrd: image.file("initrd"),
            command_line: image.command_line()?,
            changed: None,
        })
    }

    /// The same with one part changed, so that it still boots.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn with_changed(image: &Image, part: Part) -> Result<Self> {
        let mut files = Self::of(image)?;
        let place = tempfile::tempdir()?;
        match part {
            Part::Kernel => {
                let mut kernel = fs::read(&files.kernel)?;
                *kernel.last_mut().context("expected a kernel")? ^= 1;
                files.kernel = place.path().join("vmlinuz");
                fs::write(&files.kernel, kernel)?;
            }
            Part::Initrd => {
                let copy = place.path().join("initrd");
                fs::copy(&files.initrd, &copy)?;
                // Segments are unpacked one after the other; one of zeros unpacks to nothing.
                fs::File::options().append(true).open(&copy)?.write_all(&[0; 512])?;
                files.initrd = copy;
            }
            Part::CommandLine => files.command_line.push_str(" countersign.changed"),
        }
        files.changed = Some(place);
        Ok(files)
    }

    /// The table of hashes that an honest host makes of them.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn hash_table(&self) -> Result<Vec<u8>> {
        hash_table(&fs::read(&self.kernel)?, &fs::read(&self.initrd)?, &self.command_line)
    }

    /// What the hardware measures when it launches them.
    ///
    /// # Errors
    /// When `countersign measure` does not say.
    pub fn launch_digest(&self) -> Result<LaunchDigest> {
        let mut measure = Command::new(binary("countersign")?);
        measure.args([
            "measure",
            "snp",
            "--vcpus",
            "1",
            "--vcpu-type",
            "EPYC-v4",
            "--set",
            "launched",
            "--format",
            "json",
        ]);
        measure.arg("--firmware").arg(&self.firmware).arg("--kernel").arg(&self.kernel);
        measure.arg("--initrd").arg(&self.initrd).args(["--cmdline", &self.command_line]);
        let document: Value = serde_json::from_str(&Said::by(&mut measure)?.done()?)?;
        let launch = document.pointer("/sets/0/measurements/0/launch").and_then(Value::as_str);
        let launch = launch.context("expected a launch digest in the prediction")?;
        ensure!(launch.len() == 96, "expected 48 bytes, found {launch}");
        launch.parse().context("expected a launch digest")
    }
}
