//! Claims and reference sets for tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use evidence_formats::{
    bytes::{LaunchDigest, ReportData, Sha256Digest, Sha384Digest},
    snp::{
        ChipId, FamilyId, FirmwareVersion, GuestPolicy, HostData, ImageId, PlatformInfo, ProductLine, ReportId,
        TcbComponents, Vmpl,
    },
};

use crate::{
    Authentic, Claims, Measurements, Platform, RawClaims, RuntimeMeasurement, TcbClaims, Timestamp, Unchecked,
    baseline::Baseline,
    reference::{Measurement, ReferenceSet, ReferenceValues, SetKind},
    snp::{KeyInfoClaims, SnpClaims, TcbSet, VekClaims, VekKind},
};

/// The launch digest of the fixtures.
pub(crate) const LAUNCH: LaunchDigest = LaunchDigest([0x9f; 48]);

/// The code with which the baseline refuses a guest that its host can debug.
pub(crate) const DEBUG: &str = "baseline.snp.debug";

/// The baseline without any relaxation, and with a floor for the TCB of [`claims`].
pub(crate) fn strict() -> Baseline {
    baseline("", 27)
}

/// A baseline with these settings for SNP and this least version of the SNP firmware.
pub(crate) fn baseline(settings: &str, snp: u8) -> Baseline {
    let floor = format!("{{ bootloader = 1, tee = 0, snp = {snp}, microcode = 1 }}");
    let floors = format!("[baseline.snp.minimum_tcb.genoa]\nreported = {floor}\ncommitted = {floor}\n");
    Baseline::from_toml(&format!("[baseline.snp]\n{settings}\n{floors}")).unwrap()
}

/// A moment at which every fixture holds.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(1_800_000_000)
}

/// An SNP guest on bare hardware in which nothing is wrong.
pub(crate) fn claims() -> Claims {
    Claims {
        hwmodel: "amd-genoa",
        platform: Platform::Bare,
        measurement: Measurements { launch: Some(LAUNCH), runtime: BTreeMap::new() },
        tcb: TcbClaims::default(),
        debug: false,
        instance: Some("11".repeat(64)),
        signer: None,
        host_data: Some("00".repeat(32)),
        init_data: None,
        report_data: "22".repeat(64),
        unchecked: Vec::new(),
        raw: RawClaims::Snp(Box::new(snp_claims())),
    }
}

/// What its report says in full.
pub(crate) fn snp_claims() -> SnpClaims {
    let tcb = TcbComponents { fmc: None, bootloader: 10, tee: 0, snp: 27, microcode: 88 };
    let firmware = FirmwareVersion { major: 1, minor: 55, build: 61 };
    SnpClaims {
        version: 5,
        product: ProductLine::Genoa,
        guest_svn: 0,
        policy: GuestPolicy::from_bits(0x3_0000).unwrap().into(),
        family_id: FamilyId([0; 16]),
        image_id: ImageId([0; 16]),
        vmpl: Vmpl::Guest(0),
        platform_info: PlatformInfo(0x25).into(),
        key_info: KeyInfoClaims { signing_key: VekKind::Vcek, author_key_en: false, mask_chip_key: false },
        report_data: ReportData([0x22; 64]),
        measurement: LAUNCH,
        host_data: HostData([0; 32]),
        id_key_digest: Sha384Digest([0; 48]),
        author_key_digest: Sha384Digest([0; 48]),
        report_id: ReportId([0x55; 32]),
        report_id_ma: ReportId([0xff; 32]),
        tcb: TcbSet { current: tcb, reported: tcb, committed: tcb, launch: tcb },
        cpuid: Some((0x19, 0x11, 1)),
        chip_id: ChipId([0x11; 64]),
        chip_id_masked: false,
        current_version: firmware,
        committed_version: firmware,
        launch_mit_vector: Some(0xb),
        current_mit_vector: Some(0xb),
        vek: VekClaims {
            kind: VekKind::Vcek,
            product_name: "Genoa".to_owned(),
            csp_id: None,
            sha256: Sha256Digest([0x66; 32]),
        },
        crl: None,
    }
}

/// A guest behind a paravisor with a vTPM: kernel in PCR 4.
pub(crate) fn vtpm_claims() -> Claims {
    let mut claims = claims();
    claims.platform = Platform::Azure;
    let kernel = BTreeMap::from([("kernel".to_owned(), vec!["33".repeat(32)])]);
    claims.measurement.runtime.insert("pcr4".to_owned(), RuntimeMeasurement { value: "44".repeat(32), events: kernel });
    claims.unchecked.push(Unchecked { what: "paravisor_measurement", reason: "no reference set for the paravisor" });
    claims
}

/// Authentic claims.
pub(crate) fn authentic(claims: Claims) -> Authentic<Claims> {
    Authentic::new(claims)
}

/// A set `web-prod` of workload `web` that holds from an hour before [`now`] to an hour after.
pub(crate) fn set(version: u32, measurement: Measurement) -> ReferenceSet {
    ReferenceSet {
        id: "web-prod".parse().unwrap(),
        version,
        workload: "web".parse().unwrap(),
        kind: SetKind::Workload,
        proposed: false,
        not_before: now().plus_seconds(-3600),
        not_after: now().plus_seconds(3600),
        retire_at: None,
        revoked_at: None,
        provenance: "test".to_owned(),
        measurements: vec![measurement],
    }
}

/// An alternative that pins the launch digest.
pub(crate) fn launch(digest: LaunchDigest) -> Measurement {
    Measurement { launch: Some(digest), ..Measurement::default() }
}

/// These sets.
pub(crate) fn values(sets: impl IntoIterator<Item = ReferenceSet>) -> ReferenceValues {
    let mut values = ReferenceValues::new();
    for set in sets {
        values.insert(set).unwrap();
    }
    values
}
