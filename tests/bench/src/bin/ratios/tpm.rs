//! The agent's quote path over swtpm: wall time, since the work is another process's. What the TPM itself takes for
//! TPM2_Quote is measured on the same commands, from the last byte of the command to the last byte of the response.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bench::{
    clock::{Compared, median},
    table::{Limit, Row},
};
use evidence_formats::{digest::HashAlgorithm, tpm::TpmDocument};
use softtee::swtpm::{SwTpm, is_installed};
use tee::tpm::{AkKind, Pcrs, Tpm, TpmError, Transport};

const ROUNDS: usize = 201;
/// TPM_CC_Quote, where a command has its code.
const QUOTE: [u8; 4] = [0, 0, 1, 0x58];

/// A socket that keeps how long the TPM took for the last quote.
#[derive(Debug)]
struct Timed {
    stream: UnixStream,
    quote: Arc<Mutex<Duration>>,
}

impl Timed {
    fn exchange(&mut self, command: &[u8]) -> std::io::Result<Vec<u8>> {
        self.stream.write_all(command)?;
        let begun = Instant::now();
        let mut response = vec![0; 4096];
        let mut filled = 0;
        loop {
            let count = self.stream.read(response.get_mut(filled..).unwrap_or_default())?;
            filled = filled.saturating_add(count);
            let size = response.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
            let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
            if count == 0 || (filled >= 10 && filled >= size) {
                break;
            }
        }
        if command.get(6..10) == Some(&QUOTE) {
            *self.quote.lock().unwrap_or_else(PoisonError::into_inner) = begun.elapsed();
        }
        response.truncate(filled);
        Ok(response)
    }
}

impl Transport for Timed {
    fn transact(&mut self, command: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, TpmError> {
        let response = self.exchange(command);
        response.map(Into::into).map_err(|_broken| TpmError::Transport { errno: rustix::io::Errno::IO })
    }
}

/// What the agent does for one attestation: the first one reads the PCRs, a later one finds that they are the same.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    Read,
    Known,
}

/// Rows for each kind of attestation key; none where there is no swtpm.
pub(crate) fn rows() -> Result<Vec<Row>> {
    if !is_installed() {
        return Ok(Vec::new());
    }
    Ok(vec![
        quote(AkKind::Rsa2048, Values::Read, "first quote with PCRs and document, RSA 2048 (swtpm)", Limit::None)?,
        quote(AkKind::Rsa2048, Values::Known, "quote with PCRs and document, RSA 2048 (swtpm)", Limit::Ratio(1.20))?,
        quote(AkKind::EccP256, Values::Read, "first quote with PCRs and document, P-256 (swtpm)", Limit::None)?,
        quote(AkKind::EccP256, Values::Known, "quote with PCRs and document, P-256 (swtpm)", Limit::Ratio(1.20))?,
    ])
}

fn quote(kind: AkKind, known: Values, name: &'static str, limit: Limit) -> Result<Row> {
    let machine = SwTpm::bare()?;
    let address = machine.address();
    let socket = address.path().context("expected a unix socket")?;
    let own = Arc::new(Mutex::new(Duration::ZERO));
    let timed = Timed { stream: UnixStream::connect(socket)?, quote: Arc::clone(&own) };
    let tpm = Tpm::over(Box::new(timed));
    let ak = tpm.create_ak(kind)?;
    // Values of another selection are not known values.
    let all = Pcrs::all(HashAlgorithm::Sha256);
    let selections = match known {
        Values::Known => [all.clone(), all],
        Values::Read => [all, Pcrs::new(HashAlgorithm::Sha256, 0..23)],
    };
    let (mut ours, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pcrs in selections.iter().cycle().take(ROUNDS) {
        let begun = Instant::now();
        let quoted = tpm.quote_pcrs(&ak, &[7; 48], pcrs)?;
        let document = TpmDocument {
            ak_public: ak.public().as_bytes(),
            ak_certificates: &[],
            message: &quoted.quote.message,
            signature: &quoted.quote.signature,
            pcrs: &quoted.values,
        };
        std::hint::black_box(document.to_json()?);
        let (whole, quote) = (begun.elapsed(), *own.lock().unwrap_or_else(PoisonError::into_inner));
        ours.push(whole.as_secs_f64() * 1e6);
        others.push(quote.as_secs_f64() * 1e6);
        ratios.push(whole.as_secs_f64() / quote.as_secs_f64());
    }
    let costs = Compared { ours: median(ours)?, other: median(others)?, ratio: median(ratios)? };
    Ok(Row { name, beside: "TPM2_Quote alone", costs, limit })
}
