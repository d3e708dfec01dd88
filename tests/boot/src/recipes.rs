//! The commands of `vm-images`.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use e2e::{binaries::binary, process::Said};

/// The workload that the images' measurements identify.
pub const WORKLOAD: &str = "vm";

/// The kernel's command line of a guest with systemd. Units that fail are shown, others are not.
const SYSTEMD: &str =
    "console=ttyS0 quiet panic=10 init_on_free=1 rdinit=/usr/lib/systemd/systemd systemd.show_status=error";

/// The recipes, and what `scripts/test-boot` made with them.
#[derive(Debug, Clone)]
pub struct Recipes {
    commands: PathBuf,
    base: PathBuf,
}

/// What the root file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Read-only, verified by the root hash on the command line.
    Verified,
    /// On the LUKS2 volume with the label [`Root::LABEL`].
    Encrypted,
}

impl Root {
    /// The label of an encrypted root file system.
    pub const LABEL: &str = "root";
}

impl Recipes {
    /// Those of this checkout.
    ///
    /// # Errors
    /// When `scripts/test-boot` has not prepared the tests.
    pub fn find() -> Result<Self> {
        let commands = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vm-images").canonicalize()?;
        // target/PROFILE/deps/TEST
        let test = env::current_exe()?;
        let target = test.ancestors().nth(3).context("expected a test in target/PROFILE/deps")?;
        let base = target.join("vm-images/test");
        ensure!(base.join("initrd").is_file(), "expected {}: run scripts/test-boot", base.display());
        Ok(Self { commands, base })
    }

    /// Firmware, kernel and initrd that every deployment has in common.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The image of a deployment with these settings, and `content` over its root file system, in the directory `out`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn assemble(&self, settings: &Path, content: &Path, root: Root, out: &Path) -> Result<Image> {
        self.assemble_with(settings, content, root, &[], out)
    }

    /// The same where systemd is the first program, and opens the volumes by crypttab(5).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn assemble_systemd(&self, settings: &Path, content: &Path, out: &Path) -> Result<Image> {
        let segment = self.base.join("systemd");
        let more = [OsStr::new("--initrd"), segment.as_os_str(), OsStr::new("--cmdline"), OsStr::new(SYSTEMD)];
        self.assemble_with(settings, content, Root::Verified, &more, out)
    }

    fn assemble_with(&self, settings: &Path, content: &Path, root: Root, more: &[&OsStr], out: &Path) -> Result<Image> {
        let mut command = Command::new(self.commands.join("assemble"));
        command.arg(&self.base).arg(out).arg("--settings").arg(settings).arg("--root").arg(content);
        if root == Root::Encrypted {
            command.args(["--root-volume", Root::LABEL]);
        }
        command.args(more);
        Said::by(&mut command)?.done()?;
        Ok(Image { directory: out.to_owned() })
    }

    /// Leaves the reference values of `image` beside it, and says where: those of a direct boot, and those of a vTPM.
    ///
    /// # Errors
    /// When they cannot be computed.
    pub fn measure(&self, image: &Image) -> Result<[PathBuf; 2]> {
        let mut command = Command::new(self.commands.join("measure"));
        command.arg(&image.directory).args(["--set", "boot", "--workload", WORKLOAD]);
        Said::by(command.arg("--countersign").arg(binary("countersign")?))?.done()?;
        Ok(["snp", "vtpm"].map(|track| image.directory.join(format!("reference-values.{track}.json"))))
    }

    /// A LUKS2 volume with the files of `content`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn encrypt(&self, volume: &Volume<'_>, out: &Path) -> Result<()> {
        let mut command = Command::new(self.commands.join("encrypt"));
        command.arg(volume.content).arg(out).args(["--label", volume.label]);
        Said::by(command.arg("--key").arg(volume.key))?.done()?;
        Ok(())
    }
}

/// A LUKS2 volume that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Volume<'a> {
    /// Directory of its files.
    pub content: &'a Path,
    /// What the guest finds it by.
    pub label: &'a str,
    /// File with the bytes that open it.
    pub key: &'a Path,
}

/// The image of a deployment.
#[derive(Debug, Clone)]
pub struct Image {
    directory: PathBuf,
}

impl Image {
    /// One of its files: `vmlinuz`, `initrd`, `OVMF.amdsev.fd`, `linux.efi`, `disk.raw`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The kernel's command line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn command_line(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file("cmdline"))?)
    }
}
