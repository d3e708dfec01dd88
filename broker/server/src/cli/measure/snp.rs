//! `countersign measure snp`.

use std::path::PathBuf;

use evidence_formats::bytes::LaunchDigest;
use verifier::{
    measure::{
        firmware::Firmware,
        snp::{KernelHashes, SnpLaunch, Svsm, VcpuCounts, VcpuSignature, Vmm, launch_digests},
    },
    reference::Measurement,
};

use super::{
    Failure, Prediction,
    inputs::{Input, KernelArgs},
    set::SetArgs,
};

/// Arguments of `countersign measure snp`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  Guests of 1, 2, 4 and 8 processors that QEMU starts with kernel and initrd beside the firmware:
    countersign measure snp --firmware OVMF.amdsev.fd --vcpus 1,2,4,8 --vcpu-type EPYC-v4 \\
        --kernel vmlinuz --initrd initrd.zst --cmdline 'console=ttyS0' --set web-prod --set-version 4 --format json

  A guest on EC2, which boots from its disk: the digest covers the firmware alone, so pin more than it:
    countersign measure snp --firmware ovmf_img.fd --vmm ec2 --vcpus 2 --set web-firmware")]
pub(super) struct Args {
    /// OVMF image
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    /// Launch digest over the firmware's own pages, computed before: only the metadata of --firmware is used then
    #[arg(long, value_name = "HEX")]
    firmware_digest: Option<LaunchDigest>,
    /// Numbers of processors: 1,2,4-8
    #[arg(long, value_name = "LIST", default_value = "1")]
    vcpus: VcpuCounts,
    /// Type of the processors: EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa, EPYC-Turin with or without a version, or the value of
    /// CPUID 1 EAX (0x…). QEMU needs it; elsewhere it replaces RDX at the start (0x600)
    #[arg(long, value_name = "TYPE")]
    vcpu_type: Option<VcpuSignature>,
    /// Who starts the guest: qemu, ec2 or gce
    #[arg(long, value_name = "VMM", default_value = "qemu")]
    vmm: Vmm,
    /// SEV_FEATURES of the processors
    #[arg(long, value_name = "HEX", default_value = "0x1", value_parser = guest_features)]
    guest_features: u64,
    #[command(flatten)]
    kernel: KernelArgs,
    /// Secure VM service module (COCONUT) that runs below the firmware
    #[arg(long, value_name = "FILE")]
    svsm: Option<PathBuf>,
    /// Size of the variable store between the SVSM and the firmware, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0, requires = "svsm")]
    vars_size: u64,
    #[command(flatten)]
    pub(super) set: SetArgs,
}

fn guest_features(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u64::from_str_radix(digits, 16) {
        // AMD APM volume 2, section 15.36.1: without SNPActive it is no SNP guest.
        Ok(features) if features & 1 == 1 => Ok(features),
        Ok(_) => Err("expected bit 0 (SNPActive) to be set".to_owned()),
        Err(_) => Err("expected hex digits such as 0x21".to_owned()),
    }
}

/// Computes the launch digests.
///
/// # Errors
/// [`Failure`] when a file cannot be read or the firmware does not say enough.
pub(super) fn predict(args: &Args) -> Result<Prediction, Failure> {
    let input = Input::firmware("firmware", &args.firmware)?;
    let kernel = args.kernel.read()?;
    let svsm = args.svsm.as_deref().map(|path| Input::firmware("svsm", path)).transpose()?;
    let firmware = Firmware::parse(&input.bytes).map_err(|error| Failure::refused(&error))?;
    let hashes =
        kernel.as_ref().map(|inputs| KernelHashes::new(&inputs.kernel.bytes, inputs.initrd(), &inputs.cmdline));
    let launch = SnpLaunch {
        firmware: &firmware,
        firmware_digest: args.firmware_digest,
        vmm: args.vmm,
        guest_features: args.guest_features,
        signature: args.vcpu_type,
        kernel: hashes.as_ref(),
        svsm: svsm.as_ref().map(|image| Svsm { image: &image.bytes, variable_store: args.vars_size }),
    };
    let digests = launch_digests(&launch, &args.vcpus).map_err(|error| Failure::refused(&error))?;
    let mut sources = vec![input.source()];
    sources.extend(svsm.as_ref().map(Input::source));
    sources.extend(kernel.iter().flat_map(|kernel| kernel.sources()));
    sources.extend(settings(args));
    Ok(Prediction { measurements: digests.into_iter().map(alternative).collect(), sources, notes: notes(args) })
}

fn alternative((count, launch): (u32, LaunchDigest)) -> Measurement {
    let name = if count == 1 { "1 vCPU".to_owned() } else { format!("{count} vCPUs") };
    Measurement { name: Some(name), launch: Some(launch), ..Measurement::default() }
}

fn settings(args: &Args) -> Vec<String> {
    let mut settings = vec![format!("vmm {}", args.vmm.name())];
    settings.extend(args.vcpu_type.map(|signature| format!("vcpu signature {signature}")));
    settings.push(format!("guest features {:#x}", args.guest_features));
    settings.extend(args.firmware_digest.map(|digest| format!("firmware digest {digest}")));
    settings
}

fn notes(args: &Args) -> Vec<String> {
    let mut notes = Vec::new();
    if args.kernel.kernel.is_none() {
        notes.push(
            "the launch digest covers the firmware alone: pin what it boots as well (PCRs, or events), or every guest with this \
             firmware is this workload"
                .to_owned(),
        );
    }
    if args.svsm.is_some() {
        notes.push(
            "with an SVSM the digest identifies the layer that runs the virtual TPM: --kind paravisor".to_owned(),
        );
    }
    notes
}
