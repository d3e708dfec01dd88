//! The proof that evidence was authenticated.

/// Claims whose evidence was authenticated: signature, chain, validity, revocation, TCB agreement and binding.
///
/// Only the authenticate functions of this crate make one; holding it is the proof that they ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Authentic<T> {
    claims: T,
}

impl<T> Authentic<T> {
    /// Wraps claims after every authentication check has passed.
    pub(crate) const fn new(claims: T) -> Self {
        Self { claims }
    }

    /// The authenticated claims.
    pub const fn claims(&self) -> &T {
        &self.claims
    }

    /// Hands the claims to a function of this crate that authenticates what stands on them.
    pub(crate) fn into_claims(self) -> T {
        self.claims
    }
}
