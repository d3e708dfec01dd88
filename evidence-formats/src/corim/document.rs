//! The manifest: identity, profile, validity and the tags inside (draft-ietf-rats-corim section 4).

use ciborium::Value;

use super::{
    CORIM_LIMIT, CorimError,
    comid::Comid,
    oid,
    value::{Members, array, bytes, int, map, shape, tag, tagged, text, uint},
};
use crate::cbor;

/// Tags of CBOR that this module reads and writes.
const TAG_TIME: u64 = 1;
const TAG_URI: u64 = 32;
const TAG_UUID: u64 = 37;
const TAG_OID: u64 = 111;
const TAG_CORIM: u64 = 501;
const TAG_COSWID: u64 = 505;
const TAG_COMID: u64 = 506;
const TAG_COTL: u64 = 508;
/// Most CoMID tags of one manifest.
const COMIDS_LIMIT: usize = 64;

/// The name of a manifest or tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagId {
    /// Text of 1 to 1024 bytes.
    Text(String),
    /// A UUID, 16 bytes.
    Uuid([u8; 16]),
}

/// The profile that says how a manifest is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// A URI.
    Uri(String),
    /// An object identifier as dotted text.
    Oid(String),
}

/// From when until when something is valid, in seconds since the Unix epoch; both ends are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// First second.
    pub not_before: Option<i64>,
    /// Last second.
    pub not_after: Option<i64>,
}

/// A manifest without its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorimDocument {
    /// Its name.
    pub id: TagId,
    /// The CoMID tags.
    pub comids: Vec<Comid>,
    /// CBOR tags of what it carries beside CoMID tags and is not read: CoSWID (505), CoTL (508).
    pub other_tags: Vec<u64>,
    /// Whether it names manifests that it depends on, which are not followed.
    pub has_dependent_rims: bool,
    /// Its profile.
    pub profile: Option<Profile>,
    /// Its validity.
    pub validity: Validity,
    /// Names of the organisations behind it.
    pub entities: Vec<String>,
}

impl CorimDocument {
    /// Parses `#6.501(corim-map)`: exactly one item of at most [`CORIM_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`CorimError`] says what was expected.
    pub fn parse(bytes: &[u8]) -> Result<Self, CorimError> {
        let (TAG_CORIM, inner) = tagged(cbor::from_slice(bytes, CORIM_LIMIT)?, "tag 501")? else {
            return Err(CorimError::Magic);
        };
        let mut members = Members::of("the corim-map", inner)?;
        let id = TagId::read(members.need(0, "an id")?)?;
        let (comids, other_tags) = read_tags(members.need(1, "tags")?)?;
        let document = Self {
            id,
            comids,
            other_tags,
            has_dependent_rims: members.take(2).is_some(),
            profile: members.take(3).map(Profile::read).transpose()?,
            validity: members.take(4).map(Validity::read).transpose()?.unwrap_or_default(),
            entities: members.take(5).map(entities).transpose()?.unwrap_or_default(),
        };
        members.finish()?;
        Ok(document)
    }

    /// Writes the manifest.
    ///
    /// # Errors
    /// [`CorimError::Shape`] when it has parts that were named and not read: they would be lost.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CorimError> {
        let whole = self.other_tags.is_empty() && !self.has_dependent_rims && self.comids.iter().all(Comid::is_whole);
        if !whole {
            return Err(shape("only parts that can be written"));
        }
        let mut tags = Vec::with_capacity(self.comids.len());
        for comid in &self.comids {
            tags.push(tag(TAG_COMID, Value::Bytes(cbor::to_vec(&comid.to_value())?)));
        }
        let entity =
            |name: &String| map([(0, Some(Value::from(name.as_str()))), (2, Some(Value::Array(vec![1.into()])))]);
        let entities = (!self.entities.is_empty()).then(|| Value::Array(self.entities.iter().map(entity).collect()));
        let members = map([
            (0, Some(self.id.to_value())),
            (1, Some(Value::Array(tags))),
            (3, self.profile.as_ref().map(Profile::to_value)),
            (4, self.validity.to_value()),
            (5, entities),
        ]);
        Ok(cbor::to_vec(&tag(TAG_CORIM, members))?)
    }
}

fn read_tags(value: Value) -> Result<(Vec<Comid>, Vec<u64>), CorimError> {
    let (mut comids, mut others) = (Vec::new(), Vec::new());
    for item in array(value, "a list of tags")? {
        match tagged(item, "a tagged tag")? {
            (TAG_COMID, inner) => {
                if comids.len() >= COMIDS_LIMIT {
                    return Err(shape("at most 64 CoMID tags"));
                }
                comids.push(Comid::parse(&bytes(inner, "CBOR bytes in tag 506")?)?);
            }
            (other @ (TAG_COSWID | TAG_COTL), _) => others.push(other),
            _ => return Err(shape("tags 505, 506 and 508 only")),
        }
    }
    Ok((comids, others))
}

/// Names of an entity list (`entity-name` 0, `reg-id` 1, `role` 2).
pub(super) fn entities(value: Value) -> Result<Vec<String>, CorimError> {
    let mut names = Vec::new();
    for entity in array(value, "a list of entities")? {
        let mut members = Members::of("an entity-map", entity)?;
        names.push(text(members.need(0, "the name of an entity")?, "the name of an entity")?);
        let _registration = members.take(1);
        for role in array(members.need(2, "the roles of an entity")?, "a list of roles")? {
            int(&role, "a role")?;
        }
        members.finish()?;
    }
    Ok(names)
}

impl TagId {
    pub(super) fn read(value: Value) -> Result<Self, CorimError> {
        let expected = "a name: text, or a UUID of 16 bytes";
        match value {
            Value::Text(_) => text(value, expected).map(Self::Text),
            Value::Tag(TAG_UUID, inner) => Self::read_uuid(*inner),
            value => Self::read_uuid(value),
        }
    }

    fn read_uuid(value: Value) -> Result<Self, CorimError> {
        let uuid = bytes(value, "a name: text, or a UUID of 16 bytes")?;
        uuid.try_into().map(Self::Uuid).map_err(|_other_length| shape("a UUID of 16 bytes"))
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Uuid(uuid) => Value::Bytes(uuid.to_vec()),
        }
    }
}

impl std::fmt::Display for TagId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Uuid(uuid) => f.write_str(&hex::encode(uuid)),
        }
    }
}

impl Profile {
    fn read(value: Value) -> Result<Self, CorimError> {
        match tagged(value, "a tagged profile")? {
            (TAG_URI, uri) => text(uri, "a profile URI").map(Self::Uri),
            (TAG_OID, octets) => oid::to_text(&bytes(octets, "a profile OID")?).map(Self::Oid),
            _ => Err(shape("a profile: URI (tag 32) or OID (tag 111)")),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Uri(uri) => tag(TAG_URI, Value::from(uri.as_str())),
            Self::Oid(text) => tag(TAG_OID, Value::Bytes(oid::to_bytes(text).unwrap_or_default())),
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Uri(text) | Self::Oid(text)) = self;
        f.write_str(text)
    }
}

impl Validity {
    /// Reads a `validity-map`: the end is required.
    pub(super) fn read(value: Value) -> Result<Self, CorimError> {
        let mut members = Members::of("a validity-map", value)?;
        let not_before = members.take(0).map(time).transpose()?;
        let not_after = Some(time(members.need(1, "the end of a validity")?)?);
        members.finish()?;
        Ok(Self { not_before, not_after })
    }

    pub(super) fn to_value(self) -> Option<Value> {
        let time = |seconds: i64| tag(TAG_TIME, Value::from(seconds));
        self.not_after.map(|end| map([(0, self.not_before.map(time)), (1, Some(time(end)))]))
    }
}

fn time(value: Value) -> Result<i64, CorimError> {
    match tagged(value, "a time with tag 1")? {
        // RFC 8949 section 3.4.2; fractions of seconds have no use here.
        (TAG_TIME, seconds) => int(&seconds, "a time in whole seconds"),
        _ => Err(shape("a time with tag 1")),
    }
}

/// `tag-identity`: name and version of a CoMID.
pub(super) fn tag_identity(value: Value) -> Result<(TagId, u64), CorimError> {
    let mut members = Members::of("a tag-identity", value)?;
    let id = TagId::read(members.need(0, "a tag-id")?)?;
    let version = members.take(1).map(|version| uint(&version, "a tag-version")).transpose()?;
    members.finish()?;
    // Absent is 0 (draft-ietf-rats-corim section 5.1.1.2).
    Ok((id, version.unwrap_or(0)))
}
