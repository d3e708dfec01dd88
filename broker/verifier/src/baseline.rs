//! Baseline rules: what typed configuration says about authenticated claims, before any policy runs.
//!
//! Every rule has a strict default. A setting called `allow_…` relaxes one and shows in `relaxed` whenever it mattered;
//! a setting called `require_…`, `forbid_…` or `minimum_…` asks for more than the default.

use evidence_formats::code::Code;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Claims, RawClaims, Unchecked,
    snp::{SnpBaseline, SnpBaselineError},
    tdx::TdxBaseline,
    tpm::TpmBaseline,
};

/// Baseline rules of every platform.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Baseline {
    /// Rules for SEV-SNP.
    pub snp: SnpBaseline,
    /// Rules for TDX.
    pub tdx: TdxBaseline,
    /// Rules for TPMs, and for what a paravisor says of its own.
    pub tpm: TpmBaseline,
}

/// A configuration file: everything stands below `baseline`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    baseline: Baseline,
}

/// Why a configuration is no baseline.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// Not TOML of the expected shape.
    #[error("expected a baseline as TOML")]
    Toml(#[from] toml::de::Error),
    /// A rule for SEV-SNP contradicts itself.
    #[error("expected consistent rules in [baseline.snp]")]
    Snp(#[from] SnpBaselineError),
}

impl Baseline {
    /// Reads a configuration file, for example `[baseline.snp]` with `allow_debug = true`.
    ///
    /// # Errors
    /// [`BaselineError`] when it has unknown settings or contradicts itself.
    pub fn from_toml(text: &str) -> Result<Self, BaselineError> {
        let document: Document = toml::from_str(text)?;
        document.baseline.consistent()?;
        Ok(document.baseline)
    }

    /// Checks that the settings do not contradict each other, for a baseline that is part of a larger configuration.
    ///
    /// # Errors
    /// [`BaselineError`] names the contradiction.
    pub fn consistent(&self) -> Result<(), BaselineError> {
        Ok(self.snp.consistent()?)
    }

    /// Judges authenticated claims.
    #[must_use]
    pub fn judge(&self, claims: &Claims) -> BaselineOutcome {
        let mut outcome = BaselineOutcome::default();
        self.judge_raw(claims, &claims.raw, &mut outcome);
        outcome
    }

    fn judge_raw(&self, claims: &Claims, raw: &RawClaims, outcome: &mut BaselineOutcome) {
        match raw {
            RawClaims::Snp(snp) => self.snp.judge(claims, snp, outcome),
            RawClaims::Tdx(tdx) => {
                let findings = self.tdx.judge(tdx);
                for (code, expected, actual) in findings.violations {
                    outcome.violations.push(Violation { code, expected, actual });
                }
                outcome.relaxed.extend(findings.relaxed);
                self.tdx.init_data.judge("baseline.tdx.init_data", claims, outcome);
            }
            RawClaims::Tpm(tpm) => self.tpm.judge(tpm, None, outcome),
            RawClaims::Azure(azure) => {
                // Production paravisors run without SEPT_VE_DISABLE and handle #VE themselves: waived there, and said.
                let tdx = TdxBaseline { allow_sept_ve: true, ..self.tdx.clone() };
                Self { tdx, ..self.clone() }.judge_raw(claims, &azure.hardware, outcome);
                self.tpm.judge_azure(azure, outcome);
            }
            RawClaims::HostedVtpm(composite) | RawClaims::Svsm(composite) => {
                self.judge_raw(claims, &composite.hardware, outcome);
                self.tpm.judge(&composite.tpm, None, outcome);
            }
        }
    }
}

/// What the baseline found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BaselineOutcome {
    /// Rules that were broken, in rule order; empty when the baseline passed.
    pub violations: Vec<Violation>,
    /// Relaxations that changed the outcome, by configuration name (`snp.allow_debug`).
    pub relaxed: Vec<String>,
    /// Rules that did not run.
    pub unchecked: Vec<Unchecked>,
}

/// One broken baseline rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Stable code, `baseline.…`.
    pub code: Code,
    /// What the rule wants.
    pub expected: String,
    /// What the evidence says.
    pub actual: String,
}

impl BaselineOutcome {
    /// Notes a violation unless `holds`.
    pub(crate) fn require(
        &mut self,
        holds: bool,
        code: &'static str,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) {
        if !holds {
            self.violations.push(Violation { code: Code::new(code), expected: expected.into(), actual: actual.into() });
        }
    }

    /// Notes a violation unless `holds`; when the operator allowed it, notes the setting that did instead.
    pub(crate) fn relaxable(
        &mut self,
        holds: bool,
        (allowed, setting): (bool, &'static str),
        code: &'static str,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) {
        if !holds && allowed {
            self.relaxed.push(setting.to_owned());
        } else {
            self.require(holds, code, expected, actual);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_empty_file_is_the_strict_default() {
        assert_eq!(Baseline::from_toml(""), Ok(Baseline::default()));
        assert_eq!(Baseline::from_toml("[baseline.snp]\nallow_debug = false"), Ok(Baseline::default()));
    }

    #[test]
    fn unknown_settings_are_refused() {
        for text in ["[baseline.snp]\nallow_debugging = true", "[baseline.sev]", "[snp]", "baseline = 1"] {
            assert!(matches!(Baseline::from_toml(text), Err(BaselineError::Toml(_))), "{text}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let refusal = |text: &str| Baseline::from_toml(text).unwrap_err();
        assert_eq!(refusal("[baseline.snp]\nallow_vlek = true"), SnpBaselineError::CspIds.into());
        assert_eq!(refusal("[baseline.snp]\nrequire_author_key = true"), SnpBaselineError::AuthorKeys.into());
        assert_eq!(refusal("[baseline.snp]\nvmpls = [4]"), SnpBaselineError::Vmpls.into());
        let floor = "bootloader = 1, tee = 0, snp = 1, microcode = 1";
        let text = format!("[baseline.snp.minimum_tcb.turin]\nreported = {{ {floor} }}");
        assert!(matches!(refusal(&text), BaselineError::Snp(SnpBaselineError::Fmc { .. })));
        let text = format!("[baseline.snp.minimum_tcb.milan]\nreported = {{ {floor} }}");
        assert!(Baseline::from_toml(&text).is_ok());
    }
}
