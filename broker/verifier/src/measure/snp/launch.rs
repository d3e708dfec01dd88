//! What is launched, and the digests that come of it.

use evidence_formats::bytes::LaunchDigest;

use super::{
    KernelHashes, SnpLaunchError, VcpuCounts, VcpuSignature, Vmm,
    digest::{Context, PageType},
    vmsa,
};
use crate::measure::firmware::{Firmware, PAGE, SevSection, SevSectionKind};

/// Everything that the launch digest of a guest depends on, except how many processors it has.
#[derive(Debug, Clone)]
pub struct SnpLaunch<'a> {
    /// OVMF; it ends at 4 GiB.
    pub firmware: &'a Firmware<'a>,
    /// The digest over the firmware's pages when it was computed before ([`measure_firmware`]): then only the metadata of
    /// `firmware` counts.
    pub firmware_digest: Option<LaunchDigest>,
    /// Who adds the pages.
    pub vmm: Vmm,
    /// SEV_FEATURES of the processors (AMD APM volume 2, section 15.36.1); bit 0, SNPActive, is set in every SNP guest.
    pub guest_features: u64,
    /// CPUID signature, which QEMU needs. Elsewhere it replaces the host's own start value of RDX.
    pub signature: Option<VcpuSignature>,
    /// What is started directly; firmware that boots from a disk has none.
    pub kernel: Option<&'a KernelHashes>,
    /// A secure VM service module that runs below the firmware.
    pub svsm: Option<Svsm<'a>>,
}

/// A secure VM service module: an image that ends below the firmware's variable store.
#[derive(Debug, Clone, Copy)]
pub struct Svsm<'a> {
    /// The image.
    pub image: &'a [u8],
    /// Bytes of the variable store between the image and the firmware.
    pub variable_store: u64,
}

/// The digest over a firmware's own pages: what a launch begins with.
#[must_use]
pub fn measure_firmware(firmware: &Firmware<'_>) -> LaunchDigest {
    let mut context = Context::new();
    context.add_content(firmware.gpa(), firmware.bytes());
    context.digest()
}

/// Launch digests by number of processors, ascending. What all have in common is computed once.
///
/// # Errors
/// [`SnpLaunchError`] when the metadata of the firmware does not say enough, or a kernel would stay unmeasured.
pub fn launch_digests(launch: &SnpLaunch<'_>, counts: &VcpuCounts) -> Result<Vec<(u32, LaunchDigest)>, SnpLaunchError> {
    let start = launch.firmware_digest.unwrap_or_else(|| measure_firmware(launch.firmware));
    let mut context = Context::continuing(start);
    let (first, other) = match launch.svsm {
        Some(svsm) => add_svsm(launch, svsm, &mut context)?,
        None => {
            add_sections(launch, launch.firmware, &mut context)?;
            processor_pages(launch, counts)?
        }
    };
    let mut digests = Vec::new();
    let mut added = 0_u32;
    for count in counts.iter() {
        while added < count {
            context.add_vmsa(if added == 0 { &first } else { &other });
            added = added.saturating_add(1);
        }
        digests.push((count, context.digest()));
    }
    Ok(digests)
}

/// State of the first processor and of the others.
type ProcessorPages = (Box<[u8; PAGE]>, Box<[u8; PAGE]>);

fn processor_pages(launch: &SnpLaunch<'_>, counts: &VcpuCounts) -> Result<ProcessorPages, SnpLaunchError> {
    let rdx = start_rdx(launch)?;
    let first = vmsa::page(launch.vmm, vmsa::RESET_VECTOR, rdx, launch.guest_features);
    if counts.iter().all(|count| count == 1) {
        return Ok((first.clone(), first));
    }
    let eip = launch.firmware.ap_reset_eip()?;
    if eip == 0 {
        return Err(SnpLaunchError::NoResetAddress);
    }
    Ok((first, vmsa::page(launch.vmm, eip, rdx, launch.guest_features)))
}

fn start_rdx(launch: &SnpLaunch<'_>) -> Result<u32, SnpLaunchError> {
    launch.vmm.rdx(launch.signature.map(VcpuSignature::value)).ok_or(SnpLaunchError::Signature)
}

/// The SVSM is added after the firmware; its own metadata lists the sections, and every processor starts in it.
fn add_svsm(launch: &SnpLaunch<'_>, svsm: Svsm<'_>, context: &mut Context) -> Result<ProcessorPages, SnpLaunchError> {
    if launch.vmm != Vmm::Qemu {
        return Err(SnpLaunchError::SvsmHost);
    }
    let end = launch.firmware.gpa().saturating_sub(svsm.variable_store);
    let image = Firmware::ending_at(svsm.image, end)?;
    context.add_content(image.gpa(), image.bytes());
    add_sections(launch, &image, context)?;
    let gpa = image.svsm_entry_point()?;
    let entry = u32::try_from(gpa).map_err(|_too_high| SnpLaunchError::SvsmEntry { gpa })?;
    let page = vmsa::svsm_page(entry, start_rdx(launch)?);
    Ok((page.clone(), page))
}

/// Sections in table order; EC2 adds the CPUID page after all others.
fn add_sections(launch: &SnpLaunch<'_>, listed_by: &Firmware<'_>, context: &mut Context) -> Result<(), SnpLaunchError> {
    let sections = listed_by.sev_sections()?;
    if launch.kernel.is_some() && !sections.iter().any(|section| section.kind == SevSectionKind::KernelHashes) {
        return Err(SnpLaunchError::KernelUnmeasured);
    }
    let last = |section: &SevSection| launch.vmm == Vmm::Ec2 && section.kind == SevSectionKind::Cpuid;
    let (late, now): (Vec<SevSection>, Vec<SevSection>) = sections.into_iter().partition(last);
    for section in now.into_iter().chain(late) {
        add_section(launch, listed_by, section, context)?;
    }
    Ok(())
}

fn add_section(
    launch: &SnpLaunch<'_>,
    listed_by: &Firmware<'_>,
    section: SevSection,
    context: &mut Context,
) -> Result<(), SnpLaunchError> {
    let (kind, what) = match section.kind {
        SevSectionKind::Memory if launch.vmm == Vmm::Gce => (PageType::Unmeasured, None),
        SevSectionKind::Memory | SevSectionKind::SvsmCallingArea => (PageType::Zero, None),
        SevSectionKind::Secrets => (PageType::Secrets, Some("secrets")),
        SevSectionKind::Cpuid => (PageType::Cpuid, Some("CPUID")),
        SevSectionKind::KernelHashes => match launch.kernel {
            Some(hashes) => return add_kernel_hashes(hashes, listed_by, section, context),
            None => (PageType::Zero, None),
        },
    };
    if let Some(what) = what {
        one_page(section, what)?;
    }
    context.add_without_content(kind, section.gpa, section.size);
    Ok(())
}

fn add_kernel_hashes(
    hashes: &KernelHashes,
    firmware: &Firmware<'_>,
    section: SevSection,
    context: &mut Context,
) -> Result<(), SnpLaunchError> {
    one_page(section, "kernel hashes")?;
    let gpa = firmware.kernel_hash_table()?;
    let wrong = SnpLaunchError::HashTable { gpa };
    let offset = gpa.checked_sub(section.gpa).and_then(|offset| usize::try_from(offset).ok());
    let page = offset.and_then(|offset| hashes.page(offset)).ok_or(wrong)?;
    context.add_content(section.gpa, &*page);
    Ok(())
}

const fn one_page(section: SevSection, what: &'static str) -> Result<(), SnpLaunchError> {
    if section.size == PAGE { Ok(()) } else { Err(SnpLaunchError::SectionSize { what, actual: section.size }) }
}
