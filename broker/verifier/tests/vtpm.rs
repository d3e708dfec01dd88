//! Hardware and a real TPM as one tree: a missing or foreign link is refused by name.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use evidence_formats::{
    binding::BindingDigest,
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    code::Coded,
    digest::HashAlgorithm,
    evidence::Evidence,
    snp::ProductLine,
    svsm::SvsmManifest,
    tpm::TpmPublic,
};
use serde_json::json;
use softtee::{
    amd::{ReportSpec, SecureProcessor},
    swtpm::{SwTpm, is_installed},
};
use tee::tpm::{AkKind, EkKind, Pcrs};
use verifier::{
    Claims, CrlFloors, Endorsements, Expected, Forgetful, Platform, RawClaims, Revocation, Terms, Timestamp,
    TrustAnchors, authenticate,
    tpm::{AkProvenance, EnrolledAk, Enrolment, EnrolmentProof, PinnedAk, TpmTerms},
};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

/// A confidential VM with a TPM, run by its host or by an SVSM; tests change a part and look at the verdict.
struct Machine {
    processor: SecureProcessor,
    guest: ReportSpec,
    _swtpm: SwTpm,
    ek: TpmPublic,
    ak: TpmPublic,
    /// What both parts commit to.
    binding: BindingDigest,
    /// What the quote carries in its place.
    quoted: BindingDigest,
    manifest: Option<Vec<u8>>,
    with_cpu: bool,
    proof: Option<EnrolmentProof>,
    pinned: Option<PinnedAk>,
    expected: Expected,
}

impl Machine {
    fn new() -> Self {
        let swtpm = SwTpm::bare().unwrap();
        let (ek, ak) = {
            let tpm = swtpm.connect().unwrap();
            let (ek, ak) = (tpm.create_ek(EkKind::Rsa2048).unwrap(), tpm.create_ak(AkKind::EccP256).unwrap());
            (ek.public().clone(), ak.public().clone())
        };
        let processor = SecureProcessor::new(ProductLine::Genoa);
        let binding = BindingDigest([7; 48]);
        Self {
            guest: processor.guest(),
            processor,
            _swtpm: swtpm,
            proof: Some(EnrolmentProof::EkActivated(Box::new(ek.clone()))),
            ek,
            ak,
            binding,
            quoted: binding,
            manifest: None,
            with_cpu: true,
            pinned: None,
            expected: Expected::Binding(binding),
        }
    }

    fn under_svsm() -> Self {
        let mut machine = Self::new();
        machine.manifest = Some(machine.ek.as_bytes().to_vec());
        machine.proof = Some(EnrolmentProof::SvsmEk(Box::new(machine.ek.clone())));
        machine
    }

    fn bundle(&self) -> Bundle {
        let mut bundle = Bundle::new();
        let mut put = |name, media_type, bytes| bundle.insert(name, BundleItem { media_type, bytes }).unwrap();
        let mut guest = self.guest.clone();
        guest.report_data = self.binding.report_data();
        if let Some(manifest) = &self.manifest {
            guest.report_data = SvsmManifest::parse(manifest).unwrap().report_data(&guest.report_data);
            put(ItemName::Svsm, MediaType::SvsmManifest, manifest.clone());
        }
        if self.with_cpu {
            put(ItemName::Cpu, MediaType::SnpReport, self.processor.report(&guest));
            put(ItemName::Certs, MediaType::SnpCertTable, self.processor.certificates().to_bytes());
        }
        let tpm = self._swtpm.connect().unwrap();
        let ak = tpm.create_ak(AkKind::EccP256).unwrap();
        let quoted = tpm.quote_pcrs(&ak, &self.quoted.0, &Pcrs::all(HashAlgorithm::Sha256)).unwrap();
        let values: BTreeMap<String, String> =
            quoted.values.iter().map(|(pcr, value)| (pcr.to_string(), value.to_string())).collect();
        let document = json!({
            "ak_public": BASE64.encode(ak.public().as_bytes()),
            "quote": {
                "message": BASE64.encode(&quoted.quote.message),
                "signature": BASE64.encode(&quoted.quote.signature),
            },
            "pcrs": { "sha256": values },
        });
        put(ItemName::Tpm, MediaType::TpmQuote, serde_json::to_vec(&document).unwrap());
        bundle
    }

    fn verify(&self) -> Result<Claims, String> {
        let code = |error: &dyn Coded| error.code().as_str().to_owned();
        let evidence = Evidence::from_bundle(&self.bundle()).map_err(|error| code(&error))?;
        let anchors = self.processor.pki.anchors();
        let enrolled_ak = self.proof.clone().map(|proof| EnrolledAk {
            name: self.ak.name(),
            proof,
            enrolment: Enrolment { owner: "team-a".to_owned(), enrolled_at: NOW },
        });
        let terms = Terms {
            anchors: &TrustAnchors::from_files(anchors.iter().map(Vec::as_slice)).unwrap(),
            revocation: Revocation::IfPresent,
            expected: self.expected,
            now: NOW,
            memory: &Forgetful,
            crl_floors: CrlFloors::NONE,
            tpm: &TpmTerms { enrolled_ak, pinned_ak: self.pinned.clone(), ..TpmTerms::default() },
        };
        let authentic = authenticate(&evidence, &Endorsements::new(), &terms).map_err(|error| code(&error))?;
        Ok(authentic.claims().clone())
    }

    fn code(&self) -> String {
        self.verify().map_or_else(|code| code, |_| "accepted".to_owned())
    }
}

fn unchecked(claims: &Claims) -> Vec<&str> {
    claims.unchecked.iter().map(|unchecked| unchecked.what).collect()
}

#[test]
fn a_hosted_vtpm_and_its_hardware_are_one_set_of_claims() {
    if !is_installed() {
        return;
    }
    let machine = Machine::new();
    let claims = machine.verify().unwrap();
    assert_eq!((claims.platform, claims.hwmodel), (Platform::Simulated, "amd-genoa"));
    assert!(claims.measurement.launch.is_some() && claims.measurement.runtime.contains_key("pcr11"));
    assert!(unchecked(&claims).contains(&"paravisor_measurement"), "nothing ties the vTPM to the hardware");
    let RawClaims::HostedVtpm(raw) = &claims.raw else { panic!("{:?}", claims.raw) };
    assert_eq!(raw.tpm.ak_provenance, AkProvenance::EkActivated);
    assert_eq!(raw.tpm.enrolment.as_ref().unwrap().owner, "team-a");
    assert_eq!(raw.tpm.ek_name, Some(machine.ek.name().to_string()));
    assert!(matches!(raw.hardware, RawClaims::Snp(_)));
}

#[test]
fn every_link_of_a_hosted_vtpm_is_needed() {
    if !is_installed() {
        return;
    }
    let other = BindingDigest([8; 48]);
    let refused = |wanted: &str, change: &dyn Fn(&mut Machine)| {
        let mut machine = Machine::new();
        change(&mut machine);
        assert_eq!(machine.code(), wanted);
    };
    refused("authenticate.tpm.ak_unproven", &|machine| machine.proof = None);
    refused("binding.tpm.extra_data", &|machine| machine.quoted = other);
    // The report is of another request than the quote.
    refused("binding.snp.report_data", &|machine| machine.binding = other);
    refused("authenticate.tpm.ak_not_pinned", &|machine| machine.ak = machine.ek.clone());
    refused("authenticate.tpm.svsm_missing", &|machine| {
        machine.proof = Some(EnrolmentProof::SvsmEk(Box::new(machine.ek.clone())));
    });
    refused("authenticate.tpm.svsm_missing", &|machine| {
        machine.proof = Some(EnrolmentProof::SvsmEk(Box::new(machine.ek.clone())));
        machine.with_cpu = false;
    });
    refused("authenticate.tpm.ak_not_pinned", &|machine| {
        machine.pinned = Some(PinnedAk::parse(machine.ek.name().as_bytes()).unwrap());
    });
}

#[test]
fn an_svsm_vouches_for_its_tpm_from_the_report_down() {
    if !is_installed() {
        return;
    }
    let machine = Machine::under_svsm();
    let claims = machine.verify().unwrap();
    let RawClaims::Svsm(raw) = &claims.raw else { panic!("{:?}", claims.raw) };
    assert_eq!(raw.tpm.ak_provenance, AkProvenance::SvsmEk);
    assert_eq!(raw.tpm.ek_name, Some(machine.ek.name().to_string()));
    assert!(unchecked(&claims).contains(&"paravisor_measurement"));
}

#[test]
fn every_link_under_an_svsm_is_needed() {
    if !is_installed() {
        return;
    }
    let other = Machine::new();
    let refused = |wanted: &str, change: &dyn Fn(&mut Machine)| {
        let mut machine = Machine::under_svsm();
        change(&mut machine);
        assert_eq!(machine.code(), wanted);
    };
    refused("authenticate.tpm.ak_unproven", &|machine| machine.proof = None);
    refused("authenticate.svsm.vmpl", &|machine| machine.guest.vmpl = 1);
    refused("binding.svsm.manifest", &|machine| machine.expected = Expected::Unchecked { reason: "test" });
    refused("binding.snp.report_data", &|machine| machine.binding = BindingDigest([8; 48]));
    refused("binding.tpm.extra_data", &|machine| machine.quoted = BindingDigest([8; 48]));
    // Proven by something else than this SVSM, or under the key of another boot.
    refused("authenticate.vtpm.ak_provenance", &|machine| {
        machine.proof = Some(EnrolmentProof::EkActivated(Box::new(machine.ek.clone())));
    });
    refused("authenticate.vtpm.ak_provenance", &|machine| machine.proof = Some(EnrolmentProof::Pinned));
    refused("authenticate.svsm.endorsement_key", &|machine| {
        machine.proof = Some(EnrolmentProof::SvsmEk(Box::new(other.ek.clone())));
    });
    refused("authenticate.svsm.endorsement_key", &|machine| machine.manifest = Some(other.ek.as_bytes().to_vec()));
    // What the manifest holds is no endorsement key.
    refused("authenticate.svsm.endorsement_key", &|machine| machine.manifest = Some(machine.ak.as_bytes().to_vec()));
    refused("parse.bundle.missing_item", &|machine| machine.with_cpu = false);
}
