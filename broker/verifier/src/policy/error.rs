//! Why a policy was refused, or refused by failing.

use evidence_formats::code::{Code, Coded};
use thiserror::Error;

/// Why a policy could not be compiled or evaluated. Whoever asked gets no answer from it: that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The source text is too long.
    #[error("expected a policy of at most {limit} bytes, found {actual}")]
    SourceSize {
        /// Most bytes.
        limit: usize,
        /// Bytes found.
        actual: usize,
    },
    /// The source is not Rego, or not the part of Rego that compiles.
    #[error("expected a policy in Rego v1: {message}")]
    Source {
        /// What the compiler said, with line and column.
        message: String,
    },
    /// The source declares another package.
    #[error("expected `package {expected}`, found `package {actual}`")]
    Package {
        /// The package asked for.
        expected: &'static str,
        /// The package declared.
        actual: String,
    },
    /// The source has no rule for an output.
    #[error("expected a rule `{output}`, found none")]
    Undeclared {
        /// The output.
        output: &'static str,
    },
    /// The source calls a function whose answer depends on more than its arguments, or whose cost is unbounded.
    #[error("expected functions of their arguments alone, found `{builtin}`")]
    Builtin {
        /// The function.
        builtin: String,
    },
    /// The input could not be written as JSON.
    #[error("expected an input that can be written as JSON: {message}")]
    Input {
        /// What was wrong.
        message: String,
    },
    /// The input is too long.
    #[error("expected a policy input of at most {limit} bytes")]
    InputSize {
        /// Most bytes.
        limit: usize,
    },
    /// The evaluation took too long.
    #[error("expected an evaluation within {limit}")]
    Limit {
        /// The limit that was hit.
        limit: String,
    },
    /// The evaluation failed, for example because one rule had two values.
    #[error("expected the policy to evaluate: {message}")]
    Evaluation {
        /// What the machine said.
        message: String,
    },
    /// An output has no value for this input.
    #[error("expected a value of `{output}`, found it undefined")]
    Undefined {
        /// The output.
        output: &'static str,
    },
    /// An output has a value of the wrong type or range.
    #[error("expected `{output}` to be {expected}, found {actual}")]
    OutputType {
        /// The output.
        output: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it was, cut to a readable length.
        actual: String,
    },
}

impl PolicyError {
    /// Every code of this error.
    pub const CODES: [Code; 6] =
        [Self::SOURCE, Self::BUILTIN, Self::INPUT, Self::LIMIT, Self::EVALUATION, Self::OUTPUT];
    const SOURCE: Code = Code::new("policy.source");
    const BUILTIN: Code = Code::new("policy.builtin");
    const INPUT: Code = Code::new("policy.input");
    const LIMIT: Code = Code::new("policy.limit");
    const EVALUATION: Code = Code::new("policy.evaluation");
    const OUTPUT: Code = Code::new("policy.output");
}

impl Coded for PolicyError {
    fn code(&self) -> Code {
        match self {
            Self::SourceSize { .. } | Self::Source { .. } | Self::Package { .. } | Self::Undeclared { .. } => {
                Self::SOURCE
            }
            Self::Builtin { .. } => Self::BUILTIN,
            Self::Input { .. } | Self::InputSize { .. } => Self::INPUT,
            Self::Limit { .. } => Self::LIMIT,
            Self::Evaluation { .. } => Self::EVALUATION,
            Self::Undefined { .. } | Self::OutputType { .. } => Self::OUTPUT,
        }
    }
}
