#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::random::{Prepared, SystemRandom};

fn context() -> Context {
    Context::new(&["secret", "tenant", "disk-key", "1"])
}

fn root() -> RootKey {
    RootKey::from_file_bytes(&[7; 32]).unwrap()
}

fn sealed(root: &RootKey, plaintext: &[u8]) -> Vec<u8> {
    root.seal(&context(), &SecretBytes::new(plaintext.to_vec()), &mut SystemRandom::new()).unwrap()
}

#[test]
fn a_record_opens_in_its_context_only() {
    let root = root();
    let record = sealed(&root, b"secret");
    assert_eq!(root.open(&context(), &record).unwrap().expose(), b"secret");
    for parts in [
        &["secret", "tenant", "disk-key", "2"][..],
        &["secret", "other", "disk-key", "1"],
        &["secret", "tenant", "disk-key1"],
        &["secrett", "enant", "disk-key", "1"],
        &[],
    ] {
        assert_eq!(root.open(&Context::new(parts), &record).err(), Some(EnvelopeError::Refused), "{parts:?}");
    }
}

#[test]
fn a_record_names_its_root_key() {
    let (root, other) = (root(), RootKey::from_file_bytes(&[8; 32]).unwrap());
    let record = sealed(&root, b"secret");
    assert_eq!(root_key_of(&record), Ok(root.id()));
    assert_ne!(root.id(), other.id());
    let refused = EnvelopeError::OtherKey { expected: other.id(), found: root.id() };
    assert_eq!(other.open(&context(), &record).err(), Some(refused));
}

#[test]
fn a_root_key_is_exactly_32_bytes_and_survives_its_file() {
    for length in [0, 31, 33, 64] {
        let refused = RootKey::from_file_bytes(&vec![0; length]).err();
        assert_eq!(refused, Some(EnvelopeError::KeyLength { actual: length }));
    }
    let made = RootKey::generate(&mut SystemRandom::new()).unwrap();
    let again = RootKey::from_file_bytes(made.to_file_bytes().expose()).unwrap();
    assert_eq!(again.open(&context(), &sealed(&made, b"x")).unwrap().expose(), b"x");
    assert_eq!(root().id().to_string().len(), 16);
}

#[test]
fn records_are_as_long_as_the_format_says() {
    let record = sealed(&root(), b"");
    assert_eq!(record.len(), 97);
    assert_eq!(record.len(), SHORTEST);
    for length in 0..SHORTEST {
        let refused = root().open(&context(), &record[..length]).err();
        assert_eq!(refused, Some(EnvelopeError::Truncated { expected: 97, actual: length }));
    }
    let mut other = record;
    other[0] = 2;
    assert_eq!(root().open(&context(), &other).err(), Some(EnvelopeError::Format { found: 2 }));
}

#[test]
fn the_same_plaintext_never_looks_the_same() {
    let root = root();
    assert_ne!(sealed(&root, b"x")[9..], sealed(&root, b"x")[9..]);
    let broken = root.seal(&context(), &SecretBytes::new(vec![1]), &mut Prepared::new(&[&[1; 40]]));
    assert_eq!(broken, Err(EnvelopeError::Randomness(NoRandomness)));
}

proptest! {
    #[test]
    fn any_flipped_bit_refuses_to_open(plaintext: Vec<u8>, bit: usize) {
        let root = root();
        let mut record = sealed(&root, &plaintext);
        let bit = bit % (record.len() * 8);
        record[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(root.open(&context(), &record).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(root().open(&context(), &bytes).is_err());
    }

    #[test]
    fn contexts_of_different_parts_differ(one: Vec<String>, other: Vec<String>) {
        let of = |parts: &[String]| Context::new(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(of(&one) == of(&other), one == other);
    }
}
