//! Tests of reading and writing manifests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use ciborium::Value;
use proptest::prelude::*;

use super::*;
use crate::{cbor, code::Coded};

fn digest(byte: u8) -> Digest {
    Digest { algorithm: DigestAlgorithm::Sha384, bytes: vec![byte; 48] }
}

fn document() -> CorimDocument {
    let class = Class { id: Some(ClassId::Oid("1.3.6.1.4.1.3704.3.1".to_owned())), ..Class::default() };
    let launch = MeasurementValues { digests: vec![digest(1)], name: Some("4 vCPUs".to_owned()), ..Default::default() };
    let registers =
        vec![(RegisterId::Text("rtmr1".to_owned()), vec![digest(2)]), (RegisterId::Uint(2), vec![digest(3)])];
    let registers = MeasurementValues { registers, svn: Some(Svn::AtLeast(3)), ..Default::default() };
    let raw = MeasurementValues { raw: Some(vec![9; 8]), version: Some("1.2".to_owned()), ..Default::default() };
    let measurement = |key: Option<MeasurementKey>, values| Measurement { key, values, has_authorized_by: false };
    let triple = Triple {
        environment: Environment { class: Some(class), ..Environment::default() },
        measurements: vec![
            measurement(Some(MeasurementKey::Uint(641)), launch),
            measurement(None, registers),
            measurement(Some(MeasurementKey::Text("x".to_owned())), raw),
        ],
    };
    CorimDocument {
        id: TagId::Text("web-prod".to_owned()),
        comids: vec![Comid {
            tag_id: TagId::Uuid([7; 16]),
            tag_version: 4,
            entities: vec!["ACME".to_owned()],
            reference: vec![triple.clone()],
            endorsed: vec![triple],
            other_triples: Vec::new(),
        }],
        other_tags: Vec::new(),
        has_dependent_rims: false,
        profile: Some(Profile::Uri("tag:amd.com,2025:snp-corim-profile".to_owned())),
        validity: Validity { not_before: Some(1_700_000_000), not_after: Some(1_900_000_000) },
        entities: vec!["build 7".to_owned()],
    }
}

fn header() -> SignatureHeader {
    SignatureHeader {
        algorithm: -35,
        kid: Some(vec![1; 32]),
        chain: vec![vec![0x30], vec![0x31]],
        signer: Some("ACME".to_owned()),
        validity: Validity { not_before: None, not_after: Some(1_900_000_000) },
    }
}

fn signed(header: &SignatureHeader) -> Vec<u8> {
    SignedCorim::make(header, document().to_bytes().unwrap(), |message| {
        assert!(message.starts_with(b"\x84\x6aSignature1"));
        Ok::<_, CorimError>(vec![5; 96])
    })
    .unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = document().to_bytes().unwrap();
    assert_eq!(bytes[..3], [0xd9, 0x01, 0xf5]);
    assert_eq!(Corim::parse(&bytes).unwrap(), Corim::Unsigned(Box::new(document())));
    let bytes = signed(&header());
    assert_eq!(bytes[..2], [0xd2, 0x84]);
    let Corim::Signed(read) = Corim::parse(&bytes).unwrap() else { panic!("expected a signed one") };
    assert_eq!((read.header(), read.signature()), (&header(), [5; 96].as_slice()));
    assert_eq!(CorimDocument::parse(read.payload()).unwrap(), document());
}

/// Every object identifier of the profiles, spelled as its registry spells it.
#[test]
fn object_identifiers_have_one_spelling() {
    let octets = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x03, 0x01];
    assert_eq!(oid::to_text(&octets).unwrap(), "1.3.6.1.4.1.3704.3.1");
    assert_eq!(oid::to_bytes("1.3.6.1.4.1.3704.3.1").unwrap(), octets);
    let intel = "2.16.840.1.113741.1.16.1";
    assert_eq!(oid::to_text(&oid::to_bytes(intel).unwrap()).unwrap(), intel);
    for bad in [[].as_slice(), &[0x80], &[0x2b, 0x80, 0x01], &[0x2b, 0x86], &[0xff; 12]] {
        assert!(oid::to_text(bad).is_err(), "{bad:02x?}");
    }
    assert_eq!(oid::to_bytes("3.1"), None);
    assert_eq!(oid::to_bytes("1.40"), None);
}

type Edit = fn(&mut Vec<(Value, Value)>);

/// The corim-map with one change.
fn edited(edit: Edit) -> Vec<u8> {
    let value: Value = cbor::from_slice(&document().to_bytes().unwrap(), CORIM_LIMIT).unwrap();
    let Value::Tag(tag, inner) = value else { panic!("expected a tag") };
    let Value::Map(mut members) = *inner else { panic!("expected a map") };
    edit(&mut members);
    cbor::to_vec(&Value::Tag(tag, Box::new(Value::Map(members)))).unwrap()
}

fn set(members: &mut Vec<(Value, Value)>, key: i64, value: Value) {
    members.retain(|(found, _)| *found != Value::from(key));
    members.push((Value::from(key), value));
}

#[test]
fn each_broken_rule_has_its_code() {
    let cases: [(Edit, &str); 12] = [
        (|map| map.retain(|(key, _)| *key != Value::from(0)), "parse.corim.shape"),
        (|map| map.retain(|(key, _)| *key != Value::from(1)), "parse.corim.shape"),
        (|map| set(map, 0, Value::from("")), "parse.corim.shape"),
        (|map| set(map, 0, Value::Bytes(vec![1; 15])), "parse.corim.shape"),
        (|map| set(map, 1, Value::Array(vec![Value::from(1)])), "parse.corim.shape"),
        (|map| set(map, 1, Value::Array(vec![value::tag(506, Value::Bytes(vec![0xa0]))])), "parse.corim.shape"),
        (|map| set(map, 1, Value::Array(vec![value::tag(506, Value::Bytes(vec![0xa1, 0]))])), "parse.corim.cbor"),
        (|map| set(map, 1, Value::Array(vec![value::tag(999, Value::Bytes(vec![0xa0]))])), "parse.corim.shape"),
        (|map| set(map, 3, Value::from("no tag")), "parse.corim.shape"),
        (|map| set(map, 4, Value::Map(Vec::new())), "parse.corim.shape"),
        (|map| set(map, 4, Value::Map(vec![(1.into(), value::tag(1, Value::Float(1.5)))])), "parse.corim.shape"),
        (|map| set(map, 99, Value::from(1)), "parse.corim.member"),
    ];
    for (edit, code) in cases {
        let error = Corim::parse(&edited(edit)).unwrap_err();
        assert_eq!(error.code().as_str(), code, "{error}");
    }
    for (bytes, code) in [
        ([].as_slice(), "parse.corim.magic"),
        (b"{}", "parse.corim.magic"),
        (&[0xd9, 0x01, 0xf5], "parse.corim.cbor"),
        (&[0xd2, 0x80], "parse.corim.shape"),
        (&[0xd9, 0x01, 0xf5, 0xbf, 0xff], "parse.corim.cbor"),
    ] {
        assert_eq!(Corim::parse(bytes).unwrap_err().code().as_str(), code, "{bytes:02x?}");
    }
    let mut trailing = document().to_bytes().unwrap();
    trailing.push(0);
    assert_eq!(Corim::parse(&trailing).unwrap_err().code().as_str(), "parse.corim.cbor");
}

#[test]
fn what_is_not_read_is_named() {
    let read = |edit: Edit| match Corim::parse(&edited(edit)).unwrap() {
        Corim::Unsigned(document) => *document,
        Corim::Signed(_) => panic!("expected an unsigned one"),
    };
    let dependent = read(|map| set(map, 2, Value::Array(Vec::new())));
    assert!(dependent.has_dependent_rims && dependent.to_bytes().is_err());
    let mut authorized = document();
    authorized.comids[0].reference[0].measurements[0].has_authorized_by = true;
    assert!(authorized.to_bytes().is_err());
    assert_eq!(read(|map| set(map, 1, Value::Array(vec![value::tag(505, Value::Bytes(vec![]))]))).other_tags, [505]);
}

#[test]
fn headers_that_change_the_meaning_are_refused() {
    let with = |key: i64, value: Value| {
        let Value::Map(mut members) = header().to_value().unwrap() else { panic!("expected a map") };
        set(&mut members, key, value);
        let protected = cbor::to_vec(&Value::Map(members)).unwrap();
        let parts = [Value::Bytes(protected), Value::Map(Vec::new()), Value::Bytes(vec![0]), Value::Bytes(vec![0; 64])];
        Corim::parse(&cbor::to_vec(&value::tag(18, Value::Array(parts.into()))).unwrap())
    };
    assert!(with(1, Value::from(-7)).is_ok());
    for (key, value) in [
        (1, Value::from("ES256")),
        (2, Value::Array(vec![4.into()])),
        (3, Value::from("application/json")),
        (8, Value::from(1)),
        (33, Value::Array(Vec::new())),
        (258, Value::from(-16)),
    ] {
        assert_eq!(with(key, value).unwrap_err().code().as_str(), "parse.corim.shape", "{key}");
    }
}

#[test]
fn the_narrower_of_two_validities_counts() {
    let Value::Map(mut members) = header().to_value().unwrap() else { panic!("expected a map") };
    let claims = Value::Map(vec![(1.into(), "issuer".into()), (4.into(), 1_800_000_000.into()), (5.into(), 5.into())]);
    set(&mut members, 15, claims);
    let read = SignatureHeader::read(&cbor::to_vec(&Value::Map(members)).unwrap(), Value::Map(Vec::new())).unwrap();
    assert_eq!(read.validity, Validity { not_before: Some(5), not_after: Some(1_800_000_000) });
    assert_eq!(read.signer.as_deref(), Some("issuer"));
}

proptest! {
    #[test]
    fn arbitrary_and_damaged_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..256),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let _ = Corim::parse(&bytes);
        let _ = CorimDocument::parse(&bytes);
        for mut good in [document().to_bytes().unwrap(), signed(&header())] {
            let at = at.index(good.len());
            good[at] = byte;
            let _ = Corim::parse(&good);
            let _ = Corim::parse(&good[..at]);
        }
    }
}
