//! The connection, and what is common to all commands.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::sleep,
    time::Duration,
};

use evidence_formats::{bytes::Reader, digest::Digest};

use super::{
    Malformed, Pcrs, Response, ResponseCode, TpmAddress, TpmError, Transport,
    command::{Command, CommandCode, Writer},
    response::ended,
    transport,
};

/// How often a command is sent again that the TPM put off, and how long after.
const RETRIES: u32 = 40;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A TPM. Clones share the connection; commands of several threads go one after the other.
#[derive(Clone)]
pub struct Tpm {
    connection: Arc<Mutex<Connection>>,
    /// TPM_PT_NV_BUFFER_MAX, asked for once.
    pub(super) nv_chunk: Arc<OnceLock<usize>>,
    /// What was quoted last, with its values.
    pub(super) quoted: Arc<Mutex<Option<QuotedValues>>>,
}

/// PCRs and the values that a quote had of them.
pub(super) type QuotedValues = (Pcrs, BTreeMap<u8, Digest>);

struct Connection {
    transport: Box<dyn Transport>,
    /// A command got no whole response: what comes next on this connection may be the rest of it.
    broken: bool,
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm").finish_non_exhaustive()
    }
}

impl Tpm {
    /// Opens the TPM at `address`. Nothing is sent.
    ///
    /// # Errors
    /// [`TpmError::Open`] when it cannot be opened.
    pub fn open(address: &TpmAddress) -> Result<Self, TpmError> {
        Ok(Self::over(transport::open(address)?))
    }

    /// A TPM behind another transport, for tests.
    #[must_use]
    pub fn over(transport: Box<dyn Transport>) -> Self {
        let connection = Arc::new(Mutex::new(Connection { transport, broken: false }));
        Self { connection, nv_chunk: Arc::default(), quoted: Arc::default() }
    }

    /// TPM2_Startup(CLEAR): what firmware does on a real machine. Once more is no error.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM does not start.
    pub fn startup(&self) -> Result<(), TpmError> {
        match self.run(Command::new(CommandCode::STARTUP, &[]).parameters(Writer::default().u16(0))) {
            Err(error) if error.response_code() == Some(ResponseCode::INITIALIZE) => Ok(()),
            other => other.map(drop),
        }
    }

    /// TPM2_Shutdown(CLEAR): an orderly end. Without it the next start counts as an attack on the dictionary.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM refuses.
    pub fn shutdown(&self) -> Result<(), TpmError> {
        self.run(Command::new(CommandCode::SHUTDOWN, &[]).parameters(Writer::default().u16(0))).map(drop)
    }

    /// Sends one command and returns what a successful response holds.
    pub(super) fn run(&self, command: Command) -> Result<Response, TpmError> {
        let (name, bytes) = (command.code.name(), command.encode()?);
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..RETRIES {
            let response = connection.transact(&bytes)?;
            let response = Response::parse(&response, command.shape());
            let response = response.map_err(|source| TpmError::Malformed { command: name, source })?;
            if response.code == ResponseCode::SUCCESS {
                return Ok(response);
            }
            if !response.code.may_mend() {
                return Err(TpmError::Refused { command: name, code: response.code });
            }
            sleep(RETRY_PAUSE);
        }
        Err(TpmError::Transport { errno: rustix::io::Errno::TIMEDOUT })
    }
}

impl Tpm {
    /// Sends a command and reads the parameters of its response to the last byte.
    pub(super) fn ask<T>(
        &self,
        command: Command,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, TpmError> {
        let code = command.code;
        parameters(code, &self.run(command)?, read)
    }

    /// The same for a command that gives a handle, which is freed also when the parameters are no good.
    pub(super) fn load<T>(
        &self,
        command: Command,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<(Loaded, T), TpmError> {
        let code = command.code;
        let response = self.run(command.giving_handle())?;
        let missing = || Malformed::Field { field: "handle", value: 0 };
        let handle = response.handle.ok_or_else(|| TpmError::Malformed { command: code.name(), source: missing() })?;
        let loaded = Loaded { tpm: self.clone(), handle };
        let read = parameters(code, &response, read)?;
        Ok((loaded, read))
    }
}

fn parameters<T>(
    code: CommandCode,
    response: &Response,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<T, TpmError> {
    let mut reader = Reader::new(&response.parameters);
    let read = read(&mut reader).and_then(|value| ended(&reader).map(|()| value));
    read.map_err(|source| TpmError::Malformed { command: code.name(), source })
}

impl Connection {
    fn transact(&mut self, command: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, TpmError> {
        if self.broken {
            return Err(TpmError::Broken);
        }
        let response = self.transport.transact(command);
        self.broken = response.is_err();
        response
    }
}

/// A handle that the TPM frees when it is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    tpm: Tpm,
    handle: u32,
}

impl Loaded {
    pub(super) const fn handle(&self) -> u32 {
        self.handle
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let flush = Command::new(CommandCode::FLUSH_CONTEXT, &[]).parameters(Writer::default().u32(self.handle));
        // There is nobody to tell: the kernel's resource manager frees it with the connection, and a socket's TPM is
        // asked by the next command.
        let _freed_later = self.tpm.run(flush);
    }
}
