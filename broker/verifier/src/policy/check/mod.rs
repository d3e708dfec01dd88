//! Looking for mistakes in a policy that compiles: what it reads is compared with the schema of its input, and what it
//! answers is tried on guests of which the right answer is known.

pub(in crate::policy) mod probes;
mod rules;
mod schema;
mod walk;

use std::fmt;

use regorus::unstable::Module;
use serde::Serialize;

use self::{schema::Schemas, walk::Walk};
use super::{
    PolicyError, PolicyPackage, RegoProgram,
    program::{engine_with, refused},
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy does not do what its author means.
    Mistake,
    /// It may do so, and a reader would ask.
    Warning,
}

/// Something that a policy's author should look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Line of the source, from 1; 1 also for what concerns the whole.
    pub line: u32,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, for people.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Mistake => "mistake",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {severity}: {}", self.line, self.text)
    }
}

impl Finding {
    fn mistake(line: u32, text: impl Into<String>) -> Self {
        Self { line, severity: Severity::Mistake, text: text.into() }
    }

    fn warning(line: u32, text: impl Into<String>) -> Self {
        Self { line, severity: Severity::Warning, text: text.into() }
    }
}

impl RegoProgram {
    /// Looks for mistakes in a policy: members of the input that do not exist, comparisons that can never be true, rules
    /// that always are, outputs without a default, and wrong answers about guests that no policy should trust. Findings are
    /// in the order of the source.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy does not compile.
    pub fn check(package: PolicyPackage, source: &str) -> Result<Vec<Finding>, PolicyError> {
        Self::compile(package, "checked", source)?;
        let schemas = Schemas::read()?;
        let mut engine = engine_with(package, source)?;
        let module: &Module = engine.get_modules().first().ok_or_else(|| refused(&"no module"))?;
        let mut findings = Walk::over(module, schemas.input(package));
        findings.extend(rules::findings(module, package));
        findings.extend(probes::findings(package, source)?);
        findings.sort();
        findings.dedup();
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::policy::{AppraisalPolicy, ReleasePolicy};

    fn appraisal(body: &str) -> Vec<String> {
        let source = format!("package countersign.appraisal\n{body}\n");
        let findings = RegoProgram::check(PolicyPackage::Appraisal, &source).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    fn release(body: &str) -> Vec<String> {
        let source = format!("package countersign.release\n{body}\n");
        let findings = RegoProgram::check(PolicyPackage::Release, &source).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    /// A sound policy with one more rule.
    fn with_rule(rule: &str) -> Vec<String> {
        let source = format!("{}\n{rule}\n", AppraisalPolicy::BUILT_IN_SOURCE);
        let findings = RegoProgram::check(PolicyPackage::Appraisal, &source).unwrap();
        findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn the_built_in_policies_are_without_findings() {
        assert_eq!(RegoProgram::check(PolicyPackage::Appraisal, AppraisalPolicy::BUILT_IN_SOURCE).unwrap(), []);
        assert_eq!(RegoProgram::check(PolicyPackage::Release, ReleasePolicy::BUILT_IN_SOURCE).unwrap(), []);
    }

    #[test]
    fn what_the_input_does_not_have_is_found_wherever_it_is_read() {
        let cases = [
            ("x if input.claims.debugg", "input has no member claims.debugg; did you mean debug?"),
            ("x if input.claims[\"tcbs\"]", "input has no member claims.tcbs; did you mean tcb?"),
            ("x if not input.baseline.violation", "input has no member baseline.violation; did you mean violations?"),
            (
                "x if {\n\tsome match in input.reference_values.matched\n\tmatch.workloads == \"web\"\n}",
                "input has no member reference_values.matched[_].workloads; did you mean workload?",
            ),
            (
                "t := input.claims.tcb\nx if t.state == \"UpToDate\"",
                "input has no member claims.tcb.state; did you mean status?",
            ),
            (
                "x := [v | some v in input.baseline.violations; v.text == \"a\"]",
                "input has no member baseline.violations[_].text; its members are actual, code, expected",
            ),
            (
                "x := object.get(input.claims.tcb, \"level\", \"none\")",
                "input has no member claims.tcb.level; its members are advisories, evaluated_at, status, versions",
            ),
            ("x if input.now.year", "input has no member now.year: now is a string"),
            (
                "x if every v in input.claims.unchecked { v.wat == \"nonce\" }",
                "input has no member claims.unchecked[_].wat; did you mean what?",
            ),
        ];
        for (rule, wanted) in cases {
            assert_eq!(with_rule(rule), [wanted], "{rule}");
        }
    }

    #[test]
    fn what_is_there_is_not_complained_about() {
        let fine = [
            "x if input.claims.raw.snp.policy.debug",
            "x if input.claims.measurement.runtime.pcr4.events.kernel[0] == \"00\"",
            "x if input.claims.measurement.runtime[\"rtmr0\"].value == \"00\"",
            "x if {\n\tsome name, register in input.claims.measurement.runtime\n\tname == \"pcr4\"\n\tregister.value == \"00\"\n}",
            "x if \"x\" in {unchecked.what | some unchecked in input.claims.unchecked}",
            "x(claims) if claims.anything",
        ];
        for rule in fine {
            assert_eq!(with_rule(rule), [""; 0], "{rule}");
        }
    }

    #[test]
    fn comparisons_that_are_never_true_are_found() {
        let cases = [
            ("x if input.claims.debug == \"false\"", "claims.debug is a boolean, and is compared with \"false\""),
            (
                "x if input.claims.platform == \"azur\"",
                "claims.platform is never \"azur\": it is one of bare, azure, gcp, aws, simulated",
            ),
            (
                "x if input.claims.tcb.status in {\"UpToDate\", \"Uptodate\"}",
                "claims.tcb.status is never \"Uptodate\": it is one of UpToDate, SWHardeningNeeded, ConfigurationNeeded, \
                 ConfigurationAndSWHardeningNeeded, TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded, OutOfDate, \
                 OutOfDateConfigurationNeeded, Revoked",
            ),
            ("x if input.claims.instance != 5", "claims.instance is a string, and is compared with 5"),
        ];
        for (rule, wanted) in cases {
            assert_eq!(with_rule(rule), [wanted], "{rule}");
        }
    }

    #[test]
    fn rules_that_are_always_true_are_found() {
        assert_eq!(
            release("default allow := false\nallow if true\ndeny := set()\nmax_ttl := 60"),
            [
                "1: mistake: the policy allows a grant for another workload to a simulated guest of which nothing was checked",
                "1: mistake: the policy allows a grant to a guest that says nothing",
                "3: mistake: the condition of `allow` is always true",
            ]
        );
        let constant = release("allow := true\ndeny contains \"no\" if input.claims.debug\nmax_ttl := 60");
        assert!(constant.contains(&"2: mistake: `allow` is true whatever the input says".to_owned()), "{constant:?}");
        assert_eq!(with_rule("x if 1 == 1"), ["the condition of `x` is always true"]);
        let vector = appraisal("trust_vector := {\"hardware\": 2}\nreasons := set()");
        assert_eq!(
            vector,
            [
                "1: mistake: the policy affirms a guest on revoked hardware that its host can read and whose code nobody knows",
                "1: mistake: the policy affirms a guest that says nothing",
            ]
        );
    }

    #[test]
    fn a_missing_default_is_found() {
        let findings =
            release("allow if input.grant.workloads == input.result.workloads\ndeny := set()\nmax_ttl := 60");
        assert_eq!(
            findings,
            [
                "1: warning: the policy fails on a guest that says nothing: expected a value of `allow`, found it undefined",
                "2: warning: `allow` is undefined when none of its conditions holds: write `default allow := …`",
            ]
        );
    }

    #[test]
    fn a_policy_that_trusts_nobody_is_found() {
        let never = release("allow := false\ndeny := set()\nmax_ttl := 60");
        assert_eq!(never, ["1: warning: the policy denies a grant even to a guest in which nothing is wrong"]);
    }
}
