//! Event logs: their events, and what the registers hold if the log is true.

use evidence_formats::{
    digest::HashAlgorithm,
    eventlog::{Event, EventLog, ima::ImaLog},
};
use serde_json::{Map, Value, json};

use super::Refusal;

pub(super) fn tcg2(bytes: &[u8]) -> Result<Value, Refusal> {
    let log = EventLog::parse(bytes)?;
    let mut replayed = Map::new();
    // A log may announce a bank and then leave its digests out: the other banks still replay.
    let mut not_replayed = Map::new();
    for bank in log.algorithms() {
        match log.replay_pcrs(*bank) {
            Ok(replay) => {
                let values = replay.values().iter();
                let registers = values.map(|(pcr, digest)| (pcr.to_string(), json!(digest.to_string())));
                replayed.insert(bank.to_string(), Value::Object(registers.collect()));
            }
            Err(error) => {
                not_replayed.insert(bank.to_string(), json!(error.to_string()));
            }
        }
    }
    Ok(json!({ "events": events(&log), "replayed": replayed, "not_replayed": not_replayed }))
}

pub(super) fn ccel(bytes: &[u8]) -> Result<Value, Refusal> {
    let log = EventLog::parse(bytes)?;
    let rtmrs = log.replay_rtmrs()?.rtmrs;
    let registers: Map<_, _> = rtmrs.iter().enumerate().map(|(index, rtmr)| (index.to_string(), json!(rtmr))).collect();
    Ok(json!({ "events": events(&log), "replayed": { "sha384": registers } }))
}

pub(super) fn ima(bytes: &[u8]) -> Result<Value, Refusal> {
    let log = ImaLog::parse(bytes)?;
    let mut replayed = Map::new();
    for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
        let mut registers = std::collections::BTreeMap::new();
        for entry in log.entries() {
            let value = registers.entry(entry.pcr).or_insert_with(|| evidence_formats::digest::Digest::zero(bank));
            *value = value.extended(entry.extended_digest(bank).as_bytes());
        }
        let registers = registers.iter().map(|(pcr, digest)| (pcr.to_string(), json!(digest.to_string())));
        replayed.insert(bank.to_string(), Value::Object(registers.collect()));
    }
    let entries: Vec<_> = log
        .entries()
        .iter()
        .map(|entry| {
            json!({
                "pcr": entry.pcr,
                "template": entry.template,
                "file_digest": entry.file_digest,
                "path": entry.path,
                "violation": entry.violation,
            })
        })
        .collect();
    Ok(json!({ "entries": entries, "replayed": replayed }))
}

fn events(log: &EventLog) -> Vec<Value> {
    log.events().map(|event| describe(log, &event)).collect()
}

fn describe(log: &EventLog, event: &Event<'_>) -> Value {
    let digests: Map<_, _> = log
        .algorithms()
        .iter()
        .filter_map(|bank| Some((bank.to_string(), json!(event.digest(*bank)?.to_string()))))
        .collect();
    let measured = log.algorithms().iter().any(|bank| event.data_is_measured(*bank));
    json!({
        "number": event.number,
        "register": event.register,
        "type": event.kind.name().map_or_else(|| format!("{:#010x}", event.kind.0), str::to_owned),
        "digests": digests,
        "data_bytes": event.data.len(),
        "data_is_measured": measured,
        "text": event.text().filter(|text| text.chars().all(|c| !c.is_control())),
    })
}
