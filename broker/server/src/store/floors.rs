//! The highest CRL number that was seen of each issuer, and the highest number and date of Intel's collateral, so that a
//! restart does not forget them.

use verifier::{CrlFloors, x509::CrlNumber};

use super::StoreFuture;

/// Stores CRL numbers.
pub(crate) trait FloorStore {
    /// Every floor.
    fn crl_floors(&self) -> StoreFuture<'_, CrlFloors>;

    /// Raises the floor of `issuer`; never lowers it.
    fn raise_crl_floor<'a>(&'a self, issuer: &'a str, number: CrlNumber) -> StoreFuture<'a, ()>;
}
