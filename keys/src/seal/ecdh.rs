//! `ECDH-ES+A256KW` with `A256GCM` (RFC 7518 §4.4, §4.6, §5.3; RFC 8037 for X25519).

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, PrivateKey},
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    key_wrap::{AES_256, AesKek, KeyWrap},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{OpenError, SealError, Sealed};
use crate::{
    encoding::{decode_array, encode},
    jwk::{EcCurve, EcdhAlg, OkpCurve, PublicKey, TeePublicKey},
    random::{Random, draw},
    secret::{SecretArray, SecretBytes},
    tee_key::{KeyPairError, TeeKeyPair, TeePrivateKey},
};

const ALGORITHM: &str = "ECDH-ES+A256KW";
const TAG_LENGTH: usize = 16;

/// The protected header; the order of members is the order on the wire.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: EcdhAlg,
    enc: Enc,
    epk: EphemeralKey,
}

#[derive(Serialize, Deserialize)]
enum Enc {
    A256GCM,
}

/// The ephemeral public key; both forms have their members in alphabetical order, `kty` among them.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum EphemeralKey {
    Ec(EcKey),
    Okp(OkpKey),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EcKey {
    crv: EcCurve,
    kty: Ec,
    x: String,
    y: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OkpKey {
    crv: OkpCurve,
    kty: Okp,
    x: String,
}

#[derive(Serialize, Deserialize)]
enum Ec {
    #[serde(rename = "EC")]
    Ec,
}

#[derive(Serialize, Deserialize)]
enum Okp {
    #[serde(rename = "OKP")]
    Okp,
}

pub(super) fn seal(plaintext: &SecretBytes, to: &TeePublicKey, rng: &mut impl Random) -> Result<Sealed, SealError> {
    let (epk, kek) = agree_with(to, rng)?;
    let header = Header { alg: EcdhAlg::EcdhEsA256Kw, enc: Enc::A256GCM, epk };
    let protected = encode(serde_json::to_vec(&header).map_err(|_unreachable| SealError::Crypto)?);
    let cek: SecretArray<32> = Zeroizing::new(draw(rng)?);
    let iv: [u8; 12] = draw(rng)?;

    let mut wrapped = [0; 40];
    let kek = AesKek::new(&AES_256, kek.as_slice()).map_err(|_unspecified| SealError::Crypto)?;
    kek.wrap(cek.as_slice(), &mut wrapped).map_err(|_unspecified| SealError::Crypto)?;

    // RFC 7516 §5.1 step 14: the additional data is the ASCII of the encoded protected header.
    let mut ciphertext = plaintext.expose().to_vec();
    let tag = content_key(&cek)
        .and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(iv);
            key.seal_in_place_separate_tag(nonce, Aad::from(protected.as_bytes()), &mut ciphertext).ok()
        })
        .ok_or(SealError::Crypto)?;
    Ok(Sealed {
        encrypted_key: encode(wrapped),
        iv: encode(iv),
        ciphertext: encode(ciphertext),
        tag: encode(tag),
        protected,
    })
}

pub(super) fn open(private: &PrivateKey, sealed: &Sealed) -> Result<SecretBytes, OpenError> {
    let header: Header = serde_json::from_slice(&sealed.header()?).map_err(|_not_it| OpenError::Header)?;
    let epk = header.epk.into_public_key()?;
    let wrapped: [u8; 40] = member("encrypted_key", &sealed.encrypted_key)?;
    let iv: [u8; 12] = member("iv", &sealed.iv)?;
    let tag: [u8; TAG_LENGTH] = member("tag", &sealed.tag)?;

    let epk = epk.for_agreement().ok_or(OpenError::Header)?;
    if epk.algorithm() != private.algorithm() {
        return Err(OpenError::Header);
    }
    let kek = agreement::agree(private, epk, OpenError::EphemeralKey, |z| wrapping_key(z).ok_or(OpenError::Refused))?;
    let mut cek: SecretArray<32> = Zeroizing::new([0; 32]);
    let kek = AesKek::new(&AES_256, kek.as_slice()).map_err(|_unspecified| OpenError::Refused)?;
    kek.unwrap(&wrapped, cek.as_mut_slice()).map_err(|_unspecified| OpenError::Refused)?;

    let mut ciphertext = sealed.ciphertext(0)?;
    ciphertext.extend(tag);
    let mut plaintext = SecretBytes::new(ciphertext);
    let length = content_key(&cek)
        .and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(iv);
            let opened = key.open_in_place(nonce, Aad::from(sealed.protected.as_bytes()), plaintext.expose_mut());
            opened.ok().map(|opened| opened.len())
        })
        .ok_or(OpenError::Refused)?;
    plaintext.truncate(length);
    Ok(plaintext)
}

fn member<const N: usize>(member: &'static str, text: &str) -> Result<[u8; N], OpenError> {
    decode_array(text).ok_or(OpenError::Malformed { member })
}

/// Makes an ephemeral key pair on the curve of `to` and agrees with it on a wrapping key.
fn agree_with(to: &TeePublicKey, rng: &mut impl Random) -> Result<(EphemeralKey, SecretArray<32>), SealError> {
    let key_type = to.key_type();
    let ephemeral = TeeKeyPair::generate(key_type, rng).map_err(|error| match error {
        KeyPairError::Randomness(error) => SealError::Randomness(error),
        KeyPairError::NotAKey => SealError::Crypto,
    })?;
    let epk = EphemeralKey::of(ephemeral.public()).ok_or(SealError::Crypto)?;
    let (TeePrivateKey::P256(private) | TeePrivateKey::X25519(private)) = &ephemeral.private else {
        return Err(SealError::Crypto);
    };
    let peer = to.0.for_agreement().ok_or(SealError::Crypto)?;
    let kek = agreement::agree(private, peer, SealError::Crypto, |z| wrapping_key(z).ok_or(SealError::Crypto))?;
    Ok((epk, kek))
}

/// The Concat KDF of RFC 7518 §4.6.2: one-step key derivation with SHA-256 over Z and the fixed information.
fn wrapping_key(z: &[u8]) -> Option<SecretArray<32>> {
    let mut key = Zeroizing::new([0; 32]);
    concat_kdf(z, ALGORITHM, [&[], &[]], key.as_mut_slice())?;
    Some(key)
}

/// `parties` are PartyUInfo (`apu`) and PartyVInfo (`apv`).
pub(super) fn concat_kdf(z: &[u8], algorithm: &str, parties: [&[u8]; 2], key: &mut [u8]) -> Option<()> {
    let mut info = Vec::new();
    for field in [algorithm.as_bytes()].into_iter().chain(parties) {
        info.extend(u32::try_from(field.len()).ok()?.to_be_bytes());
        info.extend(field);
    }
    // SuppPubInfo: the length of the key in bits.
    info.extend(u32::try_from(key.len().checked_mul(8)?).ok()?.to_be_bytes());
    sskdf_digest(get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256)?, z, &info, key).ok()
}

fn content_key(cek: &SecretArray<32>) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, cek.as_slice()).ok().map(LessSafeKey::new)
}

impl EphemeralKey {
    fn of(key: &TeePublicKey) -> Option<Self> {
        match &key.0 {
            PublicKey::P256 { x, y } => {
                Some(Self::Ec(EcKey { crv: EcCurve::P256, kty: Ec::Ec, x: encode(x), y: encode(y) }))
            }
            PublicKey::X25519(x) => Some(Self::Okp(OkpKey { crv: OkpCurve::X25519, kty: Okp::Okp, x: encode(x) })),
            PublicKey::XWing(_) => None,
        }
    }

    fn into_public_key(self) -> Result<PublicKey, OpenError> {
        let key = match self {
            Self::Ec(key) => decode_array(&key.x).zip(decode_array(&key.y)).map(|(x, y)| PublicKey::P256 { x, y }),
            Self::Okp(key) => decode_array(&key.x).map(PublicKey::X25519),
        };
        key.ok_or(OpenError::EphemeralKey)
    }
}
