//! Randomness as an argument, so that known answers can be tested.

use aws_lc_rs::rand::{SecureRandom, SystemRandom as AwsLcRandom};
use thiserror::Error;

/// A source of bytes that nobody can guess.
pub trait Random {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the source has failed; `bytes` must not be used then.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness>;
}

/// Draws `N` bytes.
pub(crate) fn draw<const N: usize>(rng: &mut impl Random) -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    rng.fill(&mut bytes)?;
    Ok(bytes)
}

/// The operating system's generator, by way of aws-lc-rs.
#[derive(Debug, Clone, Default)]
pub struct SystemRandom(AwsLcRandom);

impl SystemRandom {
    /// The generator.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.fill(bytes).map_err(|_unspecified| NoRandomness)
    }
}

/// The source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the source of randomness failed")]
pub struct NoRandomness;

impl NoRandomness {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "internal.keys.randomness"
    }
}

/// A source that hands out prepared bytes once, for known answers.
#[cfg(test)]
pub(crate) struct Prepared(pub(crate) std::collections::VecDeque<u8>);

#[cfg(test)]
impl Prepared {
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        Self(parts.concat().into())
    }
}

#[cfg(test)]
impl Random for Prepared {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        for byte in bytes {
            *byte = self.0.pop_front().ok_or(NoRandomness)?;
        }
        Ok(())
    }
}
