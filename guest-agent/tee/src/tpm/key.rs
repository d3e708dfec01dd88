//! Keys: primaries made from templates, and keys that somebody made persistent.

use std::fmt;

use evidence_formats::tpm::{TpmName, TpmPublic};

use super::{
    AkKind, EkKind, PublicTemplate, Tpm, TpmError,
    client::Loaded,
    command::{Command, CommandCode, Writer},
    response::sized,
};

/// Longest TPM2B_PUBLIC, TPM2B_PRIVATE and TPM2B_CREATION_DATA of any TPM's keys.
pub(super) const MAX_STRUCTURE: usize = 2048;
/// Longest TPM2B_NAME and TPM2B_DIGEST: SHA-512 with its algorithm.
pub(super) const MAX_NAME: usize = 66;

/// The root of a primary key (TPM_RH).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// For the machine's owner: lasts until the owner clears the TPM.
    Owner,
    /// For the TPM's identity: lasts as long as its maker's certificate.
    Endorsement,
    /// For the firmware.
    Platform,
    /// For keys that are gone after the next reset.
    Null,
}

impl Hierarchy {
    pub(super) const fn handle(self) -> u32 {
        match self {
            Self::Owner => 0x4000_0001,
            Self::Null => 0x4000_0007,
            Self::Endorsement => 0x4000_000B,
            Self::Platform => 0x4000_000C,
        }
    }
}

/// Handle of an object that outlives resets: 0x81000000 to 0x81FFFFFF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistentHandle(pub u32);

impl PersistentHandle {
    /// Where the TPM v2.0 Provisioning Guidance has the RSA endorsement key.
    pub const EK_RSA_2048: Self = Self(0x8101_0001);
}

impl fmt::Display for PersistentHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

/// A key in the TPM. Dropping it frees its place there, unless it is persistent.
#[derive(Debug)]
pub struct Key {
    place: Place,
    public: TpmPublic,
}

#[derive(Debug)]
enum Place {
    Loaded(Loaded),
    Persistent(PersistentHandle),
}

impl Key {
    /// Its public area, as the TPM made it.
    #[must_use]
    pub const fn public(&self) -> &TpmPublic {
        &self.public
    }

    /// Its name, computed from the public area.
    #[must_use]
    pub fn name(&self) -> TpmName {
        self.public.name()
    }

    pub(super) const fn handle(&self) -> u32 {
        match &self.place {
            Place::Loaded(loaded) => loaded.handle(),
            Place::Persistent(handle) => handle.0,
        }
    }
}

impl Tpm {
    /// Makes a primary key of `hierarchy` from `template` (TPM2_CreatePrimary), with an empty authorisation.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM refuses the template or gives no asymmetric key.
    pub fn create_primary(&self, hierarchy: Hierarchy, template: &PublicTemplate) -> Result<Key, TpmError> {
        let parameters = Writer::default()
            // TPM2B_SENSITIVE_CREATE: neither authorisation nor data.
            .sized(&[0; 4])
            .sized(template.as_bytes())
            // outsideInfo, creationPCR.
            .sized(&[])
            .u32(0);
        let command = Command::new(CommandCode::CREATE_PRIMARY, &[hierarchy.handle()]).with_password();
        let (loaded, (public, name)) = self.load(command.parameters(parameters), |reader| {
            let public = sized(reader, "outPublic", MAX_STRUCTURE)?.to_vec();
            sized(reader, "creationData", MAX_STRUCTURE)?;
            sized(reader, "creationHash", MAX_NAME)?;
            // TPMT_TK_CREATION: tag, hierarchy, digest.
            reader.take(6)?;
            sized(reader, "creationTicket", MAX_NAME)?;
            Ok((public, sized(reader, "name", MAX_NAME)?.to_vec()))
        })?;
        Ok(Key { place: Place::Loaded(loaded), public: named(&public, &name)? })
    }

    /// The endorsement key of this kind, made again from the profile's template; where the machine keeps it at the usual
    /// handle it is taken from there, since making an RSA key takes time.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM does not make it.
    pub fn create_ek(&self, kind: EkKind) -> Result<Key, TpmError> {
        let template = kind.template();
        if kind == EkKind::Rsa2048
            && let Ok(key) = self.persistent(PersistentHandle::EK_RSA_2048)
            && follows(&key, &template)
        {
            return Ok(key);
        }
        self.create_primary(Hierarchy::Endorsement, &template)
    }

    /// Our attestation key: a primary of the endorsement hierarchy, the same one each time.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM does not make it.
    pub fn create_ak(&self, kind: AkKind) -> Result<Key, TpmError> {
        self.create_primary(Hierarchy::Endorsement, &kind.template())
    }

    /// The key at a persistent handle (TPM2_ReadPublic).
    ///
    /// # Errors
    /// [`TpmError::Refused`] with `TPM_RC_HANDLE` when there is none.
    pub fn persistent(&self, handle: PersistentHandle) -> Result<Key, TpmError> {
        let (public, name) = self.ask(Command::new(CommandCode::READ_PUBLIC, &[handle.0]), |reader| {
            let public = sized(reader, "outPublic", MAX_STRUCTURE)?.to_vec();
            let name = sized(reader, "name", MAX_NAME)?.to_vec();
            sized(reader, "qualifiedName", MAX_NAME)?;
            Ok((public, name))
        })?;
        Ok(Key { place: Place::Persistent(handle), public: named(&public, &name)? })
    }

    /// Keeps `key` at a persistent handle (TPM2_EvictControl); by the platform for handles from 0x81800000 on, else by
    /// the owner.
    ///
    /// # Errors
    /// [`TpmError`] when the handle is taken or the TPM has no room.
    pub fn persist(&self, key: &Key, handle: PersistentHandle) -> Result<(), TpmError> {
        self.evict(handle, key.handle())
    }

    /// Gives a persistent handle free again.
    ///
    /// # Errors
    /// [`TpmError`] when nothing is there.
    pub fn forget(&self, handle: PersistentHandle) -> Result<(), TpmError> {
        self.evict(handle, handle.0)
    }

    fn evict(&self, persistent: PersistentHandle, object: u32) -> Result<(), TpmError> {
        let authority = if persistent.0 < 0x8180_0000 { Hierarchy::Owner } else { Hierarchy::Platform };
        let command = Command::new(CommandCode::EVICT_CONTROL, &[authority.handle(), object]).with_password();
        self.ask(command.parameters(Writer::default().u32(persistent.0)), |_nothing| Ok(()))
    }
}

/// Whether the key was made from the template: all but the unique part at the end, which is the key, is the same.
fn follows(key: &Key, template: &PublicTemplate) -> bool {
    let (area, template) = (key.public.as_bytes(), template.as_bytes());
    // TPM2B_PUBLIC_KEY_RSA of 2048 bits is last.
    let common = template.len().saturating_sub(256);
    area.len() == template.len() && area.get(..common) == template.get(..common)
}

/// Parses a public area and compares its name with the TPM's.
fn named(public: &[u8], name: &[u8]) -> Result<TpmPublic, TpmError> {
    let malformed = |source| TpmError::Structure { structure: "public area", source };
    let public = TpmPublic::parse(public).map_err(malformed)?;
    if public.name().as_bytes() == name { Ok(public) } else { Err(TpmError::Name) }
}
