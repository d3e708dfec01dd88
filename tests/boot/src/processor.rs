//! The secure processor on this machine's side: what the guest's `soft_tsm` module asks, softtee signs.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use evidence_formats::bytes::LaunchDigest;
use softtee::tsm::{Guest, GuestState, ReportRequest, SimulatedGuest, SnpState, StateSource};

/// Longest wait for the guest in the middle of a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// A processor that answers on a port of this machine, as long as the test's process lives.
#[derive(Debug)]
pub struct Processor {
    port: u16,
    launched: Arc<Mutex<Option<LaunchDigest>>>,
}

impl Processor {
    /// Starts to answer. Nothing is launched yet.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let launched = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&launched);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let launched = *shared.lock().unwrap_or_else(PoisonError::into_inner);
                // The guest sees a broken connection; its console says so.
                let _seen_by_the_guest = answer(stream, launched);
            }
        });
        Ok(Self { port, launched })
    }

    /// Where it answers.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// From now on reports carry this digest, as after the launch of a guest.
    pub fn launches(&self, digest: LaunchDigest) {
        *self.launched.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
    }
}

/// One request and its answer; see `soft-tsm/soft_tsm.c`.
fn answer(mut stream: TcpStream, launched: Option<LaunchDigest>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut level, mut report_data) = ([0; 4], [0; 64]);
    stream.read_exact(&mut level)?;
    stream.read_exact(&mut report_data)?;
    let Some(measurement) = launched else {
        bail!("expected a launch before a report");
    };
    let snp = SnpState { measurement: Some(measurement), ..SnpState::default() };
    let state = GuestState { snp, ..GuestState::default() };
    let request =
        ReportRequest { inblob: report_data.to_vec(), privilege_level: u32::from_le_bytes(level), from_svsm: false };
    match SimulatedGuest::new(StateSource::Fixed(Box::new(state))).report(&request) {
        Ok(blobs) => {
            stream.write_all(&0_u32.to_le_bytes())?;
            for blob in [blobs.outblob, blobs.auxblob] {
                stream.write_all(&u32::try_from(blob.len())?.to_le_bytes())?;
                stream.write_all(&blob)?;
            }
        }
        Err(errno) => stream.write_all(&u32::try_from(errno.code())?.to_le_bytes())?,
    }
    Ok(())
}
