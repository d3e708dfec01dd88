//! Typed access to decoded CBOR: what is not taken is refused by name.

use ciborium::Value;

use super::{CorimError, TEXT_LIMIT};

pub(super) const fn shape(expected: &'static str) -> CorimError {
    CorimError::Shape { expected }
}

/// A map whose members are taken one by one.
pub(super) struct Members {
    map: &'static str,
    entries: Vec<(Value, Value)>,
}

impl Members {
    pub(super) fn of(map: &'static str, value: Value) -> Result<Self, CorimError> {
        match value {
            Value::Map(entries) => Ok(Self { map, entries }),
            _ => Err(shape(map)),
        }
    }

    /// Takes the member with an integer key. Duplicate keys were refused before.
    pub(super) fn take(&mut self, key: i64) -> Option<Value> {
        let key = Value::from(key);
        let at = self.entries.iter().position(|(found, _)| *found == key)?;
        Some(self.entries.swap_remove(at).1)
    }

    pub(super) fn need(&mut self, key: i64, expected: &'static str) -> Result<Value, CorimError> {
        self.take(key).ok_or_else(|| shape(expected))
    }

    /// The integer keys that nobody took; a key of another type is refused.
    pub(super) fn rest(self) -> Result<Vec<i64>, CorimError> {
        let mut keys = Vec::with_capacity(self.entries.len());
        for (key, _) in self.entries {
            keys.push(int(&key, self.map)?);
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Refuses a member that nobody took.
    pub(super) fn finish(self) -> Result<(), CorimError> {
        match self.entries.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(CorimError::Member { map: self.map, key: described(&key) }),
        }
    }
}

fn described(key: &Value) -> String {
    match key {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Text(text) => format!("{:?}", text.chars().take(32).collect::<String>()),
        _ => "of another type".to_owned(),
    }
}

pub(super) fn int(value: &Value, expected: &'static str) -> Result<i64, CorimError> {
    let number = value.as_integer().ok_or_else(|| shape(expected))?;
    i64::try_from(number).map_err(|_too_large| shape(expected))
}

pub(super) fn uint(value: &Value, expected: &'static str) -> Result<u64, CorimError> {
    let number = value.as_integer().ok_or_else(|| shape(expected))?;
    u64::try_from(number).map_err(|_negative| shape(expected))
}

pub(super) fn bytes(value: Value, expected: &'static str) -> Result<Vec<u8>, CorimError> {
    value.into_bytes().map_err(|_other| shape(expected))
}

/// Text of 1 to [`TEXT_LIMIT`] bytes.
pub(super) fn text(value: Value, expected: &'static str) -> Result<String, CorimError> {
    let text = value.into_text().map_err(|_other| shape(expected))?;
    if text.is_empty() || text.len() > TEXT_LIMIT { Err(shape(expected)) } else { Ok(text) }
}

pub(super) fn array(value: Value, expected: &'static str) -> Result<Vec<Value>, CorimError> {
    value.into_array().map_err(|_other| shape(expected))
}

pub(super) fn tagged(value: Value, expected: &'static str) -> Result<(u64, Value), CorimError> {
    match value {
        Value::Tag(tag, inner) => Ok((tag, *inner)),
        _ => Err(shape(expected)),
    }
}

/// A map of integer keys, without the members that are absent.
pub(super) fn map(entries: impl IntoIterator<Item = (i64, Option<Value>)>) -> Value {
    Value::Map(entries.into_iter().filter_map(|(key, value)| Some((Value::from(key), value?))).collect())
}

pub(super) fn tag(tag: u64, value: Value) -> Value {
    Value::Tag(tag, Box::new(value))
}
