//! From triples to alternatives.

use evidence_formats::{
    bytes::{LaunchDigest, Sha384Digest},
    corim::{
        CorimDocument, Digest, DigestAlgorithm, Measurement as Measured, MeasurementKey, MeasurementValues, RegisterId,
        Svn, TagId, Triple,
    },
};

use super::{CorimNames, CorimRefusal, PlatformValues, profile::KnownProfile};
use crate::{
    Timestamp,
    reference::{EventValue, HexDigest, Measurement, ReferenceSet, RegisterName, SetKind, document},
};

/// Longest provenance in bytes.
const PROVENANCE: usize = 1024;

/// The set of a manifest, and what is in the manifest and not in the set.
pub(super) fn to_set(
    corim: &CorimDocument,
    (not_before, not_after): (Timestamp, Timestamp),
    platform_values: PlatformValues,
    names: &CorimNames,
) -> Result<(ReferenceSet, Vec<String>), CorimRefusal> {
    let profile = KnownProfile::of(corim)?;
    let mut reading = Reading { profile, platform_values, left_out: left_out(corim) };
    let mut measurements = Vec::new();
    for (triple, endorsed) in corim.comids.iter().flat_map(|comid| comid.reference.iter().map(|t| (t, &comid.endorsed)))
    {
        if let Some(mut measurement) = reading.alternative(triple)? {
            measurement.name = measurement.name.or_else(|| endorsed_name(triple, endorsed));
            measurements.push(measurement);
        }
    }
    if measurements.is_empty() {
        return Err(CorimRefusal::Empty);
    }
    let id = match (&names.id, &corim.id) {
        (Some(id), _) => id.clone(),
        (None, TagId::Text(text)) => text
            .parse()
            .map_err(|_no_name| CorimRefusal::Names { expected: "an id for the set: the manifest's is none" })?,
        (None, uuid @ TagId::Uuid(_)) => uuid.to_string().parse().map_err(|_no_name| CorimRefusal::Empty)?,
    };
    let workload = match (&names.workload, model(corim)) {
        (Some(workload), _) => workload.clone(),
        (None, Some(model)) => model
            .parse()
            .map_err(|_no_name| CorimRefusal::Names { expected: "a workload: the manifest's model is none" })?,
        (None, None) => id.as_str().parse().map_err(|_no_name| CorimRefusal::Empty)?,
    };
    let set = ReferenceSet {
        version: version(corim, names)?,
        workload,
        kind: kind(corim, profile),
        proposed: names.proposed,
        not_before,
        not_after,
        retire_at: None,
        revoked_at: None,
        provenance: provenance(corim, profile),
        measurements,
        id,
    };
    document::check(&set)?;
    Ok((set, reading.left_out))
}

/// What a manifest has beside reference values: none of it can make evidence pass, so that leaving it out is safe.
fn left_out(corim: &CorimDocument) -> Vec<String> {
    let mut words: Vec<String> = corim.other_tags.iter().map(|tag| format!("a tag {tag}")).collect();
    if corim.has_dependent_rims {
        words.push("dependent manifests".to_owned());
    }
    for comid in &corim.comids {
        words.extend(comid.other_triples.iter().map(|kind| format!("triples of kind {kind}")));
        let values = comid.endorsed.iter().flat_map(|triple| &triple.measurements);
        if values.into_iter().any(|measurement| !is_description(&measurement.values)) {
            words.push("endorsed values other than names and versions".to_owned());
        }
    }
    words
}

/// Whether values only describe: a name, a version.
fn is_description(values: &MeasurementValues) -> bool {
    let MeasurementValues { version: _, name: _, svn, digests, raw, registers, other } = values;
    svn.is_none() && digests.is_empty() && raw.is_none() && registers.is_empty() && other.is_empty()
}

/// What an endorser calls the environment of a triple.
fn endorsed_name(triple: &Triple, endorsed: &[Triple]) -> Option<String> {
    let endorsed = endorsed.iter().find(|endorsed| endorsed.environment == triple.environment)?;
    let values = endorsed.measurements.iter().map(|measurement| &measurement.values);
    let words: Vec<&str> =
        values.flat_map(|values| [&values.name, &values.version]).flatten().map(String::as_str).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn version(corim: &CorimDocument, names: &CorimNames) -> Result<u32, CorimRefusal> {
    if let Some(version) = names.version {
        return Ok(version);
    }
    let expected =
        CorimRefusal::Names { expected: "a version from 1: the same in every tag, or given beside the manifest" };
    let mut versions = corim.comids.iter().map(|comid| comid.tag_version);
    let first = versions.next().and_then(|version| u32::try_from(version).ok()).filter(|version| *version > 0);
    match first {
        Some(first) if versions.all(|version| version == u64::from(first)) => Ok(first),
        Some(_) | None => Err(expected),
    }
}

/// The model that every reference triple names.
fn model(corim: &CorimDocument) -> Option<&str> {
    let mut models = corim
        .comids
        .iter()
        .flat_map(|comid| &comid.reference)
        .map(|triple| triple.environment.class.as_ref().and_then(|class| class.model.as_deref()));
    let first = models.next()??;
    models.all(|model| model == Some(first)).then_some(first)
}

fn kind(corim: &CorimDocument, profile: KnownProfile) -> SetKind {
    let mut triples = corim.comids.iter().flat_map(|comid| &comid.reference);
    let is_paravisor = |triple: &Triple| {
        triple.environment.class.as_ref().is_some_and(|class| class.vendor.as_deref() == Some("paravisor"))
    };
    match profile {
        KnownProfile::Countersign if triples.any(is_paravisor) => SetKind::Paravisor,
        KnownProfile::Countersign | KnownProfile::Snp | KnownProfile::Intel | KnownProfile::Base => SetKind::Workload,
    }
}

fn provenance(corim: &CorimDocument, profile: KnownProfile) -> String {
    let entities: Vec<&str> = corim
        .entities
        .iter()
        .chain(corim.comids.iter().flat_map(|comid| &comid.entities))
        .map(String::as_str)
        .collect();
    let text = match (profile, entities.as_slice()) {
        (KnownProfile::Countersign, [provenance]) => (*provenance).to_owned(),
        (_, []) => format!("CoRIM {}", corim.id),
        (_, entities) => format!("CoRIM {} of {}", corim.id, entities.join(", ")),
    };
    let end = text.char_indices().map(|(at, c)| at.saturating_add(c.len_utf8())).take_while(|end| *end <= PROVENANCE);
    text.get(..end.last().unwrap_or(0)).unwrap_or_default().to_owned()
}

struct Reading {
    profile: KnownProfile,
    platform_values: PlatformValues,
    left_out: Vec<String>,
}

impl Reading {
    /// One alternative; `None` when everything in the triple describes the platform.
    fn alternative(&mut self, triple: &Triple) -> Result<Option<Measurement>, CorimRefusal> {
        self.profile.fits(&triple.environment)?;
        if triple.environment.instance.is_some() {
            self.leave_out("an instance of the environment".to_owned())?;
        }
        if triple.environment.group.is_some() {
            self.leave_out("a group of the environment".to_owned())?;
        }
        let mut alternative = Measurement::default();
        for measured in &triple.measurements {
            if measured.has_authorized_by {
                return Err(CorimRefusal::Unsupported { what: "authorized-by".to_owned() });
            }
            self.pin(&mut alternative, measured)?;
        }
        // A name alone is not a pin.
        let nothing = Measurement { name: alternative.name.clone(), ..Measurement::default() };
        Ok((alternative != nothing).then_some(alternative))
    }

    fn leave_out(&mut self, what: String) -> Result<(), CorimRefusal> {
        match self.platform_values {
            PlatformValues::Refuse => Err(CorimRefusal::Unsupported { what }),
            PlatformValues::LeaveOut => {
                if !self.left_out.contains(&what) {
                    self.left_out.push(what);
                }
                Ok(())
            }
        }
    }

    fn pin(&mut self, into: &mut Measurement, measured: &Measured) -> Result<(), CorimRefusal> {
        let values = &measured.values;
        match (&measured.key, self.profile) {
            (Some(MeasurementKey::Uint(key)), profile) if profile.is_of_platform(*key) => {
                return self.leave_out(format!("measurement {key} of the platform"));
            }
            (Some(MeasurementKey::Uint(key)), KnownProfile::Snp) => snp(into, *key, values)?,
            (Some(MeasurementKey::Text(key)), KnownProfile::Countersign) => ours(into, key, values)?,
            (_, KnownProfile::Base | KnownProfile::Intel) => self.registers(into, values)?,
            (key, KnownProfile::Snp | KnownProfile::Countersign) => {
                let key = key.as_ref().map_or_else(|| "without a key".to_owned(), ToString::to_string);
                return Err(CorimRefusal::Unsupported { what: format!("measurement {key}") });
            }
        }
        if let Some(name) = &values.name {
            into.name = into.name.take().or_else(|| Some(name.clone()));
        }
        Ok(())
    }

    /// Registers of a TDX guest or a TPM.
    fn registers(&mut self, into: &mut Measurement, values: &MeasurementValues) -> Result<(), CorimRefusal> {
        let MeasurementValues { registers, name: _, version, svn, digests, raw, other } = values;
        let platform = version.is_some() || svn.is_some() || !digests.is_empty() || raw.is_some() || !other.is_empty();
        if platform {
            // SEAM module, quoting enclaves and their TCB: the collateral says what is current.
            self.leave_out("values of the platform".to_owned())?;
        }
        for (id, digests) in registers {
            match (id, self.profile) {
                (RegisterId::Text(name), _) => register(into, &name.to_ascii_lowercase(), digests)?,
                (RegisterId::Uint(index @ 0..=3), KnownProfile::Intel) => {
                    register(into, &format!("rtmr{index}"), digests)?;
                }
                (RegisterId::Uint(index), _) => {
                    return Err(CorimRefusal::Unsupported { what: format!("register {index} without a name") });
                }
            }
        }
        Ok(())
    }
}

/// Measurements of the SNP profile that a set compares.
fn snp(into: &mut Measurement, key: u64, values: &MeasurementValues) -> Result<(), CorimRefusal> {
    match key {
        1 => guest_svn(into, values),
        641 => launch(into, only_digests(values)?),
        // HOST_DATA is 32 bytes; the profile gives it the number of SHA-384 all the same.
        642 => host_data(into, &opaque(values)?),
        643 => once(&mut into.id_key_digest, key_digest(&opaque(values)?)?),
        644 => once(&mut into.author_key_digest, key_digest(&opaque(values)?)?),
        other => Err(CorimRefusal::Unsupported { what: format!("measurement {other}") }),
    }
}

/// Measurements of our own profile: see [`super::write`].
fn ours(into: &mut Measurement, key: &str, values: &MeasurementValues) -> Result<(), CorimRefusal> {
    match key.split('/').collect::<Vec<_>>().as_slice() {
        ["alternative"] if is_description(values) => Ok(()),
        ["launch"] => launch(into, only_digests(values)?),
        ["host_data"] => host_data(into, &opaque(values)?),
        ["id_key_digest"] => once(&mut into.id_key_digest, key_digest(&opaque(values)?)?),
        ["author_key_digest"] => once(&mut into.author_key_digest, key_digest(&opaque(values)?)?),
        ["guest_svn"] => guest_svn(into, values),
        ["hwmodel"] if into.hwmodel.is_empty() => {
            into.hwmodel = json(values)?;
            Ok(())
        }
        ["platform"] => once(&mut into.platform, json(values)?),
        ["runtime"] => {
            let MeasurementValues { registers, name: _, version, svn, digests, raw, other } = values;
            if version.is_some() || svn.is_some() || !digests.is_empty() || raw.is_some() || !other.is_empty() {
                return Err(CorimRefusal::Value { expected: "registers and nothing else" });
            }
            registers.iter().try_for_each(|(id, digests)| match id {
                RegisterId::Text(name) => register(into, name, digests),
                RegisterId::Uint(_) => Err(CorimRefusal::Value { expected: "registers by name" }),
            })
        }
        ["event", name, event @ ..] if !event.is_empty() => {
            let register = register_name(name)?;
            let values: Vec<EventValue> = json(values)?;
            let events = &mut into.events.entry(register).or_default().0;
            match events.insert(event.join("/"), values) {
                None => Ok(()),
                Some(_) => Err(CorimRefusal::Value { expected: "each value once" }),
            }
        }
        _ => Err(CorimRefusal::Unsupported { what: format!("measurement {key}") }),
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), CorimRefusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(CorimRefusal::Value { expected: "each value once" }),
    }
}

/// The one digest of a measurement that has nothing else.
fn only_digests(values: &MeasurementValues) -> Result<&Digest, CorimRefusal> {
    let MeasurementValues { digests, name: _, version, svn, raw, registers, other } = values;
    let more = version.is_some() || svn.is_some() || raw.is_some() || !registers.is_empty() || !other.is_empty();
    match digests.as_slice() {
        [digest] if !more => Ok(digest),
        _ => Err(CorimRefusal::Value { expected: "one digest and nothing else" }),
    }
}

/// Bytes as a digest or as a raw value: documents of both kinds are in use.
fn opaque(values: &MeasurementValues) -> Result<Vec<u8>, CorimRefusal> {
    match &values.raw {
        Some(raw) if is_description(&MeasurementValues { raw: None, ..values.clone() }) => Ok(raw.clone()),
        Some(_) => Err(CorimRefusal::Value { expected: "one raw value and nothing else" }),
        None => only_digests(values).map(|digest| digest.bytes.clone()),
    }
}

fn json<T: serde::de::DeserializeOwned>(values: &MeasurementValues) -> Result<T, CorimRefusal> {
    let expected = "a raw value of JSON";
    let raw = values.raw.as_deref().ok_or(CorimRefusal::Value { expected })?;
    serde_json::from_slice(raw).map_err(|_malformed| CorimRefusal::Value { expected })
}

fn launch(into: &mut Measurement, digest: &Digest) -> Result<(), CorimRefusal> {
    let expected = CorimRefusal::Value { expected: "a launch digest by SHA-384" };
    match (&digest.algorithm, <[u8; 48]>::try_from(digest.bytes.as_slice())) {
        (DigestAlgorithm::Sha384, Ok(bytes)) => once(&mut into.launch, LaunchDigest(bytes)),
        _ => Err(expected),
    }
}

fn host_data(into: &mut Measurement, bytes: &[u8]) -> Result<(), CorimRefusal> {
    let digest = hex::encode(bytes).parse::<HexDigest>();
    once(
        &mut into.host_data,
        digest.map_err(|_length| CorimRefusal::Value { expected: "host data of 32 or 48 bytes" })?,
    )
}

fn key_digest(bytes: &[u8]) -> Result<Sha384Digest, CorimRefusal> {
    let digest = bytes.try_into().map_err(|_length| CorimRefusal::Value { expected: "a key digest of 48 bytes" })?;
    Ok(Sha384Digest(digest))
}

/// The least SVN. An exact one cannot be said by a set: it would refuse the fixed guest.
fn guest_svn(into: &mut Measurement, values: &MeasurementValues) -> Result<(), CorimRefusal> {
    match values.svn {
        // Every SVN is at least 0.
        Some(Svn::AtLeast(0)) => Ok(()),
        Some(Svn::AtLeast(least)) => {
            let least = u32::try_from(least).map_err(|_large| CorimRefusal::Value { expected: "an SVN of 32 bits" })?;
            once(&mut into.min_guest_svn, least)
        }
        Some(Svn::Exactly(_)) | None => {
            Err(CorimRefusal::Unsupported { what: "a guest SVN other than a least one".to_owned() })
        }
    }
}

fn register_name(name: &str) -> Result<RegisterName, CorimRefusal> {
    name.parse().map_err(|_unknown| CorimRefusal::Unsupported { what: format!("register {name}") })
}

/// Pins one register, or, by its TDX name, the launch digest.
fn register(into: &mut Measurement, name: &str, digests: &[Digest]) -> Result<(), CorimRefusal> {
    let [digest] = digests else { return Err(CorimRefusal::Value { expected: "one digest for each register" }) };
    if name == "mrtd" {
        return launch(into, digest);
    }
    let fits = matches!(
        (&digest.algorithm, digest.bytes.len()),
        (DigestAlgorithm::Sha256, 32) | (DigestAlgorithm::Sha384, 48)
    );
    let value = hex::encode(&digest.bytes).parse::<HexDigest>().ok().filter(|_| fits);
    let value = value.ok_or(CorimRefusal::Value { expected: "a register's digest by SHA-256 or SHA-384" })?;
    match into.runtime.insert(register_name(name)?, value) {
        None => Ok(()),
        Some(_) => Err(CorimRefusal::Value { expected: "each value once" }),
    }
}
