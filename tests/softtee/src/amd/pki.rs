//! The key hierarchy: ARK, ASK, ASVK, VCEK, VLEK and the ARK's revocation list.
use evidence_formats::snp::{ProductLine, TcbComponents};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::der;
use crate::keys::{PrivateKey, SignatureAlgorithm};
use crate::x509::{CertificateSpec, CrlSpec, Extension, Issued, Name, Validity};

/// Object identifiers of AMD's certificate extensions (57230 §3).
pub mod oids {
    /// `structVersion`.
    pub const STRUCT_VERSION: &str = "1.3.6.1.4.1.3704.1.1";
    /// `productName`.
    pub const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
    /// Boot loader patch level.
    pub const BOOT_LOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
    /// TEE patch level.
    pub const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
    /// SNP firmware patch level.
    pub const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
    /// Reserved patch level 4; absent on Turin.
    pub const SPL4: &str = "1.3.6.1.4.1.3704.1.3.4";
    /// Reserved patch level 5.
    pub const SPL5: &str = "1.3.6.1.4.1.3704.1.3.5";
    /// Reserved patch level 6.
    pub const SPL6: &str = "1.3.6.1.4.1.3704.1.3.6";
    /// Reserved patch level 7.
    pub const SPL7: &str = "1.3.6.1.4.1.3704.1.3.7";
    /// Microcode patch level.
    pub const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
    /// FMC patch level; on Turin only.
    pub const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
    /// `hwID`, the chip's id; in VCEKs only.
    pub const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
    /// `CSP_ID`, the cloud that loaded the key; in VLEKs only.
    pub const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
}

/// Which kind of key endorses reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VekKind {
    /// Versioned chip endorsement key: the chip's own.
    Vcek,
    /// Versioned loaded endorsement key: the cloud's.
    Vlek,
}

/// One product line's certificate authorities. Change a field, and what is issued from then on shows it.
#[derive(Debug, Clone)]
pub struct AmdPki {
    /// The product line.
    pub product: ProductLine,
    /// AMD root key: self-signed, signs the others and the revocation list.
    pub ark: Issued,
    /// AMD SEV key: signs VCEKs.
    pub ask: Issued,
    /// AMD SEV VLEK key: signs VLEKs.
    pub asvk: Issued,
    /// What endorsement keys are derived from, beside chip and TCB: an imitation does not have the chips' keys.
    pub seed: &'static str,
}

struct Keys {
    ark: PrivateKey,
    ask: PrivateKey,
    asvk: PrivateKey,
}

macro_rules! test_key {
    ($name:literal) => {
        PrivateKey::rsa_from_pem(include_bytes!(concat!("../../test-keys/", $name, ".pem")))
    };
}

fn fixed_keys(product: ProductLine) -> Keys {
    match product {
        ProductLine::Milan => {
            Keys { ark: test_key!("milan-ark"), ask: test_key!("milan-ask"), asvk: test_key!("milan-asvk") }
        }
        ProductLine::Genoa => {
            Keys { ark: test_key!("genoa-ark"), ask: test_key!("genoa-ask"), asvk: test_key!("genoa-asvk") }
        }
        ProductLine::Turin => {
            Keys { ark: test_key!("turin-ark"), ask: test_key!("turin-ask"), asvk: test_key!("turin-asvk") }
        }
    }
}

impl AmdPki {
    /// When VEK certificates start to be valid unless said otherwise.
    pub const ISSUED_AT: OffsetDateTime = datetime!(2024-01-01 0:00 UTC);

    /// The made-up authorities of a product line: always the same keys and certificates.
    #[must_use]
    pub fn new(product: ProductLine) -> Self {
        Self::with_keys(product, fixed_keys(product), "honest")
    }

    /// Authorities with the same names, serial numbers and dates but other keys, as an attacker would make them.
    #[must_use]
    pub fn rogue(product: ProductLine) -> Self {
        let (ark, ask) = (test_key!("rogue-ark"), test_key!("rogue-ask"));
        Self::with_keys(product, Keys { ark, asvk: ask.clone(), ask }, "rogue")
    }

    fn with_keys(product: ProductLine, keys: Keys, seed: &'static str) -> Self {
        let ca = |kind| authority(product, kind, &keys);
        Self { product, ark: ca(Authority::Ark), ask: ca(Authority::Ask), asvk: ca(Authority::Asvk), seed }
    }

    /// ARK, ASK and ASVK as DER: what a verifier is told to trust.
    #[must_use]
    pub fn anchors(&self) -> [Vec<u8>; 3] {
        [self.ark.der(), self.ask.der(), self.asvk.der()]
    }

    /// A chip's endorsement key at a TCB. Another TCB or chip is another key, as in hardware.
    ///
    /// Two encodings vary at AMD, and both are a change away: `certificate.algorithm` may be
    /// [`SignatureAlgorithm::PssSha384ExplicitTrailer`] (before 2024-09), and the value of [`oids::HARDWARE_ID`] may be
    /// wrapped by [`der::octets`].
    #[must_use]
    pub fn vcek(&self, hardware_id: &[u8], tcb: TcbComponents) -> Issued {
        self.vek(VekKind::Vcek, tcb, hardware_id)
    }

    /// A cloud's endorsement key at a TCB.
    #[must_use]
    pub fn vlek(&self, csp_id: &str, tcb: TcbComponents) -> Issued {
        self.vek(VekKind::Vlek, tcb, csp_id.as_bytes())
    }

    fn vek(&self, kind: VekKind, tcb: TcbComponents, identity: &[u8]) -> Issued {
        let (issuer, common_name, years) = match kind {
            VekKind::Vcek => (&self.ask, "SEV-VCEK", 7),
            VekKind::Vlek => (&self.asvk, "SEV-VLEK", 1),
        };
        let (seed, product) = (self.seed.as_bytes(), self.product.name().as_bytes());
        let label = [seed, common_name.as_bytes(), product, identity, &tcb.to_version().0];
        let key = PrivateKey::p384_from_label(&label.concat());
        let certificate = CertificateSpec {
            version: Some(2),
            // 57230: every VEK has serial number 0.
            serial: Vec::new(),
            algorithm: SignatureAlgorithm::PssSha384,
            inner_algorithm: None,
            issuer: issuer.certificate.subject.clone(),
            validity: Validity::years(Self::ISSUED_AT, years),
            subject: Name::amd(common_name),
            public_key_info: key.public_key_info(),
            extensions: vek_extensions(self.product, kind, tcb, identity),
        };
        Issued { certificate, key, issuer_key: issuer.key.clone() }
    }

    /// The ARK's revocation list: empty, number 7, from the day before `now` for a year. Sign it with the ARK's key, or
    /// with [`Self::sign_crl`].
    #[must_use]
    pub fn crl(&self, now: OffsetDateTime) -> CrlSpec {
        let this_update = now.saturating_sub(Duration::days(1));
        CrlSpec {
            algorithm: SignatureAlgorithm::PssSha384,
            issuer: self.ark.certificate.subject.clone(),
            this_update,
            next_update: Some(this_update.saturating_add(Duration::days(366))),
            revoked: Vec::new(),
            extensions: vec![Extension::authority_key(&self.ark.key)],
        }
        .numbered(7)
    }

    /// Signs a revocation list with the ARK.
    #[must_use]
    pub fn sign_crl(&self, crl: &CrlSpec) -> Vec<u8> {
        crl.sign(&self.ark.key)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Authority {
    Ark,
    Ask,
    Asvk,
}

fn authority(product: ProductLine, which: Authority, keys: &Keys) -> Issued {
    let name = product.name();
    let root_name = format!("ARK-{name}");
    let (common_name, key, service, low_serial) = match which {
        Authority::Ark => (root_name.clone(), &keys.ark, "vcek", [0x00, 0x00]),
        Authority::Ask => (format!("SEV-{name}"), &keys.ask, "vcek", [0x00, 0x01]),
        Authority::Asvk => (format!("SEV-VLEK-{name}"), &keys.asvk, "vlek", [0x01, 0x01]),
    };
    let line = match product {
        ProductLine::Milan => 1,
        ProductLine::Genoa => 2,
        ProductLine::Turin => 3,
    };
    let is_root = which == Authority::Ark;
    let mut extensions = vec![
        Extension::certificate_authority(if is_root { None } else { Some(0) }),
        Extension::certificate_signing(is_root),
        Extension::subject_key(key),
    ];
    if !is_root {
        extensions.push(Extension::authority_key(&keys.ark));
    }
    let url = format!("https://kdsintf.amd.com/{service}/v1/{name}/crl");
    extensions.push(Extension::distribution_point(&url));
    let certificate = CertificateSpec {
        version: Some(2),
        serial: [&[line], low_serial.as_slice()].concat(),
        algorithm: SignatureAlgorithm::PssSha384ExplicitTrailer,
        inner_algorithm: None,
        issuer: Name::amd(&root_name),
        validity: Validity { not_before: datetime!(2020-10-22 0:00 UTC), not_after: datetime!(2045-10-22 0:00 UTC) },
        subject: Name::amd(&common_name),
        public_key_info: key.public_key_info(),
        extensions,
    };
    Issued { certificate, key: key.clone(), issuer_key: keys.ark.clone() }
}

/// The extensions of a healthy VEK certificate, in AMD's order. `identity` is the hardware id or the CSP id.
fn vek_extensions(product: ProductLine, kind: VekKind, tcb: TcbComponents, identity: &[u8]) -> Vec<Extension> {
    let level = |oid, value: u8| Extension::new(oid, der::unsigned(u64::from(value)));
    let turin = product == ProductLine::Turin;
    let product_name = match (product, kind) {
        (ProductLine::Milan, VekKind::Vcek) => "Milan-B0",
        (ProductLine::Milan | ProductLine::Genoa | ProductLine::Turin, _) => product.name(),
    };
    let mut extensions = vec![
        level(oids::STRUCT_VERSION, u8::from(turin)),
        Extension::new(oids::PRODUCT_NAME, der::ia5(product_name)),
        level(oids::BOOT_LOADER, tcb.bootloader),
        level(oids::TEE, tcb.tee),
    ];
    // Turin has a patch level for the FMC and none for reserved byte 4 (57230).
    extensions.push(if turin { level(oids::FMC, tcb.fmc.unwrap_or_default()) } else { level(oids::SPL4, 0) });
    extensions.extend([oids::SPL5, oids::SPL6, oids::SPL7].map(|oid| level(oid, 0)));
    extensions.extend([level(oids::SNP, tcb.snp), level(oids::MICROCODE, tcb.microcode)]);
    extensions.push(match kind {
        // The raw id, not a DER element: so in everything that AMD has issued.
        VekKind::Vcek => Extension::new(oids::HARDWARE_ID, identity.to_vec()),
        VekKind::Vlek => Extension::new(oids::CSP_ID, der::element(0x16, identity)),
    });
    extensions
}
