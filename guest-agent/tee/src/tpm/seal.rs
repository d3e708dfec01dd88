//! Secrets that only this TPM opens, and only while its PCRs are as they should be.

use std::collections::BTreeMap;

use evidence_formats::{
    bytes::Reader,
    digest::{Digest, HashAlgorithm},
};
use zeroize::Zeroizing;

use super::{
    Hierarchy, Key, Pcrs, PublicTemplate, Tpm, TpmError,
    client::Loaded,
    command::{Command, CommandCode, Writer},
    key::{MAX_NAME, MAX_STRUCTURE},
    response::sized,
};

/// TPM_CC_PolicyPCR, which is part of the policy's digest.
const POLICY_PCR: u32 = 0x17F;
/// TPM_ALG_NULL: no inner wrapper.
const ALG_NULL: u16 = 0x0010;
/// Longest TPM2B_SENSITIVE_DATA (MAX_SYM_DATA).
pub(super) const MAX_SEALED: usize = 128;

/// A secret that the broker wrapped for the endorsement key of this TPM (TPM2_Import): each part with its size before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedSecret {
    /// TPM2B_PUBLIC of a sealed object with a PCR policy.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE: the sensitive area, wrapped.
    pub duplicate: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET: the seed of the wrap, for the endorsement key alone.
    pub symseed: Vec<u8>,
}

/// A secret sealed by this TPM. Neither part is secret: only the same TPM opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedObject {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
}

/// Digest of the policy "these PCRs have these values" (TPM 2.0 part 3, TPM2_PolicyPCR): what an object to be opened by
/// [`Tpm::unseal`] or [`Tpm::unseal_imported`] carries.
#[must_use]
pub fn pcr_policy(bank: HashAlgorithm, values: &BTreeMap<u8, Digest>) -> Vec<u8> {
    let selection = Pcrs::new(bank, values.keys().copied()).selection();
    let concatenated: Vec<&[u8]> = values.values().map(Digest::as_bytes).collect();
    let selected = Writer::default().selections(&[selection]);
    let hash = HashAlgorithm::Sha256;
    let pcr_digest = hash.digest(&concatenated);
    let parts = [&[0_u8; 32][..], &POLICY_PCR.to_be_bytes(), selected.as_bytes(), pcr_digest.as_bytes()];
    hash.digest(&parts).as_bytes().to_vec()
}

impl Tpm {
    /// Opens a secret that was wrapped for `ek` under a policy of `pcrs`: TPM2_Import, TPM2_Load, TPM2_PolicyPCR,
    /// TPM2_Unseal.
    ///
    /// # Errors
    /// [`TpmError`]: `TPM_RC_POLICY_FAIL` when a PCR differs from the policy, `TPM_RC_INTEGRITY` when it was wrapped for
    /// another TPM.
    pub fn unseal_imported(
        &self,
        ek: &Key,
        secret: &ImportedSecret,
        pcrs: &Pcrs,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let public = whole(&secret.public, "public area")?;
        let private = self.import(ek, secret)?;
        let loaded = {
            let session = self.endorsement_session()?;
            let command = Command::new(CommandCode::LOAD, &[ek.handle()]).with_session(session.handle());
            self.load_object(command, &sized_again(&private), public)?
        };
        self.unseal_loaded(&loaded, pcrs)
    }

    /// TPM2_Import: from the broker's wrap to one of this TPM.
    fn import(&self, ek: &Key, secret: &ImportedSecret) -> Result<Vec<u8>, TpmError> {
        let parameters = Writer::default()
            // No inner wrapper, so no key of one.
            .sized(&[])
            .bytes(whole(&secret.public, "public area")?)
            .bytes(whole(&secret.duplicate, "duplicate")?)
            .bytes(whole(&secret.symseed, "encrypted seed")?)
            .u16(ALG_NULL);
        let session = self.endorsement_session()?;
        let command = Command::new(CommandCode::IMPORT, &[ek.handle()]).with_session(session.handle());
        self.ask(command.parameters(parameters), |reader| Ok(sized(reader, "outPrivate", MAX_STRUCTURE)?.to_vec()))
    }

    /// Seals at most 128 bytes to the values that `pcrs` have now, under the storage root of this TPM.
    ///
    /// # Errors
    /// [`TpmError`] when the data is too long, or the owner's authorisation is not empty.
    pub fn seal_to_pcrs(&self, data: &[u8], pcrs: &Pcrs) -> Result<SealedObject, TpmError> {
        if data.len() > MAX_SEALED {
            return Err(TpmError::Sized { structure: "secret of at most 128 bytes" });
        }
        let policy = pcr_policy(pcrs.bank(), &self.pcr_read(pcrs)?);
        let parent = self.storage_parent()?;
        // TPM2B_SENSITIVE_CREATE: no authorisation, the data.
        let sensitive = Writer::default().sized(&[]).sized(data);
        let parameters = Writer::default()
            .sized(sensitive.as_bytes())
            .sized(PublicTemplate::sealed(&policy).as_bytes())
            .sized(&[])
            .u32(0);
        let command = Command::new(CommandCode::CREATE, &[parent.handle()]).with_password().parameters(parameters);
        self.ask(command, |reader| {
            let private = sized(reader, "outPrivate", MAX_STRUCTURE)?;
            let public = sized(reader, "outPublic", MAX_STRUCTURE)?;
            sized(reader, "creationData", MAX_STRUCTURE)?;
            sized(reader, "creationHash", MAX_NAME)?;
            reader.take(6)?;
            sized(reader, "creationTicket", MAX_NAME)?;
            Ok(SealedObject { public: sized_again(public), private: sized_again(private) })
        })
    }

    /// Opens what [`Tpm::seal_to_pcrs`] sealed.
    ///
    /// # Errors
    /// [`TpmError`]: `TPM_RC_POLICY_FAIL` when a PCR changed, `TPM_RC_INTEGRITY` when another TPM sealed it.
    pub fn unseal(&self, sealed: &SealedObject, pcrs: &Pcrs) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let public = whole(&sealed.public, "public area")?;
        let private = whole(&sealed.private, "private area")?;
        let loaded = {
            let parent = self.storage_parent()?;
            let command = Command::new(CommandCode::LOAD, &[parent.handle()]).with_password();
            self.load_object(command, private, public)?
        };
        self.unseal_loaded(&loaded, pcrs)
    }

    pub(super) fn storage_parent(&self) -> Result<Key, TpmError> {
        self.create_primary(Hierarchy::Owner, &PublicTemplate::storage_parent())
    }

    pub(super) fn load_object(&self, command: Command, private: &[u8], public: &[u8]) -> Result<Loaded, TpmError> {
        let parameters = Writer::default().bytes(private).bytes(public);
        let (loaded, name) =
            self.load(command.parameters(parameters), |reader| Ok(sized(reader, "name", MAX_NAME)?.to_vec()))?;
        // The name is that of a sealed object, which is no asymmetric key: algorithm ‖ H(public area).
        let area = public.get(2..).unwrap_or_default();
        let hash = area.get(2..4).and_then(|id| <[u8; 2]>::try_from(id).ok()).map(u16::from_be_bytes);
        let hash = hash.and_then(HashAlgorithm::from_tpm_id).ok_or(TpmError::Name)?;
        let expected = evidence_formats::tpm::TpmName::of_public_area(hash, area);
        if expected.as_bytes() == name { Ok(loaded) } else { Err(TpmError::Name) }
    }

    fn unseal_loaded(&self, object: &Loaded, pcrs: &Pcrs) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let session = self.policy_session()?;
        session.require_pcrs(pcrs)?;
        let command = Command::new(CommandCode::UNSEAL, &[object.handle()]).with_session(session.handle());
        self.ask(command, |reader| Ok(Zeroizing::new(sized(reader, "outData", MAX_SEALED)?.to_vec())))
    }
}

/// A TPM2B as it is, when its size is that of what follows.
pub(super) fn whole<'a>(bytes: &'a [u8], structure: &'static str) -> Result<&'a [u8], TpmError> {
    let mut reader = Reader::new(bytes);
    let exact = reader.u16_be().is_ok_and(|size| usize::from(size) == reader.remaining());
    if exact && bytes.len() <= MAX_STRUCTURE { Ok(bytes) } else { Err(TpmError::Sized { structure }) }
}

pub(super) fn sized_again(bytes: &[u8]) -> Vec<u8> {
    Writer::default().sized(bytes).as_bytes().to_vec()
}
