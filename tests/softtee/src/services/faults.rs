//! What goes wrong, and how often.
use serde::Deserialize;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A chip's certificate.
    Vcek,
    /// AMD's CA certificates.
    Chain,
    /// AMD's revocation lists.
    Crl,
    /// TCB info.
    TcbInfo,
    /// Identity of the quoting enclave.
    QeIdentity,
    /// Revocation lists of Intel's PCK CAs.
    PckCrl,
    /// Revocation list of Intel's root.
    RootCrl,
    /// Azure's certificate of this machine's chip.
    Thim,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::Vcek, Self::Chain, Self::Crl, Self::TcbInfo, Self::QeIdentity, Self::PckCrl, Self::RootCrl, Self::Thim];
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Status 429, `Retry-After` as said.
    Throttle,
    /// Status 503 without a hint.
    Unavailable,
    /// Status 404.
    Absent,
    /// Status 302 to another place.
    Redirect,
    /// The answer comes so many seconds late.
    Slow,
    /// Half of the document.
    Truncated,
    /// The document of another product line, chip or platform.
    WrongProduct,
    /// A list or document that has run out.
    Stale,
    /// A list with a lower number, and an older date, than the healthy one.
    LowerNumber,
    /// A document by an imitation of the vendor.
    Rogue,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub on: Kind,
    /// What.
    pub what: What,
    /// How many answers it spoils; absent: every one.
    #[serde(default)]
    pub times: Option<u32>,
    /// Seconds of `Retry-After` (0: no such header), or of delay.
    #[serde(default)]
    pub seconds: u64,
}

/// Everything that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Faults; of several on one kind the first that is not used up counts.
    pub fault: Vec<Fault>,
    /// Seconds after which revocation lists end; absent: AMD's after a year, Intel's after thirty days.
    pub lists_end_in: Option<i64>,
    /// Number of AMD's lists; absent: 7.
    pub list_number: Option<u64>,
}

impl Faults {
    /// A single fault.
    #[must_use]
    pub fn one(fault: Fault) -> Self {
        Self { fault: vec![fault], ..Self::default() }
    }

    /// The fault of this answer; one use of it is gone then.
    pub(super) fn take(&mut self, kind: Kind) -> Option<Fault> {
        let fault = self.fault.iter_mut().find(|fault| fault.on == kind && fault.times != Some(0))?;
        fault.times = fault.times.map(|times| times.saturating_sub(1));
        Some(*fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_used_up() {
        let mut faults = Faults::one(Fault { on: Kind::Crl, what: What::Throttle, times: Some(2), seconds: 1 });
        assert_eq!(faults.take(Kind::Vcek), None);
        assert!(faults.take(Kind::Crl).is_some() && faults.take(Kind::Crl).is_some());
        assert_eq!(faults.take(Kind::Crl), None);
    }
}
