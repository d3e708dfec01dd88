//! Authenticates Intel's collateral: both CRLs, TCB info and QE identity, each down from the root of the PCK chain.

use evidence_formats::{
    code::{Code, Coded},
    tdx::{CollateralError, CollateralKind, Fmspc, PceId, QeIdentity, SignedDocument, TcbInfo, UtcSeconds},
};
use thiserror::Error;

use super::certs::{PckCertificate, verify_p256};
use crate::{
    EndorsementError, Endorsements, Revocation, Timestamp, Unchecked,
    x509::{Certificate, Crl, CrlNumber, PublicKey},
};

pub(super) const TCB_SIGNING: &str = "Intel SGX TCB Signing";
const PCK_CA_PREFIX: &str = "Intel SGX PCK ";

/// Everything that was supplied beside a quote, unverified, in no order.
struct Pool<'a> {
    certificates: Vec<&'a Certificate>,
    crls: Vec<&'a Crl>,
    endorsements: &'a Endorsements,
}

/// TCB info whose signature, signing chain, validity and platform were checked. Only this module makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthenticTcbInfo(TcbInfo);

impl AuthenticTcbInfo {
    /// The document.
    #[must_use]
    pub const fn info(&self) -> &TcbInfo {
        &self.0
    }
}

/// QE identity whose signature, signing chain and validity were checked. Only this module makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthenticQeIdentity(QeIdentity);

impl AuthenticQeIdentity {
    /// The document.
    #[must_use]
    pub const fn identity(&self) -> &QeIdentity {
        &self.0
    }
}

/// From when until when something speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Window {
    /// First second.
    pub from: Timestamp,
    /// Last second.
    pub until: Timestamp,
}

impl Window {
    pub(super) const fn of(from: UtcSeconds, until: UtcSeconds) -> Self {
        Self { from: Timestamp::from_unix(from.0), until: Timestamp::from_unix(until.0) }
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now <= self.until
    }

    fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }
}

/// All collateral for one PCK certificate, checked. Only this module makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthenticCollateral {
    /// TCB info of the platform.
    pub tcb_info: AuthenticTcbInfo,
    /// Identity of the TD quoting enclave.
    pub qe_identity: AuthenticQeIdentity,
    /// When the root CRL speaks; absent when none was there and none was required.
    pub root_crl: Option<Window>,
    /// When the PCK CRL speaks; absent when none was there and none was required.
    pub pck_crl: Option<Window>,
    /// Issuer and number of each CRL that was there.
    pub crls: Vec<(CrlKind, String, CrlNumber)>,
    /// What could not be checked.
    pub unchecked: Vec<Unchecked>,
    /// While all of it holds.
    pub window: Window,
}

/// A CRL of Intel's hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrlKind {
    /// By the root, over CAs and TCB signing certificates.
    Root,
    /// By a PCK CA, over PCK certificates.
    Pck,
}

/// A certificate of Intel's hierarchy that can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocable {
    /// The root.
    Root,
    /// The PCK CA.
    Intermediate,
    /// The PCK certificate.
    Pck,
    /// The certificate that signs collateral.
    TcbSigning,
}

/// An endorsement is missing, does not speak for this platform or now, or is not Intel's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TdxEndorsementError {
    /// A CRL was required and is not there.
    #[error("expected a {0:?} CRL among the endorsements")]
    CrlMissing(CrlKind),
    /// TCB info or QE identity is not there.
    #[error("expected {0:?} among the endorsements")]
    DocumentMissing(CollateralKind),
    /// The certificate that signs collateral is not there.
    #[error("expected the Intel SGX TCB Signing certificate of {0:?} among the endorsements")]
    SignerMissing(CollateralKind),
    /// A CRL was required, and one that was given could not be read.
    #[error("expected a readable {kind:?} CRL")]
    CrlUnreadable {
        /// Which CRL is missing.
        kind: CrlKind,
        /// Why the one that was given could not be read.
        source: EndorsementError,
    },
    /// A CRL lacks the authority key identifier that Intel's have.
    #[error("expected a {0:?} CRL with an authority key identifier")]
    CrlKeyIdentifier(CrlKind),
    /// There is a PCK CRL, of the other PCK CA.
    #[error("expected a CRL of the CA that issued the PCK certificate")]
    CrlIssuer,
    /// A CRL is not signed by its issuer.
    #[error("expected a {0:?} CRL signed by its issuer")]
    CrlSignature(CrlKind),
    /// A CRL does not speak for now.
    #[error("expected a {kind:?} CRL in force, found one from {from} until {until}")]
    CrlTime {
        /// Which CRL.
        kind: CrlKind,
        /// Its thisUpdate.
        from: Timestamp,
        /// Its nextUpdate.
        until: Timestamp,
    },
    /// A certificate is revoked.
    #[error("the {0:?} certificate is revoked")]
    Revoked(Revocable),
    /// A certificate that calls itself the root is not the trust anchor.
    #[error("expected issuer chains to end in the trust anchor, found another certificate of its name")]
    RootUntrusted(CollateralKind),
    /// A document is malformed or about something else.
    #[error(transparent)]
    Document(#[from] CollateralError),
    /// A document is not signed by any certificate that was supplied.
    #[error("expected {0:?} signed by the Intel SGX TCB Signing certificate")]
    Signature(CollateralKind),
    /// A document is signed by a genuine key that has no business doing so.
    #[error("expected {0:?} signed by the Intel SGX TCB Signing certificate, found another signer")]
    Signer(CollateralKind),
    /// The signing certificate is not valid now.
    #[error("expected a valid Intel SGX TCB Signing certificate for {0:?}")]
    SignerValidity(CollateralKind),
    /// A document does not speak for now.
    #[error("expected {kind:?} in force, found one from {from} until {until}")]
    DocumentTime {
        /// Which document.
        kind: CollateralKind,
        /// Its issueDate.
        from: Timestamp,
        /// Its nextUpdate.
        until: Timestamp,
    },
    /// TCB info of other processors.
    #[error("expected TCB info for FMSPC {expected}, found {found}")]
    Fmspc {
        /// Of the PCK certificate.
        expected: Fmspc,
        /// Of the TCB info.
        found: Fmspc,
    },
    /// TCB info of another provisioning certification enclave.
    #[error("expected TCB info for PCEID {expected}, found {found}")]
    PceId {
        /// Of the PCK certificate.
        expected: PceId,
        /// Of the TCB info.
        found: PceId,
    },
}

impl TdxEndorsementError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::CrlMissing(_) | Self::DocumentMissing(_) | Self::SignerMissing(_))
    }
}

impl Coded for TdxEndorsementError {
    fn code(&self) -> Code {
        use CollateralKind::{QeIdentity, TcbInfo};
        Code::new(match self {
            Self::CrlMissing(CrlKind::Root) => "endorsement.tdx.root_crl_missing",
            Self::CrlMissing(CrlKind::Pck) => "endorsement.tdx.pck_crl_missing",
            Self::DocumentMissing(TcbInfo) => "endorsement.tdx.tcb_info_missing",
            Self::DocumentMissing(QeIdentity) => "endorsement.tdx.qe_identity_missing",
            Self::SignerMissing(_) => "endorsement.tdx.tcb_signing_missing",
            Self::CrlUnreadable { kind: CrlKind::Root, .. } | Self::CrlKeyIdentifier(CrlKind::Root) => {
                "endorsement.tdx.root_crl_format"
            }
            Self::CrlUnreadable { kind: CrlKind::Pck, .. } | Self::CrlKeyIdentifier(CrlKind::Pck) => {
                "endorsement.tdx.pck_crl_format"
            }
            Self::CrlIssuer => "endorsement.tdx.pck_crl_issuer",
            Self::CrlSignature(CrlKind::Root) => "endorsement.tdx.root_crl_signature",
            Self::CrlSignature(CrlKind::Pck) => "endorsement.tdx.pck_crl_signature",
            Self::CrlTime { kind: CrlKind::Root, .. } => "endorsement.tdx.root_crl_expired",
            Self::CrlTime { kind: CrlKind::Pck, .. } => "endorsement.tdx.pck_crl_expired",
            Self::Revoked(Revocable::Root) => "endorsement.tdx.root_revoked",
            Self::Revoked(Revocable::Intermediate) => "endorsement.tdx.intermediate_revoked",
            Self::Revoked(Revocable::Pck) => "endorsement.tdx.pck_revoked",
            Self::Revoked(Revocable::TcbSigning) => "endorsement.tdx.tcb_signing_revoked",
            Self::Document(error) => return error.code(),
            Self::RootUntrusted(TcbInfo) => "endorsement.tdx.tcb_info_root_untrusted",
            Self::RootUntrusted(QeIdentity) => "endorsement.tdx.qe_identity_root_untrusted",
            Self::Signature(TcbInfo) => "endorsement.tdx.tcb_info_signature",
            Self::Signature(QeIdentity) => "endorsement.tdx.qe_identity_signature",
            Self::Signer(TcbInfo) => "endorsement.tdx.tcb_info_signer",
            Self::Signer(QeIdentity) => "endorsement.tdx.qe_identity_signer",
            Self::SignerValidity(_) => "endorsement.tdx.tcb_signing_validity",
            Self::DocumentTime { kind: TcbInfo, .. } => "endorsement.tdx.tcb_info_expired",
            Self::DocumentTime { kind: QeIdentity, .. } => "endorsement.tdx.qe_identity_expired",
            Self::Fmspc { .. } => "endorsement.tdx.fmspc",
            Self::PceId { .. } => "endorsement.tdx.pce_id",
        })
    }
}

impl AuthenticCollateral {
    /// Authenticates what the endorsements have for `pck`.
    ///
    /// # Errors
    /// [`TdxEndorsementError`]. What is wrong is reported before what is missing.
    pub(crate) fn authenticate<'e>(
        pck: &PckCertificate,
        endorsements: &'e Endorsements,
        revocation: Revocation,
        now: Timestamp,
    ) -> Result<Self, TdxEndorsementError> {
        let pool = &Pool {
            certificates: endorsements.certificates().map(|certificate| &**certificate).collect(),
            crls: endorsements.crls().map(|crl| &**crl).collect(),
            endorsements,
        };
        let mut missing = Missing(None);
        let grace = revocation.grace();
        let root_list = missing.defer(newest_crl(CrlKind::Root, pck.root(), pool, now))?;
        if let Some(crl) = root_list {
            for (certificate, which) in [(pck.root(), Revocable::Root), (pck.intermediate(), Revocable::Intermediate)] {
                require_unrevoked(crl, certificate, which)?;
            }
        }
        let pck_list = missing.defer(newest_crl(CrlKind::Pck, pck.intermediate(), pool, now))?;
        if let Some(crl) = pck_list {
            require_unrevoked(crl, pck.certificate(), Revocable::Pck)?;
        }
        let mut unchecked = Vec::new();
        if revocation == Revocation::IfPresent && missing.0.take().is_some() {
            unchecked.push(Unchecked { what: "revocation", reason: "no CRL was supplied for a certificate authority" });
        }
        let mut in_force = |kind, list: Option<&'e Crl>| match list.map(|crl| require_current(kind, crl, now, grace)) {
            Some(Err(_)) if revocation == Revocation::IfPresent => {
                unchecked.push(Unchecked { what: "revocation", reason: "a CRL that was supplied is not current" });
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(list),
        };
        let root_crl = in_force(CrlKind::Root, root_list)?;
        let pck_crl = in_force(CrlKind::Pck, pck_list)?;
        if [root_crl, pck_crl].into_iter().flatten().any(|crl| !crl_window(crl).holds(now)) {
            unchecked.push(Unchecked { what: "crl_age", reason: "a CRL has run out and counts for some hours" });
        }
        let documents = Documents { pck, pool, root_list, now, issued: issued_by(pck.root(), pool) };
        let tcb_info = missing.defer(documents.tcb_info())?;
        let qe_identity = missing.defer(documents.qe_identity())?;
        if let Some(error) = missing.0 {
            return Err(error);
        }
        let (tcb_info, tcb_window) = tcb_info.ok_or(TdxEndorsementError::DocumentMissing(CollateralKind::TcbInfo))?;
        let (qe_identity, qe_window) =
            qe_identity.ok_or(TdxEndorsementError::DocumentMissing(CollateralKind::QeIdentity))?;
        let chain = [pck.certificate(), pck.intermediate(), pck.root()];
        let window = chain.into_iter().map(validity).fold(tcb_window.and(qe_window), Window::and);
        let crl_windows = [root_crl, pck_crl].map(|crl| crl.map(crl_window));
        let window = crl_windows.iter().flatten().copied().fold(window, Window::and);
        let crls = [(CrlKind::Root, root_crl), (CrlKind::Pck, pck_crl)];
        let named =
            |(kind, crl): (CrlKind, Option<&Crl>)| crl.map(|crl| (kind, crl.issuer().to_string(), crl.number()));
        let crls = crls.into_iter().filter_map(named).collect();
        let [root_crl, pck_crl] = crl_windows;
        Ok(Self {
            tcb_info: AuthenticTcbInfo(tcb_info),
            qe_identity: AuthenticQeIdentity(qe_identity),
            root_crl,
            pck_crl,
            crls,
            unchecked,
            window,
        })
    }
}

/// The certificates for TCB signing whose signature is the root's.
fn issued_by<'a>(root: &Certificate, pool: &Pool<'a>) -> Vec<&'a Certificate> {
    let named = |certificate: &&Certificate| certificate.subject().common_name() == Some(TCB_SIGNING);
    let signed = |certificate: &&Certificate| certificate.verify_signed_by(root.public_key()).is_ok();
    pool.certificates.iter().copied().filter(named).filter(signed).collect()
}

/// The first missing endorsement: it is only reported when nothing is wrong.
struct Missing(Option<TdxEndorsementError>);

impl Missing {
    fn defer<T>(&mut self, outcome: Result<T, TdxEndorsementError>) -> Result<Option<T>, TdxEndorsementError> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => {
                self.0.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn validity(certificate: &Certificate) -> Window {
    let validity = certificate.validity();
    Window { from: validity.not_before, until: validity.not_after }
}

/// Intel's CRLs count until the second of nextUpdate, included, as its documents do.
const fn crl_window(crl: &Crl) -> Window {
    Window { from: crl.this_update(), until: crl.next_update() }
}

/// The newest CRL of `issuer` that was issued by now where there is one. Intel numbers every CRL 1, so that only
/// dates order them.
fn newest_crl<'a>(
    kind: CrlKind,
    issuer: &Certificate,
    pool: &Pool<'a>,
    now: Timestamp,
) -> Result<&'a Crl, TdxEndorsementError> {
    let by_issuer = pool.crls.iter().copied().filter(|crl| crl.issuer().raw() == issuer.subject().raw());
    let newest = by_issuer.max_by_key(|crl| (crl.this_update() <= now, crl.this_update()));
    let Some(crl) = newest else {
        let other_ca = |crl: &&Crl| crl.issuer().common_name().is_some_and(|name| name.starts_with(PCK_CA_PREFIX));
        let mismatch = kind == CrlKind::Pck && pool.crls.iter().any(other_ca);
        return Err(match pool.endorsements.malformed_crl() {
            _ if mismatch => TdxEndorsementError::CrlIssuer,
            Some(source) => TdxEndorsementError::CrlUnreadable { kind, source: source.clone() },
            None => TdxEndorsementError::CrlMissing(kind),
        });
    };
    crl.verify_signed_by(issuer.public_key()).map_err(|_source| TdxEndorsementError::CrlSignature(kind))?;
    // DCAP QVL, PCK CRL verification: authority key identifier and CRL number (which every list here has).
    if !crl.names_issuer_key() {
        return Err(TdxEndorsementError::CrlKeyIdentifier(kind));
    }
    Ok(crl)
}

fn require_current(kind: CrlKind, crl: &Crl, now: Timestamp, grace: i64) -> Result<(), TdxEndorsementError> {
    let window = crl_window(crl);
    let counts = Window { until: window.until.plus_seconds(grace), ..window };
    if counts.holds(now) {
        return Ok(());
    }
    Err(TdxEndorsementError::CrlTime { kind, from: window.from, until: window.until })
}

fn require_unrevoked(crl: &Crl, certificate: &Certificate, which: Revocable) -> Result<(), TdxEndorsementError> {
    if crl.revokes(certificate.serial()) { Err(TdxEndorsementError::Revoked(which)) } else { Ok(()) }
}

/// What signed documents are checked against.
struct Documents<'a, 'p> {
    pck: &'a PckCertificate,
    pool: &'a Pool<'p>,
    /// The root's CRL, current or not: whoever it names is refused.
    root_list: Option<&'a Crl>,
    now: Timestamp,
    /// Certificates for TCB signing that the root issued: both documents have the same signer, which is verified once.
    issued: Vec<&'a Certificate>,
}

/// A document that was read but not verified, with what orders it among others.
struct Candidate<T> {
    document: SignedDocument,
    content: T,
    window: Window,
    evaluation_number: u32,
}

impl Documents<'_, '_> {
    fn tcb_info(&self) -> Result<(TcbInfo, Window), TdxEndorsementError> {
        let candidate = self.select(CollateralKind::TcbInfo, |document| {
            let info = TcbInfo::parse(&document)?;
            if info.fmspc != self.pck.fmspc {
                return Err(TdxEndorsementError::Fmspc { expected: self.pck.fmspc, found: info.fmspc });
            }
            if info.pce_id != self.pck.pce_id {
                return Err(TdxEndorsementError::PceId { expected: self.pck.pce_id, found: info.pce_id });
            }
            let window = Window::of(info.issue_date, info.next_update);
            Ok(Candidate { document, window, evaluation_number: info.evaluation_number, content: info })
        })?;
        self.authenticate(candidate)
    }

    fn qe_identity(&self) -> Result<(QeIdentity, Window), TdxEndorsementError> {
        let candidate = self.select(CollateralKind::QeIdentity, |document| {
            let identity = QeIdentity::parse(&document)?;
            let window = Window::of(identity.issue_date, identity.next_update);
            Ok(Candidate { document, window, evaluation_number: identity.evaluation_number, content: identity })
        })?;
        self.authenticate(candidate)
    }

    /// The document to use when there are several: one in force before one that is not, then the highest evaluation
    /// number, then the latest. When none fits, the first one says why.
    fn select<T>(
        &self,
        kind: CollateralKind,
        read: impl Fn(SignedDocument) -> Result<Candidate<T>, TdxEndorsementError>,
    ) -> Result<Candidate<T>, TdxEndorsementError> {
        let mut best: Option<Candidate<T>> = None;
        let mut reason = None;
        let order = |candidate: &Candidate<T>| {
            (candidate.window.holds(self.now), candidate.evaluation_number, candidate.window.from)
        };
        for (_, bytes) in self.pool.endorsements.signed_documents().filter(|(found, _)| *found == kind) {
            match SignedDocument::parse(kind, bytes).map_err(TdxEndorsementError::from).and_then(&read) {
                Ok(candidate) if best.as_ref().is_none_or(|best| order(&candidate) > order(best)) => {
                    best = Some(candidate);
                }
                Ok(_) => {}
                Err(error) => {
                    reason.get_or_insert(error);
                }
            }
        }
        best.ok_or_else(|| reason.unwrap_or(TdxEndorsementError::DocumentMissing(kind)))
    }

    fn authenticate<T>(&self, candidate: Candidate<T>) -> Result<(T, Window), TdxEndorsementError> {
        let signer = self.signer_window(&candidate.document)?;
        let Window { from, until } = candidate.window;
        if !candidate.window.holds(self.now) {
            return Err(TdxEndorsementError::DocumentTime { kind: candidate.document.kind(), from, until });
        }
        Ok((candidate.content, candidate.window.and(signer)))
    }

    /// Finds who signed the document. Every supplied certificate of the signing key must be good: an expired or foreign
    /// one is refused rather than stepped over.
    fn signer_window(&self, document: &SignedDocument) -> Result<Window, TdxEndorsementError> {
        let kind = document.kind();
        let signed_by = |certificate: &Certificate| match certificate.public_key() {
            PublicKey::P256(key) => verify_p256(key, document.signed_text().as_bytes(), document.signature()),
            PublicKey::Rsa { .. } | PublicKey::P384(_) => false,
        };
        let named = |certificate: &Certificate| certificate.subject().common_name() == Some(TCB_SIGNING);
        let mut keys: Vec<(&[u8], bool)> = Vec::new();
        let mut window: Option<Window> = None;
        for certificate in self.pool.certificates.iter().copied().filter(|certificate| named(certificate)) {
            // The same key is certified several times: one verification answers for all.
            let known = keys.iter().find(|(spki, _)| *spki == certificate.spki()).map(|(_, signed)| *signed);
            let signed = known.unwrap_or_else(|| signed_by(certificate));
            keys.push((certificate.spki(), signed));
            if signed {
                let this = self.require_signer(certificate, kind)?;
                window = Some(window.map_or(this, |others| others.and(this)));
            }
        }
        if let Some(window) = window {
            return Ok(window);
        }
        let mut others = self.pool.certificates.iter().copied().filter(|certificate| !named(certificate));
        if others.any(signed_by) || signed_by(self.pck.root()) || signed_by(self.pck.certificate()) {
            return Err(TdxEndorsementError::Signer(kind));
        }
        Err(if keys.is_empty() {
            TdxEndorsementError::SignerMissing(kind)
        } else {
            TdxEndorsementError::Signature(kind)
        })
    }

    /// The signing certificate is issued by the root directly, and the root beside it is the anchor.
    fn require_signer(&self, signer: &Certificate, kind: CollateralKind) -> Result<Window, TdxEndorsementError> {
        let root = self.pck.root();
        let foreign_root = |certificate: &&Certificate| {
            certificate.subject().raw() == root.subject().raw() && certificate.der() != root.der()
        };
        if !signer.names_issuer(root)
            || !self.issued.iter().any(|issued| issued.digest() == signer.digest())
            || self.pool.certificates.iter().copied().any(|certificate| foreign_root(&certificate))
        {
            return Err(TdxEndorsementError::RootUntrusted(kind));
        }
        if signer.basic_constraints().is_none_or(|constraints| constraints.ca) {
            return Err(TdxEndorsementError::Signer(kind));
        }
        let window = validity(signer);
        if !window.holds(self.now) {
            return Err(TdxEndorsementError::SignerValidity(kind));
        }
        if let Some(crl) = self.root_list {
            require_unrevoked(crl, signer, Revocable::TcbSigning)?;
        }
        Ok(window)
    }
}
