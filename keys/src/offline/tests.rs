#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::*;
use crate::{
    grant::{GrantPayload, NotAPayload},
    random::SystemRandom,
    secret::{SecretArray, SecretBytes},
    tpm::{PcrPolicy, TpmHash},
};

const GIVEN: u64 = 1_800_000_000;
const UNTIL: u64 = GIVEN + 86_400;

fn terms() -> KeptTerms {
    KeptTerms {
        volume: "data".into(),
        secret: "luks/data".into(),
        version: 3,
        given_at: GIVEN,
        until: UNTIL,
        bank: TpmHash::Sha256,
        pcrs: vec![4, 11],
        clock: 9_000,
        resets: 7,
        restarts: 0,
    }
}

fn asked(now: u64) -> Asked<'static> {
    Asked { volume: "data", secret: "luks/data", now }
}

fn kept() -> (KeptKey, SecretBytes) {
    let key: SecretArray<32> = Zeroizing::new([9; 32]);
    let part = |byte| vec![byte; 40];
    let object = KeptObject { public: part(1), private: part(2), creation: part(3), ticket: part(4) };
    let value = SecretBytes::new(b"the disk key".to_vec());
    let kept = KeptKey::seal(terms(), object, &key, &value, &mut SystemRandom::new()).unwrap();
    (kept, SecretBytes::new(key.to_vec()))
}

fn refused(kept: &KeptKey, key: &SecretBytes, asked: Asked<'_>) -> Option<KeptKeyError> {
    kept.open(key, asked).err()
}

#[test]
fn it_opens_as_it_was_kept_and_until_its_time_is_over() {
    let (kept, key) = kept();
    let again = KeptKey::parse(&kept.to_json()).unwrap();
    assert_eq!(again, kept);
    assert_eq!(again.claimed(), &terms());
    for now in [GIVEN - 300, GIVEN, UNTIL - 1] {
        assert_eq!(again.open(&key, asked(now)).unwrap().expose(), b"the disk key");
    }
    for now in [UNTIL, UNTIL + 1, u64::MAX] {
        assert_eq!(refused(&again, &key, asked(now)), Some(KeptKeyError::Over { until: UNTIL }));
    }
    for now in [0, GIVEN - 301] {
        assert_eq!(refused(&again, &key, asked(now)), Some(KeptKeyError::ClockSetBack { given_at: GIVEN }));
    }
    let other = |volume, secret| Asked { volume, secret, now: GIVEN };
    assert_eq!(refused(&again, &key, other("root", "luks/data")), Some(KeptKeyError::Other));
    assert_eq!(refused(&again, &key, other("data", "luks/root")), Some(KeptKeyError::Other));
    assert_eq!(refused(&again, &SecretBytes::new(vec![8; 32]), asked(GIVEN)), Some(KeptKeyError::Changed));
}

/// Each term, written anew with another value.
#[test]
fn no_term_can_be_changed() {
    let (kept, key) = kept();
    let mut file: serde_json::Value = serde_json::from_slice(&kept.to_json()).unwrap();
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(file["terms"].as_str().unwrap()).unwrap()).unwrap();
    let until = UNTIL.to_string();
    for (from, to) in [
        (until.as_str(), "1999999999"),
        ("\"volume\":\"data\"", "\"volume\":\"root\""),
        ("\"given_at\":1800000000", "\"given_at\":1"),
        ("\"version\":3", "\"version\":4"),
        ("[4,11]", "[4]"),
        ("\"clock\":9000", "\"clock\":90000"),
        ("\"resets\":7", "\"resets\":70"),
        ("\"restarts\":0", "\"restarts\":1"),
        // The same terms, written otherwise.
        ("\"version\":3", "\"version\": 3"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        file["terms"] = BASE64_URL_SAFE_NO_PAD.encode(text.replace(from, to)).into();
        let changed = KeptKey::parse(file.to_string().as_bytes()).unwrap();
        let asked = Asked { volume: &changed.claimed().volume, ..asked(GIVEN) };
        assert_eq!(refused(&changed, &key, asked), Some(KeptKeyError::Changed), "{from} to {to}");
    }
    // Nor put beside another object.
    file["terms"] = BASE64_URL_SAFE_NO_PAD.encode(text).into();
    file["public"] = BASE64_URL_SAFE_NO_PAD.encode([5; 40]).into();
    let moved = KeptKey::parse(file.to_string().as_bytes()).unwrap();
    assert_eq!(refused(&moved, &key, asked(GIVEN)), Some(KeptKeyError::Changed));
}

#[test]
fn other_files_are_no_kept_keys() {
    let (kept, _) = kept();
    let good: serde_json::Value = serde_json::from_slice(&kept.to_json()).unwrap();
    let mut bad = vec![Vec::new(), b"{}".to_vec(), vec![b' '; 70_000]];
    for (member, value) in [("format", "countersign.kept-key/2"), ("terms", "e30"), ("wrapped", "="), ("more", "")] {
        let mut file = good.clone();
        file[member] = value.into();
        bad.push(file.to_string().into_bytes());
    }
    for bytes in bad {
        assert_eq!(KeptKey::parse(&bytes).err(), Some(KeptKeyError::Form), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_broker_s_terms_stand_in_the_grant() {
    let values = BTreeMap::from([(4, vec![1; 32]), (11, vec![2; 32])]);
    let policy = PcrPolicy::new(TpmHash::Sha256, values).unwrap();
    let offline = Some(OfflineTerms { given_at: GIVEN, until: UNTIL, boots: 8, policy });
    let value = SecretBytes::new(b"key".to_vec());
    let payload = GrantPayload { grant: "luks/data".into(), version: 1, value, offline };
    let plaintext = payload.to_plaintext();
    assert!(GrantPayload::parse(&plaintext).is_ok_and(|again| again == payload));
    let text = String::from_utf8(plaintext.expose().to_vec()).unwrap();
    for (from, to) in [
        ("\"bank\":\"sha256\"", "\"bank\":\"sha1\""),
        ("\"11\":", "\"24\":"),
        ("\"until\":1800086400", "\"until\":1800000000"),
        ("\"boots\":8", "\"boots\":-1"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        let changed = SecretBytes::new(text.replace(from, to).into_bytes());
        assert_eq!(GrantPayload::parse(&changed).err(), Some(NotAPayload), "{from} to {to}");
    }
}
