//! What boots measure: made-up images, logs of real boots, genuine TDX logs, and systemd's own prediction.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::as_conversions,
    reason = "tests"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use evidence_formats::{
    code::Coded,
    digest::{Digest, HashAlgorithm},
    eventlog::{Event, EventLog, EventType},
};
use proptest::prelude::*;
use serde_json::Value;
use softtee::image::{Disk, FirmwareImage, PeFile, TdxPart};
use verifier::measure::{
    boot::{
        BootSource, PartitionTable, PeImage, Phases, Step, StepKind, StubVersion, Template, Uki, from_template, pcrs,
        rtmrs, steps,
    },
    firmware::Firmware,
    tdx::{PageOrder, mrtd},
};

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
const SHA384: HashAlgorithm = HashAlgorithm::Sha384;

/// Logs of boots of a Debian kernel on OVMF 2025.02 in QEMU with swtpm (`scripts/test-measure` makes such boots): an image with systemd-stub 257,
/// one with 262, which loads the kernel itself, and a kernel beside the firmware.
const UKI_LOG: &[u8] = include_bytes!("boot/uki.log");
const OWN_LOADER_LOG: &[u8] = include_bytes!("boot/uki-own-loader.log");
const DIRECT_LOG: &[u8] = include_bytes!("boot/direct.log");
/// What the TPM said after the boot of [`UKI_LOG`] and of [`DIRECT_LOG`].
const UKI_PCRS: [(u8, &str); 4] = [
    (4, "98fb5e8039b89ef86b9d81e13f5c718f841843b4ae1a51d63e888a84c9d9b16c"),
    (5, "2fba071d5b65de1332b638a35cd69ab6218044a2715e624560c63c17832bed42"),
    (9, "6b5e5252e28e9d4129c6f2a73a2730cd03d3a022c4906419c1c58581837e74ed"),
    (11, "e85e9ef59b80cdfd39c9e523cf30fc3beededd8399adca7f2bb1c1011797d585"),
];
const DIRECT_PCRS: [(u8, &str); 3] = [
    (4, "b647ed3ea6befbcd01a611fb66a94f9df9d3f211aeb14d6da0d5ea968a940cba"),
    (5, "a5ceb755d043f32431d63e39f5161464620a3437280494b5850dc1b47cc074e0"),
    (9, "efc2fa62515ab51abfff4efc2632686a48b2c34f3fba1fe1df7acc3d58ed42cc"),
];

fn vectors(folder: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found =
        ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors").join(folder)).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

const COMMAND_LINE: &str = "console=ttyS0 quiet";

fn image(stub: &str) -> Vec<u8> {
    let kernel = PeFile::kernel(b"a kernel").build();
    let sections: [(&str, &[u8]); 5] = [
        (".osrel", b"ID=test\n"),
        (".cmdline", COMMAND_LINE.as_bytes()),
        (".linux", &kernel),
        (".initrd", b"an initrd!"),
        (".uname", b"6.12"),
    ];
    PeFile::uki(stub, &sections).build()
}

fn disk() -> PartitionTable {
    PartitionTable::parse(&Disk { sector: 512, partitions: 1, id: 7 }.build()).unwrap()
}

fn value(values: &std::collections::BTreeMap<u8, Digest>, register: u8) -> String {
    values[&register].to_string()
}

/// The steps of a boot with the digests of the images, files and disks that the recorded boot had.
fn as_recorded(mut steps: Vec<Step>, log: &EventLog, bank: HashAlgorithm) -> Vec<Step> {
    let tag =
        |event: &Event<'_>, tag: u32| event.kind == EventType::EVENT_TAG && event.data.starts_with(&tag.to_le_bytes());
    for kind in
        [StepKind::Application, StepKind::PartitionTable, StepKind::LoadOptions, StepKind::Initrd, StepKind::Section]
    {
        let of_kind = |event: &Event<'_>| match kind {
            StepKind::Application => event.kind == EventType::EFI_BOOT_SERVICES_APPLICATION,
            StepKind::PartitionTable => event.kind == EventType::EFI_GPT_EVENT,
            StepKind::LoadOptions => tag(event, 0x8f3b_22ed),
            StepKind::Initrd => tag(event, 0x8f3b_22ec),
            StepKind::Section => event.register == 11 && event.kind == EventType::IPL,
            StepKind::Action | StepKind::Separator => false,
        };
        let events: Vec<Digest> = log.events().filter(of_kind).map(|event| event.digest(bank).unwrap()).collect();
        let places: Vec<&mut Step> = steps.iter_mut().filter(|step| step.kind == kind).collect();
        assert_eq!(places.len(), events.len(), "{kind:?}");
        for (step, digest) in places.into_iter().zip(events) {
            step.digest = Some(digest);
        }
    }
    steps
}

fn uki_steps(bytes: &[u8], bank: HashAlgorithm) -> Vec<Step> {
    steps(bank, BootSource::Uki(&Uki::parse(bytes).unwrap()), Some(&disk())).unwrap()
}

fn direct_steps(bank: HashAlgorithm) -> Vec<Step> {
    let kernel = PeFile::kernel(b"a kernel").build();
    let kernel = PeImage::parse(&kernel).unwrap();
    let source = BootSource::Direct { kernel: &kernel, initrd: Some(b"an initrd"), command_line: COMMAND_LINE };
    steps(bank, source, None).unwrap()
}

#[test]
fn the_order_of_events_is_that_of_real_boots() {
    // The image of the recorded boot had one section more than this one has.
    let kernel = PeFile::kernel(b"a kernel").build();
    let sections: [(&str, &[u8]); 6] = [
        (".linux", &kernel),
        (".osrel", b"1"),
        (".cmdline", b"2"),
        (".initrd", b"3"),
        (".uname", b"4"),
        (".sbat", b"5"),
    ];
    let bytes = PeFile::uki("257.13", &sections).build();
    let log = EventLog::parse(UKI_LOG).unwrap();
    let registers = pcrs(SHA256, &as_recorded(uki_steps(&bytes, SHA256), &log, SHA256));
    for (pcr, real) in UKI_PCRS {
        assert_eq!(value(&registers.values, pcr), real, "PCR {pcr}");
    }
    let log = EventLog::parse(DIRECT_LOG).unwrap();
    let registers = pcrs(SHA256, &as_recorded(direct_steps(SHA256), &log, SHA256));
    for (pcr, real) in DIRECT_PCRS {
        assert_eq!(value(&registers.values, pcr), real, "PCR {pcr}");
    }
}

#[test]
fn the_order_of_events_is_that_of_genuine_tdx_guests() {
    let Some(folder) = vectors("tdx") else { return };
    let log = |name: &str| EventLog::parse(&fs::read(folder.join(name).join("ccel.bin")).unwrap()).unwrap();
    // A kernel beside the firmware: RTMR1 and RTMR2 of the quote.
    let direct = log("live2026_v4_ccel");
    let registers = rtmrs(&as_recorded(direct_steps(SHA384), &direct, SHA384));
    let real = direct.replay_rtmrs().unwrap().rtmrs;
    assert_eq!(value(&registers.values, 1), real[1].to_string());
    assert_eq!(value(&registers.values, 2), real[2].to_string());
    // Two images from a disk with a partition table: RTMR1. What they measured into RTMR2 is another boot loader's.
    let disk = log("gcp_cos113_v4_ccel");
    let of_firmware = uki_steps(&image("257"), SHA384).into_iter().filter(|step| step.pcr < 8).collect();
    let registers = rtmrs(&as_recorded(of_firmware, &disk, SHA384));
    assert_eq!(value(&registers.values, 1), disk.replay_rtmrs().unwrap().rtmrs[1].to_string());
}

#[test]
fn a_template_gives_what_the_machine_determines_and_the_image_the_rest() {
    let log = EventLog::parse(UKI_LOG).unwrap();
    let template = Template::Tpm { log: &log, bank: SHA256 };
    let bytes = image("257.13");
    let own = uki_steps(&bytes, SHA256);
    let used = from_template(template, &own).unwrap();
    let alone = pcrs(SHA256, &own).values;
    for pcr in [4, 5, 9, 11] {
        assert_eq!(used.values[&pcr], alone[&pcr], "PCR {pcr}");
    }
    // Recorded as they were: firmware, machine and Secure Boot state.
    let replayed = log.replay_pcrs(SHA256).unwrap();
    for pcr in [0, 1, 2, 3, 6, 7] {
        assert_eq!(Some(&used.values[&pcr]), replayed.value(pcr), "PCR {pcr}");
    }
    // Five variables; what is not counted was computed again, texts and separators too.
    assert_eq!(used.recorded.get(&7), Some(&5));
    assert_eq!(used.recorded.keys().copied().collect::<Vec<_>>(), [0, 1, 7]);

    // Another kind of boot is no template.
    let direct = EventLog::parse(DIRECT_LOG).unwrap();
    let wrong = from_template(Template::Tpm { log: &direct, bank: SHA256 }, &own).unwrap_err();
    assert_eq!(wrong.code().as_str(), "measure.boot.template");
    let wrong = from_template(template, &direct_steps(SHA256)).unwrap_err();
    assert_eq!(wrong.code().as_str(), "measure.boot.template");
    let wrong = from_template(Template::Tpm { log: &log, bank: SHA384 }, &own).unwrap_err();
    assert_eq!(wrong.code().as_str(), "parse.eventlog.digest_missing");
}

#[test]
fn of_a_stub_with_a_loader_of_its_own_only_the_recorded_log_says_what_pcr_4_holds() {
    let bytes = image("262.1");
    assert_eq!(Uki::parse(&bytes).unwrap().stub(), Some(StubVersion(262)));
    let own = uki_steps(&bytes, SHA256);
    let registers = pcrs(SHA256, &own);
    assert_eq!(registers.unknown.get(&4), Some(&StepKind::Application));
    assert_eq!(registers.unknown.get(&9), Some(&StepKind::Initrd));
    assert!(!registers.values.contains_key(&4) && registers.values.contains_key(&5));
    for (log, applications) in [(OWN_LOADER_LOG, 1), (UKI_LOG, 2)] {
        let log = EventLog::parse(log).unwrap();
        let used = from_template(Template::Tpm { log: &log, bank: SHA256 }, &own).unwrap();
        let measured = own.iter().filter(|step| step.pcr == 4).take(2 + applications);
        let wanted = measured.fold(Digest::zero(SHA256), |value, step| value.extended(step.digest.unwrap().as_bytes()));
        assert_eq!(used.values[&4], wanted, "{applications}");
        // The initrd is as recorded.
        assert_eq!(used.recorded.get(&9), Some(&1));
    }
}

#[test]
fn the_variable_store_of_the_new_firmware_takes_the_place_of_the_recorded_one() {
    let Some(folder) = vectors("tdx") else { return };
    let log = EventLog::parse(&fs::read(folder.join("live2026_v4_ccel/ccel.bin")).unwrap()).unwrap();
    let part = |data, memory, kind, attributes| TdxPart { data, memory, kind, attributes };
    let tdx = vec![
        part((0x84000, 0x37_C000), (0xFFC8_4000, 0x37_C000), 0, 1),
        part((0, 0x84000), (0xFFC0_0000, 0x84000), 1, 0),
    ];
    let image = FirmwareImage { size: 0x40_0000, tdx, ..FirmwareImage::ovmf() }.build();
    let firmware = Firmware::parse(&image).unwrap();
    let sections = firmware.tdx_sections().unwrap();
    let used = from_template(Template::Tdx { log: &log, sections: &sections }, &direct_steps(SHA384)).unwrap();
    let without = from_template(Template::Tdx { log: &log, sections: &[] }, &direct_steps(SHA384)).unwrap();
    assert_eq!(without.values[&0].to_string(), log.replay_rtmrs().unwrap().rtmrs[0].to_string());
    assert_ne!(used.values[&0], without.values[&0]);
    assert_eq!(used.recorded[&0] + 1, without.recorded[&0]);
    assert_eq!(used.values[&1], without.values[&1]);
    assert!(!used.recorded.contains_key(&2));
}

#[test]
fn authenticode_covers_everything_but_checksum_and_certificates() {
    let plain = PeFile { trailer: b"after the sections".to_vec(), directories: 16, ..PeFile::kernel(b"code") };
    let file = plain.build();
    let digest = |bytes: &[u8]| PeImage::parse(bytes).unwrap().authenticode(SHA256);
    // Optional header at 0x58: the checksum at 64, the certificate directory at 144.
    let (checksum, directory) = (0x58 + 64, 0x58 + 144);
    let by_hand = SHA256.digest(&[&file[..checksum], &file[checksum + 4..directory], &file[directory + 8..]]);
    assert_eq!(digest(&file), by_hand);
    let signed = PeFile { certificates: vec![0x30; 24], checksum: 0x1234, ..plain.clone() }.build();
    assert_eq!(digest(&signed), by_hand);
    for at in [2, 0x58 + 70, file.len() - 1, file.len() - 0x100] {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert_ne!(digest(&changed), by_hand, "{at}");
    }
    // Sections count in the order of the file, whatever the order of the table.
    let two = PeFile {
        sections: vec![(".a".into(), vec![1; 600]), (".b".into(), vec![2; 10])],
        directories: 16,
        ..PeFile::default()
    };
    let file = two.build();
    let mut swapped = file.clone();
    let table = 0x58 + 240;
    swapped[table..table + 40].copy_from_slice(&file[table + 40..table + 80]);
    swapped[table + 40..table + 80].copy_from_slice(&file[table..table + 40]);
    let by_hand = SHA256.digest(&[&swapped[..checksum], &swapped[checksum + 4..directory], &swapped[directory + 8..]]);
    assert_eq!(digest(&swapped), by_hand);
}

#[test]
fn broken_images_are_refused_with_their_code() {
    let kernel = PeFile::kernel(b"a kernel").build();
    let code = |bytes: &[u8]| Uki::parse(bytes).unwrap_err().code().as_str();
    let with = |extra: (&str, &[u8])| PeFile::uki("257", &[(".linux", &kernel), extra]).build();
    assert_eq!(code(b""), "measure.pe.truncated");
    assert_eq!(code(&[0; 64]), "measure.pe.format");
    assert_eq!(code(&kernel), "measure.uki.section");
    for section in [".profile", ".dtbauto", ".hwids", ".efifw", ".linux"] {
        assert_eq!(code(&with((section, b"x"))), "measure.uki.section", "{section}");
    }
    let good = with((".cmdline", b"quiet"));
    let changed = |at: usize, value: u8| {
        let mut image = good.clone();
        image[at] = value;
        code(&image)
    };
    assert_eq!(changed(0x3F, 0xFF), "measure.pe.bounds");
    assert_eq!(changed(0x58, 0x07), "measure.pe.format");
    assert_eq!(changed(0x46, 97), "measure.pe.bounds");
    // The first section's raw size, its offset, the size of the headers, and its size in memory.
    assert_eq!(changed(0x58 + 240 + 19, 1), "measure.pe.bounds");
    assert_eq!(changed(0x58 + 240 + 23, 1), "measure.pe.bounds");
    assert_eq!(changed(0x58 + 63, 1), "measure.pe.bounds");
    assert_eq!(changed(0x58 + 240 + 2 * 40 + 11, 1), "measure.uki.section");
    // A kernel that is not an image, and a command line that is not text.
    let steps_of =
        |bytes: &[u8]| steps(SHA256, BootSource::Uki(&Uki::parse(bytes).unwrap()), None).unwrap_err().code().as_str();
    assert_eq!(steps_of(&PeFile::uki("257", &[(".linux", b"no image")]).build()), "measure.pe.format");
    assert_eq!(steps_of(&with((".cmdline", b"\xff\xfe"))), "measure.boot.command_line");
}

#[test]
fn a_partition_table_is_measured_with_its_used_entries() {
    for sector in [512, 4096] {
        let disk = Disk { sector, partitions: 2, id: 7 }.build();
        let entries = &disk[2 * sector..2 * sector + 256];
        let by_hand = SHA256.digest(&[&disk[sector..sector + 92], &2_u64.to_le_bytes(), entries]);
        assert_eq!(PartitionTable::parse(&disk).unwrap().digest(SHA256), by_hand);
    }
    let good = Disk { sector: 512, partitions: 1, id: 7 }.build();
    let code = |disk: &[u8]| PartitionTable::parse(disk).unwrap_err().code().as_str();
    assert_eq!(code(&[]), "measure.boot.partition_table");
    assert_eq!(code(&good[..16384]), "measure.boot.partition_table");
    for at in [512, 512 + 79, 512 + 81, 512 + 87, 512 + 84] {
        let mut disk = good.clone();
        disk[at] ^= 0x7F;
        assert_eq!(code(&disk), "measure.boot.partition_table", "{at}");
    }
}

/// PCR 11 of the vector's sections, as an image.
#[test]
fn pcr_11_of_an_image_is_what_systemd_measures() {
    let Some(folder) = vectors("vtpm/uki-pcr11-systemd-measure") else { return };
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    let (linux, osrel, cmdline, initrd) = (read("linux"), read("osrel"), read("cmdline"), read("initrd"));
    let sections: [(&str, &[u8]); 4] =
        [(".initrd", &initrd), (".linux", &linux), (".osrel", &osrel), (".cmdline", &cmdline)];
    let bytes = PeFile::uki("252", &sections).build();
    let uki = Uki::parse(&bytes).unwrap();
    let expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
    for bank in [SHA256, SHA384] {
        for (path, wanted) in expected["expected_pcr11"][bank.name()].as_object().unwrap() {
            let phases: Phases = if path.is_empty() { "none" } else { path }.parse().unwrap();
            assert_eq!(uki.pcr11(bank, &phases).to_string(), wanted.as_str().unwrap(), "{path}");
        }
    }
}

#[test]
fn the_initrd_that_a_stub_hands_over_is_that_of_real_boots() {
    // The archive that systemd-stub 257 made of an os-release of 8 bytes: its digest with the initrd before it was in the log of a real boot.
    let archive = [
        "070701000000010000416d0000000000000000000000010000000000000000000000000000000000000000000000000000000700000000.extra\0\0\0\0",
        "07070100000002000081240000000000000000000000010000000000000008000000000000000000000000000000000000001200000000.extra/os-release\0",
        "ID=test\n",
        "07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000B00000000TRAILER!!!\0\0\0\0",
    ]
    .concat();
    let initrd = |stub: &str| {
        let of_kind = |step: &Step| (step.kind == StepKind::Initrd).then_some(step.digest).flatten();
        uki_steps(&image(stub), SHA256).iter().find_map(of_kind)
    };
    assert_eq!(initrd("257"), Some(SHA256.digest(&[b"an initrd!\0\0", archive.as_bytes()])));
    // Before 257 there is nothing to add, so that the initrd is handed over as it is.
    assert_eq!(initrd("254"), Some(SHA256.digest(&[b"an initrd!"])));
    assert_eq!(initrd("258"), None);
    assert_eq!(initrd("251"), None);
}

#[test]
fn sections_that_a_stub_does_not_know_are_not_measured_by_it() {
    let kernel = PeFile::kernel(b"a kernel").build();
    let pcr11 = |stub: &str, sections: &[(&str, &[u8])]| {
        let sections = [&[(".linux", kernel.as_slice())], sections].concat();
        let bytes = PeFile::uki(stub, &sections).build();
        Uki::parse(&bytes).map(|uki| uki.pcr11(SHA256, &Phases::default())).map_err(|error| error.code().as_str())
    };
    let plain = pcr11("252.39-1~deb12u2", &[]);
    for (section, last_without, unknown) in [(".uname", 252, 253), (".sbat", 252, 253), (".ucode", 254, 255)] {
        let with = |version: u32| pcr11(&version.to_string(), &[(section, b"x")]);
        assert_eq!(with(last_without), plain, "{section}");
        assert_eq!(with(unknown), Err("measure.uki.stub"), "{section}");
        assert_ne!(with(unknown + 1), plain, "{section}");
        assert_eq!(with(unknown + 1), with(257), "{section}");
    }
}

#[test]
fn systemd_measure_agrees_when_it_is_installed() {
    const PROGRAM: &str = "/usr/lib/systemd/systemd-measure";
    if !Path::new(PROGRAM).exists() {
        eprintln!("{PROGRAM} is not here: skipped");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let contents: [(&str, &[u8]); 7] = [
        ("linux", b"a kernel"),
        ("osrel", b"ID=test\n"),
        ("cmdline", b"quiet"),
        ("initrd", &[7; 5000]),
        ("splash", b"a picture"),
        ("dtb", b"a tree"),
        ("pcrpkey", b"a key"),
    ];
    let mut command = Command::new(PROGRAM);
    command.args([
        "calculate",
        "--bank=sha256",
        "--bank=sha384",
        "--json=short",
        "--phase=",
        "--phase=enter-initrd:leave-initrd",
    ]);
    for (name, content) in contents {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        command.arg(format!("--{name}={}", path.display()));
    }
    let theirs: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let names: Vec<String> = contents.iter().map(|(name, _)| format!(".{name}")).collect();
    let sections: Vec<(&str, &[u8])> =
        names.iter().zip(contents).map(|(name, (_, content))| (name.as_str(), content)).collect();
    let bytes = PeFile::uki("252", &sections).build();
    let uki = Uki::parse(&bytes).unwrap();
    for bank in [SHA256, SHA384] {
        for (index, phases) in ["none", "enter-initrd:leave-initrd"].into_iter().enumerate() {
            let ours = uki.pcr11(bank, &phases.parse().unwrap()).to_string();
            assert_eq!(ours, theirs[bank.name()][index]["hash"].as_str().unwrap(), "{bank} {phases}");
        }
    }
    for wrong in ["", ":", "enter-initrd:", "Enter", "enter initrd"] {
        assert!(wrong.parse::<Phases>().is_err(), "{wrong}");
    }
}

#[test]
fn mrtd_adds_every_page_and_measures_the_marked_ones() {
    let image = FirmwareImage::ovmf().build();
    let firmware = Firmware::parse(&image).unwrap();
    // The algorithm again, as plainly as it can be said.
    let by_hand = |two_passes: bool| {
        let mut transcript: Vec<u8> = Vec::new();
        for part in FirmwareImage::ovmf().tdx {
            let (offset, length) = (part.data.0 as usize, part.data.1 as usize);
            let content = &image[offset..offset + length];
            let add = |gpa: u64| [&b"MEM.PAGE.ADD\0\0\0\0"[..], &gpa.to_le_bytes(), &[0; 104]].concat();
            let extend = |gpa: u64, chunk: &[u8]| {
                [&b"MR.EXTEND\0\0\0\0\0\0\0"[..], &gpa.to_le_bytes(), &[0; 104], chunk].concat()
            };
            let pages: Vec<u64> = (part.memory.0..part.memory.0 + part.memory.1).step_by(4096).collect();
            let extended = |page: u64| -> Vec<u8> {
                let at = usize::try_from(page - part.memory.0).unwrap();
                let measured = part.attributes & 1 == 1;
                let chunks = (at..at + 4096).step_by(256).filter(|_| measured);
                chunks.flat_map(|at| extend(part.memory.0 + at as u64, &content[at..at + 256])).collect()
            };
            if two_passes {
                pages.iter().for_each(|page| transcript.extend(add(*page)));
                pages.iter().for_each(|page| transcript.extend(extended(*page)));
            } else {
                pages.iter().for_each(|page| transcript.extend([add(*page), extended(*page)].concat()));
            }
        }
        SHA384.digest(&[&transcript]).to_string()
    };
    assert_eq!(mrtd(&firmware, PageOrder::Interleaved).unwrap().to_string(), by_hand(false));
    assert_eq!(mrtd(&firmware, PageOrder::TwoPasses).unwrap().to_string(), by_hand(true));
    assert_ne!(by_hand(false), by_hand(true));
    let code = |change: fn(&mut FirmwareImage)| {
        let mut image = FirmwareImage::ovmf();
        change(&mut image);
        mrtd(&Firmware::parse(&image.build()).unwrap(), PageOrder::Interleaved).unwrap_err().code().as_str()
    };
    assert_eq!(code(|image| image.tdx[0].attributes = 0), "measure.tdx.nothing_measured");
    assert_eq!(code(|image| image.tdx[0].attributes = 3), "measure.tdx.nothing_measured");
    assert_eq!(code(|image| image.tdx[0].attributes = 4), "measure.firmware.section");
    assert_eq!(code(|image| image.tdx[0].data.1 = 0xD000), "measure.firmware.section");
    assert_eq!(code(|image| image.tdx[0].data.0 = 0x5000), "measure.firmware.section");
    assert_eq!(code(|image| image.tdx[1].kind = 8), "measure.firmware.section");
    assert_eq!(code(|image| image.tdx[2].memory.1 = 1 << 40), "measure.firmware.section");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_images_never_panic(edits in proptest::collection::vec((0_usize..0x400, any::<u8>()), 1..16)) {
        let mut bytes = image("257");
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        if let Ok(uki) = Uki::parse(&bytes) {
            let _ = uki.authenticode(SHA256);
            let _ = steps(SHA256, BootSource::Uki(&uki), None);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(PeImage::parse(&bytes).is_err());
        prop_assert!(Uki::parse(&bytes).is_err());
        prop_assert!(PartitionTable::parse(&bytes).is_err());
    }

    #[test]
    fn edited_partition_tables_never_panic(edits in proptest::collection::vec((512_usize..768, any::<u8>()), 1..8)) {
        let mut bytes = Disk { sector: 512, partitions: 3, id: 1 }.build();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        let _ = PartitionTable::parse(&bytes);
    }
}
