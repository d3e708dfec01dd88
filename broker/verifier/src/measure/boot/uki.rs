//! Unified kernel images: what systemd-stub measures of them, and what it hands to the kernel.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr};

use evidence_formats::digest::{Digest, HashAlgorithm};

use super::{BootError, PeImage, cpio};
use crate::tpm::{UkiSection, predict_pcr11};

/// Sections of which the stub chooses one at boot, or that only some stubs measure.
const CHOSEN_AT_BOOT: [&str; 4] = [".profile", ".dtbauto", ".hwids", ".efifw"];
/// The signature of expected PCR values: not measured, but handed to the initrd.
const PCR_SIGNATURE: &str = ".pcrsig";
/// The stub names itself and its version here: `#### LoaderInfo: systemd-stub 257.13-1 ####`.
const STUB_SECTION: &str = ".sdmagic";
const STUB_NAME: &str = "systemd-stub ";

/// Versions of the stub whose way of starting the kernel is known; with 257, os-release came to the initrd.
const KNOWN_STUBS: RangeInclusive<u32> = 252..=257;
const OS_RELEASE_SINCE: u32 = 257;

/// Major version of the systemd-stub in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StubVersion(pub u32);

/// A unified kernel image with one profile.
#[derive(Debug, Clone)]
pub struct Uki<'a> {
    image: PeImage<'a>,
    sections: BTreeMap<UkiSection, Vec<u8>>,
    pcr_signature: Option<Vec<u8>>,
    stub: Option<StubVersion>,
}

impl<'a> Uki<'a> {
    /// Reads an image.
    ///
    /// # Errors
    /// [`BootError`] when it is not PE32+, has no kernel, or what is measured depends on the machine.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BootError> {
        let image =
            PeImage::parse(bytes).map_err(|source| BootError::Image { what: "unified kernel image", source })?;
        for section in CHOSEN_AT_BOOT {
            if image.count(section) > 0 {
                return Err(BootError::Section { section });
            }
        }
        let pcr_signature = content(&image, PCR_SIGNATURE)?;
        let stub = content(&image, STUB_SECTION)?.and_then(|magic| stub_version(&magic));
        let mut sections = BTreeMap::new();
        for section in UkiSection::ALL {
            let Some(content) = content(&image, section.name())? else { continue };
            if is_measured(section, stub)? {
                sections.insert(section, content);
            }
        }
        if !sections.contains_key(&UkiSection::Linux) {
            return Err(BootError::NoKernel);
        }
        Ok(Self { image, sections, pcr_signature, stub })
    }

    /// Version of the stub, when it says so.
    #[must_use]
    pub const fn stub(&self) -> Option<StubVersion> {
        self.stub
    }

    /// Digest of the image as the firmware measures it.
    #[must_use]
    pub fn authenticode(&self, bank: HashAlgorithm) -> Digest {
        self.image.authenticode(bank)
    }

    /// Digest of the kernel in the image, which the firmware measures when the stub loads it.
    ///
    /// # Errors
    /// When the kernel is not a PE32+ image.
    pub fn kernel_authenticode(&self, bank: HashAlgorithm) -> Result<Digest, BootError> {
        let kernel = self.sections.get(&UkiSection::Linux).map(Vec::as_slice).unwrap_or_default();
        let kernel = PeImage::parse(kernel).map_err(|source| BootError::Image { what: "kernel", source })?;
        Ok(kernel.authenticode(bank))
    }

    /// PCR 11 after the image was started and passed these phases.
    #[must_use]
    pub fn pcr11(&self, bank: HashAlgorithm, phases: &Phases) -> Digest {
        let sections: Vec<(UkiSection, &[u8])> =
            self.sections.iter().map(|(section, content)| (*section, content.as_slice())).collect();
        predict_pcr11(bank, &sections, &phases.names())
    }

    /// Whether the stub lets the firmware load the kernel, so that it is measured like any image. Later versions have a loader of
    /// their own, and of a stub that does not say its version nothing is known.
    pub(super) fn firmware_loads_kernel(&self) -> bool {
        self.stub.is_some_and(|version| KNOWN_STUBS.contains(&version.0))
    }

    /// Sections in measuring order, with their content.
    pub(super) fn sections(&self) -> impl Iterator<Item = (UkiSection, &[u8])> {
        self.sections.iter().map(|(section, content)| (*section, content.as_slice()))
    }

    /// The command line that the stub hands to the kernel: control characters become spaces, and none stay at the end.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub(super) fn command_line(&self) -> Result<Option<String>, BootError> {
        let Some(section) = self.sections.get(&UkiSection::CommandLine) else { return Ok(None) };
        let end = section.iter().position(|byte| *byte == 0).unwrap_or(section.len());
        let text =
            std::str::from_utf8(section.get(..end).unwrap_or_default()).map_err(|_not_utf8| BootError::CommandLine)?;
        let spaced: String = text.chars().map(|letter| if letter <= '\u{1f}' { ' ' } else { letter }).collect();
        Ok(Some(spaced.trim_end_matches(' ').to_owned()))
    }

    /// The initrd that the stub puts together for the kernel: microcode, initrd, and archives with sections of the image. `None` when
    /// the stub's version is not one whose way is known.
    pub(super) fn combined_initrd(&self) -> Option<Vec<u8>> {
        let version = self.stub.filter(|version| KNOWN_STUBS.contains(&version.0))?;
        let with_os_release = version.0 >= OS_RELEASE_SINCE;
        let section = |section| self.sections.get(&section).cloned();
        let archived = |file, content: Option<&Vec<u8>>| content.map(|content| cpio::archive(file, content));
        let os_release = self.sections.get(&UkiSection::OsRelease).filter(|_| with_os_release);
        let parts: Vec<Vec<u8>> = [
            section(UkiSection::Microcode),
            section(UkiSection::Initrd),
            archived("tpm2-pcr-signature.json", self.pcr_signature.as_ref()),
            archived("tpm2-pcr-public-key.pem", self.sections.get(&UkiSection::PcrPublicKey)),
            archived("os-release", os_release),
        ]
        .into_iter()
        .flatten()
        .collect();
        // One part is handed over as it is; several are padded and joined.
        if let [part] = parts.as_slice() {
            return Some(part.clone());
        }
        let mut combined = Vec::new();
        for part in parts {
            combined.extend_from_slice(&part);
            cpio::pad(&mut combined);
        }
        Some(combined)
    }
}

/// Whether this stub knows the section: one that it does not know is not measured, and has no effect.
fn is_measured(section: UkiSection, stub: Option<StubVersion>) -> Result<bool, BootError> {
    let Some(StubVersion(version)) = stub else { return Ok(true) };
    let unknown = Err(BootError::StubSection { section: section.name(), version });
    match section {
        // 252 does not know them, 254 does.
        UkiSection::Uname | UkiSection::Sbat => match version {
            ..=252 => Ok(false),
            253 => unknown,
            254.. => Ok(true),
        },
        // 254 does not know it, 256 does.
        UkiSection::Microcode => match version {
            ..=254 => Ok(false),
            255 => unknown,
            256.. => Ok(true),
        },
        UkiSection::Linux
        | UkiSection::OsRelease
        | UkiSection::CommandLine
        | UkiSection::Initrd
        | UkiSection::Splash
        | UkiSection::DeviceTree
        | UkiSection::PcrPublicKey => Ok(true),
    }
}

/// Content of a section that stands at most once.
fn content(image: &PeImage<'_>, name: &'static str) -> Result<Option<Vec<u8>>, BootError> {
    match image.count(name) {
        0 => Ok(None),
        1 => image.section(name).map(Some).ok_or(BootError::SectionSize { section: name }),
        _ => Err(BootError::Section { section: name }),
    }
}

fn stub_version(magic: &[u8]) -> Option<StubVersion> {
    let text = String::from_utf8_lossy(magic);
    let (_, rest) = text.split_once(STUB_NAME)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(StubVersion)
}

/// What a boot passes after the stub: `enter-initrd`, `leave-initrd`, `sysinit`, `ready`, joined by colons (systemd-pcrphase). The empty path
/// is the moment before the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Phases(Vec<String>);

impl Phases {
    fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    /// Whether it is the moment before the first phase.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(":")) }
    }
}

impl FromStr for Phases {
    type Err = BootError;

    fn from_str(text: &str) -> Result<Self, BootError> {
        if text == "none" {
            return Ok(Self::default());
        }
        let phases: Vec<String> = text.split(':').map(ToOwned::to_owned).collect();
        let plain =
            |phase: &String| !phase.is_empty() && phase.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if phases.len() > 16 || !phases.iter().all(plain) {
            return Err(BootError::Phases { found: text.chars().take(64).collect() });
        }
        Ok(Self(phases))
    }
}
