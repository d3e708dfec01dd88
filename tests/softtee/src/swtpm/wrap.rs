//! What is made for one TPM alone, on OpenSSL: credentials and imported secrets (TPM 2.0 part 1, sections 23 and 24). The
//! product's own code for it shares nothing with this.
use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use evidence_formats::digest::{Digest, HashAlgorithm};
use evidence_formats::tpm::{EccCurve, TpmKey, TpmName, TpmPublic};
use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey};
use openssl::encrypt::Encrypter;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::rsa::{Padding, Rsa};
use openssl::sign::Signer;
use openssl::symm::{Cipher, encrypt};
use tee::tpm::{ImportedSecret, pcr_policy};

use crate::keys::digest;

/// A credential: opens only in the TPM that has both keys.
#[derive(Debug, Clone)]
pub struct Credential {
    /// TPM2B_ID_OBJECT.
    pub blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub secret: Vec<u8>,
}

/// Wraps `secret` for the TPM that has `ek` and an object called `name` (TPM2_MakeCredential).
///
/// # Errors
/// When `ek` is no RSA or P-256 key.
pub fn make_credential(ek: &TpmPublic, name: &TpmName, secret: &[u8]) -> Result<Credential> {
    let (seed, encrypted_seed) = seed(ek, "IDENTITY")?;
    let blob = outer_wrap(&seed, name, &sized(secret))?;
    Ok(Credential { blob: sized(&blob), secret: sized(&encrypted_seed) })
}

/// Wraps `data` for the TPM that has `ek`, to be opened while its PCRs have these values.
///
/// # Errors
/// When `ek` is no RSA or P-256 key.
pub fn wrap_secret(
    ek: &TpmPublic,
    data: &[u8],
    bank: HashAlgorithm,
    values: &BTreeMap<u8, Digest>,
) -> Result<ImportedSecret> {
    let mut obfuscation = [0; 32];
    rand_bytes(&mut obfuscation)?;
    let unique = digest(MessageDigest::sha256(), &[&obfuscation, data]);
    // KEYEDHASH, SHA-256, adminWithPolicy and noDA, no scheme.
    let policy = pcr_policy(bank, values);
    let public =
        [&[0x00, 0x08, 0x00, 0x0B, 0x00, 0x00, 0x04, 0x80], &sized(&policy)[..], &[0x00, 0x10], &sized(&unique)];
    let public = public.concat();
    let name = TpmName::of_public_area(HashAlgorithm::Sha256, &public);
    let sensitive = [&[0x00, 0x08], &sized(&[])[..], &sized(&obfuscation), &sized(data)].concat();
    let (seed, encrypted_seed) = seed(ek, "DUPLICATE")?;
    let duplicate = outer_wrap(&seed, &name, &sized(&sensitive))?;
    Ok(ImportedSecret { public: sized(&public), duplicate: sized(&duplicate), symseed: sized(&encrypted_seed) })
}

/// TPM2B_DIGEST of the HMAC, then the encrypted content (part 1, section 23.3.2.3).
fn outer_wrap(seed: &[u8], name: &TpmName, content: &[u8]) -> Result<Vec<u8>> {
    let key = kdfa(seed, "STORAGE", name.as_bytes(), 128)?;
    let encrypted = encrypt(Cipher::aes_128_cfb128(), &key, Some(&[0; 16]), content)?;
    let hmac_key = kdfa(seed, "INTEGRITY", &[], 256)?;
    let integrity = hmac(&hmac_key, &[&encrypted, name.as_bytes()])?;
    Ok([sized(&integrity), encrypted].concat())
}

/// A seed, and the seed as only `ek` opens it (annexes B.10.3 and C.6.1).
fn seed(ek: &TpmPublic, label: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    match &ek.key {
        TpmKey::Rsa { modulus, exponent } => {
            let mut seed = vec![0; 32];
            rand_bytes(&mut seed)?;
            let key = Rsa::from_public_components(BigNum::from_slice(modulus)?, BigNum::from_u32(*exponent)?)?;
            let key = PKey::from_rsa(key)?;
            let mut encrypter = Encrypter::new(&key)?;
            encrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
            encrypter.set_rsa_oaep_md(MessageDigest::sha256())?;
            encrypter.set_rsa_mgf1_md(MessageDigest::sha256())?;
            encrypter.set_rsa_oaep_label(&[label.as_bytes(), &[0]].concat())?;
            let mut encrypted = vec![0; encrypter.encrypt_len(&seed)?];
            let length = encrypter.encrypt(&seed, &mut encrypted)?;
            encrypted.truncate(length);
            Ok((seed, encrypted))
        }
        TpmKey::Ecc { curve: EccCurve::P256, x, y } => ecc_seed(x, y, label),
        TpmKey::Ecc { curve: EccCurve::P384, .. } => bail!("expected an RSA or P-256 key"),
    }
}

fn ecc_seed(x: &[u8], y: &[u8], label: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let (x_number, y_number) = (BigNum::from_slice(x)?, BigNum::from_slice(y)?);
    let peer = PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x_number, &y_number)?)?;
    let ephemeral = EcKey::generate(&group)?;
    let (mut ours_x, mut ours_y) = (BigNum::new()?, BigNum::new()?);
    let mut context = BigNumContext::new()?;
    ephemeral.public_key().affine_coordinates(&group, &mut ours_x, &mut ours_y, &mut context)?;
    let (ours_x, ours_y) = (ours_x.to_vec_padded(32)?, ours_y.to_vec_padded(32)?);
    let own = PKey::from_ec_key(ephemeral)?;
    let mut deriver = Deriver::new(&own)?;
    deriver.set_peer(&peer)?;
    let shared = deriver.derive_to_vec()?;
    // KDFe (part 1, section 11.4.10.3): H(counter ‖ Z ‖ label ‖ ephemeral.x ‖ static.x), one round for 256 bits.
    let parts: [&[u8]; 6] = [&1_u32.to_be_bytes(), &shared, label.as_bytes(), &[0], &ours_x, x];
    Ok((digest(MessageDigest::sha256(), &parts), [sized(&ours_x), sized(&ours_y)].concat()))
}

/// KDFa (part 1, section 11.4.10.2), one round of HMAC-SHA-256, without contextV.
fn kdfa(key: &[u8], label: &str, context: &[u8], bits: u32) -> Result<Vec<u8>> {
    let parts: [&[u8]; 5] = [&1_u32.to_be_bytes(), label.as_bytes(), &[0], context, &bits.to_be_bytes()];
    let mut derived = hmac(key, &parts)?;
    derived.truncate(usize::try_from(bits)?.checked_div(8).context("expected bits")?);
    Ok(derived)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    for part in parts {
        signer.update(part)?;
    }
    Ok(signer.sign_to_vec()?)
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), bytes].concat()
}
