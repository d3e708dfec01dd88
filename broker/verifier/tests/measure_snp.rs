//! Launch digests: the golden values of other tools, the published crate, and what makes a prediction impossible.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use evidence_formats::{bytes::LaunchDigest, code::Coded};
use proptest::prelude::*;
use sev::measurement::{
    snp::{SnpMeasurementArgs, calc_snp_ovmf_hash, snp_calc_launch_digest},
    vcpu_types::CpuType,
    vmsa::{GuestFeatures, VMMType},
};
use softtee::image::FirmwareImage;
use verifier::measure::{
    firmware::{Firmware, FirmwareError},
    snp::{
        KernelHashes, SnpLaunch, SnpLaunchError, Svsm, VcpuCounts, VcpuSignature, Vmm, launch_digests, measure_firmware,
    },
};

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = ["..", "../.."]
        .iter()
        .map(|up| root.join(up).join("shared/vectors/snp/measurement"))
        .find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

fn launch<'a>(firmware: &'a Firmware<'a>, vmm: Vmm) -> SnpLaunch<'a> {
    let signature = (vmm == Vmm::Qemu).then(|| "EPYC-v4".parse().unwrap());
    SnpLaunch { firmware, firmware_digest: None, vmm, guest_features: 1, signature, kernel: None, svsm: None }
}

fn one(launch: &SnpLaunch<'_>, count: u32) -> Result<LaunchDigest, SnpLaunchError> {
    launch_digests(launch, &VcpuCounts::one(count).unwrap()).map(|digests| digests[0].1)
}

#[test]
fn golden_digests_are_predicted() {
    let Some(folder) = vectors() else { return };
    let document: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    let read = |name: &serde_json::Value| {
        fs::read(folder.join(Path::new(name.as_str().unwrap()).file_name().unwrap())).unwrap()
    };
    let mut checked = 0;
    for vector in document["vectors"].as_array().unwrap() {
        if let Some(name) = vector.get("ovmf_hash_of").filter(|name| name.is_string()) {
            let image = read(name);
            assert_eq!(measure_firmware(&Firmware::parse(&image).unwrap()).to_string(), vector["expected"]);
            checked += 1;
            continue;
        }
        if !vector["mode"].as_str().unwrap().starts_with("SEV_SNP") {
            continue;
        }
        let image = read(&vector["ovmf_file"]);
        let firmware = Firmware::parse(&image).unwrap();
        let text = |name: &str| vector[name].as_str().filter(|text| !text.is_empty());
        let vmm: Vmm = vector["vmm_type"].as_str().unwrap().to_ascii_lowercase().parse().unwrap();
        let signature = vector["vcpu_sig"].as_u64().map(|eax| VcpuSignature::new(eax.try_into().unwrap()));
        // Kernel and initrd of these vectors are empty.
        let kernel = text("kernel").map(|_| KernelHashes::new(b"", b"", text("append").unwrap_or_default()));
        let svsm = text("svsm_file").map(|_| read(&vector["svsm_file"]));
        let launch = SnpLaunch {
            firmware: &firmware,
            firmware_digest: text("snp_ovmf_hash_str").map(|digest| digest.parse().unwrap()),
            vmm,
            guest_features: vector["guest_features"].as_u64().unwrap(),
            // The vectors name a type on EC2 too, where it is not used.
            signature: signature.filter(|_| vmm == Vmm::Qemu),
            kernel: kernel.as_ref(),
            svsm: svsm
                .as_deref()
                .map(|image| Svsm { image, variable_store: vector["ovmf_vars_size"].as_u64().unwrap() }),
        };
        let count = vector["vcpus"].as_u64().unwrap().try_into().unwrap();
        assert_eq!(one(&launch, count).unwrap().to_string(), vector["expected"].as_str().unwrap(), "{vector}");
        checked += 1;
    }
    assert_eq!(checked, 21);
}

/// Firmware, kernel and initrd as files, which the published crate wants.
struct Files {
    _folder: tempfile::TempDir,
    /// Digest over the firmware's pages, so that the crate hashes it once.
    digest: String,
    firmware: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
}

const KERNEL: &[u8] = b"a kernel";
const INITRD: &[u8] = b"an initrd";

impl Files {
    fn new(image: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let (firmware, kernel, initrd) = (file("fd", image), file("kernel", KERNEL), file("initrd", INITRD));
        let digest = calc_snp_ovmf_hash(firmware.clone()).unwrap().get_hex_ld();
        Self { _folder: folder, digest, firmware, kernel, initrd }
    }

    fn oracle(&self, vmm: VMMType, vcpus: u32, features: u64, command_line: Option<&str>) -> String {
        snp_calc_launch_digest(SnpMeasurementArgs {
            vcpus,
            vcpu_type: CpuType::EpycMilanV2,
            ovmf_file: self.firmware.clone(),
            guest_features: GuestFeatures(features),
            kernel_file: command_line.map(|_| self.kernel.clone()),
            initrd_file: command_line.map(|_| self.initrd.clone()),
            append: command_line,
            ovmf_hash_str: Some(&self.digest),
            vmm_type: Some(vmm),
        })
        .unwrap()
        .get_hex_ld()
    }
}

/// The made-up image, and genuine firmware where a package of it is installed.
fn images() -> Vec<Vec<u8>> {
    let mut images = vec![FirmwareImage::ovmf().build()];
    for path in ["/usr/share/ovmf/OVMF.amdsev.fd", "/usr/share/ovmf/OVMF.inteltdx.ms.fd", "/usr/share/ovmf/OVMF.fd"] {
        match fs::read(path) {
            Ok(image) => images.push(image),
            Err(_) => eprintln!("{path} is not here: skipped"),
        }
    }
    images
}

#[test]
fn the_published_crate_agrees() {
    for image in images() {
        let files = Files::new(&image);
        let firmware = Firmware::parse(&image).unwrap();
        assert_eq!(measure_firmware(&firmware).to_string(), files.digest);
        let hashes = KernelHashes::new(KERNEL, INITRD, "console=ttyS0");
        let measures_kernel = firmware.kernel_hash_table().is_ok();
        for command_line in [None, measures_kernel.then_some("console=ttyS0")] {
            for (count, features) in [(1, 1), (2, 0x21), (5, 1)] {
                let mut launch = launch(&firmware, Vmm::Qemu);
                launch.signature = Some("EPYC-Milan-v2".parse().unwrap());
                launch.guest_features = features;
                launch.kernel = command_line.map(|_| &hashes);
                let wanted = files.oracle(VMMType::QEMU, count, features, command_line);
                assert_eq!(one(&launch, count).unwrap().to_string(), wanted);
                // The crate starts EC2's processors with RDX 0, the golden values with 0x600.
                launch.vmm = Vmm::Ec2;
                launch.signature = Some(VcpuSignature::new(0));
                let wanted = files.oracle(VMMType::EC2, count, features, command_line);
                assert_eq!(one(&launch, count).unwrap().to_string(), wanted);
            }
        }
    }
}

#[test]
fn processor_types_have_the_signatures_of_the_published_crate() {
    for name in [
        "EPYC",
        "EPYC-v1",
        "EPYC-v2",
        "EPYC-IBPB",
        "EPYC-v3",
        "EPYC-v4",
        "EPYC-Rome",
        "EPYC-Rome-v3",
        "EPYC-Milan",
        "EPYC-Milan-v2",
        "EPYC-Genoa",
        "EPYC-Genoa-v1",
        "EPYC-Turin",
        "EPYC-Turin-v2",
    ] {
        let theirs = u32::try_from(CpuType::try_from(name).unwrap().sig()).unwrap();
        assert_eq!(name.parse::<VcpuSignature>().unwrap().value(), theirs, "{name}");
    }
    assert_eq!("0x800F12".parse::<VcpuSignature>().unwrap().value(), 0x0080_0f12);
    for wrong in ["", "EPYC-", "EPYC-v0", "EPYC-v12", "EPYC-Milano", "Skylake", "0x", "0x123456789", "8392466"] {
        assert!(wrong.parse::<VcpuSignature>().is_err(), "{wrong}");
    }
}

#[test]
fn many_counts_are_one_computation_with_the_same_digests() {
    let image = FirmwareImage::ovmf().build();
    let firmware = Firmware::parse(&image).unwrap();
    let launch = launch(&firmware, Vmm::Gce);
    let counts: VcpuCounts = "8,1,2,4-6".parse().unwrap();
    let digests = launch_digests(&launch, &counts).unwrap();
    assert_eq!(digests.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [1, 2, 4, 5, 6, 8]);
    for (count, digest) in &digests {
        assert_eq!(one(&launch, *count).unwrap(), *digest);
    }
    let mut seeded = launch.clone();
    seeded.firmware_digest = Some(measure_firmware(&firmware));
    assert_eq!(launch_digests(&seeded, &counts).unwrap(), digests);
    for wrong in ["", "0", "1,", "4-2", "1-4097", "1-4096", "a", "-1"] {
        assert!(wrong.parse::<VcpuCounts>().is_err(), "{wrong}");
    }
}

#[test]
fn every_input_changes_the_digest() {
    let image = FirmwareImage::ovmf().build();
    let firmware = Firmware::parse(&image).unwrap();
    let hashes = KernelHashes::new(KERNEL, INITRD, "quiet");
    let mut base = launch(&firmware, Vmm::Qemu);
    base.kernel = Some(&hashes);
    let other_image = FirmwareImage { seed: 8, ..FirmwareImage::ovmf() }.build();
    let other_firmware = Firmware::parse(&other_image).unwrap();
    let other_hashes = [
        KernelHashes::new(b"another kernel", INITRD, "quiet"),
        KernelHashes::new(KERNEL, b"", "quiet"),
        KernelHashes::new(KERNEL, INITRD, "quiet init=/bin/sh"),
    ];
    let mut seen = vec![one(&base, 2).unwrap(), one(&base, 3).unwrap()];
    seen.push(one(&SnpLaunch { firmware: &other_firmware, ..base.clone() }, 2).unwrap());
    seen.push(one(&SnpLaunch { guest_features: 0x21, ..base.clone() }, 2).unwrap());
    seen.push(one(&SnpLaunch { signature: Some(VcpuSignature::new(1)), ..base.clone() }, 2).unwrap());
    seen.push(one(&SnpLaunch { vmm: Vmm::Ec2, ..base.clone() }, 2).unwrap());
    seen.push(one(&SnpLaunch { vmm: Vmm::Gce, ..base.clone() }, 2).unwrap());
    seen.push(one(&SnpLaunch { kernel: None, ..base.clone() }, 2).unwrap());
    for kernel in &other_hashes {
        seen.push(one(&SnpLaunch { kernel: Some(kernel), ..base.clone() }, 2).unwrap());
    }
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), total);
}

#[test]
fn what_cannot_be_predicted_is_an_error_with_its_code() {
    let without = |change: fn(&mut FirmwareImage)| {
        let mut image = FirmwareImage::ovmf();
        change(&mut image);
        image.build()
    };
    let hashes = KernelHashes::new(KERNEL, INITRD, "");
    let code = |image: &[u8], change: &dyn Fn(&mut SnpLaunch<'_>), count: u32| {
        let firmware = Firmware::parse(image).unwrap();
        let mut launch = launch(&firmware, Vmm::Qemu);
        launch.kernel = Some(&hashes);
        change(&mut launch);
        one(&launch, count).unwrap_err().code().as_str()
    };
    let same = |_: &mut SnpLaunch<'_>| {};
    assert_eq!(code(&without(|image| image.sev.truncate(5)), &same, 1), "measure.snp.kernel_unmeasured");
    assert_eq!(code(&without(|image| image.hash_table = None), &same, 1), "measure.firmware.missing");
    assert_eq!(code(&without(|image| image.hash_table = Some(0)), &same, 1), "measure.firmware.missing");
    assert_eq!(code(&without(|image| image.hash_table = Some(0x80_0000)), &same, 1), "measure.snp.hash_table");
    assert_eq!(code(&without(|image| image.hash_table = Some(0x81_0FF0)), &same, 1), "measure.snp.hash_table");
    assert_eq!(code(&without(|image| image.sev[1].1 = 0x2000), &same, 1), "measure.snp.section");
    assert_eq!(code(&without(|image| image.sev[2].1 = 0), &same, 1), "measure.snp.section");
    assert_eq!(code(&without(|image| image.sev[5].1 = 0x2000), &same, 1), "measure.snp.section");
    assert_eq!(code(&without(|image| image.sev[0].2 = 5), &same, 1), "measure.firmware.section");
    assert_eq!(code(&without(|image| image.sev[0].1 = 0x123), &same, 1), "measure.firmware.section");
    assert_eq!(code(&without(|image| image.sev[0].0 = 0xFFFF_F000), &same, 1), "measure.firmware.section");
    assert_eq!(code(&without(|image| image.sev[0] = (0, 0xE000_0000, 1)), &same, 1), "measure.firmware.section");
    assert_eq!(code(&without(|image| image.reset = None), &same, 2), "measure.firmware.missing");
    assert_eq!(code(&without(|image| image.reset = Some(0)), &same, 2), "measure.snp.reset_address");
    let image = FirmwareImage::ovmf().build();
    assert_eq!(code(&image, &|launch| launch.signature = None, 1), "measure.snp.vcpu_type");
    let svsm = Svsm { image: &[], variable_store: 0 };
    assert_eq!(
        code(&image, &|launch| (launch.vmm, launch.svsm, launch.kernel) = (Vmm::Ec2, Some(svsm), None), 1),
        "measure.snp.svsm"
    );
    assert_eq!(code(&image, &|launch| launch.svsm = Some(svsm), 1), "measure.firmware.size");
    // A single processor needs no reset address.
    let image = without(|image| image.reset = None);
    one(&launch(&Firmware::parse(&image).unwrap(), Vmm::Qemu), 1).unwrap();
}

#[test]
fn a_table_is_read_exactly_or_refused() {
    let good = FirmwareImage::ovmf().build();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut image = good.clone();
        change(&mut image);
        Firmware::parse(&image).map(|firmware| firmware.sev_sections()).unwrap_err().code().as_str()
    };
    let end = good.len();
    assert_eq!(Firmware::parse(&[]).unwrap_err(), FirmwareError::Size { actual: 0 });
    assert_eq!(refused(&|image| image.truncate(end - 1)), "measure.firmware.size");
    // The footer's GUID, its length, and the length of the entry before it.
    assert_eq!(refused(&|image| image[end - 33] ^= 1), "measure.firmware.table");
    assert_eq!(refused(&|image| image[end - 49] = 0xFF), "measure.firmware.table");
    assert_eq!(refused(&|image| image[end - 50] -= 1), "measure.firmware.table");
    for length in [0, 17, 19] {
        assert_eq!(refused(&|image| image[end - 68] = length), "measure.firmware.table", "{length}");
    }
    assert_eq!(Firmware::ending_at(&good, 0x8000).unwrap_err().code().as_str(), "measure.firmware.size");
    // The metadata's signature, length, version and count.
    for offset in [0, 4, 8, 12] {
        let mut image = good.clone();
        image[end - 0x400 + offset] ^= 1;
        let error = Firmware::parse(&image).unwrap().sev_sections().unwrap_err();
        assert_eq!(error.code().as_str(), "measure.firmware.metadata", "{offset}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in the last page of an image: an answer or an error, in bounded time.
    #[test]
    fn arbitrary_firmware_never_panics(edits in proptest::collection::vec((0_usize..0x1000, any::<u8>()), 0..24), pages in 1_usize..4) {
        let good = FirmwareImage::ovmf().build();
        let mut image = good[good.len() - 0x1000 * pages..].to_vec();
        let end = image.len();
        for (offset, byte) in edits {
            image[end - 1 - offset] = byte;
        }
        if let Ok(firmware) = Firmware::parse(&image) {
            let _ = firmware.tdx_sections();
            if firmware.sev_sections().is_ok_and(|sections| sections.iter().map(|section| section.size).sum::<usize>() < 1 << 20) {
                let _ = one(&launch(&firmware, Vmm::Qemu), 2);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_not_firmware(bytes in proptest::collection::vec(any::<u8>(), 4096)) {
        prop_assert!(Firmware::parse(&bytes).is_err());
    }
}
