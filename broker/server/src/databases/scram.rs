//! Passwords that the database never sees: it gets the verifier of SCRAM-SHA-256 (RFC 5803), so that no log of statements has
//! what a guest logs in with.

use std::num::NonZeroU32;

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
    pbkdf2::{PBKDF2_HMAC_SHA256, derive},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use keys::random::{NoRandomness, Random};
use zeroize::Zeroizing;

/// PostgreSQL's own number. The password has 256 bits: more would gain nothing.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// The verifier of `password`, which must be ASCII (so that RFC 4013 leaves it as it is), with a salt of its own.
pub(super) fn verifier(password: &str, rng: &mut impl Random) -> Result<String, NoRandomness> {
    let mut salt = [0; 16];
    rng.fill(&mut salt)?;
    Ok(with_salt(password, &salt))
}

fn with_salt(password: &str, salt: &[u8]) -> String {
    let mut salted = Zeroizing::new([0; 32]);
    derive(PBKDF2_HMAC_SHA256, ITERATIONS, salt, password.as_bytes(), salted.as_mut_slice());
    let key = hmac::Key::new(HMAC_SHA256, salted.as_slice());
    let stored = digest(&SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", text(salt), text(stored.as_ref()), text(server.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_that_of_rfc_7677() {
        // RFC 7677 §3: password "pencil", this salt, 4096 iterations; StoredKey and ServerKey follow from its exchange.
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap_or_default();
        assert_eq!(
            with_salt("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
