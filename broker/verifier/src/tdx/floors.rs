//! Collateral that was once seen is not replaced by older collateral, which would judge by what was known before.

use std::sync::Arc;

use evidence_formats::code::{Code, Coded};
use thiserror::Error;

use super::collateral::{AuthenticCollateral, CrlKind, Window};
use crate::{CrlFloors, Floor, Timestamp, x509::CrlNumber};

/// A number that only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monotonic {
    /// CRL number of the root.
    RootCrl,
    /// CRL number of a PCK CA.
    PckCrl,
    /// thisUpdate of the root's CRL, seconds since 1970: Intel numbers every list 1, so that only dates order them.
    RootCrlDate,
    /// thisUpdate of a PCK CA's CRL.
    PckCrlDate,
    /// tcbEvaluationDataNumber of the TCB info of one FMSPC.
    TcbInfo,
    /// tcbEvaluationDataNumber of the QE identity.
    QeIdentity,
}

/// A document is older than one that was seen before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected {subject} not to fall below {floor}, which was seen before, found {actual}")]
pub struct RollbackError {
    /// Which number.
    pub what: Monotonic,
    /// Whose.
    pub subject: String,
    /// The highest that was seen, hex.
    pub floor: CrlNumber,
    /// What the document says, hex.
    pub actual: CrlNumber,
}

impl Coded for RollbackError {
    fn code(&self) -> Code {
        Code::new(match self.what {
            Monotonic::RootCrl | Monotonic::RootCrlDate => "endorsement.tdx.root_crl_rollback",
            Monotonic::PckCrl | Monotonic::PckCrlDate => "endorsement.tdx.pck_crl_rollback",
            Monotonic::TcbInfo => "endorsement.tdx.tcb_info_rollback",
            Monotonic::QeIdentity => "endorsement.tdx.qe_identity_rollback",
        })
    }
}

/// The numbers of one platform's collateral.
#[derive(Debug)]
pub(super) struct SeenNumbers {
    kinds: Vec<Monotonic>,
    floors: Arc<[Floor]>,
}

impl SeenNumbers {
    pub(super) fn of(collateral: &AuthenticCollateral) -> Self {
        let info = collateral.tcb_info.info();
        let number = |number: u32| CrlNumber::from(u64::from(number));
        let mut seen = vec![
            (
                Monotonic::TcbInfo,
                format!("tcbEvaluationDataNumber of TCB info {}", info.fmspc),
                number(info.evaluation_number),
            ),
            (
                Monotonic::QeIdentity,
                "tcbEvaluationDataNumber of TD QE identity".to_owned(),
                number(collateral.qe_identity.identity().evaluation_number),
            ),
        ];
        for (kind, issuer, number) in &collateral.crls {
            let (by_number, by_date, window) = match kind {
                CrlKind::Root => (Monotonic::RootCrl, Monotonic::RootCrlDate, collateral.root_crl),
                CrlKind::Pck => (Monotonic::PckCrl, Monotonic::PckCrlDate, collateral.pck_crl),
            };
            seen.push((by_number, issuer.clone(), *number));
            if let Some(Window { from, .. }) = window {
                seen.push((by_date, format!("thisUpdate of {issuer}"), seconds(from)));
            }
        }
        let (kinds, floors): (Vec<_>, Vec<_>) =
            seen.into_iter().map(|(kind, subject, number)| (kind, Floor { subject, number })).unzip();
        Self { kinds, floors: floors.into() }
    }

    /// What to remember.
    pub(super) fn floors(&self) -> Arc<[Floor]> {
        Arc::clone(&self.floors)
    }

    pub(super) fn require_above(&self, floors: &CrlFloors) -> Result<(), RollbackError> {
        for (what, Floor { subject, number: actual }) in self.kinds.iter().zip(self.floors.iter()) {
            if let Some(floor) = floors.of(subject).filter(|floor| actual < floor) {
                return Err(RollbackError { what: *what, subject: subject.clone(), floor, actual: *actual });
            }
        }
        Ok(())
    }
}

fn seconds(time: Timestamp) -> CrlNumber {
    CrlNumber::from(u64::try_from(time.as_unix()).unwrap_or_default())
}
