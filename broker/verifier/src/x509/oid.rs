//! Object identifiers as their DER contents.

use std::{borrow::Cow, fmt};

use super::der::{Der, DerError, tag};

/// An object identifier: DER contents, shown dotted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid(Cow<'static, [u8]>);

impl Oid {
    /// commonName.
    pub const COMMON_NAME: Self = Self::from_der_contents(&[0x55, 0x04, 0x03]);
    /// countryName.
    pub const COUNTRY: Self = Self::from_der_contents(&[0x55, 0x04, 0x06]);
    /// localityName.
    pub const LOCALITY: Self = Self::from_der_contents(&[0x55, 0x04, 0x07]);
    /// stateOrProvinceName.
    pub const STATE: Self = Self::from_der_contents(&[0x55, 0x04, 0x08]);
    /// organizationName.
    pub const ORGANIZATION: Self = Self::from_der_contents(&[0x55, 0x04, 0x0a]);
    /// organizationalUnitName.
    pub const ORGANIZATIONAL_UNIT: Self = Self::from_der_contents(&[0x55, 0x04, 0x0b]);
    /// keyUsage extension.
    pub const KEY_USAGE: Self = Self::from_der_contents(&[0x55, 0x1d, 0x0f]);
    /// basicConstraints extension.
    pub const BASIC_CONSTRAINTS: Self = Self::from_der_contents(&[0x55, 0x1d, 0x13]);
    /// certificatePolicies extension.
    pub const CERTIFICATE_POLICIES: Self = Self::from_der_contents(&[0x55, 0x1d, 0x20]);
    /// cRLNumber extension.
    pub const CRL_NUMBER: Self = Self::from_der_contents(&[0x55, 0x1d, 0x14]);
    /// reasonCode CRL entry extension.
    pub const REASON_CODE: Self = Self::from_der_contents(&[0x55, 0x1d, 0x15]);
    /// issuingDistributionPoint CRL extension.
    pub const ISSUING_DISTRIBUTION_POINT: Self = Self::from_der_contents(&[0x55, 0x1d, 0x1c]);
    /// authorityKeyIdentifier extension.
    pub const AUTHORITY_KEY_IDENTIFIER: Self = Self::from_der_contents(&[0x55, 0x1d, 0x23]);

    /// From the contents of a DER OBJECT IDENTIFIER, without tag and length.
    #[must_use]
    pub const fn from_der_contents(contents: &'static [u8]) -> Self {
        Self(Cow::Borrowed(contents))
    }

    /// The contents of the DER OBJECT IDENTIFIER.
    #[must_use]
    pub fn der_contents(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn read(reader: &mut Der<'_>) -> Result<Self, DerError> {
        let malformed = reader.error("an OBJECT IDENTIFIER");
        let element = reader.expect(tag::OBJECT_IDENTIFIER, "an OBJECT IDENTIFIER")?;
        // X.690 8.19.2: no subidentifier starts with 0x80, and the last byte ends one.
        let mut starts = true;
        for byte in element.contents {
            if starts && *byte == 0x80 {
                return Err(malformed);
            }
            starts = byte & 0x80 == 0;
        }
        if element.contents.is_empty() || !starts || element.contents.len() > 63 {
            return Err(malformed);
        }
        Ok(Self(Cow::Owned(element.contents.to_vec())))
    }

    /// A short name such as `CN`, or the dotted form.
    pub(super) fn short_name(&self) -> Cow<'static, str> {
        let known = [
            (Self::COMMON_NAME, "CN"),
            (Self::COUNTRY, "C"),
            (Self::LOCALITY, "L"),
            (Self::STATE, "ST"),
            (Self::ORGANIZATION, "O"),
            (Self::ORGANIZATIONAL_UNIT, "OU"),
        ];
        match known.into_iter().find(|(oid, _)| oid == self) {
            Some((_, name)) => Cow::Borrowed(name),
            None => Cow::Owned(self.to_string()),
        }
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value: u128 = 0;
        let mut first = true;
        for byte in self.0.iter() {
            value = value.wrapping_shl(7) | u128::from(byte & 0x7f);
            if byte & 0x80 != 0 {
                continue;
            }
            if first {
                let root = (value / 40).min(2);
                write!(f, "{root}.{}", value.saturating_sub(root.saturating_mul(40)))?;
                first = false;
            } else {
                write!(f, ".{value}")?;
            }
            value = 0;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_print_dotted() {
        let amd = Oid::from_der_contents(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 8]);
        assert_eq!(amd.to_string(), "1.3.6.1.4.1.3704.1.3.8");
        assert_eq!(Oid::COMMON_NAME.to_string(), "2.5.4.3");
    }
}
