//! A compiled Rego policy.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use regorus::{
    CompiledPolicy, Engine, Value,
    languages::rego::compiler::Compiler,
    rvm::{
        program::Program,
        vm::{RegoVM, VmError},
    },
    utils::limits::ExecutionTimerConfig,
};
use serde::{Serialize, Serializer};

use super::{error::PolicyError, outputs::Outputs};

/// Longest policy source, in bytes.
const MAX_SOURCE: usize = 256 * 1024;
/// Most instructions of one evaluation: the built-in policies need a few hundred.
const MAX_INSTRUCTIONS: usize = 2_000_000;
/// Most time of one evaluation. A watchdog for the stuck case; it is wall time, so it is generous, and the instruction
/// limit is what a policy author meets.
const MAX_TIME: Duration = Duration::from_secs(2);
/// Instructions between two looks at the time.
const TIME_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);

/// Most characters of what the compiler says.
const LONGEST_MESSAGE: usize = 1000;

/// Functions that a policy may not call: the answer of the first five depends on more than their arguments, so that a
/// decision could not be replayed; the others have a cost or result size without bound.
const FORBIDDEN: [&str; 9] = [
    "time.now_ns",
    "rand.intn",
    "uuid.rfc4122",
    "opa.runtime",
    "http.send",
    "test.sleep",
    "numbers.range",
    "numbers.range_step",
    "bits.lsh",
];

/// The packages that a policy can be written for, each with the outputs it must define.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyPackage {
    /// `countersign.appraisal`: evidence to trust vector.
    Appraisal,
    /// `countersign.release`: affirmed evidence and one grant to a decision.
    Release,
}

impl PolicyPackage {
    /// The name after `package`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Appraisal => "countersign.appraisal",
            Self::Release => "countersign.release",
        }
    }

    /// The outputs that it must define.
    #[must_use]
    pub const fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Appraisal => &["trust_vector", "reasons"],
            Self::Release => &["allow", "deny", "max_ttl"],
        }
    }

    /// A module that collects each output into a set of no or one value, so that one run tells every output and which of
    /// them is undefined.
    fn entry_module(self) -> String {
        let package = self.as_str();
        let members: Vec<String> = self
            .outputs()
            .iter()
            .map(|output| format!("\"{output}\": {{value | value := data.{package}.{output}}}"))
            .collect();
        format!("package countersign_entry\n\nresult := {{{}}}\n", members.join(", "))
    }
}

/// SHA-256 of a policy's source text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyDigest([u8; 32]);

impl PolicyDigest {
    /// Of this source text.
    #[must_use]
    pub fn of(source: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, source.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PolicyDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which policy decided: its name and the digest of its text. Written `name@sha256:hex`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicyId {
    name: String,
    digest: PolicyDigest,
}

impl PolicyId {
    /// The operator's name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of the source text.
    #[must_use]
    pub const fn digest(&self) -> PolicyDigest {
        self.digest
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha256:{}", self.name, self.digest)
    }
}

impl Serialize for PolicyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A policy compiled for one package. Immutable and shared between threads.
#[derive(Clone)]
pub struct RegoProgram {
    id: PolicyId,
    package: PolicyPackage,
    program: Arc<Program>,
    interpreted: CompiledPolicy,
}

impl fmt::Debug for RegoProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegoProgram").field("id", &self.id).field("package", &self.package).finish_non_exhaustive()
    }
}

impl RegoProgram {
    /// Compiles `source`, which must declare `package` and rules for all of its outputs.
    ///
    /// # Errors
    /// [`PolicyError`] when the source is too long, not Rego v1, of another package, without one of the outputs, or calls a
    /// function whose result is not a function of its arguments.
    pub fn compile(package: PolicyPackage, name: &str, source: &str) -> Result<Self, PolicyError> {
        let mut engine = engine_with(package, source)?;
        let declared = |output: &&'static str| {
            engine.has_declared_rule_rooted_at(POLICY_PATH, output).map_err(|error| refused(&error))
        };
        for output in package.outputs() {
            if !declared(output)? {
                return Err(PolicyError::Undeclared { output });
            }
        }
        engine.add_policy("entry".to_owned(), package.entry_module()).map_err(|error| refused(&error))?;
        let interpreted = engine.compile_with_entrypoint(&ENTRY_POINT.into()).map_err(|error| refused(&error))?;
        let program = Compiler::compile_from_policy(&interpreted, &[ENTRY_POINT]).map_err(|error| refused(&error))?;
        if let Some(builtin) = forbidden_builtin(&program) {
            return Err(PolicyError::Builtin { builtin });
        }
        let id = PolicyId { name: name.to_owned(), digest: PolicyDigest::of(source) };
        Ok(Self { id, package, program, interpreted })
    }

    /// Name and digest.
    #[must_use]
    pub const fn id(&self) -> &PolicyId {
        &self.id
    }

    /// The package it was compiled for.
    #[must_use]
    pub const fn package(&self) -> PolicyPackage {
        self.package
    }

    /// Runs the compiled program over `input` in a machine of its own.
    pub(super) fn evaluate(&self, input: Value) -> Result<Outputs, PolicyError> {
        let mut machine = RegoVM::new();
        machine.load_program(Arc::clone(&self.program));
        machine.set_max_instructions(MAX_INSTRUCTIONS);
        machine.set_execution_timer_config(Some(ExecutionTimerConfig {
            limit: MAX_TIME,
            check_interval: TIME_CHECK_INTERVAL,
        }));
        machine.set_input(input);
        machine.execute_entry_point_by_name(ENTRY_POINT).map(Outputs::new).map_err(|error| stopped(&error))
    }

    /// Runs the same policy in the interpreter: another implementation that must give the same answer.
    pub(super) fn interpret(&self, input: Value) -> Result<Outputs, PolicyError> {
        self.interpreted
            .eval_with_input(input)
            .map(Outputs::new)
            .map_err(|error| PolicyError::Evaluation { message: error.to_string() })
    }
}

/// Path under which the operator's module is known to the engine and named in messages.
pub(super) const POLICY_PATH: &str = "policy.rego";
const ENTRY_POINT: &str = "data.countersign_entry.result";

/// An engine that holds `source`, checked for size and package.
pub(super) fn engine_with(package: PolicyPackage, source: &str) -> Result<Engine, PolicyError> {
    if source.len() > MAX_SOURCE {
        return Err(PolicyError::SourceSize { limit: MAX_SOURCE, actual: source.len() });
    }
    let mut engine = Engine::new();
    let declared = engine.add_policy(POLICY_PATH.to_owned(), source.to_owned()).map_err(|error| refused(&error))?;
    let actual = declared.strip_prefix("data.").unwrap_or(&declared);
    if actual != package.as_str() {
        return Err(PolicyError::Package { expected: package.as_str(), actual: actual.to_owned() });
    }
    Ok(engine)
}

fn forbidden_builtin(program: &Program) -> Option<String> {
    let mut called = program.builtin_info_table.iter().map(|builtin| builtin.name.as_str());
    called.find(|name| FORBIDDEN.contains(name)).map(str::to_owned)
}

/// The message quotes the source, which may have long lines.
pub(super) fn refused(error: &impl fmt::Display) -> PolicyError {
    PolicyError::Source { message: error.to_string().chars().take(LONGEST_MESSAGE).collect() }
}

fn stopped(error: &VmError) -> PolicyError {
    if matches!(error, VmError::InstructionLimitExceeded { .. }) {
        return PolicyError::Limit { limit: format!("{MAX_INSTRUCTIONS} instructions") };
    }
    if matches!(error, VmError::TimeLimitExceeded { .. }) {
        return PolicyError::Limit { limit: format!("{} s", MAX_TIME.as_secs()) };
    }
    PolicyError::Evaluation { message: error.to_string() }
}
