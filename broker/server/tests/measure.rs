//! `countersign measure`: what it prints, and that evidence of the same image passes with what it printed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs,
    process::{Command, Output},
};

use evidence_formats::snp::ProductLine;
use serde_json::{Value, json};
use softtee::{
    amd::{AmdPki, SecureProcessor},
    image::{Disk, FirmwareImage, PeFile},
    intel::{AT, TdxPlatform},
};
use tempfile::TempDir;
use time::macros::datetime;

/// The set that every test writes.
const SET: [&str; 8] = [
    "--set",
    "web-prod",
    "--set-version",
    "4",
    "--not-before",
    "2026-11-01T00:00:00Z",
    "--provenance",
    "web-image build 1874",
];

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("OVMF.fd", &FirmwareImage::ovmf().build());
        let kernel = PeFile::kernel(b"a kernel").build();
        let sections: [(&str, &[u8]); 4] =
            [(".osrel", b"ID=test\n"), (".cmdline", b"quiet"), (".linux", &kernel), (".initrd", b"an initrd")];
        folder.write("vmlinuz", &kernel);
        folder.write("initrd", b"an initrd");
        folder.write("linux.efi", &PeFile::uki("257.13", &sections).build());
        folder.write("new.efi", &PeFile::uki("262.1", &sections).build());
        folder.write("disk.raw", &Disk { sector: 512, partitions: 1, id: 7 }.build());
        folder.write("boot.log", include_bytes!("../../verifier/tests/boot/uki.log"));
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.0.path().join(name), content).unwrap();
        self.path(name)
    }

    /// Arguments with the names of files of this folder in place of `@name`.
    fn run(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<String> = arguments
            .iter()
            .chain(&SET)
            .map(|argument| argument.strip_prefix('@').map_or_else(|| (*argument).to_owned(), |name| self.path(name)))
            .collect();
        let arguments: Vec<&str> =
            [&["measure"], &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
        countersign(&arguments)
    }
}

fn countersign(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What was printed on stdout and stderr, and the exit status.
fn shown(output: &Output) -> String {
    format!("{}--- stderr\n{}--- status {}", text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

const SNP: [&str; 16] = [
    "snp",
    "--firmware",
    "@OVMF.fd",
    "--vcpus",
    "1,2,4-5",
    "--vcpu-type",
    "EPYC-v4",
    "--kernel",
    "@vmlinuz",
    "--initrd",
    "@initrd",
    "--cmdline",
    "console=ttyS0",
    "--guest-features",
    "0x21",
    "--format",
];

#[test]
fn help_is_a_manual_page_with_examples() {
    insta::assert_snapshot!("measure_help", shown(&countersign(&["measure", "--help"])));
    for kind in ["snp", "tdx", "uki"] {
        insta::assert_snapshot!(format!("measure_{kind}_help"), shown(&countersign(&["measure", kind, "--help"])));
    }
}

#[test]
fn snp_launch_digests_are_printed_as_a_set_for_people_and_programs() {
    let folder = Folder::new();
    insta::assert_snapshot!("measure_snp_text", shown(&folder.run(&[&SNP[..], &["text"]].concat())));
    insta::assert_snapshot!("measure_snp_json", shown(&folder.run(&[&SNP[..], &["json"]].concat())));
}

#[test]
fn pcrs_of_an_image_are_printed_for_each_moment_of_the_boot() {
    let folder = Folder::new();
    let image = ["uki", "--image", "@linux.efi", "--disk", "@disk.raw"];
    insta::assert_snapshot!("measure_uki_text", shown(&folder.run(&image)));
    insta::assert_snapshot!(
        "measure_uki_template_json",
        shown(&folder.run(
            &[&image[..], &["--event-log-template", "@boot.log", "--phases", "none", "--format", "json"]].concat()
        ))
    );
    let direct = ["uki", "--kernel", "@vmlinuz", "--initrd", "@initrd", "--cmdline", "quiet", "--bank", "sha384"];
    insta::assert_snapshot!("measure_uki_direct_text", shown(&folder.run(&direct)));
    insta::assert_snapshot!("measure_uki_own_loader_text", shown(&folder.run(&["uki", "--image", "@new.efi"])));
}

#[test]
fn mrtd_and_rtmrs_are_printed_as_a_set() {
    let folder = Folder::new();
    let image = ["tdx", "--firmware", "@OVMF.fd", "--image", "@linux.efi", "--disk", "@disk.raw"];
    insta::assert_snapshot!("measure_tdx_text", shown(&folder.run(&image)));
    let direct = ["tdx", "--firmware", "@OVMF.fd", "--kernel", "@vmlinuz", "--cmdline", "quiet", "--format", "json"];
    insta::assert_snapshot!("measure_tdx_direct_json", shown(&folder.run(&direct)));
}

#[test]
fn what_is_not_covered_is_said() {
    let folder = Folder::new();
    let output = folder.run(&["snp", "--firmware", "@OVMF.fd", "--vmm", "ec2"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("covers the firmware alone"), "{}", shown(&output));
}

#[test]
fn wrong_usage_and_unpredictable_images_have_their_status() {
    let folder = Folder::new();
    let plain = FirmwareImage { sev: FirmwareImage::ovmf().sev[..4].to_vec(), ..FirmwareImage::ovmf() };
    folder.write("plain.fd", &plain.build());
    for (arguments, status, message) in [
        (&["snp", "--firmware", "@absent"][..], 2, "opening"),
        (&["snp", "--firmware", "@OVMF.fd", "--vcpus", "0", "--vcpu-type", "EPYC"], 2, "numbers from 1 to 4096"),
        (&["snp", "--firmware", "@OVMF.fd", "--guest-features", "0x20", "--vcpu-type", "EPYC"], 2, "SNPActive"),
        (
            &["snp", "--firmware", "@OVMF.fd", "--vcpu-type", "EPYC", "--not-after", "2026-10-01T00:00:00Z"],
            2,
            "reference.document",
        ),
        (&["snp", "--firmware", "@OVMF.fd"], 1, "measure.snp.vcpu_type"),
        (&["snp", "--firmware", "@vmlinuz", "--vmm", "gce"], 1, "measure.firmware.size"),
        (
            &["snp", "--firmware", "@plain.fd", "--vmm", "gce", "--kernel", "@vmlinuz"],
            1,
            "measure.snp.kernel_unmeasured",
        ),
    ] {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", shown(&output));
        assert!(text(&output.stderr).contains(message), "{arguments:?}: {}", shown(&output));
        assert!(output.stdout.is_empty());
    }
}

/// Evidence of a simulated guest with this launch digest, judged with these reference values.
fn verify(folder: &Folder, launch: &str, reference_values: &str) -> Value {
    const NOW: time::OffsetDateTime = datetime!(2026-11-22 00:00 UTC);
    let product = ProductLine::Milan;
    let processor = SecureProcessor::new(product);
    let pki = AmdPki::new(product);
    let mut guest = processor.guest();
    guest.measurement = launch.parse().unwrap();
    let anchors: Vec<String> = pki
        .anchors()
        .iter()
        .enumerate()
        .map(|(index, anchor)| folder.write(&format!("anchor{index}.der"), anchor))
        .collect();
    let endorsements = folder.0.path().join("endorsements");
    fs::create_dir_all(&endorsements).unwrap();
    fs::write(endorsements.join("vek.der"), processor.vek().der()).unwrap();
    fs::write(endorsements.join("crl.der"), pki.sign_crl(&pki.crl(NOW))).unwrap();
    let evidence = folder.write("report.bin", &processor.report(&guest));
    let endorsements = endorsements.display().to_string();
    let mut arguments = vec!["verify", "--type", "snp", "--evidence", &evidence, "--endorsements", &endorsements];
    arguments.extend(["--at", "2026-11-22T00:00:00Z", "--format", "json", "--reference-values", reference_values]);
    arguments.extend(anchors.iter().flat_map(|anchor| ["--trust-anchor", anchor.as_str()]));
    serde_json::from_slice(&countersign(&arguments).stdout).unwrap()
}

#[test]
fn evidence_of_the_measured_image_passes_and_of_another_does_not() {
    let folder = Folder::new();
    let measured = folder.run(&[&SNP[..], &["json"]].concat());
    let document: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let values = folder.write("values.json", &measured.stdout);
    let alternatives = document["sets"][0]["measurements"].as_array().unwrap();
    assert_eq!(alternatives.len(), 4);
    for alternative in alternatives {
        let verdict = verify(&folder, alternative["launch"].as_str().unwrap(), &values);
        assert_eq!(verdict["verdict"], "accepted", "{verdict:#}");
    }
    // The same image with three processors, which the set does not list.
    let three: Vec<&str> = SNP.iter().map(|argument| if *argument == "1,2,4-5" { "3" } else { argument }).collect();
    let other: Value = serde_json::from_slice(&folder.run(&[&three[..], &["json"]].concat()).stdout).unwrap();
    let verdict = verify(&folder, other["sets"][0]["measurements"][0]["launch"].as_str().unwrap(), &values);
    assert_eq!(
        (&verdict["verdict"], &verdict["code"]),
        (&json!("rejected"), &json!("reference.no_match")),
        "{verdict:#}"
    );
}

#[test]
fn a_quote_of_the_measured_td_passes_and_of_another_does_not() {
    let folder = Folder::new();
    let image = ["tdx", "--firmware", "@OVMF.fd", "--image", "@linux.efi", "--disk", "@disk.raw", "--format", "json"];
    let measured = folder.run(&[&image[..], &["--not-after", "2027-01-01T00:00:00Z"]].concat());
    let document: Value = serde_json::from_slice(&measured.stdout).unwrap();
    // The set begins after the platform's collateral: this test is about what it pins.
    let values = text(&measured.stdout).replace("2026-11-01", "2026-01-01");
    let values = folder.write("values.json", values.as_bytes());
    let pinned = &document["sets"][0]["measurements"][0];
    let platform = TdxPlatform::new();
    let root = folder.write("root.der", &platform.pki.root.der());
    let endorsements = folder.0.path().join("collateral");
    fs::create_dir_all(&endorsements).unwrap();
    for (name, content) in platform.collateral(AT).files() {
        fs::write(endorsements.join(name), content).unwrap();
    }
    let verify = |change: &dyn Fn(&mut [String; 3])| {
        let mut wanted = [&pinned["launch"], &pinned["runtime"]["rtmr1"], &pinned["runtime"]["rtmr2"]]
            .map(|value| value.as_str().unwrap().to_owned());
        change(&mut wanted);
        let mut td = platform.td();
        td.info.mr_td = wanted[0].parse().unwrap();
        td.info.rtmr[1] = wanted[1].parse().unwrap();
        td.info.rtmr[2] = wanted[2].parse().unwrap();
        let quote = folder.write("quote.bin", &platform.quote(&td).to_bytes(&platform));
        let endorsements = endorsements.display().to_string();
        let output = countersign(&[
            "verify",
            "--type",
            "tdx",
            "--evidence",
            &quote,
            "--endorsements",
            &endorsements,
            "--trust-anchor",
            &root,
            "--at",
            "2026-06-01T00:00:00Z",
            "--reference-values",
            &values,
            "--format",
            "json",
        ]);
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
        (verdict["verdict"].as_str().unwrap().to_owned(), verdict["code"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(verify(&|_| {}), ("accepted".to_owned(), None));
    for index in 0..3 {
        let other = verify(&|wanted| wanted[index] = "5e".repeat(48));
        assert_eq!(other, ("rejected".to_owned(), Some("reference.no_match".to_owned())), "{index}");
    }
}
