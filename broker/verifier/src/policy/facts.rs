//! Facts as a policy reads them, made without a detour over text: what serialises becomes a value of the engine.
//!
//! The result is the same as that of writing JSON and reading it back (a test compares them), at a fraction of the cost.
//! Size is counted while the value grows, so that nothing larger than the limit is ever built.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt::{self, Display},
};

use regorus::Value;
use serde::{
    Serialize, Serializer,
    ser::{
        Error, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::PolicyError;

/// Largest input, in bytes: texts and member names as they are, every other node as [`NODE`] bytes.
pub(super) const MAX_INPUT: usize = 1024 * 1024;
/// What a node counts besides its text. A node takes more memory than a short text.
const NODE: usize = 8;

/// `input` as a value of the engine, refused when it is too large.
pub(super) fn value_of<I: Serialize + ?Sized>(input: &I) -> Result<Value, PolicyError> {
    let left = Cell::new(MAX_INPUT);
    input.serialize(ToValue { left: &left }).map_err(PolicyError::from)
}

/// Recorded JSON as a value of the engine, refused when it is too large.
pub(super) fn value_of_json(json: &str) -> Result<Value, PolicyError> {
    if json.len() > MAX_INPUT {
        return Err(PolicyError::InputSize { limit: MAX_INPUT });
    }
    Value::from_json_str(json).map_err(|error| PolicyError::Input { message: error.to_string() })
}

/// Why facts did not become a value.
#[derive(Debug)]
enum FactsError {
    TooLarge,
    Message(String),
}

impl Display for FactsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("too large"),
            Self::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for FactsError {}

impl Error for FactsError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }
}

impl From<FactsError> for PolicyError {
    fn from(error: FactsError) -> Self {
        match error {
            FactsError::TooLarge => Self::InputSize { limit: MAX_INPUT },
            FactsError::Message(message) => Self::Input { message },
        }
    }
}

/// Makes one value; `left` is how many bytes the whole input may still take.
#[derive(Clone, Copy)]
struct ToValue<'a> {
    left: &'a Cell<usize>,
}

impl<'a> ToValue<'a> {
    fn take(self, bytes: usize) -> Result<(), FactsError> {
        let left = self.left.get().checked_sub(bytes.saturating_add(NODE)).ok_or(FactsError::TooLarge)?;
        self.left.set(left);
        Ok(())
    }

    fn node(self, value: impl Into<Value>) -> Result<Value, FactsError> {
        self.take(0)?;
        Ok(value.into())
    }

    fn text(self, text: &str) -> Result<Value, FactsError> {
        self.take(text.len())?;
        Ok(Value::String(text.into()))
    }

    fn sequence(self, length: Option<usize>) -> Result<Items<'a>, FactsError> {
        self.take(0)?;
        Ok(Items { to: self, variant: None, items: Vec::with_capacity(length.unwrap_or(0).min(MAX_INPUT / NODE)) })
    }

    fn object(self, variant: Option<&'static str>) -> Result<Members<'a>, FactsError> {
        self.take(0)?;
        Ok(Members { to: self, variant, name: None, members: BTreeMap::new() })
    }
}

/// An array that grows; of a variant it becomes `{variant: array}`.
struct Items<'a> {
    to: ToValue<'a>,
    variant: Option<&'static str>,
    items: Vec<Value>,
}

impl Items<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), FactsError> {
        self.items.push(item.serialize(self.to)?);
        Ok(())
    }

    fn finish(self) -> Result<Value, FactsError> {
        of_variant(self.to, self.variant, Value::from(self.items))
    }
}

/// An object that grows; of a variant it becomes `{variant: object}`.
struct Members<'a> {
    to: ToValue<'a>,
    variant: Option<&'static str>,
    name: Option<Value>,
    members: BTreeMap<Value, Value>,
}

impl Members<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), FactsError> {
        let name = self.to.text(name)?;
        self.members.insert(name, value.serialize(self.to)?);
        Ok(())
    }

    fn finish(self) -> Result<Value, FactsError> {
        of_variant(self.to, self.variant, Value::from(self.members))
    }
}

fn of_variant(to: ToValue<'_>, variant: Option<&'static str>, value: Value) -> Result<Value, FactsError> {
    match variant {
        Some(name) => Ok(Value::from(BTreeMap::from([(to.text(name)?, value)]))),
        None => Ok(value),
    }
}

impl<'a> Serializer for ToValue<'a> {
    type Ok = Value;
    type Error = FactsError;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    fn serialize_bool(self, value: bool) -> Result<Value, FactsError> {
        self.node(value)
    }

    fn serialize_i8(self, value: i8) -> Result<Value, FactsError> {
        self.node(i64::from(value))
    }

    fn serialize_i16(self, value: i16) -> Result<Value, FactsError> {
        self.node(i64::from(value))
    }

    fn serialize_i32(self, value: i32) -> Result<Value, FactsError> {
        self.node(i64::from(value))
    }

    fn serialize_i64(self, value: i64) -> Result<Value, FactsError> {
        self.node(value)
    }

    fn serialize_u8(self, value: u8) -> Result<Value, FactsError> {
        self.node(u64::from(value))
    }

    fn serialize_u16(self, value: u16) -> Result<Value, FactsError> {
        self.node(u64::from(value))
    }

    fn serialize_u32(self, value: u32) -> Result<Value, FactsError> {
        self.node(u64::from(value))
    }

    fn serialize_u64(self, value: u64) -> Result<Value, FactsError> {
        self.node(value)
    }

    fn serialize_f32(self, value: f32) -> Result<Value, FactsError> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<Value, FactsError> {
        // JSON has no other number, and neither has an ordered set of values.
        if value.is_finite() { self.node(value) } else { Err(FactsError::custom("a number is not finite")) }
    }

    fn serialize_char(self, value: char) -> Result<Value, FactsError> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Value, FactsError> {
        self.text(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, FactsError> {
        let mut items = self.sequence(Some(value.len()))?;
        for byte in value {
            items.add(byte)?;
        }
        items.finish()
    }

    fn serialize_none(self) -> Result<Value, FactsError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, FactsError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, FactsError> {
        self.node(Value::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, FactsError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Value, FactsError> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Value, FactsError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, FactsError> {
        let value = value.serialize(self)?;
        of_variant(self, Some(variant), value)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Items<'a>, FactsError> {
        self.sequence(length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Items<'a>, FactsError> {
        self.sequence(Some(length))
    }

    fn serialize_tuple_struct(self, _name: &'static str, length: usize) -> Result<Items<'a>, FactsError> {
        self.sequence(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Items<'a>, FactsError> {
        Ok(Items { variant: Some(variant), ..self.sequence(Some(length))? })
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Members<'a>, FactsError> {
        self.object(None)
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Members<'a>, FactsError> {
        self.object(None)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Members<'a>, FactsError> {
        self.object(Some(variant))
    }
}

impl SerializeSeq for Items<'_> {
    type Ok = Value;
    type Error = FactsError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FactsError> {
        self.add(value)
    }

    fn end(self) -> Result<Value, FactsError> {
        self.finish()
    }
}

impl SerializeTuple for Items<'_> {
    type Ok = Value;
    type Error = FactsError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FactsError> {
        self.add(value)
    }

    fn end(self) -> Result<Value, FactsError> {
        self.finish()
    }
}

impl SerializeTupleStruct for Items<'_> {
    type Ok = Value;
    type Error = FactsError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FactsError> {
        self.add(value)
    }

    fn end(self) -> Result<Value, FactsError> {
        self.finish()
    }
}

impl SerializeTupleVariant for Items<'_> {
    type Ok = Value;
    type Error = FactsError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FactsError> {
        self.add(value)
    }

    fn end(self) -> Result<Value, FactsError> {
        self.finish()
    }
}

impl SerializeMap for Members<'_> {
    type Ok = Value;
    type Error = FactsError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), FactsError> {
        let name = match key.serialize(self.to)? {
            name @ Value::String(_) => name,
            // JSON writes these as text.
            other @ (Value::Number(_) | Value::Bool(_)) => Value::from(other.to_string()),
            Value::Null | Value::Array(_) | Value::Set(_) | Value::Object(_) | Value::Undefined => {
                return Err(FactsError::custom("a member name is not text"));
            }
        };
        self.name = Some(name);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FactsError> {
        let name = self.name.take().ok_or_else(|| FactsError::custom("a member has no name"))?;
        self.members.insert(name, value.serialize(self.to)?);
        Ok(())
    }

    fn end(self) -> Result<Value, FactsError> {
        self.finish()
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = Value;
    type Error = FactsError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), FactsError> {
        self.add(name, value)
    }

    fn end(self) -> Result<Value, FactsError> {
        self.finish()
    }
}

impl SerializeStructVariant for Members<'_> {
    type Ok = Value;
    type Error = FactsError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), FactsError> {
        self.add(name, value)
    }

    fn end(self) -> Result<Value, FactsError> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::{BTreeMap, BTreeSet};

    use serde::Serialize;

    use super::*;
    use crate::fixtures::{claims, vtpm_claims};

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(u8),
        Tuple(i8, char),
        Struct { name: &'static str },
    }

    #[derive(Serialize)]
    struct Everything {
        shapes: Vec<Shape>,
        numbers: (u64, i64, f32, f64, u8, i16),
        option: [Option<bool>; 2],
        by_number: BTreeMap<u8, &'static str>,
        set: BTreeSet<&'static str>,
        unit: (),
        text: String,
    }

    fn same<T: Serialize + ?Sized>(facts: &T) {
        let read_back = value_of_json(&serde_json::to_string(facts).unwrap()).unwrap();
        assert_eq!(value_of(facts).unwrap(), read_back);
    }

    #[test]
    fn facts_are_what_their_json_says() {
        same(&Everything {
            shapes: vec![Shape::Unit, Shape::Newtype(1), Shape::Tuple(-1, 'é'), Shape::Struct { name: "n" }],
            numbers: (u64::MAX, i64::MIN, 1.5, -0.25, 255, -1),
            option: [None, Some(true)],
            by_number: [(2, "two"), (10, "ten")].into(),
            set: ["b", "a"].into(),
            unit: (),
            text: "line\n\"quoted\" \u{1f511}".to_owned(),
        });
        same(&claims());
        same(&vtpm_claims());
    }

    #[test]
    fn size_is_bounded_while_the_value_grows() {
        let limit = PolicyError::InputSize { limit: MAX_INPUT };
        assert_eq!(value_of(&"x".repeat(MAX_INPUT + 1)).unwrap_err(), limit);
        assert_eq!(value_of(&vec![0_u8; MAX_INPUT / NODE]).unwrap_err(), limit);
        assert!(value_of(&vec![0_u8; MAX_INPUT / NODE - 1]).is_ok());
        assert_eq!(value_of_json(&" ".repeat(MAX_INPUT + 1)).unwrap_err(), limit);
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        assert!(matches!(value_of(&f64::NAN), Err(PolicyError::Input { .. })));
        assert!(matches!(value_of(&BTreeMap::from([(vec![1], 1)])), Err(PolicyError::Input { .. })));
    }
}
