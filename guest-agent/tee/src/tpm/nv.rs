//! Non-volatile storage: certificates and templates that others left there.

use std::fmt;

use evidence_formats::bytes::Reader;

use super::{
    Hierarchy, ResponseCode, Tpm, TpmError,
    command::{Command, CommandCode, Writer},
    key::MAX_NAME,
    response::{ended, sized},
};

const ALG_SHA256: u16 = 0x000B;
/// Bytes read or written by one command where the TPM does not say how many it takes; every TPM takes these.
const DEFAULT_CHUNK: usize = 512;
/// More than this never fits in a response with its header and session.
const MAX_CHUNK: usize = 2048;

/// Handle of an NV index: 0x01000000 to 0x01FFFFFF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NvIndex(pub u32);

impl fmt::Display for NvIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NV index 0x{:08x}", self.0)
    }
}

/// TPMA_NV (TPM 2.0 part 2, section 13.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NvAttributes(pub u32);

impl NvAttributes {
    /// The platform may write.
    pub const PP_WRITE: Self = Self(1);
    /// The owner may write.
    pub const OWNER_WRITE: Self = Self(1 << 1);
    /// The index's own authorisation may write.
    pub const AUTH_WRITE: Self = Self(1 << 2);
    /// The platform may read.
    pub const PP_READ: Self = Self(1 << 16);
    /// The owner may read.
    pub const OWNER_READ: Self = Self(1 << 17);
    /// The index's own authorisation may read.
    pub const AUTH_READ: Self = Self(1 << 18);
    /// No dictionary-attack protection.
    pub const NO_DA: Self = Self(1 << 25);
    /// The platform made it: the owner's clear leaves it.
    pub const PLATFORM_CREATE: Self = Self(1 << 30);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What an NV index is (TPMS_NV_PUBLIC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NvPublic {
    /// Its handle.
    pub index: NvIndex,
    /// Its attributes.
    pub attributes: NvAttributes,
    /// Its size in bytes.
    pub size: u16,
}

impl Tpm {
    /// What is at `index`; `None` when nothing is (TPM2_NV_ReadPublic).
    ///
    /// # Errors
    /// [`TpmError`] when the TPM answers otherwise.
    pub fn nv_public(&self, index: NvIndex) -> Result<Option<NvPublic>, TpmError> {
        let read = self.ask(Command::new(CommandCode::NV_READ_PUBLIC, &[index.0]), |reader| {
            let mut area = Reader::new(sized(reader, "nvPublic", 256)?);
            sized(reader, "nvName", MAX_NAME)?;
            let (found, _name_algorithm) = (NvIndex(area.u32_be()?), area.u16_be()?);
            let attributes = NvAttributes(area.u32_be()?);
            sized(&mut area, "authPolicy", MAX_NAME)?;
            let size = area.u16_be()?;
            ended(&area)?;
            Ok(NvPublic { index: found, attributes, size })
        });
        match read {
            Ok(public) if public.index == index => Ok(Some(public)),
            Ok(_other) => Err(TpmError::Name),
            Err(error) if error.response_code().is_some_and(|code| code.is(ResponseCode::HANDLE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The whole content of `index` (TPM2_NV_Read), by its own empty authorisation or the owner's.
    ///
    /// # Errors
    /// [`TpmError`] when there is none, or others may read it only.
    pub fn nv_read(&self, index: NvIndex) -> Result<Vec<u8>, TpmError> {
        let missing = TpmError::Refused { command: CommandCode::NV_READ.name(), code: ResponseCode::HANDLE };
        self.nv_read_if_there(index)?.ok_or(missing)
    }

    /// The same; `None` when there is no such index or nothing was written to it.
    ///
    /// # Errors
    /// [`TpmError`] when it is there and cannot be read.
    pub fn nv_read_if_there(&self, index: NvIndex) -> Result<Option<Vec<u8>>, TpmError> {
        let Some(public) = self.nv_public(index)? else { return Ok(None) };
        let authority = public.authority(NvAttributes::AUTH_READ, NvAttributes::OWNER_READ, NvAttributes::PP_READ);
        let authority = authority.ok_or(TpmError::NvAccess { index, what: "read" })?;
        let chunk = self.nv_chunk()?;
        let size = usize::from(public.size);
        let mut content = Vec::with_capacity(size);
        while content.len() < size {
            let count = size.saturating_sub(content.len()).min(chunk);
            match self.nv_read_chunk(index, authority, content.len(), count) {
                Err(error) if error.response_code() == Some(ResponseCode::NV_UNINITIALIZED) => return Ok(None),
                read => content.extend_from_slice(&read?),
            }
        }
        Ok(Some(content))
    }

    fn nv_read_chunk(&self, index: NvIndex, authority: u32, offset: usize, count: usize) -> Result<Vec<u8>, TpmError> {
        let (offset, wanted) = (u16::try_from(offset).unwrap_or(u16::MAX), u16::try_from(count).unwrap_or(u16::MAX));
        let command = Command::new(CommandCode::NV_READ, &[authority, index.0]).with_password();
        let read = self.ask(command.parameters(Writer::default().u16(wanted).u16(offset)), |reader| {
            Ok(sized(reader, "data", MAX_CHUNK)?.to_vec())
        })?;
        // Less than asked for would be asked for again without end.
        if read.len() == count { Ok(read) } else { Err(TpmError::ResponseSize { size: read.len() }) }
    }

    /// Writes `content` to the start of `index` (TPM2_NV_Write), by its own empty authorisation or the owner's.
    ///
    /// # Errors
    /// [`TpmError`] when there is no such index, it is too small, or others may write it only.
    pub fn nv_write(&self, index: NvIndex, content: &[u8]) -> Result<(), TpmError> {
        let missing = TpmError::Refused { command: CommandCode::NV_WRITE.name(), code: ResponseCode::HANDLE };
        let public = self.nv_public(index)?.ok_or(missing)?;
        let limit = usize::from(public.size);
        if content.len() > limit {
            return Err(TpmError::NvSize { index, limit, size: content.len() });
        }
        let authority = public.authority(NvAttributes::AUTH_WRITE, NvAttributes::OWNER_WRITE, NvAttributes::PP_WRITE);
        let authority = authority.ok_or(TpmError::NvAccess { index, what: "written" })?;
        let mut offset: u16 = 0;
        for chunk in content.chunks(self.nv_chunk()?) {
            let command = Command::new(CommandCode::NV_WRITE, &[authority, index.0]).with_password();
            self.ask(command.parameters(Writer::default().sized(chunk).u16(offset)), |_nothing| Ok(()))?;
            offset = offset.saturating_add(u16::try_from(chunk.len()).unwrap_or(u16::MAX));
        }
        Ok(())
    }

    /// Makes an ordinary NV index with an empty authorisation (TPM2_NV_DefineSpace): by the platform when the attributes
    /// say so, else by the owner.
    ///
    /// # Errors
    /// [`TpmError`]: `TPM_RC_NV_DEFINED` when it is there already.
    pub fn nv_define(&self, public: &NvPublic) -> Result<(), TpmError> {
        let area =
            Writer::default().u32(public.index.0).u16(ALG_SHA256).u32(public.attributes.0).sized(&[]).u16(public.size);
        let command = Command::new(CommandCode::NV_DEFINE_SPACE, &[public.creator()]).with_password();
        self.ask(command.parameters(Writer::default().sized(&[]).sized(area.as_bytes())), |_nothing| Ok(()))
    }

    /// Removes an NV index (TPM2_NV_UndefineSpace).
    ///
    /// # Errors
    /// [`TpmError`] when it is not there or may not be removed.
    pub fn nv_undefine(&self, public: &NvPublic) -> Result<(), TpmError> {
        let handles = [public.creator(), public.index.0];
        self.ask(Command::new(CommandCode::NV_UNDEFINE_SPACE, &handles).with_password(), |_nothing| Ok(()))
    }

    fn nv_chunk(&self) -> Result<usize, TpmError> {
        if let Some(chunk) = self.nv_chunk.get() {
            return Ok(*chunk);
        }
        let most = self.nv_buffer_max()?.and_then(|most| usize::try_from(most).ok()).unwrap_or(DEFAULT_CHUNK);
        Ok(*self.nv_chunk.get_or_init(|| most.clamp(1, MAX_CHUNK)))
    }
}

impl NvPublic {
    /// Who gives the authorisation: the index itself, the owner or the platform, in this order.
    fn authority(&self, auth: NvAttributes, owner: NvAttributes, platform: NvAttributes) -> Option<u32> {
        let may = |attribute| self.attributes.contains(attribute);
        [(auth, self.index.0), (owner, Hierarchy::Owner.handle()), (platform, Hierarchy::Platform.handle())]
            .into_iter()
            .find(|(attribute, _)| may(*attribute))
            .map(|(_, handle)| handle)
    }

    const fn creator(&self) -> u32 {
        let platform = self.attributes.contains(NvAttributes::PLATFORM_CREATE);
        if platform { Hierarchy::Platform.handle() } else { Hierarchy::Owner.handle() }
    }
}
