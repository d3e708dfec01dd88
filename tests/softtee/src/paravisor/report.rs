//! The paravisor's report: header, hardware report, request data, claims (OpenHCL `igvm_attest`).
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use evidence_formats::bytes::{ReportData, Sha384Digest};
use openssl::hash::MessageDigest;
use tee::tpm::{NvIndex, Tpm};

use super::claims::{self, Keys};
use crate::intel::{TdxPlatform, td_report};
use crate::keys::digest;
use crate::tsm::{GuestState, Provider, StateSource};

/// What the guest writes.
const USER_DATA: NvIndex = NvIndex(0x0140_0002);
/// Bytes of the index.
pub(super) const SIZE: u16 = 2600;
const AREA: usize = 1184;

/// Makes reports.
#[derive(Debug)]
pub(super) struct Reporter {
    source: StateSource,
    tpm: Tpm,
    keys: Keys,
    last: Option<(Instant, Vec<u8>)>,
}

impl Reporter {
    pub(super) const fn new(source: StateSource, tpm: Tpm, keys: Keys) -> Self {
        Self { source, tpm, keys, last: None }
    }

    /// The report; a read from the start makes a new one when the last is old.
    pub(super) fn read(&mut self, from_start: bool) -> Result<&[u8]> {
        let state = self.source.load()?;
        let fresh = |made: &Instant| made.elapsed() < Duration::from_millis(state.paravisor.refresh_ms);
        let keeps = self.last.as_ref().is_some_and(|(made, _)| !from_start || state.paravisor.frozen || fresh(made));
        if !keeps {
            let written = self.tpm.nv_read_if_there(USER_DATA)?.unwrap_or_default();
            let mut user_data = ReportData([0; 64]);
            user_data.0.iter_mut().zip(written).for_each(|(place, byte)| *place = byte);
            self.last = Some((Instant::now(), blob(&state, &self.keys, &user_data)?));
        }
        self.last.as_ref().map(|(_, report)| report.as_slice()).context("expected a report")
    }
}

fn blob(state: &GuestState, keys: &Keys, user_data: &ReportData) -> Result<Vec<u8>> {
    let claims = claims::text(&state.paravisor, keys, user_data);
    let bound = if state.paravisor.bound { claims.as_slice() } else { b"other claims" };
    let mut report_data = [0; 64];
    report_data.iter_mut().zip(digest(MessageDigest::sha256(), &[bound])).for_each(|(place, byte)| *place = byte);
    let (kind, mut area) = match state.provider {
        Provider::SevGuest => (2, snp_report(state, report_data)),
        Provider::TdxGuest => (4, td_report(&tdx_body(state, report_data))),
    };
    area.resize(AREA, 0);
    let claims_size = u32::try_from(claims.len())?;
    let data_size = claims_size.saturating_add(20);
    let report_size = data_size.saturating_add(32).saturating_add(u32::try_from(AREA)?);
    let header = [u32::from_le_bytes(*b"HCLA"), 2, report_size, 2, 0, 0, 0, 0].map(u32::to_le_bytes).concat();
    let request = [data_size, 1, kind, 1, claims_size].map(u32::to_le_bytes).concat();
    let mut blob = [header, area, request, claims].concat();
    blob.resize(usize::from(SIZE), 0);
    Ok(blob)
}

fn snp_report(state: &GuestState, report_data: [u8; 64]) -> Vec<u8> {
    let processor = state.snp.processor();
    let mut guest = state.snp.guest(&processor);
    guest.report_data.0 = report_data;
    processor.report(&guest)
}

/// The paravisor measures nothing into RTMRs: what the guest boots is in the TPM.
fn tdx_body(state: &GuestState, report_data: [u8; 64]) -> evidence_formats::tdx::TdQuoteBody {
    let mut td = state.tdx.td(&TdxPlatform::new());
    td.td15 = None;
    td.info.rtmr = [Sha384Digest([0; 48]); 4];
    td.report_data.0 = report_data;
    td
}
