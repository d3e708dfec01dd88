//! Bytes that must not leak.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// Secret bytes: wiped when dropped, compared in constant time, never printed, cloned or serialized.
#[expect(missing_debug_implementations, reason = "a secret is never printed, not even its length")]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes over `bytes` without copying them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Shortens to the first `length` bytes; the rest is wiped with the whole when dropped.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// The buffer, for decryption in place.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for SecretBytes {}

/// A secret of a fixed size.
pub type SecretArray<const N: usize> = Zeroizing<[u8; N]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_of_the_whole_content() {
        let secret = SecretBytes::new(b"abc".to_vec());
        assert!(secret == SecretBytes::from(b"abc".to_vec()));
        assert!(secret != SecretBytes::from(b"abd".to_vec()));
        assert!(secret != SecretBytes::from(b"abcd".to_vec()));
        assert!(!secret.is_empty() && secret.len() == 3);
    }
}
