//! The documented schemas of the policies' inputs, as far as a checker asks them.

use serde_json::Value;

use crate::policy::{PolicyError, PolicyPackage};

const APPRAISAL: &str = include_str!("../../../../../docs/policy-input.schema.json");
const RELEASE: &str = include_str!("../../../../../docs/release-input.schema.json");
/// How the release schema names definitions of the other document.
const SHARED: &str = "policy-input.schema.json";

/// Both documents.
pub(super) struct Schemas {
    appraisal: Value,
    release: Value,
}

/// A place in an input, with what the schema says of it.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    schemas: &'s Schemas,
    document: &'s Value,
    schema: &'s Value,
}

/// What lies under a name.
pub(super) enum Member<'s> {
    /// This.
    Known(Place<'s>),
    /// Something that the schema does not describe, and allows.
    Open,
    /// Nothing: the name is wrong.
    Unknown,
}

impl Schemas {
    pub(super) fn read() -> Result<Self, PolicyError> {
        let parse =
            |text| serde_json::from_str(text).map_err(|error| PolicyError::Input { message: error.to_string() });
        Ok(Self { appraisal: parse(APPRAISAL)?, release: parse(RELEASE)? })
    }

    /// The whole input of a package.
    pub(super) const fn input(&self, package: PolicyPackage) -> Place<'_> {
        let document = match package {
            PolicyPackage::Appraisal => &self.appraisal,
            PolicyPackage::Release => &self.release,
        };
        Place { schemas: self, document, schema: document }
    }
}

impl<'s> Place<'s> {
    /// The same place, with references followed.
    fn at(self, schema: &'s Value) -> Self {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return Self { schema, ..self } };
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let document = if file == SHARED { &self.schemas.appraisal } else { self.document };
        let schema = document.pointer(pointer).unwrap_or(&Value::Null);
        Self { schemas: self.schemas, document, schema }
    }

    /// The JSON type: `object`, `array`, `string`, `integer` or `boolean`.
    pub(super) fn kind(self) -> Option<&'s str> {
        let named = self.schema.get("type").and_then(Value::as_str);
        named.or_else(|| self.choices().map(|_| "string"))
    }

    /// The only values, when they are listed.
    pub(super) fn choices(self) -> Option<&'s [Value]> {
        self.schema.get("enum").and_then(Value::as_array).map(Vec::as_slice)
    }

    /// Names of the members.
    pub(super) fn names(self) -> Vec<&'s str> {
        let members = self.schema.get("properties").and_then(Value::as_object);
        members.into_iter().flat_map(|members| members.keys().map(String::as_str)).collect()
    }

    /// What lies under `name`.
    pub(super) fn member(self, name: &str) -> Member<'s> {
        if let Some(known) = self.schema.get("properties").and_then(|members| members.get(name)) {
            return Member::Known(self.at(known));
        }
        match (self.kind(), self.schema.get("additionalProperties")) {
            (Some("object"), Some(Value::Bool(false))) => Member::Unknown,
            (Some("object"), Some(any @ Value::Object(_))) => Member::Known(self.at(any)),
            (Some("object") | None, _) => Member::Open,
            (Some(_), _) => Member::Unknown,
        }
    }

    /// What lies under each index or name, where all are alike.
    pub(super) fn each(self) -> Option<Place<'s>> {
        let items = self.schema.get("items").or_else(|| self.schema.get("additionalProperties"));
        items.filter(|schema| schema.is_object()).map(|schema| self.at(schema))
    }
}
