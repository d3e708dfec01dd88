#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeMap, num::NonZeroU64};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    wire::{put_mpint, put_string, take_string},
    *,
};
use crate::{
    random::{Prepared, SystemRandom},
    secret::SecretBytes,
    sign::{SignatureAlgorithm, Signer, SigningKey},
};

fn ca() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap()
}

fn key() -> SshPublicKey {
    SshKeyPair::generate(&mut SystemRandom::new()).unwrap().public()
}

#[test]
fn public_keys_are_read_exactly() {
    for line in
        [key().to_line("somebody@somewhere"), SshPublicKey::of_signer(ca().verifying_key()).unwrap().to_line("")]
    {
        let parsed = SshPublicKey::parse(&line).unwrap();
        assert_eq!(parsed.to_line("c").split(' ').nth(1), line.split(' ').nth(1));
    }
    let blob = key().blob();
    let line = |name: &str, blob: &[u8]| format!("{name} {}", BASE64_STANDARD.encode(blob));
    let wrong = [
        (String::new(), SshKeyError::Format),
        ("ssh-ed25519".to_owned(), SshKeyError::Format),
        ("ssh-ed25519 !".to_owned(), SshKeyError::Format),
        (line("ecdsa-sha2-nistp256", &blob), SshKeyError::Format),
        (line("ssh-ed25519", &blob[..50]), SshKeyError::Format),
        (line("ssh-ed25519", &[&blob[..], &[0]].concat()), SshKeyError::Key),
        (format!("{}\nssh-ed25519 AAAA", line("ssh-ed25519", &blob)), SshKeyError::Format),
        (format!("{} {}", line("ssh-ed25519", &blob), "x".repeat(1024)), SshKeyError::Format),
    ];
    for (text, error) in wrong {
        assert_eq!(SshPublicKey::parse(&text).unwrap_err(), error, "{text}");
    }
    let mut rsa = Vec::new();
    put_string(&mut rsa, b"ssh-rsa");
    assert_eq!(SshPublicKey::parse(&line("ssh-rsa", &rsa)).unwrap_err(), SshKeyError::Type);
    let point = SshPublicKey::of_signer(ca().verifying_key()).unwrap().blob();
    let mut rest = &point[..];
    let (_, _, key) = (take_string(&mut rest), take_string(&mut rest), take_string(&mut rest).unwrap());
    let mut of_another_curve = Vec::new();
    for part in [b"ecdsa-sha2-nistp256", &b"nistp384"[..], key] {
        put_string(&mut of_another_curve, part);
    }
    assert_eq!(SshPublicKey::parse(&line("ecdsa-sha2-nistp256", &of_another_curve)).unwrap_err(), SshKeyError::Key);
    let mut off_curve = Vec::new();
    put_string(&mut off_curve, b"ecdsa-sha2-nistp256");
    put_string(&mut off_curve, b"nistp256");
    put_string(&mut off_curve, &[&[4][..], &[9; 64]].concat());
    assert_eq!(SshPublicKey::parse(&line("ecdsa-sha2-nistp256", &off_curve)).unwrap_err(), SshKeyError::Key);
}

fn certificate<'a>(
    key: &'a SshPublicKey,
    principals: &'a [String],
    options: &'a BTreeMap<String, String>,
) -> SshCertificate<'a> {
    SshCertificate {
        kind: CertificateKind::User,
        key,
        serial: NonZeroU64::new(7).unwrap(),
        key_id: "lease-1",
        principals,
        valid_after: 100,
        valid_before: 200,
        critical_options: options,
        extensions: options,
    }
}

#[test]
fn a_certificate_is_signed_over_all_that_it_says() {
    let (ca, key, options) = (ca(), key(), BTreeMap::from([("force-command".to_owned(), "true".to_owned())]));
    let principals = ["web".to_owned()];
    let line = certificate(&key, &principals, &options).sign(&ca, &mut SystemRandom::new()).unwrap();
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!((words[0], words[2]), ("ssh-ed25519-cert-v01@openssh.com", "lease-1"));
    let blob = BASE64_STANDARD.decode(words[1]).unwrap();
    let mut rest = &blob[..];
    assert_eq!(take_string(&mut rest).unwrap(), words[0].as_bytes());
    assert_eq!(take_string(&mut rest).unwrap().len(), 32);
    assert_eq!(take_string(&mut rest).unwrap().len(), 32);
    assert_eq!(rest[..12], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]);
    // The signature is the last string; it covers everything before it.
    let signature = SIGNATURE_MOST.into_iter().find_map(|length| {
        let (body, mut rest) = blob.split_at_checked(blob.len().checked_sub(length + 4)?)?;
        let signature = take_string(&mut rest).filter(|_| rest.is_empty())?;
        Some((body.to_vec(), signature.to_vec()))
    });
    let (body, signature) = signature.unwrap();
    let mut rest = &signature[..];
    assert_eq!(take_string(&mut rest).unwrap(), b"ecdsa-sha2-nistp256");
    let mut numbers = take_string(&mut rest).unwrap();
    let mut fixed = Vec::new();
    for _ in 0..2 {
        let number = take_string(&mut numbers).unwrap();
        let plain: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        fixed.extend(vec![0; 32 - plain.len()]);
        fixed.extend(plain);
    }
    assert!(ca.verifying_key().verifies(&body, &fixed));
}

/// Lengths that the signature of a P-256 CA can have.
const SIGNATURE_MOST: [usize; 12] = [91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102];

#[test]
fn a_certificate_for_everybody_or_for_no_time_is_not_made() {
    let (ca, key, none) = (ca(), key(), BTreeMap::new());
    let refused = |certificate: SshCertificate<'_>| certificate.sign(&ca, &mut SystemRandom::new()).unwrap_err();
    assert_eq!(refused(certificate(&key, &[], &none)), SshCertificateError::Principals);
    for wrong in ["", "*", "web?", "a,b", "a b", "-x", "!root", "\u{e4}", &"x".repeat(256)] {
        assert_eq!(refused(certificate(&key, &[wrong.to_owned()], &none)), SshCertificateError::Principals, "{wrong}");
    }
    let web = ["web".to_owned()];
    let good = certificate(&key, &web, &none);
    for (valid_after, valid_before) in [(200, 200), (201, 200), (-1, 200)] {
        assert_eq!(refused(SshCertificate { valid_after, valid_before, ..good }), SshCertificateError::Validity);
    }
    assert!(matches!(good.sign(&ca, &mut Prepared::new(&[&[1; 31]])).unwrap_err(), SshCertificateError::Randomness(_)));
}

#[test]
fn numbers_are_positive() {
    let mpint = |bytes: &[u8]| {
        let mut out = Vec::new();
        put_mpint(&mut out, bytes);
        out
    };
    assert_eq!(mpint(&[0, 0, 1]), [0, 0, 0, 1, 1]);
    assert_eq!(mpint(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
    assert_eq!(mpint(&[0, 0]), [0, 0, 0, 0]);
}

#[test]
fn a_revocation_list_has_a_section_for_each_authority() {
    let serials = [NonZeroU64::new(7).unwrap(), NonZeroU64::new(9).unwrap()];
    let empty = revocation_list(3, 5, &[key()], &[]);
    assert_eq!(&empty[..8], b"SSHKRL\n\0");
    let one = revocation_list(3, 5, &[key()], &serials);
    let two = revocation_list(3, 5, &[key(), key()], &serials);
    assert_eq!(two.len() - one.len(), one.len() - empty.len());
    assert!(one.ends_with(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9]));
}

#[test]
fn a_private_key_file_says_its_public_key() {
    let pair = SshKeyPair::generate(&mut SystemRandom::new()).unwrap();
    let file = pair.to_openssh("guest");
    assert_eq!(SshPublicKey::of_private_file(&file).unwrap(), pair.public());
    for wrong in ["", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"] {
        let wrong = SecretBytes::new(wrong.as_bytes().to_vec());
        assert_eq!(SshPublicKey::of_private_file(&wrong).unwrap_err(), SshKeyError::Format);
    }
}
