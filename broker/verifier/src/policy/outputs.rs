//! Reading what a policy answered: every output present and of its type, or an error.

use std::collections::BTreeSet;

use regorus::Value;

use super::PolicyError;
use crate::ar4si::{TrustLabel, TrustValue, TrustVector};

/// Longest piece of a wrong value that is shown.
const SHOWN: usize = 80;
/// Most texts of one output.
const MAX_TEXTS: usize = 1024;
/// Longest text of an output, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// The value of each output, each in a set of no or one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outputs(Value);

impl Outputs {
    pub(super) const fn new(value: Value) -> Self {
        Self(value)
    }

    /// The one value of `output`.
    fn value(&self, output: &'static str) -> Result<&Value, PolicyError> {
        let undefined = PolicyError::Undefined { output };
        let values = self.0.as_object().ok().and_then(|outputs| outputs.get(&Value::from(output)));
        values.and_then(|values| values.as_set().ok()).and_then(|values| values.iter().next()).ok_or(undefined)
    }

    pub(super) fn boolean(&self, output: &'static str) -> Result<bool, PolicyError> {
        let value = self.value(output)?;
        value.as_bool().ok().copied().ok_or_else(|| ill_typed(output, "a boolean", value))
    }

    pub(super) fn seconds(&self, output: &'static str) -> Result<u32, PolicyError> {
        let value = self.value(output)?;
        value.as_u32().ok().ok_or_else(|| ill_typed(output, "a whole number of seconds", value))
    }

    /// A set of strings; an array counts as one.
    pub(super) fn strings(&self, output: &'static str) -> Result<BTreeSet<String>, PolicyError> {
        let value = self.value(output)?;
        let wrong = || ill_typed(output, "a set of strings", value);
        let members: Vec<&Value> = match (value.as_set(), value.as_array()) {
            (Ok(set), _) => set.iter().collect(),
            (_, Ok(array)) => array.iter().collect(),
            (Err(_), Err(_)) => return Err(wrong()),
        };
        let few = "at most 1024 texts of at most 8192 bytes";
        if members.len() > MAX_TEXTS {
            return Err(PolicyError::OutputType { output, expected: few, actual: format!("{} texts", members.len()) });
        }
        let text = |member: &Value| match member.as_string() {
            Ok(text) if text.len() <= MAX_TEXT => Ok(text.to_string()),
            Ok(text) => Err(PolicyError::OutputType {
                output,
                expected: few,
                actual: format!("a text of {} bytes", text.len()),
            }),
            Err(_) => Err(wrong()),
        };
        members.into_iter().map(text).collect()
    }

    /// An object of AR4SI labels and signed bytes. A label that is absent makes no claim.
    pub(super) fn trust_vector(&self, output: &'static str) -> Result<TrustVector, PolicyError> {
        let value = self.value(output)?;
        let wrong = || ill_typed(output, "an object of AR4SI labels and integers from -128 to 127", value);
        let mut vector = TrustVector::default();
        for (label, claim) in value.as_object().ok().ok_or_else(wrong)?.iter() {
            let label = label.as_string().ok().and_then(|text| TrustLabel::from_text(text)).ok_or_else(wrong)?;
            vector.set(label, TrustValue::new(claim.as_i8().ok().ok_or_else(wrong)?));
        }
        Ok(vector)
    }
}

fn ill_typed(output: &'static str, expected: &'static str, actual: &Value) -> PolicyError {
    let actual = actual.to_string().chars().take(SHOWN).collect();
    PolicyError::OutputType { output, expected, actual }
}
