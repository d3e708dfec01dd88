#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::json;
use verifier::Timestamp;

use super::*;
use crate::audit::{Entry, Kind};

fn entry(kind: Kind, body: &serde_json::Value) -> Entry {
    Entry::new(Timestamp::from_unix(1_800_000_000), kind, body).unwrap()
}

/// A chain of so many records.
fn chain(count: u64) -> Vec<Record> {
    let mut head = Place::START;
    let record = |number| {
        let record = Record::chain("default", head, entry(Kind::PolicySet, &json!({"version": number})));
        head = record.place();
        record
    };
    (1..=count).map(record).collect()
}

fn check(records: &[Record], checkpoints: &[Place]) -> Result<Checked, Broken> {
    let lines: Vec<String> = records.iter().map(Record::line).collect();
    check_lines(&lines, checkpoints, false)
}

fn check_lines(lines: &[String], checkpoints: &[Place], kept: bool) -> Result<Checked, Broken> {
    let mut checker = Checker::new(Some("default".to_owned()));
    for place in checkpoints {
        checker.expect(*place, kept)?;
    }
    for line in lines {
        checker.line(line)?;
    }
    checker.finish()
}

#[test]
fn a_chain_that_nobody_touched_holds() {
    let records = chain(5);
    let checked = check(&records, &[records[1].place(), records[3].place()]).unwrap();
    assert_eq!((checked.records, checked.first, checked.last), (5, Some(1), 5));
    assert_eq!((checked.checkpoints, checked.signed_to), (2, 4));
    assert_eq!(checked.hash, records[4].hash.to_string());
    assert_eq!(check(&[], &[]).unwrap().records, 0);
}

#[test]
fn every_changed_byte_is_found_at_its_record() {
    let records = chain(4);
    let lines: Vec<String> = records.iter().map(Record::line).collect();
    for (number, line) in lines.iter().enumerate() {
        for position in 0..line.len() {
            for flip in [0x01, 0x20] {
                let mut bytes = line.clone().into_bytes();
                bytes[position] ^= flip;
                let mut changed = lines.clone();
                changed[number] = String::from_utf8(bytes).unwrap();
                let broken = check_lines(&changed, &[], false).unwrap_err();
                let expected = u64::try_from(number).unwrap() + 1;
                assert_eq!(broken.sequence(), expected, "{} {broken:?}", changed[number]);
            }
        }
    }
}

#[test]
fn a_removed_or_swapped_record_is_named() {
    let records = chain(6);
    for gone in 0..5 {
        let mut rest = records.clone();
        let removed = rest.remove(gone).sequence;
        let broken = check(&rest, &[]).unwrap_err();
        let expected = if gone == 0 {
            Broken::Beginning { sequence: 2 }
        } else {
            Broken::Sequence { sequence: removed, found: removed + 1 }
        };
        assert_eq!(broken, expected);
    }
    let mut swapped = records.clone();
    swapped.swap(2, 4);
    assert_eq!(check(&swapped, &[]), Err(Broken::Sequence { sequence: 3, found: 5 }));
    // With their numbers exchanged, as in a table.
    let mut renumbered = records.clone();
    renumbered[2].entry = records[4].entry.clone();
    renumbered[4].entry = records[2].entry.clone();
    assert_eq!(check(&renumbered, &[]), Err(Broken::Hash { sequence: 3 }));
    let mut rehashed = renumbered;
    rehashed[2].hash = rehashed[2].computed_hash();
    assert_eq!(check(&rehashed, &[]), Err(Broken::Previous { sequence: 4 }));
}

#[test]
fn a_cut_end_and_another_chain_are_found_by_a_checkpoint_alone() {
    let records = chain(6);
    assert!(check(&records[..4], &[]).is_ok());
    assert_eq!(check(&records[..4], &[records[5].place()]), Err(Broken::Cut { sequence: 5, known: 6 }));
    let mut head = Place::START;
    let other: Vec<Record> = (1..=6)
        .map(|number| {
            let record = Record::chain("default", head, entry(Kind::PolicySet, &json!({"other": number})));
            head = record.place();
            record
        })
        .collect();
    assert!(check(&other, &[]).is_ok());
    assert_eq!(check(&other, &[records[3].place()]), Err(Broken::Checkpoint { sequence: 4 }));
    // Two checkpoints of one record that differ.
    let places = [records[3].place(), other[3].place()];
    assert_eq!(check(&records, &places), Err(Broken::Checkpoint { sequence: 4 }));
}

#[test]
fn the_beginning_is_missing_only_behind_a_checkpoint_and_with_a_record_of_it() {
    let mut records = chain(6);
    let base = records[2].place();
    let pruned = |through: u64| entry(Kind::Pruned, &json!({"through": through, "records": through}));
    let last = records[5].place();
    records.push(Record::chain("default", last, pruned(3)));
    let rest = &records[3..];
    assert_eq!(check(rest, &[]), Err(Broken::Beginning { sequence: 4 }));
    let checked = check(rest, &[base]).unwrap();
    assert_eq!((checked.first, checked.records), (Some(4), 4));
    // More is gone than the chain says, also when a checkpoint stands there.
    assert_eq!(check(&records[4..], &[records[3].place()]), Err(Broken::Unrecorded { sequence: 5 }));
    // Whoever kept that checkpoint knows what was before.
    let lines: Vec<String> = records[4..].iter().map(Record::line).collect();
    assert!(check_lines(&lines, &[records[3].place()], true).is_ok());
    // A checkpoint of another chain in the place of what is missing.
    let wrong = Place { sequence: 3, hash: records[4].hash };
    assert_eq!(check(rest, &[wrong]), Err(Broken::Previous { sequence: 4 }));
}

#[test]
fn a_record_of_another_chain_is_not_one_of_this() {
    let mut records = chain(2);
    let last = records[1].place();
    records.push(Record::chain("other", last, entry(Kind::PolicySet, &json!({}))));
    let expected = Broken::Tenant { sequence: 3, expected: "default".to_owned() };
    assert_eq!(check(&records, &[]), Err(expected));
}
