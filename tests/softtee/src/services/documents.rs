//! The documents: healthy, or wrong in one way.
use evidence_formats::snp::{ProductLine, TcbComponents};
use evidence_formats::tdx::Fmspc;
use time::{Duration, OffsetDateTime};

use super::{Faults, What};
use crate::amd::{AmdPki, SecureProcessor, VekKind};
use crate::intel::{IntelPki, PckCa, PckSpec, QeIdentitySpec, TcbInfoSpec};
use crate::pem;
use crate::x509::{CrlSpec, Issued};

/// A document, and the certificates above its signature where they go beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) body: Vec<u8>,
    pub(super) chain: Option<String>,
}

impl Document {
    const fn plain(body: Vec<u8>) -> Self {
        Self { body, chain: None }
    }
}

/// How the documents of one answer are made.
#[derive(Debug, Clone)]
pub(super) struct Maker {
    pub(super) what: Option<What>,
    pub(super) faults: Faults,
    pub(super) now: OffsetDateTime,
}

impl Maker {
    fn is(&self, what: What) -> bool {
        self.what == Some(what)
    }

    fn amd(&self, product: ProductLine) -> AmdPki {
        let product = match (self.is(What::WrongProduct), product) {
            (false, product) => product,
            (true, ProductLine::Milan) => ProductLine::Genoa,
            (true, ProductLine::Genoa | ProductLine::Turin) => ProductLine::Milan,
        };
        if self.is(What::Rogue) { AmdPki::rogue(product) } else { AmdPki::new(product) }
    }

    fn intel(&self) -> IntelPki {
        if self.is(What::Rogue) { IntelPki::rogue() } else { IntelPki::new() }
    }

    /// A chip's certificate, of any chip and TCB. Another product line keeps chip and TCB as far as they have the same form.
    pub(super) fn vcek(&self, product: ProductLine, chip: &[u8], tcb: TcbComponents) -> Document {
        let pki = self.amd(product);
        let tcb = match (self.is(What::WrongProduct), pki.product) {
            (true, ProductLine::Milan | ProductLine::Genoa) => TcbComponents { fmc: None, ..tcb },
            (true, ProductLine::Turin) | (false, _) => tcb,
        };
        Document::plain(pki.vcek(chip, tcb).der())
    }

    pub(super) fn amd_chain(&self, product: ProductLine, kind: VekKind) -> Document {
        let pki = self.amd(product);
        let issuer = match kind {
            VekKind::Vcek => &pki.ask,
            VekKind::Vlek => &pki.asvk,
        };
        Document::plain(chain([issuer, &pki.ark]).into_bytes())
    }

    pub(super) fn amd_crl(&self, product: ProductLine) -> Document {
        let pki = self.amd(product);
        let number = self.faults.list_number.unwrap_or(7);
        let lower = self.is(What::LowerNumber);
        let crl = pki.crl(self.now).numbered(if lower { number.saturating_sub(1) } else { number });
        Document::plain(pki.sign_crl(&self.dated(crl)))
    }

    fn dated(&self, mut crl: CrlSpec) -> CrlSpec {
        if let Some(seconds) = self.faults.lists_end_in {
            crl.next_update = Some(self.now.saturating_add(Duration::seconds(seconds)));
        }
        if self.is(What::LowerNumber) {
            crl.this_update = crl.this_update.saturating_sub(Duration::days(1));
        }
        if self.is(What::Stale) {
            crl.this_update = self.now.saturating_sub(Duration::days(400));
            crl.next_update = Some(self.now.saturating_sub(Duration::days(30)));
        }
        crl
    }

    pub(super) fn tcb_info(&self, fmspc: Fmspc) -> Document {
        let pki = self.intel();
        let fmspc = if self.is(What::WrongProduct) { Fmspc([0xff; 6]) } else { fmspc };
        let mut info = TcbInfoSpec::healthy(&PckSpec { fmspc, ..PckSpec::healthy() }, self.now);
        self.date(&mut info.issue_date, &mut info.next_update);
        Document { body: info.sign(&pki.tcb_signing.key), chain: Some(chain([&pki.tcb_signing, &pki.root])) }
    }

    pub(super) fn qe_identity(&self) -> Document {
        let pki = self.intel();
        let mut identity = QeIdentitySpec::healthy(self.now);
        self.date(&mut identity.issue_date, &mut identity.next_update);
        Document { body: identity.sign(&pki.tcb_signing.key), chain: Some(chain([&pki.tcb_signing, &pki.root])) }
    }

    fn date(&self, issued: &mut OffsetDateTime, next: &mut OffsetDateTime) {
        let earlier = |time: &mut OffsetDateTime, days| *time = time.saturating_sub(Duration::days(days));
        if self.is(What::Stale) {
            earlier(issued, 60);
            earlier(next, 60);
        }
        if self.is(What::LowerNumber) {
            earlier(issued, 1);
            earlier(next, 1);
        }
    }

    pub(super) fn pck_crl(&self, ca: PckCa) -> Document {
        let pki = self.intel();
        let ca = match (self.is(What::WrongProduct), ca) {
            (false, ca) => ca,
            (true, PckCa::Platform) => PckCa::Processor,
            (true, PckCa::Processor) => PckCa::Platform,
        };
        let issuer = pki.pck_ca(ca);
        let body = self.dated(pki.pck_crl(ca, self.now)).sign(&issuer.key);
        Document { body, chain: Some(chain([issuer, &pki.root])) }
    }

    pub(super) fn root_crl(&self) -> Document {
        let pki = self.intel();
        Document::plain(self.dated(pki.root_crl(self.now)).sign(&pki.root.key))
    }

    /// Azure's answer on a machine with a healthy Milan chip.
    pub(super) fn thim(&self) -> Document {
        let chip = SecureProcessor { pki: self.amd(ProductLine::Milan), ..SecureProcessor::new(ProductLine::Milan) };
        let body = serde_json::json!({
            "vcekCert": pem::certificate(&chip.vek().der()),
            "tcbm": hex::encode_upper(chip.tcb.to_version().0),
            "certificateChain": chain([&chip.pki.ask, &chip.pki.ark]),
            "cacheControl": "86400",
        });
        Document::plain(body.to_string().into_bytes())
    }
}

fn chain(certificates: [&Issued; 2]) -> String {
    certificates.map(|issued| pem::certificate(&issued.der())).concat()
}
