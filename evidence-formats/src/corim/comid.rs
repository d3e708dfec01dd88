//! CoMID: environments and the measurements that they should have (draft-ietf-rats-corim section 5).

use ciborium::Value;

use super::{
    CORIM_LIMIT, CorimError, TagId,
    document::{entities, tag_identity},
    oid,
    value::{Members, array, bytes, int, map, shape, tag, tagged, text, uint},
};
use crate::cbor;

const TAG_UUID: u64 = 37;
const TAG_OID: u64 = 111;
const TAG_UEID: u64 = 550;
const TAG_SVN: u64 = 552;
const TAG_MIN_SVN: u64 = 553;
const TAG_BYTES: u64 = 560;

/// A CoMID tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comid {
    /// Its name.
    pub tag_id: TagId,
    /// Its version; 0 when it names none.
    pub tag_version: u64,
    /// Names of the organisations behind it.
    pub entities: Vec<String>,
    /// Reference values: what evidence is compared with.
    pub reference: Vec<Triple>,
    /// Endorsed values: what is known of an environment beside its evidence.
    pub endorsed: Vec<Triple>,
    /// Kinds of triples that it has beside these and are not read, by key.
    pub other_triples: Vec<i64>,
}

/// An environment and its measurements, all of which belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triple {
    /// What is measured.
    pub environment: Environment,
    /// What it should be, at least one.
    pub measurements: Vec<Measurement>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The kind of thing.
    pub class: Option<Class>,
    /// This one thing.
    pub instance: Option<TaggedBytes>,
    /// A group of things.
    pub group: Option<TaggedBytes>,
}

/// Bytes whose tag says what they are: 37 UUID, 550 UEID, 560 opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedBytes {
    /// The tag.
    pub tag: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A kind of thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Class {
    /// Its identifier.
    pub id: Option<ClassId>,
    /// Who makes it.
    pub vendor: Option<String>,
    /// What it is called.
    pub model: Option<String>,
    /// Which layer of a device.
    pub layer: Option<u64>,
    /// Which one of several.
    pub index: Option<u64>,
}

/// The identifier of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassId {
    /// An object identifier as dotted text.
    Oid(String),
    /// A UUID.
    Uuid([u8; 16]),
    /// Opaque bytes.
    Bytes(Vec<u8>),
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measurement {
    /// Which one of the environment's.
    pub key: Option<MeasurementKey>,
    /// What it should be.
    pub values: MeasurementValues,
    /// Whether only evidence of certain keys counts, which is not read.
    pub has_authorized_by: bool,
}

/// Names a measurement inside of its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeasurementKey {
    /// A number that a profile defines.
    Uint(u64),
    /// Text.
    Text(String),
    /// An object identifier as dotted text.
    Oid(String),
    /// A UUID.
    Uuid([u8; 16]),
}

/// The values of one measurement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeasurementValues {
    /// Version, as text.
    pub version: Option<String>,
    /// Security version.
    pub svn: Option<Svn>,
    /// Digests of one thing by several algorithms.
    pub digests: Vec<Digest>,
    /// Opaque bytes.
    pub raw: Option<Vec<u8>>,
    /// Name, for people.
    pub name: Option<String>,
    /// Registers, each with its digests.
    pub registers: Vec<(RegisterId, Vec<Digest>)>,
    /// Keys of values that are there and not read.
    pub other: Vec<i64>,
}

/// A security version number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Svn {
    /// This number.
    Exactly(u64),
    /// This number or a higher one.
    AtLeast(u64),
}

/// Names a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterId {
    /// By number.
    Uint(u64),
    /// By text.
    Text(String),
}

/// A digest and its algorithm. Lengths are not compared here: a published profile gives 32 bytes the number of SHA-384.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The algorithm.
    pub algorithm: DigestAlgorithm,
    /// The digest.
    pub bytes: Vec<u8>,
}

/// A hash algorithm of the IANA registry "Named Information Hash Algorithm".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// 1.
    Sha256,
    /// 7.
    Sha384,
    /// Another one, by number.
    Number(i64),
    /// Another one, by name.
    Name(String),
}

impl Comid {
    /// Parses the bytes of a CoMID tag.
    pub(super) fn parse(encoded: &[u8]) -> Result<Self, CorimError> {
        let mut members = Members::of("a concise-mid-tag", cbor::from_slice(encoded, CORIM_LIMIT)?)?;
        let _language = members.take(0).map(|language| text(language, "a language")).transpose()?;
        let (tag_id, tag_version) = tag_identity(members.need(1, "a tag-identity")?)?;
        let entities = members.take(2).map(entities).transpose()?.unwrap_or_default();
        let _linked_tags = members.take(3);
        let mut kinds = Members::of("triples", members.need(4, "triples")?)?;
        members.finish()?;
        let reference = kinds.take(0).map(triples).transpose()?.unwrap_or_default();
        let endorsed = kinds.take(1).map(triples).transpose()?.unwrap_or_default();
        Ok(Self { tag_id, tag_version, entities, reference, endorsed, other_triples: kinds.rest()? })
    }

    /// Whether everything in it was read.
    pub(super) fn is_whole(&self) -> bool {
        let mut measurements = self.reference.iter().chain(&self.endorsed).flat_map(|triple| &triple.measurements);
        self.other_triples.is_empty()
            && measurements.all(|measurement| !measurement.has_authorized_by && measurement.values.other.is_empty())
    }

    pub(super) fn to_value(&self) -> Value {
        let list = |triples: &[Triple]| {
            (!triples.is_empty()).then(|| Value::Array(triples.iter().map(Triple::to_value).collect()))
        };
        let identity = map([(0, Some(self.tag_id.to_value())), (1, Some(Value::from(self.tag_version)))]);
        let entity =
            |name: &String| map([(0, Some(Value::from(name.as_str()))), (2, Some(Value::Array(vec![0.into()])))]);
        let entities = (!self.entities.is_empty()).then(|| Value::Array(self.entities.iter().map(entity).collect()));
        let triples = map([(0, list(&self.reference)), (1, list(&self.endorsed))]);
        map([(1, Some(identity)), (2, entities), (4, Some(triples))])
    }
}

fn triples(value: Value) -> Result<Vec<Triple>, CorimError> {
    array(value, "a list of triples")?.into_iter().map(Triple::read).collect()
}

impl Triple {
    fn read(value: Value) -> Result<Self, CorimError> {
        let [environment, measurements] = pair(value, "a triple of an environment and its measurements")?;
        let list = array(measurements, "a list of measurements")?;
        if list.is_empty() {
            return Err(shape("at least one measurement in a triple"));
        }
        let measurements = list.into_iter().map(Measurement::read).collect::<Result<_, _>>()?;
        Ok(Self { environment: Environment::read(environment)?, measurements })
    }

    fn to_value(&self) -> Value {
        let measurements = self.measurements.iter().map(Measurement::to_value).collect();
        Value::Array(vec![self.environment.to_value(), Value::Array(measurements)])
    }
}

fn pair(value: Value, expected: &'static str) -> Result<[Value; 2], CorimError> {
    array(value, expected)?.try_into().map_err(|_other_length| shape(expected))
}

impl Environment {
    fn read(value: Value) -> Result<Self, CorimError> {
        let mut members = Members::of("an environment-map", value)?;
        let environment = Self {
            class: members.take(0).map(Class::read).transpose()?,
            instance: members.take(1).map(|value| TaggedBytes::read(value, "an instance")).transpose()?,
            group: members.take(2).map(|value| TaggedBytes::read(value, "a group")).transpose()?,
        };
        members.finish()?;
        Ok(environment)
    }

    fn to_value(&self) -> Value {
        let bytes = |bytes: &TaggedBytes| tag(bytes.tag, Value::Bytes(bytes.bytes.clone()));
        map([
            (0, self.class.as_ref().map(Class::to_value)),
            (1, self.instance.as_ref().map(bytes)),
            (2, self.group.as_ref().map(bytes)),
        ])
    }
}

impl TaggedBytes {
    fn read(value: Value, expected: &'static str) -> Result<Self, CorimError> {
        match tagged(value, expected)? {
            (tag @ (TAG_UUID | TAG_UEID | TAG_BYTES), inner) => Ok(Self { tag, bytes: bytes(inner, expected)? }),
            _ => Err(shape(expected)),
        }
    }
}

impl Class {
    fn read(value: Value) -> Result<Self, CorimError> {
        let mut members = Members::of("a class-map", value)?;
        let class = Self {
            id: members.take(0).map(ClassId::read).transpose()?,
            vendor: members.take(1).map(|value| text(value, "a vendor")).transpose()?,
            model: members.take(2).map(|value| text(value, "a model")).transpose()?,
            layer: members.take(3).map(|value| uint(&value, "a layer")).transpose()?,
            index: members.take(4).map(|value| uint(&value, "an index")).transpose()?,
        };
        members.finish()?;
        Ok(class)
    }

    fn to_value(&self) -> Value {
        map([
            (0, self.id.as_ref().map(ClassId::to_value)),
            (1, self.vendor.as_deref().map(Value::from)),
            (2, self.model.as_deref().map(Value::from)),
            (3, self.layer.map(Value::from)),
            (4, self.index.map(Value::from)),
        ])
    }
}

impl ClassId {
    fn read(value: Value) -> Result<Self, CorimError> {
        let expected = "a class-id";
        match tagged(value, expected)? {
            (TAG_OID, octets) => oid::to_text(&bytes(octets, expected)?).map(Self::Oid),
            (TAG_UUID, value) => uuid(value).map(Self::Uuid),
            (TAG_BYTES, value) => bytes(value, expected).map(Self::Bytes),
            _ => Err(shape(expected)),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Oid(text) => tag(TAG_OID, Value::Bytes(oid::to_bytes(text).unwrap_or_default())),
            Self::Uuid(uuid) => tag(TAG_UUID, Value::Bytes(uuid.to_vec())),
            Self::Bytes(bytes) => tag(TAG_BYTES, Value::Bytes(bytes.clone())),
        }
    }
}

fn uuid(value: Value) -> Result<[u8; 16], CorimError> {
    bytes(value, "a UUID")?.try_into().map_err(|_other_length| shape("a UUID of 16 bytes"))
}

impl Measurement {
    fn read(value: Value) -> Result<Self, CorimError> {
        let mut members = Members::of("a measurement-map", value)?;
        let measurement = Self {
            key: members.take(0).map(MeasurementKey::read).transpose()?,
            values: MeasurementValues::read(members.need(1, "the values of a measurement")?)?,
            has_authorized_by: members.take(2).is_some(),
        };
        members.finish()?;
        Ok(measurement)
    }

    fn to_value(&self) -> Value {
        map([(0, self.key.as_ref().map(MeasurementKey::to_value)), (1, Some(self.values.to_value()))])
    }
}

impl MeasurementKey {
    fn read(value: Value) -> Result<Self, CorimError> {
        let expected = "the key of a measurement";
        match value {
            Value::Integer(_) => uint(&value, expected).map(Self::Uint),
            Value::Text(_) => text(value, expected).map(Self::Text),
            Value::Tag(TAG_OID, octets) => oid::to_text(&bytes(*octets, expected)?).map(Self::Oid),
            Value::Tag(TAG_UUID, value) => uuid(*value).map(Self::Uuid),
            _ => Err(shape(expected)),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Uint(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
            Self::Oid(text) => tag(TAG_OID, Value::Bytes(oid::to_bytes(text).unwrap_or_default())),
            Self::Uuid(uuid) => tag(TAG_UUID, Value::Bytes(uuid.to_vec())),
        }
    }
}

impl std::fmt::Display for MeasurementKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uint(number) => write!(f, "{number}"),
            Self::Text(text) | Self::Oid(text) => f.write_str(text),
            Self::Uuid(uuid) => f.write_str(&hex::encode(uuid)),
        }
    }
}

impl MeasurementValues {
    fn read(value: Value) -> Result<Self, CorimError> {
        let mut members = Members::of("measurement-values", value)?;
        Ok(Self {
            version: members.take(0).map(version).transpose()?,
            svn: members.take(1).map(Svn::read).transpose()?,
            digests: members.take(2).map(digests).transpose()?.unwrap_or_default(),
            raw: members.take(4).map(raw).transpose()?,
            name: members.take(11).map(|value| text(value, "a name")).transpose()?,
            registers: members.take(14).map(registers).transpose()?.unwrap_or_default(),
            other: members.rest()?,
        })
    }

    fn to_value(&self) -> Value {
        let registers = self.registers.iter().map(|(id, digests)| (id.to_value(), digests_value(digests))).collect();
        map([
            (0, self.version.as_deref().map(|version| map([(0, Some(Value::from(version)))]))),
            (1, self.svn.map(Svn::to_value)),
            (2, (!self.digests.is_empty()).then(|| digests_value(&self.digests))),
            (4, self.raw.as_ref().map(|raw| tag(TAG_BYTES, Value::Bytes(raw.clone())))),
            (11, self.name.as_deref().map(Value::from)),
            (14, (!self.registers.is_empty()).then_some(Value::Map(registers))),
        ])
    }
}

fn version(value: Value) -> Result<String, CorimError> {
    let mut members = Members::of("a version-map", value)?;
    let version = text(members.need(0, "a version")?, "a version")?;
    let _scheme = members.take(1);
    members.finish()?;
    Ok(version)
}

fn raw(value: Value) -> Result<Vec<u8>, CorimError> {
    match tagged(value, "a raw value with tag 560")? {
        (TAG_BYTES, inner) => bytes(inner, "a raw value of bytes"),
        // A masked value (563) says less than the same bytes without a mask: it is never taken for them.
        _ => Err(shape("a raw value with tag 560")),
    }
}

fn registers(value: Value) -> Result<Vec<(RegisterId, Vec<Digest>)>, CorimError> {
    let entries = value.into_map().map_err(|_other| shape("integrity-registers"))?;
    if entries.is_empty() {
        return Err(shape("at least one integrity-register"));
    }
    let read = entries.into_iter().map(|(id, value)| {
        let id = match id {
            Value::Integer(_) => RegisterId::Uint(uint(&id, "a register")?),
            Value::Text(_) => RegisterId::Text(text(id, "a register")?),
            _ => return Err(shape("a register by number or text")),
        };
        Ok((id, digests(value)?))
    });
    read.collect()
}

fn digests(value: Value) -> Result<Vec<Digest>, CorimError> {
    let list = array(value, "a list of digests")?;
    if list.is_empty() {
        return Err(shape("at least one digest"));
    }
    list.into_iter().map(Digest::read).collect()
}

fn digests_value(digests: &[Digest]) -> Value {
    Value::Array(digests.iter().map(Digest::to_value).collect())
}

impl Digest {
    fn read(value: Value) -> Result<Self, CorimError> {
        let [algorithm, digest] = pair(value, "a digest: algorithm and bytes")?;
        let algorithm = match algorithm {
            Value::Integer(_) => match int(&algorithm, "a hash algorithm")? {
                1 => DigestAlgorithm::Sha256,
                7 => DigestAlgorithm::Sha384,
                other => DigestAlgorithm::Number(other),
            },
            Value::Text(_) => DigestAlgorithm::Name(text(algorithm, "a hash algorithm")?),
            _ => return Err(shape("a hash algorithm")),
        };
        Ok(Self { algorithm, bytes: bytes(digest, "the bytes of a digest")? })
    }

    fn to_value(&self) -> Value {
        let algorithm = match &self.algorithm {
            DigestAlgorithm::Sha256 => Value::from(1),
            DigestAlgorithm::Sha384 => Value::from(7),
            DigestAlgorithm::Number(number) => Value::from(*number),
            DigestAlgorithm::Name(name) => Value::from(name.as_str()),
        };
        Value::Array(vec![algorithm, Value::Bytes(self.bytes.clone())])
    }
}

impl Svn {
    fn read(value: Value) -> Result<Self, CorimError> {
        let expected = "a security version";
        match value {
            Value::Tag(TAG_SVN, number) => uint(&number, expected).map(Self::Exactly),
            Value::Tag(TAG_MIN_SVN, number) => uint(&number, expected).map(Self::AtLeast),
            number => uint(&number, expected).map(Self::Exactly),
        }
    }

    fn to_value(self) -> Value {
        match self {
            Self::Exactly(number) => tag(TAG_SVN, Value::from(number)),
            Self::AtLeast(number) => tag(TAG_MIN_SVN, Value::from(number)),
        }
    }
}

impl RegisterId {
    fn to_value(&self) -> Value {
        match self {
            Self::Uint(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
        }
    }
}
