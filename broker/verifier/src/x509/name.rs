//! Distinguished names: compared as received bytes, shown as text.

use std::fmt;

use super::{
    Oid,
    der::{Der, DerError, Element, tag},
};

/// One attribute of a distinguished name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAttribute {
    /// Attribute type.
    pub oid: Oid,
    /// Value as text; `None` for string types other than UTF8String, PrintableString and IA5String.
    pub text: Option<String>,
}

/// A distinguished name with the bytes it was received in.
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    raw: Vec<u8>,
    attributes: Vec<NameAttribute>,
}

impl Name {
    /// Attributes of one name that are read at most.
    const MAX_ATTRIBUTES: usize = 32;

    pub(crate) fn from_element(element: &Element<'_>) -> Result<Self, DerError> {
        let mut attributes = Vec::new();
        let mut names = element.reader();
        while !names.is_empty() {
            let mut set = names.expect(tag::SET, "a relative distinguished name")?.reader();
            while !set.is_empty() {
                if attributes.len() >= Self::MAX_ATTRIBUTES {
                    return Err(set.error("at most 32 name attributes"));
                }
                attributes.push(attribute(&set.sequence("a name attribute")?)?);
            }
        }
        Ok(Self { raw: element.raw.to_vec(), attributes })
    }

    /// The whole DER element as received. Two names are the same name when these bytes are equal.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Every attribute in order.
    #[must_use]
    pub fn attributes(&self) -> &[NameAttribute] {
        &self.attributes
    }

    /// The value of the only attribute of type `oid`; `None` when there is none, more than one, or it is not text.
    #[must_use]
    pub fn only(&self, oid: &Oid) -> Option<&str> {
        let mut found = self.attributes.iter().filter(|attribute| attribute.oid == *oid);
        let first = found.next()?;
        if found.next().is_some() { None } else { first.text.as_deref() }
    }

    /// The only common name.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.only(&Oid::COMMON_NAME)
    }
}

fn attribute(element: &Element<'_>) -> Result<NameAttribute, DerError> {
    let mut reader = element.reader();
    let oid = Oid::read(&mut reader)?;
    let value = reader.any()?;
    reader.finish()?;
    let is_text = matches!(value.tag, tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING);
    let text = is_text.then(|| std::str::from_utf8(value.contents).ok().map(str::to_owned)).flatten();
    Ok(NameAttribute { oid, text })
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for attribute in &self.attributes {
            let text = attribute.text.as_deref().unwrap_or("?");
            write!(f, "{separator}{}={}", attribute.oid.short_name(), text.escape_debug())?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Skips over a name without keeping it.
pub(super) fn read(reader: &mut Der<'_>) -> Result<Name, DerError> {
    Name::from_element(&reader.sequence("a distinguished name")?)
}
