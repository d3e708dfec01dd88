//! A reference set as a manifest of our own profile, which can say everything that a set can.
//!
//! One CoMID, and in it one reference-value triple for each alternative. The class names the kind of the set (vendor) and the
//! workload (model); the keys of the measurements are the members of the document: `launch`, `runtime`, `host_data`,
//! `id_key_digest`, `author_key_digest`, `guest_svn`; `hwmodel`, `platform` and `event/REGISTER/NAME` are JSON in a raw value.
//! The life of a set belongs to a broker and is not written.

use evidence_formats::corim::{
    Class, Comid, CorimDocument, Digest, DigestAlgorithm, Environment, Measurement as Measured, MeasurementKey,
    MeasurementValues, Profile, RegisterId, Svn, TagId, Triple, Validity,
};
use serde::Serialize;

use crate::reference::{HexDigest, Measurement, ReferenceSet, SetKind};

/// The profile's URI.
pub const PROFILE: &str = "tag:countersign.example,2026:reference-values";
/// Media type of a signed manifest.
pub const MEDIA_TYPE: &str = "application/rim+cose";

/// The unsigned manifest of a set.
#[must_use]
pub fn unsigned(set: &ReferenceSet) -> CorimDocument {
    let kind = match set.kind {
        SetKind::Workload => "workload",
        SetKind::Paravisor => "paravisor",
    };
    let class = Class { vendor: Some(kind.to_owned()), model: Some(set.workload.to_string()), ..Class::default() };
    let environment = Environment { class: Some(class), ..Environment::default() };
    let triple = |measurement: &Measurement| Triple {
        environment: environment.clone(),
        measurements: measurements(measurement),
    };
    let comid = Comid {
        tag_id: TagId::Text(set.id.to_string()),
        tag_version: u64::from(set.version),
        entities: Vec::new(),
        reference: set.measurements.iter().map(triple).collect(),
        endorsed: Vec::new(),
        other_triples: Vec::new(),
    };
    CorimDocument {
        id: TagId::Text(set.id.to_string()),
        comids: vec![comid],
        other_tags: Vec::new(),
        has_dependent_rims: false,
        profile: Some(Profile::Uri(PROFILE.to_owned())),
        // A set ends before its last moment, a manifest after its last second.
        validity: Validity {
            not_before: Some(set.not_before.as_unix()),
            not_after: Some(set.not_after.plus_seconds(-1).as_unix()),
        },
        entities: vec![set.provenance.clone()],
    }
}

fn measurements(alternative: &Measurement) -> Vec<Measured> {
    let mut list = Vec::new();
    let mut push = |key: &str, values: MeasurementValues| {
        list.push(Measured { key: Some(MeasurementKey::Text(key.to_owned())), values, has_authorized_by: false });
    };
    if let Some(name) = &alternative.name {
        push("alternative", MeasurementValues { name: Some(name.clone()), ..Default::default() });
    }
    if !alternative.hwmodel.is_empty() {
        push("hwmodel", json(&alternative.hwmodel));
    }
    if let Some(platform) = &alternative.platform {
        push("platform", json(platform));
    }
    if let Some(launch) = &alternative.launch {
        push("launch", digests(vec![sha384(launch.as_bytes())]));
    }
    if !alternative.runtime.is_empty() {
        let register = |(name, value): (&_, &HexDigest)| (RegisterId::Text(ToString::to_string(name)), vec![of(value)]);
        let registers = alternative.runtime.iter().map(register).collect();
        push("runtime", MeasurementValues { registers, ..Default::default() });
    }
    for (register, events) in &alternative.events {
        for (name, values) in &events.0 {
            push(&format!("event/{register}/{name}"), json(values));
        }
    }
    if let Some(host_data) = &alternative.host_data {
        push("host_data", MeasurementValues { raw: Some(bytes(host_data)), ..Default::default() });
    }
    if let Some(key) = &alternative.id_key_digest {
        push("id_key_digest", digests(vec![sha384(key.as_bytes())]));
    }
    if let Some(key) = &alternative.author_key_digest {
        push("author_key_digest", digests(vec![sha384(key.as_bytes())]));
    }
    if let Some(least) = alternative.min_guest_svn {
        push("guest_svn", MeasurementValues { svn: Some(Svn::AtLeast(u64::from(least))), ..Default::default() });
    }
    list
}

fn digests(digests: Vec<Digest>) -> MeasurementValues {
    MeasurementValues { digests, ..Default::default() }
}

fn sha384(bytes: &[u8]) -> Digest {
    Digest { algorithm: DigestAlgorithm::Sha384, bytes: bytes.to_vec() }
}

fn bytes(digest: &HexDigest) -> Vec<u8> {
    hex::decode(digest.as_str()).unwrap_or_default()
}

fn of(value: &HexDigest) -> Digest {
    let algorithm = if value.length() == 32 { DigestAlgorithm::Sha256 } else { DigestAlgorithm::Sha384 };
    Digest { algorithm, bytes: bytes(value) }
}

/// Strings as JSON, which cannot fail to be written.
fn json(value: &impl Serialize) -> MeasurementValues {
    MeasurementValues { raw: Some(serde_json::to_vec(value).unwrap_or_default()), ..Default::default() }
}
