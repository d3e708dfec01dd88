//! `clevis-key`: what the clevis pin feeds to `jose`, on a pipe.
//!
//! The pin's own scripts never hold the key: they connect this command's output with jose's input. Broker and pin come from the
//! settings of the measured image, never from the JWE, which lies in a header that the host can write.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keys::secret::SecretBytes;
use serde_json::json;
use zeroize::Zeroizing;

use super::Guest;
use crate::{cli::ClevisKeyArgs, exchange::Wanted, failure::Failure, luks::DiskError, output::Output};

/// Separates this use of a secret from every other one.
const SALT: &[u8] = b"countersign clevis pin v1";
/// Least bytes of the secret, and bytes of the key.
const LENGTH: usize = 32;

/// The length of what is derived.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        LENGTH
    }
}

/// Writes JSON for `jose jwe enc` or `jose jwe dec`.
pub(super) fn key(args: &ClevisKeyArgs, guest: &Guest) -> Result<(), Failure> {
    let output = Output::secret(None, false)?;
    let wanted = Wanted { version: args.version, ..Wanted::of("secret", &args.secret) };
    let (version, secret) = guest.versioned(&args.broker, wanted)?;
    let jwk = jwk(&secret, &args.secret)?;
    if args.encrypt {
        let pin = json!({"pin": "countersign", "countersign": {"secret": args.secret, "version": version}});
        output.write(json!({"protected": {"clevis": pin}}).to_string().as_bytes())?;
    }
    Ok(output.write(jwk.expose())?)
}

/// HKDF-SHA256 of the secret for this name, as a JWK.
fn jwk(secret: &SecretBytes, name: &str) -> Result<SecretBytes, Failure> {
    if secret.len() < LENGTH {
        return Err(DiskError::ShortKey { least: LENGTH, found: secret.len() }.into());
    }
    let mut key = Zeroizing::new([0; LENGTH]);
    let filled = Salt::new(HKDF_SHA256, SALT)
        .extract(secret.expose())
        .expand(&[name.as_bytes()], Length)
        .and_then(|okm| okm.fill(key.as_mut()));
    filled.map_err(|_unspecified| Failure::Make { what: "a key", reason: "HKDF failed".to_owned() })?;
    let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(key.as_ref()));
    let jwk = Zeroizing::new(["{\"kty\":\"oct\",\"alg\":\"A256GCM\",\"k\":\"", &text, "\"}"].concat());
    Ok(SecretBytes::new(jwk.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn the_key_depends_on_secret_and_name() {
        let jwk = |secret: &[u8], name| jwk(&SecretBytes::new(secret.to_vec()), name);
        let one = jwk(&[7; 32], "luks/root").unwrap();
        assert!(one == jwk(&[7; 32], "luks/root").unwrap());
        assert!(one != jwk(&[8; 32], "luks/root").unwrap());
        assert!(one != jwk(&[7; 32], "luks/data").unwrap());
        let parsed: serde_json::Value = serde_json::from_slice(one.expose()).unwrap();
        assert_eq!(parsed["k"].as_str().unwrap().len(), 43);
        assert!(jwk(&[7; 31], "luks/root").is_err());
    }
}
