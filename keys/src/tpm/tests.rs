//! What a TPM does with credentials and objects, done here in software: the inverse of each wrapper.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::map_err_ignore,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::collections::BTreeMap;

use aws_lc_rs::{
    agreement::{self, ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey},
    cipher::{AES_128, AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey},
    digest::{SHA256, digest},
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    iv::FixedLength,
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};

use super::{wrap::kdfa, *};
use crate::{random::SystemRandom, secret::SecretBytes};

/// A TPM: its private endorsement key.
enum Tpm {
    Rsa(PrivateDecryptingKey),
    Ecc(PrivateKey, &'static agreement::Algorithm),
}

struct Case {
    tpm: Tpm,
    key: TpmStorageKey,
    hash: TpmHash,
    cipher: TpmCipher,
}

fn rsa(size: KeySize, hash: TpmHash, cipher: TpmCipher) -> Case {
    let private = PrivateDecryptingKey::generate(size).unwrap();
    let spki: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
    // SubjectPublicKeyInfo of RSA ends with the modulus and the exponent INTEGER of three bytes.
    let der = spki.as_ref();
    let end = der.len() - 5;
    let length = match size {
        KeySize::Rsa2048 => 256,
        KeySize::Rsa3072 => 384,
        _ => panic!("not used"),
    };
    let key = TpmStorageKey::rsa(&der[end - length..end], hash, cipher).unwrap();
    Case { tpm: Tpm::Rsa(private), key, hash, cipher }
}

fn ecc(curve: &'static agreement::Algorithm, hash: TpmHash, cipher: TpmCipher) -> Case {
    let private = PrivateKey::generate(curve).unwrap();
    let point = private.compute_public_key().unwrap().as_ref().to_vec();
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    let key = TpmStorageKey::ecc(x, y, hash, cipher).unwrap();
    Case { tpm: Tpm::Ecc(private, curve), key, hash, cipher }
}

fn cases() -> Vec<Case> {
    vec![
        rsa(KeySize::Rsa2048, TpmHash::Sha256, TpmCipher::Aes128),
        rsa(KeySize::Rsa3072, TpmHash::Sha384, TpmCipher::Aes256),
        ecc(&ECDH_P256, TpmHash::Sha256, TpmCipher::Aes128),
        ecc(&ECDH_P384, TpmHash::Sha384, TpmCipher::Aes256),
    ]
}

/// Reads a TPM2B and returns what follows it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..].split_at(length)
}

fn whole(bytes: &[u8]) -> &[u8] {
    let (inner, rest) = split(bytes);
    assert!(rest.is_empty());
    inner
}

impl Case {
    fn recover_seed(&self, secret: &[u8], label: &[u8]) -> Vec<u8> {
        let secret = whole(secret);
        match &self.tpm {
            Tpm::Rsa(private) => {
                let key = OaepPrivateDecryptingKey::new(private.clone()).unwrap();
                let mut seed = vec![0; key.min_output_size()];
                let algorithm =
                    if self.hash == TpmHash::Sha256 { &OAEP_SHA256_MGF1SHA256 } else { &OAEP_SHA384_MGF1SHA384 };
                key.decrypt(algorithm, secret, &mut seed, Some(label)).unwrap().to_vec()
            }
            Tpm::Ecc(private, curve) => {
                let (x, rest) = split(secret);
                let y = whole(rest);
                let own = private.compute_public_key().unwrap().as_ref().to_vec();
                let own_x = &own[1..=x.len()];
                let mut seed = vec![0; self.hash.length()];
                let peer = UnparsedPublicKey::new(curve, [&[4], x, y].concat());
                agreement::agree(private, peer, (), |z| {
                    let id = match self.hash {
                        TpmHash::Sha256 => SskdfDigestAlgorithmId::Sha256,
                        _ => SskdfDigestAlgorithmId::Sha384,
                    };
                    let kdf = get_sskdf_digest_algorithm(id).unwrap();
                    sskdf_digest(kdf, z, &[label, x, own_x].concat(), &mut seed).map_err(|_| ())
                })
                .unwrap();
                seed
            }
        }
    }

    /// Checks the HMAC under `name` and decrypts; what a TPM refuses is an error here.
    fn unwrap(&self, blob: &[u8], seed: &[u8], name: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (mac, ciphertext) = split(whole(blob));
        let mut mac_key = vec![0; self.hash.length()];
        kdfa(self.hash, seed, b"INTEGRITY\0", &[], &mut mac_key).unwrap();
        let algorithm = if self.hash == TpmHash::Sha256 { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA384 };
        let key = hmac::Key::new(algorithm, &mac_key);
        hmac::verify(&key, &[ciphertext, name].concat(), mac).map_err(|_| "integrity")?;
        let (cipher, length) = match self.cipher {
            TpmCipher::Aes128 => (&AES_128, 16),
            TpmCipher::Aes256 => (&AES_256, 32),
        };
        let mut cipher_key = vec![0; length];
        kdfa(self.hash, seed, b"STORAGE\0", name, &mut cipher_key).unwrap();
        let key = DecryptingKey::cfb128(UnboundCipherKey::new(cipher, &cipher_key).unwrap()).unwrap();
        let mut plaintext = ciphertext.to_vec();
        key.decrypt(&mut plaintext, DecryptionContext::Iv128(FixedLength::from([0; 16]))).unwrap();
        Ok(whole(&plaintext).to_vec())
    }
}

fn policy() -> PcrPolicy {
    PcrPolicy::new(TpmHash::Sha256, BTreeMap::from([(4, vec![4; 32]), (11, vec![11; 32])])).unwrap()
}

/// The object's data, as a TPM finds it, and its policy.
fn load(case: &Case, object: &ImportObject) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let area = whole(&object.public);
    let name = [&[0, 0x0B], digest(&SHA256, area).as_ref()].concat();
    let seed = case.recover_seed(&object.symseed, b"DUPLICATE\0");
    let sensitive = case.unwrap(&object.duplicate, &seed, &name)?;
    assert_eq!(sensitive[..4], [0, 8, 0, 0], "keyed hash without an authorisation value");
    let (obfuscation, rest) = split(&sensitive[4..]);
    let data = whole(rest).to_vec();
    assert_eq!(area[..8], [0, 8, 0, 0x0B, 0, 0, 0x04, 0x80], "adminWithPolicy and noDA alone");
    let (policy, rest) = split(&area[8..]);
    assert_eq!(rest[..2], [0, 0x10]);
    assert_eq!(whole(&rest[2..]), digest(&SHA256, &[obfuscation, &data].concat()).as_ref());
    Ok((data, policy.to_vec()))
}

#[test]
fn a_credential_opens_for_the_named_key_alone() {
    let credential = [7; 32];
    for case in cases() {
        let name = [&[0, 0x0B], [9; 32].as_slice()].concat();
        let secret = SecretBytes::new(credential.to_vec());
        let made = make_credential(&case.key, &name, &secret, &mut SystemRandom::new()).unwrap();
        let seed = case.recover_seed(&made.secret, b"IDENTITY\0");
        assert_eq!(seed.len(), case.hash.length());
        assert_eq!(case.unwrap(&made.blob, &seed, &name).unwrap(), credential);
        let other = [&[0, 0x0B], [8; 32].as_slice()].concat();
        assert_eq!(case.unwrap(&made.blob, &seed, &other), Err("integrity"));
        let longer = SecretBytes::new(vec![0; case.hash.length() + 1]);
        assert!(make_credential(&case.key, &name, &longer, &mut SystemRandom::new()).is_err());
    }
}

#[test]
fn an_object_holds_its_data_under_the_policy() {
    for case in cases() {
        for length in [0, 1, 32, OBJECT_LIMIT] {
            let data = SecretBytes::new(vec![0x5A; length]);
            let object = import_object(&case.key, &data, &policy(), &mut SystemRandom::new()).unwrap();
            let (opened, demanded) = load(&case, &object).unwrap();
            assert_eq!(opened, data.expose());
            assert_eq!(demanded, policy().digest());
        }
        let data = SecretBytes::new(vec![0; OBJECT_LIMIT + 1]);
        let refused = import_object(&case.key, &data, &policy(), &mut SystemRandom::new());
        assert_eq!(refused, Err(TpmSealError::TooLarge { limit: OBJECT_LIMIT, actual: OBJECT_LIMIT + 1 }));
    }
}

#[test]
fn another_policy_is_another_object() {
    let case = ecc(&ECDH_P256, TpmHash::Sha256, TpmCipher::Aes128);
    let data = SecretBytes::new(vec![1; 16]);
    let mut object = import_object(&case.key, &data, &policy(), &mut SystemRandom::new()).unwrap();
    object.public[12] ^= 1;
    assert_eq!(load(&case, &object), Err("integrity"));
}

#[test]
fn the_pcr_policy_has_its_known_answer() {
    // Computed apart: SHA-256 of 32 zeros, 0000017f, the selection, and SHA-256 of both values.
    assert_eq!(hex::encode(policy().digest()), "dc59e4b7d863b1ca13e2b36d1f4d0a400bd824beb45d9da0674f7acb8ca691a3");
    assert_eq!(policy().pcrs().collect::<Vec<_>>(), [4, 11]);
}

#[test]
fn policies_that_demand_nothing_or_the_impossible_are_none() {
    let values = |pcr, length| BTreeMap::from([(pcr, vec![0; length])]);
    for (bank, values) in [
        (TpmHash::Sha256, BTreeMap::new()),
        (TpmHash::Sha256, values(24, 32)),
        (TpmHash::Sha256, values(0, 48)),
        (TpmHash::Sha384, values(0, 32)),
    ] {
        assert_eq!(PcrPolicy::new(bank, values), Err(NotAPcrPolicy));
    }
}

#[test]
fn keys_that_are_none_are_refused() {
    let (hash, cipher) = (TpmHash::Sha256, TpmCipher::Aes128);
    let mut modulus = vec![0xFF; 256];
    assert!(TpmStorageKey::rsa(&modulus, hash, cipher).is_ok());
    modulus[255] = 0xFE;
    assert_eq!(TpmStorageKey::rsa(&modulus, hash, cipher), Err(NotAStorageKey));
    assert_eq!(TpmStorageKey::rsa(&[0; 256], hash, cipher), Err(NotAStorageKey));
    assert_eq!(TpmStorageKey::rsa(&[0xFF; 128], hash, cipher), Err(NotAStorageKey));
    assert_eq!(TpmStorageKey::ecc(&[1; 32], &[1; 32], hash, cipher), Err(NotAStorageKey));
    assert_eq!(TpmStorageKey::ecc(&[1; 31], &[1; 32], hash, cipher), Err(NotAStorageKey));
}

#[test]
fn a_grant_of_any_length_is_written_read_and_opened() {
    let case = rsa(KeySize::Rsa2048, TpmHash::Sha256, TpmCipher::Aes128);
    for length in [1, OBJECT_LIMIT, OBJECT_LIMIT + 1, 4096] {
        let value = SecretBytes::new((0..length).map(|at| u8::try_from(at % 251).unwrap()).collect());
        let made =
            TpmGrant::seal("disk-key".into(), 3, &value, (&case.key, &policy()), &mut SystemRandom::new()).unwrap();
        assert_eq!(made.wrapped.is_some(), length > OBJECT_LIMIT);
        let read = TpmGrant::parse(&made.to_plaintext()).unwrap();
        assert_eq!(read, made);
        let (unsealed, _) = load(&case, &read.object).unwrap();
        assert!(read.open(SecretBytes::new(unsealed.clone())).unwrap() == value);
        if let Some(wrapped) = &read.wrapped {
            let mut changed = read.clone();
            changed.object.public[20] ^= 1;
            assert!(changed.open(SecretBytes::new(unsealed.clone())).is_err(), "of another object");
            let mut changed = read.clone();
            changed.wrapped.as_mut().unwrap()[wrapped.len() - 1] ^= 1;
            assert!(changed.open(SecretBytes::new(unsealed)).is_err());
            assert!(read.open(SecretBytes::new(vec![0; 31])).is_err());
        }
    }
}

#[test]
fn other_plaintexts_are_no_grant_for_a_tpm() {
    let good = r#"{"grant":"a","version":1,"tpm2_import":{"public":"AA","duplicate":"AA","symseed":"AA","policy":{"bank":"sha256","pcrs":[4,11]}}}"#;
    assert!(TpmGrant::parse(&SecretBytes::new(good.into())).is_ok());
    for (from, to) in [
        ("sha256", "sha1"),
        ("[4,11]", "[11,4]"),
        ("[4,11]", "[4,4]"),
        ("[4,11]", "[]"),
        ("[4,11]", "[24]"),
        (r#""public":"AA""#, r#""public":"A=""#),
        (r#""version":1"#, r#""version":1,"value":"AA""#),
        (r#""symseed":"AA","#, ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert_eq!(TpmGrant::parse(&SecretBytes::new(bad.clone().into())), Err(NotATpmGrant), "{bad}");
    }
}
