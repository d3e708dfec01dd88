//! Commands of the guest: those about the paravisor's report are answered here, all others by the TPM.
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use evidence_formats::bytes::Reader;
use evidence_formats::digest::HashAlgorithm;
use tee::tpm::{TpmAddress, TpmError, Transport};

use super::report::{Reporter, SIZE};

/// The paravisor's report.
const REPORT: u32 = 0x0140_0001;
/// Command codes (TPM 2.0 part 2, section 6.5.2).
const NV_READ: u32 = 0x14E;
const NV_READ_PUBLIC: u32 = 0x169;
/// Response code for an offset or size outside of the index.
const NV_RANGE: u32 = 0x146;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// ppWrite, ppRead, ownerRead, authRead, noDA, written, platformCreate.
const ATTRIBUTES: u32 = 1 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 25 | 1 << 29 | 1 << 30;
/// No command or response is larger.
const MAX_MESSAGE: usize = 4096;

/// The one connection to the TPM; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Upstream(Arc<Mutex<UnixStream>>);

impl Upstream {
    pub(super) fn connect(address: &TpmAddress) -> Result<Self> {
        let TpmAddress::Unix(path) = address else { bail!("expected a unix socket") };
        Ok(Self(Arc::new(Mutex::new(UnixStream::connect(path)?))))
    }

    fn send(&self, command: &[u8]) -> Result<Vec<u8>> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(command)?;
        message(&mut *stream)?.context("expected a response of the TPM")
    }
}

impl Transport for Upstream {
    fn transact(&mut self, command: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, TpmError> {
        let response = self.send(command).map_err(|_reason| TpmError::Broken)?;
        Ok(response.into())
    }
}

/// Between guests and the TPM.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    upstream: Upstream,
    reporter: Arc<Mutex<Reporter>>,
}

impl Proxy {
    pub(super) const fn new(upstream: Upstream, reporter: Arc<Mutex<Reporter>>) -> Self {
        Self { upstream, reporter }
    }

    /// Serves every connection on a thread of its own, as long as the process lives.
    pub(super) fn serve(self, listener: UnixListener) {
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let proxy = self.clone();
                // A guest that goes away is no matter.
                thread::spawn(move || proxy.attend(connection).ok());
            }
        });
    }

    fn attend(&self, mut guest: UnixStream) -> Result<()> {
        while let Some(command) = message(&mut guest)? {
            let response = match self.own(&command)? {
                Some(response) => response,
                None => self.upstream.send(&command)?,
            };
            guest.write_all(&response)?;
        }
        Ok(())
    }

    /// The answer to a command about the report; none for other commands.
    fn own(&self, command: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut reader = Reader::new(command);
        let (_tag, _size, code) = (reader.u16_be()?, reader.u32_be()?, reader.u32_be()?);
        match code {
            NV_READ_PUBLIC if reader.u32_be()? == REPORT => Ok(Some(public())),
            NV_READ => {
                let (_authority, index) = (reader.u32_be()?, reader.u32_be()?);
                if index != REPORT {
                    return Ok(None);
                }
                let sessions = usize::try_from(reader.u32_be()?)?;
                reader.take(sessions)?;
                let (size, offset) = (reader.u16_be()?, reader.u16_be()?);
                self.read(usize::from(offset), usize::from(size)).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn read(&self, offset: usize, size: usize) -> Result<Vec<u8>> {
        let mut reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
        let report = reporter.read(offset == 0)?;
        let Some(part) = report.get(offset..offset.saturating_add(size)) else {
            return Ok(framed(NO_SESSIONS, NV_RANGE, &[]));
        };
        let data = sized(part);
        let length = u32::try_from(data.len())?.to_be_bytes();
        // Behind the parameters the password session's empty nonce, its attributes and its empty HMAC.
        Ok(framed(SESSIONS, 0, &[length.as_slice(), &data, &[0, 0, 1, 0, 0]].concat()))
    }
}

/// TPM2_NV_ReadPublic's response: the public area and its name.
fn public() -> Vec<u8> {
    let area =
        [&REPORT.to_be_bytes()[..], &[0x00, 0x0B], &ATTRIBUTES.to_be_bytes(), &[0, 0], &SIZE.to_be_bytes()].concat();
    let name = [&[0x00, 0x0B], HashAlgorithm::Sha256.digest(&[&area]).as_bytes()].concat();
    framed(NO_SESSIONS, 0, &[sized(&area), sized(&name)].concat())
}

fn framed(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX).saturating_add(10);
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()[..], bytes].concat()
}

/// One command or response; none at the end of the stream.
fn message(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut message = vec![0; 10];
    if let Err(error) = stream.read_exact(&mut message) {
        return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error.into()) };
    }
    let mut reader = Reader::new(&message);
    reader.take(2)?;
    let size = usize::try_from(reader.u32_be()?)?;
    ensure!((10..=MAX_MESSAGE).contains(&size), "expected a message of 10 to {MAX_MESSAGE} bytes, found {size}");
    message.resize(size, 0);
    stream.read_exact(message.get_mut(10..).unwrap_or_default())?;
    Ok(Some(message))
}
