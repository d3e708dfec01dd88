//! Running the tests that a policy author wrote beside a policy.

use std::num::NonZeroU32;
use std::time::Duration;

use regorus::{Engine, Value, utils::limits::ExecutionTimerConfig};
use serde::Serialize;

use super::{
    PolicyError, PolicyPackage, RegoProgram,
    program::{engine_with, refused},
};

/// Most time of one test.
const MAX_TIME: Duration = Duration::from_secs(5);
/// Work units between two looks at the time.
const TIME_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);
const TESTS_PATH: &str = "policy_test.rego";

/// What one `test_…` rule said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestOutcome {
    /// Rule name with its package, for example `countersign.appraisal_test.test_debug_is_refused`.
    pub name: String,
    /// Whether the rule was true.
    pub passed: bool,
    /// Why it was not, when it failed with an error rather than by being false or undefined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RegoProgram {
    /// Runs every rule named `test_…` of `tests` against `policy`. Tests use `with input as …`, which the compiled form
    /// does not know, so they run in the interpreter; the policy must compile all the same.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy does not compile or the tests are not Rego.
    pub fn run_tests(package: PolicyPackage, policy: &str, tests: &str) -> Result<Vec<TestOutcome>, PolicyError> {
        Self::compile(package, "under-test", policy)?;
        let mut engine = engine_with(package, policy)?;
        let test_package =
            engine.add_policy(TESTS_PATH.to_owned(), tests.to_owned()).map_err(|error| refused(&error))?;
        engine
            .set_execution_timer_config(ExecutionTimerConfig { limit: MAX_TIME, check_interval: TIME_CHECK_INTERVAL });
        let names = test_names(tests);
        Ok(names.into_iter().map(|name| run_one(&engine, &format!("{test_package}.{name}"))).collect())
    }
}

/// Names of the rules that begin a line with `test_`, in source order, each once.
fn test_names(tests: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for line in tests.lines().filter(|line| line.starts_with("test_")) {
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
        let (name, _) = line.split_at(end);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn run_one(engine: &Engine, rule: &str) -> TestOutcome {
    let name = rule.strip_prefix("data.").unwrap_or(rule).to_owned();
    let mut engine = engine.clone();
    engine.set_input(Value::new_object());
    match engine.eval_rule(rule.to_owned()) {
        Ok(value) => TestOutcome { name, passed: value == Value::from(true), error: None },
        Err(error) => TestOutcome { name, passed: false, error: Some(error.to_string()) },
    }
}
