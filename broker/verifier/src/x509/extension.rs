//! X.509 extensions as received.

use super::{
    Oid,
    der::{DerError, Element, Span, tag},
};

/// One extension: the value stays in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extension {
    oid: Oid,
    critical: bool,
    value: Span,
}

impl Extension {
    pub(super) const fn oid(&self) -> &Oid {
        &self.oid
    }

    pub(super) const fn critical(&self) -> bool {
        self.critical
    }

    pub(super) fn value_in<'a>(&self, document: &'a [u8]) -> &'a [u8] {
        document.get(self.value.clone()).unwrap_or_default()
    }
}

/// Extensions of one document that are read at most.
const MAX_EXTENSIONS: usize = 64;

/// Reads `[n] EXPLICIT SEQUENCE OF Extension`.
pub(super) fn read(explicit: &Element<'_>) -> Result<Vec<Extension>, DerError> {
    let mut outer = explicit.reader();
    let list = outer.sequence("a list of extensions")?;
    outer.finish()?;
    read_list(&list)
}

/// Reads a SEQUENCE OF Extension.
pub(super) fn read_list(list: &Element<'_>) -> Result<Vec<Extension>, DerError> {
    let mut reader = list.reader();
    let mut extensions = Vec::new();
    while !reader.is_empty() {
        if extensions.len() >= MAX_EXTENSIONS {
            return Err(reader.error("at most 64 extensions"));
        }
        let mut fields = reader.sequence("an extension")?.reader();
        let oid = Oid::read(&mut fields)?;
        // The default written out is tolerated: vendors do, and the signature is over the received bytes.
        let critical = fields.optional_boolean()?.unwrap_or(false);
        let value = fields.expect(tag::OCTET_STRING, "an extension value")?.contents_span();
        fields.finish()?;
        extensions.push(Extension { oid, critical, value });
    }
    Ok(extensions)
}

/// RFC 5280 section 4.2: an extension stands once at most.
pub(super) fn refuse_duplicates(extensions: &[Extension]) -> Result<(), Oid> {
    let mut oids: Vec<_> = extensions.iter().map(Extension::oid).collect();
    oids.sort_unstable();
    match oids.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
        Some(twice) => Err((*twice).clone()),
        None => Ok(()),
    }
}
