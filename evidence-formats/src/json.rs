//! JSON in which every member name is unique.
//!
//! Parsers disagree about which of two equal members counts. A signature says nothing about that choice, so a document
//! with a duplicate is refused before anything is read from it.

use std::{borrow::Cow, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Most members of one object. Collateral has about a dozen.
const MAX_MEMBERS: usize = 64;

/// Succeeds on any JSON text whose objects, at every depth, have unique member names.
pub(crate) fn require_unique_members(text: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<Unique>(text).map(|Unique| ())
}

struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with unique member names")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        while items.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut names: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Name(name)) = members.next_key()? {
            if names.len() >= MAX_MEMBERS {
                return Err(de::Error::custom("expected at most 64 members in an object"));
            }
            if names.contains(&name) {
                return Err(de::Error::custom("expected unique member names"));
            }
            names.push(name);
            members.next_value::<Unique>()?;
        }
        Ok(Unique)
    }
}

/// A member name, borrowed unless it has escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_refused_at_every_depth() {
        for good in ["{}", r#"{"a":1,"b":[{"a":null},{"a":true}]}"#, r#"[1.5,-2,"x"]"#] {
            assert!(require_unique_members(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#, "{", "{} x"] {
            assert!(require_unique_members(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn wide_and_deep_documents_are_refused() {
        let wide = format!("{{{}}}", (0..65).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
        assert!(require_unique_members(wide.as_bytes()).is_err());
        let deep = "[".repeat(10_000);
        assert!(require_unique_members(deep.as_bytes()).is_err());
    }
}
