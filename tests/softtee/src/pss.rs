//! EMSA-PSS with a salt that is a hash of the message: the same document always has the same signature.
use openssl::hash::MessageDigest;

use crate::keys::digest;

/// EMSA-PSS-ENCODE of RFC 8017 §9.1.1 for a modulus of exactly `modulus_length` whole bytes, MGF1 with the same hash.
pub(crate) fn encode(hash: MessageDigest, prehash: &[u8], salt_length: usize, modulus_length: u32) -> Vec<u8> {
    let salt: Vec<u8> = mgf1(hash, &[b"softtee salt ", prehash].concat(), salt_length);
    let h = digest(hash, &[&[0; 8], prehash, &salt]);

    let encoded_length = usize::try_from(modulus_length).unwrap_or_default();
    let block_length = encoded_length.saturating_sub(h.len()).saturating_sub(1);
    let padding_length = block_length.saturating_sub(salt.len()).saturating_sub(1);
    let block = [vec![0; padding_length], vec![1], salt].concat();
    let mask = mgf1(hash, &h, block_length);
    let mut masked: Vec<u8> = block.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
    // emBits = modBits - 1: the top bit of the encoded message is zero.
    if let Some(first) = masked.first_mut() {
        *first &= 0x7f;
    }
    [masked, h, vec![0xbc]].concat()
}

/// MGF1 of RFC 8017 appendix B.2.1.
fn mgf1(hash: MessageDigest, seed: &[u8], length: usize) -> Vec<u8> {
    let mut mask = Vec::new();
    for counter in 0_u32.. {
        if mask.len() >= length {
            break;
        }
        mask.extend(digest(hash, &[seed, &counter.to_be_bytes()]));
    }
    mask.truncate(length);
    mask
}
