//! Bounded reading of untrusted bytes, and fixed-size byte newtypes.

use thiserror::Error;

/// The bytes ended before a field did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected {wanted} more bytes at offset {offset}, found {found}")]
pub struct Truncated {
    /// Where the field starts, in bytes from the start of the input.
    pub offset: usize,
    /// How many bytes the field needs.
    pub wanted: usize,
    /// How many bytes were left.
    pub found: usize,
}

/// A cursor over untrusted bytes that never panics and knows its offset.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at offset 0 of `input`.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, offset: 0 }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.input.len().saturating_sub(self.offset)
    }

    /// Whether everything was consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Takes the next `length` bytes.
    ///
    /// # Errors
    /// [`Truncated`] when fewer are left; nothing is consumed then.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Truncated> {
        let truncated = Truncated { offset: self.offset, wanted: length, found: self.remaining() };
        let end = self.offset.checked_add(length).ok_or(truncated)?;
        let taken = self.input.get(self.offset..end).ok_or(truncated)?;
        self.offset = end;
        Ok(taken)
    }

    /// Takes exactly `N` bytes as an array.
    ///
    /// # Errors
    /// [`Truncated`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`Truncated`] at the end of the input.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a little-endian `u16`.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than two bytes are left.
    pub fn u16_le(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes a little-endian `u32`.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than four bytes are left.
    pub fn u32_le(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a little-endian `u64`.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than eight bytes are left.
    pub fn u64_le(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes a big-endian `u16`.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than two bytes are left.
    pub fn u16_be(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes a big-endian `u32`.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than four bytes are left.
    pub fn u32_be(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a big-endian `u64`.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than eight bytes are left.
    pub fn u64_be(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.input.get(self.offset..).unwrap_or_default();
        self.offset = self.input.len();
        rest
    }
}

/// Defines public newtypes over `[u8; N]` that print, serialize and parse as lower-case hex of exactly `2 * N` digits.
macro_rules! byte_newtypes {
    ($($(#[$doc:meta])* $name:ident: $length:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Whether every byte is zero.
            #[must_use]
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|byte| *byte == 0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::bytes::NotHex;

            /// Exactly `2 * N` hex digits of either case: never padded, never cut.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $length];
                hex::decode_to_slice(text, &mut bytes).map_err(|source| $crate::bytes::NotHex { digits: 2 * $length, source })?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(crate) use byte_newtypes;

/// Text is not the hex of a fixed-size value.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("expected exactly {digits} hex digits")]
pub struct NotHex {
    /// How many digits the value has.
    pub digits: usize,
    /// What was wrong.
    pub source: hex::FromHexError,
}

byte_newtypes! {
    /// What a guest commits to in an SNP report or TDX quote: 64 bytes, compared whole.
    ReportData: 64;
    /// SHA-384 over an initial guest image (SNP MEASUREMENT, TDX MRTD): 48 bytes.
    LaunchDigest: 48;
    /// A SHA-384 digest: 48 bytes.
    Sha384Digest: 48;
    /// A SHA-256 digest: 32 bytes.
    Sha256Digest: 32;
}
