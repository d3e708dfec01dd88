//! The outer wrapper of credentials and duplicates (part 1, section 23.3.2): AES-CFB, then HMAC, under keys of one seed.

use aws_lc_rs::{
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    hmac,
    iv::FixedLength,
    kdf::{KbkdfCtrHmacAlgorithmId, get_kbkdf_ctr_hmac_algorithm, kbkdf_ctr_hmac},
};
use zeroize::Zeroizing;

use super::storage_key::{Seed, TpmCipher, TpmHash, TpmStorageKey};

/// A TPM2B: length as u16, then the bytes.
pub(super) fn sized(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len()).ok()?;
    Some([&length.to_be_bytes(), bytes].concat())
}

/// TPM2B of the HMAC, then the ciphertext. `name` is the object that the wrapper belongs to: under another name the TPM
/// derives another key and another HMAC.
pub(super) fn wrap(key: &TpmStorageKey, seed: &Seed, name: &[u8], mut plaintext: Vec<u8>) -> Option<Vec<u8>> {
    let mut cipher_key = Zeroizing::new(vec![0; key.cipher.key_length()]);
    kdfa(key.hash, &seed.bytes, b"STORAGE\0", name, &mut cipher_key)?;
    let mut mac_key = Zeroizing::new(vec![0; key.hash.length()]);
    kdfa(key.hash, &seed.bytes, b"INTEGRITY\0", &[], &mut mac_key)?;
    encrypt(key.cipher, &cipher_key, &mut plaintext)?;
    let algorithm = match key.hash {
        TpmHash::Sha256 => hmac::HMAC_SHA256,
        TpmHash::Sha384 => hmac::HMAC_SHA384,
        TpmHash::Sha512 => hmac::HMAC_SHA512,
    };
    let mut mac = hmac::Context::with_key(&hmac::Key::new(algorithm, &mac_key));
    mac.update(&plaintext);
    mac.update(name);
    let mut wrapped = sized(mac.sign().as_ref())?;
    wrapped.append(&mut plaintext);
    Some(wrapped)
}

/// KDFa (part 1, section 11.4.10.2): SP 800-108 in counter mode with HMAC. `label` ends with its NUL, which is the
/// separator; `context` is both contexts of the call, one after the other.
pub(super) fn kdfa(hash: TpmHash, key: &[u8], label: &[u8], context: &[u8], output: &mut [u8]) -> Option<()> {
    let bits = u32::try_from(output.len().checked_mul(8)?).ok()?;
    let info = [label, context, &bits.to_be_bytes()].concat();
    let algorithm = get_kbkdf_ctr_hmac_algorithm(match hash {
        TpmHash::Sha256 => KbkdfCtrHmacAlgorithmId::Sha256,
        TpmHash::Sha384 => KbkdfCtrHmacAlgorithmId::Sha384,
        TpmHash::Sha512 => KbkdfCtrHmacAlgorithmId::Sha512,
    })?;
    kbkdf_ctr_hmac(algorithm, key, &info, output).ok()
}

/// The IV is zero: the key is used once.
fn encrypt(cipher: TpmCipher, key: &[u8], bytes: &mut [u8]) -> Option<()> {
    let algorithm = match cipher {
        TpmCipher::Aes128 => &AES_128,
        TpmCipher::Aes256 => &AES_256,
    };
    let key = EncryptingKey::cfb128(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
    key.less_safe_encrypt(bytes, EncryptionContext::Iv128(FixedLength::from([0; 16]))).ok()?;
    Some(())
}
