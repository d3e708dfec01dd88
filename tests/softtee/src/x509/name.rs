//! Distinguished names.
use crate::der;

/// A distinguished name: one attribute in each relative name, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Object identifier of the attribute type, and its DER value (string tag included).
    pub attributes: Vec<(String, Vec<u8>)>,
}

impl Name {
    /// The form of every AMD name: `OU=Engineering, C=US, L=Santa Clara, ST=CA, O=Advanced Micro Devices, CN=…`.
    #[must_use]
    pub fn amd(common_name: &str) -> Self {
        Self::from_values(&[
            ("2.5.4.11", der::utf8("Engineering")),
            ("2.5.4.6", der::printable("US")),
            ("2.5.4.7", der::utf8("Santa Clara")),
            ("2.5.4.8", der::utf8("CA")),
            ("2.5.4.10", der::utf8("Advanced Micro Devices")),
            ("2.5.4.3", der::utf8(common_name)),
        ])
    }

    /// The form of every Intel SGX name: `CN=…, O=Intel Corporation, L=Santa Clara, ST=CA, C=US`.
    #[must_use]
    pub fn intel(common_name: &str) -> Self {
        Self::from_values(&[
            ("2.5.4.3", der::utf8(common_name)),
            ("2.5.4.10", der::utf8("Intel Corporation")),
            ("2.5.4.7", der::utf8("Santa Clara")),
            ("2.5.4.8", der::utf8("CA")),
            ("2.5.4.6", der::printable("US")),
        ])
    }

    /// Any attributes: dotted types with DER values.
    #[must_use]
    pub fn from_values(attributes: &[(&str, Vec<u8>)]) -> Self {
        Self { attributes: attributes.iter().map(|(oid, value)| ((*oid).to_owned(), value.clone())).collect() }
    }

    /// The DER `Name`.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let relative: Vec<Vec<u8>> = self
            .attributes
            .iter()
            .map(|(oid, value)| der::set(&[der::sequence(&[der::oid(oid), value.clone()])]))
            .collect();
        der::sequence(&relative)
    }
}
