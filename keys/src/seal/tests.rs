#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "test vectors are files")]

use std::{collections::BTreeSet, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ecdh::concat_kdf, *};
use crate::{
    encoding::encode,
    jwk::TeeKeyType,
    random::{Prepared, SystemRandom},
};

const TYPES: [TeeKeyType; 3] = [TeeKeyType::P256, TeeKeyType::X25519, TeeKeyType::XWing];

fn pair(key_type: TeeKeyType) -> TeeKeyPair {
    TeeKeyPair::generate(key_type, &mut SystemRandom::new()).unwrap()
}

fn sealed_to(pair: &TeeKeyPair, plaintext: &[u8]) -> Sealed {
    seal(&SecretBytes::new(plaintext.to_vec()), pair.public(), &mut SystemRandom::new()).unwrap()
}

fn with(sealed: &Sealed, member: &str, value: Value) -> Result<Sealed, String> {
    let mut json = serde_json::to_value(sealed).unwrap();
    json[member] = value;
    serde_json::from_value(json).map_err(|error| error.to_string())
}

/// RFC 7518 Appendix C.
#[test]
fn concat_kdf_has_the_known_answer_of_rfc_7518() {
    let z = [
        158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128, 106,
        72, 246, 218, 167, 121, 140, 254, 144, 196,
    ];
    let mut key = [0; 16];
    concat_kdf(&z, "A128GCM", [b"Alice", b"Bob"], &mut key).unwrap();
    assert_eq!(encode(key), "VqqN6vgjbSBcIijNcacQGg");
}

fn small_scalar(hex_digits: &str) -> [u8; 32] {
    let mut scalar = [0; 32];
    hex::decode_to_slice(hex_digits, &mut scalar[16..]).unwrap();
    scalar
}

/// The vectors of the KBS protocol lie beside the checkout.
#[test]
fn sealing_is_byte_exact_for_kbs_clients() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/kbs/vectors.json"));
    let Some(bytes) = found.filter_map(|path| std::fs::read(path).ok()).next() else {
        println!("../shared/vectors is not here: skipped");
        return;
    };
    let vectors: Value = serde_json::from_slice(&bytes).unwrap();
    let case = vectors["jwe"].as_array().unwrap().iter().find(|case| case["crv"] == "P-256").unwrap();
    let scalar = small_scalar(case["tee_private_scalar_hex"].as_str().unwrap());
    let pair = TeeKeyPair::generate(TeeKeyType::P256, &mut Prepared::new(&[&scalar])).unwrap();

    let ephemeral = small_scalar("fedcba0987654321fedcba0987654321");
    let cek = hex::decode(case["intermediate"]["cek_hex"].as_str().unwrap()).unwrap();
    let iv: Vec<u8> = (0..12).collect();
    let mut rng = Prepared::new(&[&ephemeral, &cek, &iv]);
    let plaintext = SecretBytes::new(case["plaintext"].as_str().unwrap().as_bytes().to_vec());
    let sealed = seal(&plaintext, pair.public(), &mut rng).unwrap();

    assert_eq!(serde_json::to_value(&sealed).unwrap(), case["response"]);
    let header = String::from_utf8(sealed.header().unwrap()).unwrap();
    assert_eq!(header, case["intermediate"]["protected_json"].as_str().unwrap());
    assert!(pair.open(&sealed).unwrap() == plaintext);
    assert!(rng.0.is_empty());
}

#[test]
fn each_key_type_has_its_exact_header() {
    let start = |key_type| String::from_utf8(sealed_to(&pair(key_type), b"x").header().unwrap()).unwrap();
    let p256 = start(TeeKeyType::P256);
    assert!(p256.starts_with(r#"{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC","x":""#));
    let x25519 = start(TeeKeyType::X25519);
    assert!(x25519.starts_with(r#"{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"X25519","kty":"OKP","x":""#));
    assert_eq!(start(TeeKeyType::XWing), r#"{"alg":"HPKE-X-Wing"}"#);
}

#[test]
fn only_the_private_half_opens() {
    for key_type in TYPES {
        let (mine, other) = (pair(key_type), pair(key_type));
        let sealed = sealed_to(&mine, b"disk key");
        assert_eq!(mine.open(&sealed).unwrap().expose(), b"disk key");
        assert_eq!(other.open(&sealed).err(), Some(OpenError::Refused));
    }
}

#[test]
fn a_key_of_another_type_refuses_the_header() {
    for from in TYPES {
        let sealed = sealed_to(&pair(from), b"x");
        for to in TYPES {
            if from != to {
                assert_eq!(pair(to).open(&sealed).err(), Some(OpenError::Header), "{from:?} {to:?}");
            }
        }
    }
}

#[test]
fn nothing_and_the_largest_plaintext_can_be_sealed() {
    for key_type in TYPES {
        let pair = pair(key_type);
        for length in [0, PLAINTEXT_LIMIT] {
            assert_eq!(pair.open(&sealed_to(&pair, &vec![7; length])).unwrap().expose(), vec![7; length]);
        }
        let large = SecretBytes::new(vec![0; PLAINTEXT_LIMIT + 1]);
        assert_eq!(
            seal(&large, pair.public(), &mut SystemRandom::new()),
            Err(SealError::TooLarge { actual: 1_048_577 })
        );
    }
}

#[test]
fn a_broken_source_of_randomness_seals_nothing() {
    for key_type in TYPES {
        let pair = pair(key_type);
        let result = seal(&SecretBytes::new(vec![1]), pair.public(), &mut Prepared::new(&[&[1; 33]]));
        assert_eq!(result, Err(SealError::Randomness(NoRandomness)));
    }
}

#[test]
fn malformed_members_are_named() {
    let pair = pair(TeeKeyType::P256);
    let sealed = sealed_to(&pair, b"secret");
    let open = |member: &str, text: &str| pair.open(&with(&sealed, member, json!(text)).unwrap()).err();
    for member in ["encrypted_key", "iv", "tag"] {
        for text in ["", "AA", "A", "*", &"A".repeat(500)] {
            let wanted = ["encrypted_key", "iv", "tag"].into_iter().find(|name| *name == member).unwrap();
            assert_eq!(open(member, text), Some(OpenError::Malformed { member: wanted }), "{member} {text}");
        }
    }
    assert_eq!(open("protected", "*"), Some(OpenError::Malformed { member: "protected" }));
    assert_eq!(open("protected", &"A".repeat(2000)), Some(OpenError::Header));
    assert_eq!(open("ciphertext", "*"), Some(OpenError::Malformed { member: "ciphertext" }));
    assert_eq!(open("ciphertext", &"A".repeat(2_000_000)), Some(OpenError::Malformed { member: "ciphertext" }));
    assert_eq!(open("ciphertext", ""), Some(OpenError::Refused));
}

#[test]
fn headers_are_exact() {
    let pair = pair(TeeKeyType::P256);
    let sealed = sealed_to(&pair, b"secret");
    let header: Value = serde_json::from_slice(&sealed.header().unwrap()).unwrap();
    let open = |header: &Value| {
        let protected = encode(serde_json::to_vec(header).unwrap());
        pair.open(&with(&sealed, "protected", json!(protected)).unwrap()).err()
    };
    for (pointer, value, expected) in [
        ("/alg", json!("ECDH-ES"), OpenError::Header),
        ("/alg", json!("dir"), OpenError::Header),
        ("/enc", json!("A128GCM"), OpenError::Header),
        ("/zip", json!("DEF"), OpenError::Header),
        ("/crit", json!(["x"]), OpenError::Header),
        ("/apu", json!("QQ"), OpenError::Header),
        ("/epk/crv", json!("P-384"), OpenError::Header),
        ("/epk/kid", json!("x"), OpenError::Header),
        ("/epk/x", json!("AA"), OpenError::EphemeralKey),
        // Not on the curve: an invalid-curve attack.
        ("/epk/x", json!(encode([1; 32])), OpenError::EphemeralKey),
    ] {
        let mut changed = header.clone();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[member] = value;
        assert_eq!(open(&changed), Some(expected), "{pointer}");
    }
}

#[test]
fn a_small_order_ephemeral_key_is_refused() {
    let pair = pair(TeeKeyType::X25519);
    let sealed = sealed_to(&pair, b"secret");
    let mut header: Value = serde_json::from_slice(&sealed.header().unwrap()).unwrap();
    header["epk"]["x"] = json!(encode([0; 32]));
    let changed = with(&sealed, "protected", json!(encode(serde_json::to_vec(&header).unwrap()))).unwrap();
    assert_eq!(pair.open(&changed).err(), Some(OpenError::EphemeralKey));
}

#[test]
fn integrated_encryption_has_no_iv_and_no_tag() {
    let pair = pair(TeeKeyType::XWing);
    let sealed = sealed_to(&pair, b"secret");
    let json = serde_json::to_value(&sealed).unwrap();
    let names: BTreeSet<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["ciphertext", "encrypted_key", "protected"].into());
    for member in ["iv", "tag"] {
        let changed = with(&sealed, member, json!("AA")).unwrap();
        assert!(matches!(pair.open(&changed), Err(OpenError::Malformed { .. })));
    }
}

#[test]
fn unknown_members_are_refused() {
    let sealed = sealed_to(&pair(TeeKeyType::P256), b"secret");
    for member in ["aad", "header", "unprotected", "recipients"] {
        assert!(with(&sealed, member, json!("x")).is_err(), "{member}");
    }
}

/// Flips one bit of one member's decoded bytes.
fn flipped(sealed: &Sealed, member: &str, bit: usize) -> Sealed {
    let json = serde_json::to_value(sealed).unwrap();
    let mut bytes = decode(json[member].as_str().unwrap()).unwrap();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    with(sealed, member, json!(encode(bytes))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_refuses_to_open(bit: usize, member in 0_usize..5) {
        for (key_type, members) in [
            (TeeKeyType::P256, &["protected", "encrypted_key", "iv", "ciphertext", "tag"][..]),
            (TeeKeyType::X25519, &["protected", "encrypted_key", "iv", "ciphertext", "tag"]),
            (TeeKeyType::XWing, &["protected", "encrypted_key", "ciphertext"]),
        ] {
            let pair = pair(key_type);
            let sealed = sealed_to(&pair, b"some secret");
            let changed = flipped(&sealed, members[member % members.len()], bit);
            prop_assert!(pair.open(&changed).is_err());
        }
    }

    #[test]
    fn whatever_is_sealed_is_opened(plaintext: Vec<u8>) {
        for key_type in TYPES {
            let pair = pair(key_type);
            let json = serde_json::to_vec(&sealed_to(&pair, &plaintext)).unwrap();
            let sealed: Sealed = serde_json::from_slice(&json).unwrap();
            let opened = pair.open(&sealed).unwrap();
            prop_assert_eq!(opened.expose(), &plaintext);
        }
    }
}
