//! Commands to a TPM (TPM 2.0 part 1, section 18; codes of part 2, section 6.5.2).

use evidence_formats::tpm::PcrSelection;
use zeroize::Zeroizing;

use super::{
    TpmError,
    response::{NO_SESSIONS, SESSIONS, Shape},
    transport::MAX_BYTES,
};

/// TPM_RS_PW: authorisation by a password, here always the empty one.
const PASSWORD: u32 = 0x4000_0009;
/// TPMA_SESSION continueSession: the session is ours to flush, also after success.
const CONTINUE_SESSION: u8 = 1;

/// Number and name of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommandCode(u32, &'static str);

/// The commands that this client knows.
macro_rules! codes {
    ($($name:ident = $value:literal $text:literal,)*) => {
        impl CommandCode {
            $(pub(super) const $name: Self = Self($value, $text);)*
        }
    };
}

codes! {
    EVICT_CONTROL = 0x120 "TPM2_EvictControl",
    NV_UNDEFINE_SPACE = 0x122 "TPM2_NV_UndefineSpace",
    NV_DEFINE_SPACE = 0x12A "TPM2_NV_DefineSpace",
    CREATE_PRIMARY = 0x131 "TPM2_CreatePrimary",
    NV_WRITE = 0x137 "TPM2_NV_Write",
    PCR_RESET = 0x13D "TPM2_PCR_Reset",
    STARTUP = 0x144 "TPM2_Startup",
    SHUTDOWN = 0x145 "TPM2_Shutdown",
    ACTIVATE_CREDENTIAL = 0x147 "TPM2_ActivateCredential",
    CERTIFY_CREATION = 0x14A "TPM2_CertifyCreation",
    NV_READ = 0x14E "TPM2_NV_Read",
    POLICY_SECRET = 0x151 "TPM2_PolicySecret",
    CREATE = 0x153 "TPM2_Create",
    IMPORT = 0x156 "TPM2_Import",
    LOAD = 0x157 "TPM2_Load",
    QUOTE = 0x158 "TPM2_Quote",
    UNSEAL = 0x15E "TPM2_Unseal",
    FLUSH_CONTEXT = 0x165 "TPM2_FlushContext",
    NV_READ_PUBLIC = 0x169 "TPM2_NV_ReadPublic",
    POLICY_COUNTER_TIMER = 0x16D "TPM2_PolicyCounterTimer",
    READ_PUBLIC = 0x173 "TPM2_ReadPublic",
    START_AUTH_SESSION = 0x176 "TPM2_StartAuthSession",
    GET_CAPABILITY = 0x17A "TPM2_GetCapability",
    PCR_READ = 0x17E "TPM2_PCR_Read",
    POLICY_PCR = 0x17F "TPM2_PolicyPCR",
    READ_CLOCK = 0x181 "TPM2_ReadClock",
    PCR_EXTEND = 0x182 "TPM2_PCR_Extend",
    POLICY_GET_DIGEST = 0x189 "TPM2_PolicyGetDigest",
}

impl CommandCode {
    /// As part 3 writes it.
    pub(super) const fn name(self) -> &'static str {
        self.1
    }
}

/// Big-endian fields, one after the other. May hold a secret.
#[derive(Default)]
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A TPM2B. One of more than 65535 bytes makes the command too large to be sent.
    pub(super) fn sized(self, bytes: &[u8]) -> Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).bytes(bytes)
    }

    /// TPML_PCR_SELECTION.
    pub(super) fn selections(self, selections: &[PcrSelection]) -> Self {
        let count = u32::try_from(selections.len()).unwrap_or(u32::MAX);
        selections.iter().fold(self.u32(count), |writer, selection| {
            // Bit n of byte m selects PCR 8m + n; three bytes are the 24 PCRs of the PC Client profile.
            let mut bits = [0_u8; 3];
            for (byte, base) in bits.iter_mut().zip([0_u8, 8, 16]) {
                for bit in (0..8_u8).filter(|bit| selection.pcrs.contains(&base.saturating_add(*bit))) {
                    *byte |= 1 << bit;
                }
            }
            writer.u16(selection.bank.tpm_id()).u8(3).bytes(&bits)
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One command.
pub(super) struct Command {
    pub(super) code: CommandCode,
    handles: Vec<u32>,
    sessions: Vec<u32>,
    parameters: Writer,
    /// Whether the response has a handle.
    gives_handle: bool,
}

impl Command {
    /// A command on these handles, without authorisation.
    pub(super) fn new(code: CommandCode, handles: &[u32]) -> Self {
        let parameters = Writer::default();
        Self { code, handles: handles.to_vec(), sessions: Vec::new(), parameters, gives_handle: false }
    }

    /// Authorises the next handle by the empty password.
    pub(super) fn with_password(self) -> Self {
        self.with_session(PASSWORD)
    }

    /// Authorises the next handle by a session.
    pub(super) fn with_session(mut self, session: u32) -> Self {
        self.sessions.push(session);
        self
    }

    /// Sets the parameters.
    pub(super) fn parameters(mut self, parameters: Writer) -> Self {
        self.parameters = parameters;
        self
    }

    /// Expects a handle in the response.
    pub(super) const fn giving_handle(mut self) -> Self {
        self.gives_handle = true;
        self
    }

    /// What the response consists of.
    pub(super) const fn shape(&self) -> Shape {
        Shape { handle: self.gives_handle, sessions: self.sessions.len() }
    }

    /// The bytes to send.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let mut body = Writer::default();
        for handle in &self.handles {
            body = body.u32(*handle);
        }
        if !self.sessions.is_empty() {
            let mut authorisations = Writer::default();
            for session in &self.sessions {
                authorisations = authorisations.u32(*session).sized(&[]).u8(CONTINUE_SESSION).sized(&[]);
            }
            let bytes = authorisations.as_bytes();
            body = body.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).bytes(bytes);
        }
        body = body.bytes(self.parameters.as_bytes());
        let size = body.as_bytes().len().saturating_add(10);
        if size > MAX_BYTES {
            return Err(TpmError::CommandSize { size });
        }
        let tag = if self.sessions.is_empty() { NO_SESSIONS } else { SESSIONS };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        Ok(Writer::default().u16(tag).u32(size).u32(self.code.0).bytes(body.as_bytes()).0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use evidence_formats::digest::HashAlgorithm;

    use super::*;

    #[test]
    fn a_command_is_its_bytes() {
        let startup = Command::new(CommandCode::STARTUP, &[]).parameters(Writer::default().u16(0));
        assert_eq!(startup.encode().unwrap().as_slice(), [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0]);
        let authorised = Command::new(CommandCode::PCR_RESET, &[16]).with_password().encode().unwrap();
        let expected = [0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x3D, 0, 0, 0, 16, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0];
        assert_eq!(authorised.as_slice(), expected);
    }

    #[test]
    fn selections_are_bits() {
        let selection = PcrSelection { bank: HashAlgorithm::Sha256, pcrs: [0, 7, 9, 23].into() };
        let written = Writer::default().selections(&[selection]);
        assert_eq!(written.as_bytes(), [0, 0, 0, 1, 0, 0x0B, 3, 0x81, 0x02, 0x80]);
    }

    #[test]
    fn what_no_tpm_takes_is_not_sent() {
        let large = Command::new(CommandCode::NV_WRITE, &[]).parameters(Writer::default().sized(&[0; 70_000]));
        assert_eq!(large.encode(), Err(TpmError::CommandSize { size: 70_012 }));
    }
}
