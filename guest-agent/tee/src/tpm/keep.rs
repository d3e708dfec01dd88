//! Secrets that this TPM keeps over reboots: opened while its PCRs have the named values, and its clock and counters have not
//! passed their limits.
//!
//! The object is made by this TPM itself, below the storage root of its owner: who clears the TPM, which sets clock and counters
//! back, loses the object with it. The TPM also says under which PCR values it made the object (TPMS_CREATION_DATA, with a ticket
//! of its own): without that, whoever boots something else on this machine could leave an object with a content of their choice
//! under the very policy that the good image satisfies.

use std::collections::BTreeMap;

use evidence_formats::{
    bytes::Reader,
    digest::{Digest, HashAlgorithm},
};
use zeroize::Zeroizing;

use super::{
    Pcrs, PublicTemplate, Tpm, TpmError,
    client::Loaded,
    command::{Command, CommandCode, Writer},
    key::{MAX_NAME, MAX_STRUCTURE},
    response::sized,
    seal::{MAX_SEALED, pcr_policy, sized_again, whole},
    session::UNSIGNED_LE,
};

/// TPM_CC_PolicyCounterTimer, which is part of the policy's digest.
const POLICY_COUNTER_TIMER: u32 = 0x16D;
/// Where TPMS_TIME_INFO has clock, resetCount and restartCount (part 2, section 10.11.6).
const CLOCK: u16 = 8;
const RESET_COUNT: u16 = 16;
const RESTART_COUNT: u16 = 20;
/// TPM_ST_CREATION.
const CREATION_TICKET: u16 = 0x8021;
/// TPM_RH_OWNER, TPM_RH_NULL, TPM_ALG_NULL.
const OWNER: u32 = 0x4000_0001;
const NULL_HANDLE: u32 = 0x4000_0007;
const ALG_NULL: u16 = 0x0010;

/// Clock and counters of a TPM (TPMS_TIME_INFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TpmClock {
    /// Milliseconds that the TPM had power in all its life; never back but by TPM2_Clear. After a loss of power it may repeat what
    /// it had not written down yet, an hour or so.
    pub clock: u64,
    /// How often it was reset.
    pub resets: u32,
    /// How often it went on after a suspension since it was reset.
    pub restarts: u32,
}

/// What clock and counters may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockLimits {
    /// Last value of [`TpmClock::clock`].
    pub clock: u64,
    /// Last value of [`TpmClock::resets`].
    pub resets: u32,
    /// Last value of [`TpmClock::restarts`].
    pub restarts: u32,
}

impl ClockLimits {
    /// Field of TPMS_TIME_INFO, big-endian limit.
    fn operands(self) -> [(u16, Vec<u8>); 3] {
        [
            (CLOCK, self.clock.to_be_bytes().to_vec()),
            (RESET_COUNT, self.resets.to_be_bytes().to_vec()),
            (RESTART_COUNT, self.restarts.to_be_bytes().to_vec()),
        ]
    }
}

/// A secret that this TPM keeps. No part is secret: only the same TPM opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptObject {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
    /// TPMS_CREATION_DATA.
    pub creation: Vec<u8>,
    /// Digest of the ticket that the TPM gave for it.
    pub ticket: Vec<u8>,
}

/// Digest of the policy "these PCRs have these values, and nothing passed its limit" (part 3, TPM2_PolicyCounterTimer).
fn keep_policy(bank: HashAlgorithm, values: &BTreeMap<u8, Digest>, limits: ClockLimits) -> Vec<u8> {
    let hash = HashAlgorithm::Sha256;
    limits.operands().iter().fold(pcr_policy(bank, values), |policy, (offset, limit)| {
        let arguments = hash.digest(&[limit, &offset.to_be_bytes(), &UNSIGNED_LE.to_be_bytes()]);
        hash.digest(&[&policy, &POLICY_COUNTER_TIMER.to_be_bytes(), arguments.as_bytes()]).as_bytes().to_vec()
    })
}

impl Tpm {
    /// Clock and counters (TPM2_ReadClock).
    ///
    /// # Errors
    /// [`TpmError`] when the TPM does not say.
    pub fn clock(&self) -> Result<TpmClock, TpmError> {
        self.ask(Command::new(CommandCode::READ_CLOCK, &[]), |reader| {
            reader.take(8)?;
            let read = TpmClock { clock: reader.u64_be()?, resets: reader.u32_be()?, restarts: reader.u32_be()? };
            reader.u8()?;
            Ok(read)
        })
    }

    /// Keeps at most 128 bytes for as long as the PCRs have these values and `limits` are not passed.
    ///
    /// # Errors
    /// [`TpmError`] when the data is too long, or the owner's authorisation is not empty.
    pub fn keep(
        &self,
        data: &[u8],
        bank: HashAlgorithm,
        values: &BTreeMap<u8, Digest>,
        limits: ClockLimits,
    ) -> Result<KeptObject, TpmError> {
        if data.len() > MAX_SEALED {
            return Err(TpmError::Sized { structure: "secret of at most 128 bytes" });
        }
        let selection = Pcrs::new(bank, values.keys().copied()).selection();
        let policy = keep_policy(bank, values, limits);
        let parent = self.storage_parent()?;
        let sensitive = Writer::default().sized(&[]).sized(data);
        let parameters = Writer::default()
            .sized(sensitive.as_bytes())
            .sized(PublicTemplate::sealed(&policy).as_bytes())
            .sized(&[])
            .selections(&[selection]);
        let command = Command::new(CommandCode::CREATE, &[parent.handle()]).with_password().parameters(parameters);
        self.ask(command, |reader| {
            let private = sized_again(sized(reader, "outPrivate", MAX_STRUCTURE)?);
            let public = sized_again(sized(reader, "outPublic", MAX_STRUCTURE)?);
            let creation = sized(reader, "creationData", MAX_STRUCTURE)?.to_vec();
            sized(reader, "creationHash", MAX_NAME)?;
            // Tag and hierarchy: what this command gives.
            reader.take(6)?;
            let ticket = sized(reader, "creationTicket", MAX_NAME)?.to_vec();
            Ok(KeptObject { public, private, creation, ticket })
        })
    }

    /// Opens what [`Tpm::keep`] keeps.
    ///
    /// # Errors
    /// [`TpmError`]: `TPM_RC_POLICY` when a limit is passed, `TPM_RC_POLICY_FAIL` when a PCR changed or limits are not those of the
    /// object, `TPM_RC_INTEGRITY` when another TPM made it, [`TpmError::MadeElsewhere`] when it was not made under these PCR values.
    pub fn open_kept(
        &self,
        object: &KeptObject,
        pcrs: &Pcrs,
        limits: ClockLimits,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let (public, private) = (whole(&object.public, "public area")?, whole(&object.private, "private area")?);
        let loaded = {
            let parent = self.storage_parent()?;
            let command = Command::new(CommandCode::LOAD, &[parent.handle()]).with_password();
            self.load_object(command, private, public)?
        };
        self.require_made_here(&loaded, object, pcrs)?;
        let session = self.policy_session()?;
        session.require_pcrs(pcrs)?;
        for (offset, limit) in limits.operands() {
            session.require_at_most(offset, &limit)?;
        }
        let command = Command::new(CommandCode::UNSEAL, &[loaded.handle()]).with_session(session.handle());
        self.ask(command, |reader| Ok(Zeroizing::new(sized(reader, "outData", MAX_SEALED)?.to_vec())))
    }

    /// The TPM itself says that it made this object (TPM2_CertifyCreation), and the PCRs had the values then that they have now.
    fn require_made_here(&self, loaded: &Loaded, object: &KeptObject, pcrs: &Pcrs) -> Result<(), TpmError> {
        let hash = HashAlgorithm::Sha256;
        let parameters = Writer::default()
            .sized(&[])
            .sized(hash.digest(&[&object.creation]).as_bytes())
            .u16(ALG_NULL)
            .u16(CREATION_TICKET)
            .u32(OWNER)
            .sized(&object.ticket);
        let command = Command::new(CommandCode::CERTIFY_CREATION, &[NULL_HANDLE, loaded.handle()]).with_password();
        self.ask(command.parameters(parameters), |reader| {
            sized(reader, "certifyInfo", MAX_STRUCTURE)?;
            // Unsigned: TPMT_SIGNATURE of no algorithm.
            reader.u16_be().map_err(Into::into).map(drop)
        })?;
        let values = self.pcr_read(pcrs)?;
        let concatenated: Vec<&[u8]> = values.values().map(Digest::as_bytes).collect();
        let expected = Writer::default().selections(&[pcrs.selection()]).sized(hash.digest(&concatenated).as_bytes());
        // TPMS_CREATION_DATA begins with the selection and the digest of the values.
        let mut reader = Reader::new(&object.creation);
        let found = reader.take(expected.as_bytes().len());
        if found.is_ok_and(|found| found == expected.as_bytes()) { Ok(()) } else { Err(TpmError::MadeElsewhere) }
    }
}
