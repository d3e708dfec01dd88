#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const CPU: &str = r#""cpu":["application/vnd.countersign.snp-report","AAEC"]"#;

fn sample() -> Bundle {
    let mut bundle = Bundle::new();
    let cpu = BundleItem { media_type: MediaType::SnpReport, bytes: vec![0, 1, 2] };
    bundle.insert(ItemName::Cpu, cpu).unwrap();
    bundle.insert(ItemName::Certs, BundleItem { media_type: MediaType::SnpCertTable, bytes: vec![0xff; 24] }).unwrap();
    bundle
}

fn json(text: &str) -> Result<Bundle, BundleError> {
    Bundle::parse_json(text.as_bytes())
}

#[test]
fn json_text_is_the_collection_of_rfc_9999() {
    let text = String::from_utf8(sample().to_json().unwrap()).unwrap();
    assert_eq!(
        text,
        r#"{"__cmwc_t":"tag:countersign.example,2026:evidence","cpu":["application/vnd.countersign.snp-report","AAEC"],"certs":["application/vnd.countersign.snp-cert-table","________________________________"]}"#
    );
    assert_eq!(json(&text), Ok(sample()));
}

#[test]
fn cbor_carries_raw_bytes() {
    let bytes = sample().to_cbor().unwrap();
    assert!(bytes.windows(4).any(|window| window == [0x43, 0, 1, 2]));
    assert_eq!(Bundle::parse_cbor(&bytes), Ok(sample()));
}

#[test]
fn collection_type_and_indicator_are_optional() {
    assert!(json(&format!("{{{CPU}}}")).is_ok());
    assert!(json(r#"{"cpu":["application/vnd.countersign.snp-report","AAEC",4]}"#).is_ok());
}

#[test]
fn each_broken_rule_of_json_has_its_own_error() {
    let unknown_type =
        BundleError::UnknownMediaType { name: ItemName::Cpu, media_type: "application/octet-stream".to_owned() };
    let wrong_type = BundleError::MediaTypeOfItem { name: ItemName::Cpu, media_type: MediaType::SnpCertTable };
    let cases = [
        ("{}".to_owned(), BundleError::Empty),
        (r#"{"__cmwc_t":"tag:countersign.example,2026:evidence"}"#.to_owned(), BundleError::Empty),
        (format!(r#"{{"__cmwc_t":"tag:other,2026:x",{CPU}}}"#), BundleError::CollectionType),
        (format!(r#"{{"__cmwc_t":["a","AA"],{CPU}}}"#), BundleError::CollectionType),
        (format!("{{{CPU},{CPU}}}"), BundleError::DuplicateItem { name: ItemName::Cpu }),
        (r#"{"gpu":["a/b","AA"]}"#.to_owned(), BundleError::UnknownItem { name: "gpu".to_owned() }),
        (r#"{"cpu":["application/octet-stream","AA"]}"#.to_owned(), unknown_type),
        (r#"{"cpu":["application/vnd.countersign.snp-cert-table","AA"]}"#.to_owned(), wrong_type),
        (
            r#"{"cpu":["application/vnd.countersign.snp-report","AAEC="]}"#.to_owned(),
            BundleError::NotBase64 { name: ItemName::Cpu },
        ),
        (
            // The last character carries bits that no byte has.
            r#"{"cpu":["application/vnd.countersign.snp-report","AB"]}"#.to_owned(),
            BundleError::NotBase64 { name: ItemName::Cpu },
        ),
        (
            r#"{"cpu":["application/vnd.countersign.snp-report","AAEC",1]}"#.to_owned(),
            BundleError::Indicator { name: ItemName::Cpu, indicator: 1 },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(json(&text), Err(expected), "{text}");
    }
}

#[test]
fn syntax_errors_know_their_offset() {
    for (text, at) in [
        ("", 0),
        ("[]", 0),
        ("{\n\n  x", 6),
        (r#"{"cpu":["a/b"]}"#, 14),
        (r#"{"cpu":["a/b","AA",4,5]}"#, 23),
        (r#"{"cpu":[1,"AA"]}"#, 9),
        (r#"{"cpu":{"a":"b"}}"#, 8),
        (r#"{} {}"#, 4),
    ] {
        match json(text) {
            Err(BundleError::Json { offset, .. }) => assert_eq!(offset, at, "{text}"),
            other => assert_eq!(other.map(|_| ()), Ok(()), "{text}: expected a syntax error"),
        }
    }
}

#[test]
fn limits_hold_at_the_byte() {
    let media_type = MediaType::SnpReport.as_str();
    let limit = ItemName::Cpu.limit();
    let of =
        |bytes: usize| format!(r#"{{"cpu":["{media_type}","{}"]}}"#, BASE64_URL_SAFE_NO_PAD.encode(vec![0; bytes]));
    assert!(json(&of(limit)).is_ok());
    assert_eq!(
        json(&of(limit + 1)),
        Err(BundleError::ItemTooLarge { name: ItemName::Cpu, limit: 65_536, actual: 65_537 })
    );
    assert_eq!(json(&" ".repeat(BUNDLE_LIMIT + 1)), Err(BundleError::TooLarge { limit: 4_194_304, actual: 4_194_305 }));
    assert_eq!(ItemName::EventlogIma.limit(), 2 * 1024 * 1024);
    assert_eq!(ItemName::EventlogCc.limit(), 1024 * 1024);
}

#[test]
fn strict_cbor_rules_hold_for_bundles() {
    let mut bytes = sample().to_cbor().unwrap();
    let end = bytes.len();
    bytes.push(0);
    assert_eq!(Bundle::parse_cbor(&bytes), Err(BundleError::Cbor(CborError::Trailing { offset: end })));
    let twice = [&[0xa2], &[0x61, b'a', 0x80][..], &[0x61, b'a', 0x80]].concat();
    assert_eq!(Bundle::parse_cbor(&twice), Err(BundleError::Cbor(CborError::DuplicateKey { offset: 4 })));
    // Text where CBOR has bytes.
    let text = cbor::to_vec(&BTreeMap::from([("cpu", (MediaType::SnpReport, "AAEC"))])).unwrap();
    assert!(matches!(Bundle::parse_cbor(&text), Err(BundleError::Cbor(CborError::Type { .. }))));
}

#[test]
fn many_labels_are_counted_and_not_kept() {
    let record = r#"["application/vnd.countersign.snp-report","AA"]"#;
    let labels: Vec<String> = (0..40).map(|index| format!(r#""{index}":{record}"#)).collect();
    let raw: RawBundle = serde_json::from_str(&format!("{{{}}}", labels.join(","))).unwrap();
    assert_eq!(format!("{raw:?}"), "RawBundle { labels: 40, .. }");
    assert!(raw.clone() == raw);
    assert_eq!(Bundle::try_from(raw), Err(BundleError::TooManyItems { actual: 40 }));
}

#[test]
fn every_code_is_of_the_parse_stage() {
    assert_eq!(BundleError::Empty.code().as_str(), "parse.bundle.empty");
    assert_eq!(json("").unwrap_err().code().as_str(), "parse.bundle.syntax");
}

fn any_bundle() -> impl Strategy<Value = Bundle> {
    let item = (0..MediaType::ALL.len(), prop::collection::vec(any::<u8>(), 0..200));
    prop::collection::vec(item, 1..8).prop_map(|items| {
        let mut bundle = Bundle::new();
        for (index, bytes) in items {
            let media_type = *MediaType::ALL.get(index).unwrap();
            let name = *ItemName::ALL.iter().find(|name| name.admits(media_type)).unwrap();
            // A second item of the same name is refused, which leaves the first.
            let _: Result<(), BundleError> = bundle.insert(name, BundleItem { media_type, bytes });
        }
        bundle
    })
}

proptest! {
    #[test]
    fn both_encodings_round_trip(bundle in any_bundle()) {
        prop_assert_eq!(Bundle::parse_json(&bundle.to_json().unwrap()), Ok(bundle.clone()));
        prop_assert_eq!(Bundle::parse_cbor(&bundle.to_cbor().unwrap()), Ok(bundle));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _: Result<Bundle, BundleError> = Bundle::parse_json(&bytes);
        let _: Result<Bundle, BundleError> = Bundle::parse_cbor(&bytes);
    }

    #[test]
    fn damaged_cbor_never_panics(position in 0_usize..150, byte: u8) {
        let mut bytes = sample().to_cbor().unwrap();
        if let Some(at) = bytes.get_mut(position) {
            *at = byte;
        }
        let _: Result<Bundle, BundleError> = Bundle::parse_cbor(&bytes);
    }
}
