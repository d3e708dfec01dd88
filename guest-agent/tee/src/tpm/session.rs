//! Policy sessions (TPM 2.0 part 1, section 19.7).

use evidence_formats::tpm::PcrSelection;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    Hierarchy, Pcrs, Tpm, TpmError,
    client::Loaded,
    command::{Command, CommandCode, Writer},
    response::sized,
};

/// TPM_SE_POLICY and TPM_SE_TRIAL.
const POLICY: u8 = 0x01;
const TRIAL: u8 = 0x03;
/// TPM_RH_NULL: neither salted nor bound.
const NULL: u32 = 0x4000_0007;
const ALG_NULL: u16 = 0x0010;
const ALG_SHA256: u16 = 0x000B;
/// TPM_EO_UNSIGNED_LE.
pub(super) const UNSIGNED_LE: u16 = 0x0009;
/// Bytes of our nonce.
const NONCE_BYTES: usize = 32;

/// A policy session over SHA-256. Dropping it frees it.
///
/// It carries no HMAC and no encryption: whoever sits between this process and the TPM reads what passes.
#[derive(Debug)]
pub struct PolicySession {
    tpm: Tpm,
    loaded: Loaded,
}

impl Tpm {
    /// Starts a session that can authorise (TPM2_StartAuthSession).
    ///
    /// # Errors
    /// [`TpmError`] when the TPM has no room for one.
    pub fn policy_session(&self) -> Result<PolicySession, TpmError> {
        self.start_session(POLICY)
    }

    /// Starts a session that only computes a policy's digest.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM has no room for one.
    pub fn trial_session(&self) -> Result<PolicySession, TpmError> {
        self.start_session(TRIAL)
    }

    fn start_session(&self, kind: u8) -> Result<PolicySession, TpmError> {
        let parameters = Writer::default().sized(&nonce()?).sized(&[]).u8(kind).u16(ALG_NULL).u16(ALG_SHA256);
        let command = Command::new(CommandCode::START_AUTH_SESSION, &[NULL, NULL]).parameters(parameters);
        let (loaded, ()) = self.load(command, |reader| sized(reader, "nonceTPM", 64).map(drop))?;
        Ok(PolicySession { tpm: self.clone(), loaded })
    }

    /// A session that satisfies the policy of an endorsement key: the endorsement hierarchy's authorisation (PolicyA).
    pub(super) fn endorsement_session(&self) -> Result<PolicySession, TpmError> {
        let session = self.policy_session()?;
        session.require_endorsement()?;
        Ok(session)
    }
}

impl PolicySession {
    /// Demands the authorisation of the endorsement hierarchy and gives it (TPM2_PolicySecret).
    ///
    /// # Errors
    /// [`TpmError`] when the hierarchy has an authorisation that is not empty.
    pub fn require_endorsement(&self) -> Result<(), TpmError> {
        // nonceTPM, cpHashA and policyRef are empty, no expiration.
        let parameters = Writer::default().sized(&[]).sized(&[]).sized(&[]).u32(0);
        let handles = [Hierarchy::Endorsement.handle(), self.handle()];
        let command = Command::new(CommandCode::POLICY_SECRET, &handles).with_password().parameters(parameters);
        self.tpm.ask(command, |reader| {
            sized(reader, "timeout", 8)?;
            // TPMT_TK_AUTH: tag, hierarchy, digest.
            reader.take(6)?;
            sized(reader, "policyTicket", 64).map(drop)
        })
    }

    /// Demands that these PCRs have the values that they have now (TPM2_PolicyPCR).
    ///
    /// # Errors
    /// [`TpmError`] when the TPM refuses the selection.
    pub fn require_pcrs(&self, pcrs: &Pcrs) -> Result<(), TpmError> {
        let selection: PcrSelection = pcrs.selection();
        let parameters = Writer::default().sized(&[]).selections(&[selection]);
        let command = Command::new(CommandCode::POLICY_PCR, &[self.handle()]).parameters(parameters);
        self.tpm.ask(command, |_nothing| Ok(()))
    }

    /// Demands that the unsigned field of TPMS_TIME_INFO at `offset` is not above `limit`, big-endian and as long as the field
    /// (TPM2_PolicyCounterTimer).
    ///
    /// # Errors
    /// [`TpmError`]: `TPM_RC_POLICY` when it is.
    pub(super) fn require_at_most(&self, offset: u16, limit: &[u8]) -> Result<(), TpmError> {
        let parameters = Writer::default().sized(limit).u16(offset).u16(UNSIGNED_LE);
        let command = Command::new(CommandCode::POLICY_COUNTER_TIMER, &[self.handle()]).parameters(parameters);
        self.tpm.ask(command, |_nothing| Ok(()))
    }

    /// The digest of what was demanded so far, 32 bytes (TPM2_PolicyGetDigest).
    ///
    /// # Errors
    /// [`TpmError`] when the TPM gives none.
    pub fn digest(&self) -> Result<Vec<u8>, TpmError> {
        let command = Command::new(CommandCode::POLICY_GET_DIGEST, &[self.handle()]);
        self.tpm.ask(command, |reader| sized(reader, "policyDigest", 64).map(<[u8]>::to_vec))
    }

    pub(super) const fn handle(&self) -> u32 {
        self.loaded.handle()
    }
}

fn nonce() -> Result<[u8; NONCE_BYTES], TpmError> {
    let mut nonce = [0; NONCE_BYTES];
    let filled = getrandom(&mut nonce[..], GetRandomFlags::empty()).map_err(|errno| TpmError::Random { errno })?;
    if filled == NONCE_BYTES { Ok(nonce) } else { Err(TpmError::Random { errno: rustix::io::Errno::INTR }) }
}
