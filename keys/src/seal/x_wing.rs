//! HPKE base mode with X-Wing, framed as integrated encryption (see the parent module on what is draft).

use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::XWing,
    rand_core::{Infallible, TryCryptoRng, TryRng},
    single_shot_open, single_shot_seal_with_rng,
};
use zeroize::{Zeroize, Zeroizing};

use super::{OpenError, SealError, Sealed};
use crate::{
    encoding::{decode_array, encode},
    jwk::X_WING_PUBLIC_LENGTH,
    random::{Random, draw},
    secret::{SecretArray, SecretBytes},
};

/// The whole protected header.
const HEADER: &[u8] = br#"{"alg":"HPKE-X-Wing"}"#;
/// Bytes of an encapsulated key: ML-KEM-768 ciphertext and X25519 key.
const ENCAPSULATED_LENGTH: usize = 1120;
const TAG_LENGTH: usize = 16;

pub(super) fn seal(
    plaintext: &SecretBytes,
    to: &[u8; X_WING_PUBLIC_LENGTH],
    rng: &mut impl Random,
) -> Result<Sealed, SealError> {
    let key = <XWing as Kem>::PublicKey::from_bytes(to).map_err(|_invalid| SealError::Crypto)?;
    let protected = encode(HEADER);
    let mut drawn = Drawn { bytes: Zeroizing::new(draw(rng)?), used: 0 };
    let (encapsulated, ciphertext) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
        &OpModeS::Base,
        &key,
        &[],
        plaintext.expose(),
        protected.as_bytes(),
        &mut drawn,
    )
    .map_err(|_hpke| SealError::Crypto)?;
    // Had the library drawn more than there was, it would have got zeros.
    if drawn.used > drawn.bytes.len() {
        return Err(SealError::Crypto);
    }
    Ok(Sealed {
        encrypted_key: encode(encapsulated.to_bytes()),
        iv: String::new(),
        ciphertext: encode(ciphertext),
        tag: String::new(),
        protected,
    })
}

pub(super) fn open(private: &<XWing as Kem>::PrivateKey, sealed: &Sealed) -> Result<SecretBytes, OpenError> {
    if sealed.header()? != HEADER {
        return Err(OpenError::Header);
    }
    for (member, text) in [("iv", &sealed.iv), ("tag", &sealed.tag)] {
        if !text.is_empty() {
            return Err(OpenError::Malformed { member });
        }
    }
    let encapsulated: [u8; ENCAPSULATED_LENGTH] =
        decode_array(&sealed.encrypted_key).ok_or(OpenError::Malformed { member: "encrypted_key" })?;
    let encapsulated =
        <XWing as Kem>::EncappedKey::from_bytes(&encapsulated).map_err(|_invalid| OpenError::EphemeralKey)?;
    single_shot_open::<AesGcm256, HkdfSha256, XWing>(
        &OpModeR::Base,
        private,
        &encapsulated,
        &[],
        &sealed.ciphertext(TAG_LENGTH)?,
        sealed.protected.as_bytes(),
    )
    .map(SecretBytes::new)
    .map_err(|_hpke| OpenError::Refused)
}

/// Random bytes that were drawn before, in the form that `hpke` wants: its generators cannot fail, ours can.
struct Drawn {
    bytes: SecretArray<64>,
    used: usize,
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        let end = self.used.saturating_add(to.len());
        match self.bytes.get(self.used..end) {
            Some(from) => to.copy_from_slice(from),
            None => to.zeroize(),
        }
        self.used = end;
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}
