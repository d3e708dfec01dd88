//! Registers after a boot: PCRs of a TPM, or RTMRs of a TDX guest.

use std::collections::BTreeMap;

use evidence_formats::digest::{Digest, HashAlgorithm};

use super::{Step, StepKind};

/// Final values by register number, and those registers whose events are not all known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registers {
    /// Predicted values.
    pub values: BTreeMap<u8, Digest>,
    /// Not predicted, with the event that is not known.
    pub unknown: BTreeMap<u8, StepKind>,
}

impl Registers {
    fn extend(&mut self, bank: HashAlgorithm, register: u8, step: &Step) {
        match step.digest.filter(|_| step.certain) {
            _ if self.unknown.contains_key(&register) => {}
            Some(digest) => {
                let value = self.values.entry(register).or_insert(Digest::zero(bank));
                *value = value.extended(digest.as_bytes());
            }
            None => {
                self.values.remove(&register);
                self.unknown.insert(register, step.kind);
            }
        }
    }
}

/// PCRs of `bank` after these events; all other PCRs are not touched by them.
#[must_use]
pub fn pcrs(bank: HashAlgorithm, steps: &[Step]) -> Registers {
    let mut registers = Registers::default();
    for step in steps {
        registers.extend(bank, step.pcr, step);
    }
    registers
}

/// RTMR1 and RTMR2 after these events (UEFI 2.10 section 38.4.1: PCR 2 to 6 and 8 to 15). Firmware of TDX guests ends RTMR1 with one
/// separator, not with one for each PCR.
#[must_use]
pub fn rtmrs(steps: &[Step]) -> Registers {
    let mut registers = Registers::default();
    for step in steps.iter().filter(|step| step.kind != StepKind::Separator || step.pcr == 4) {
        match step.pcr {
            2..=6 => registers.extend(HashAlgorithm::Sha384, 1, step),
            8..=15 => registers.extend(HashAlgorithm::Sha384, 2, step),
            _ => {}
        }
    }
    registers
}
