//! The soft paravisor behaves as the real one, as far as a guest sees it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use evidence_formats::digest::HashAlgorithm;
use evidence_formats::hcl::{HclHardware, HclReport, RuntimeClaims};
use evidence_formats::snp::SnpReport;
use evidence_formats::tdx::{TdReport, TdxQuote};
use evidence_formats::tpm::TpmKey;
use softtee::paravisor::{AkClaim, Paravisor, ParavisorState};
use softtee::swtpm::is_installed;
use softtee::tsm::{GuestState, Provider, StateSource};
use tee::tpm::{NvAttributes, NvIndex, NvPublic, Pcrs, PersistentHandle, Tpm};

const REPORT: NvIndex = NvIndex(0x0140_0001);
const USER_DATA: NvIndex = NvIndex(0x0140_0002);

fn start(provider: Provider, paravisor: ParavisorState) -> Paravisor {
    let state = GuestState { provider, paravisor, ..GuestState::default() };
    Paravisor::start(StateSource::Fixed(Box::new(state))).unwrap()
}

fn write(tpm: &Tpm, user_data: &[u8]) {
    if tpm.nv_public(USER_DATA).unwrap().is_none() {
        let attributes = [NvAttributes::AUTH_READ, NvAttributes::AUTH_WRITE, NvAttributes::OWNER_WRITE];
        let attributes = attributes.into_iter().fold(NvAttributes::NO_DA, NvAttributes::union);
        tpm.nv_define(&NvPublic { index: USER_DATA, attributes, size: 64 }).unwrap();
    }
    tpm.nv_write(USER_DATA, user_data).unwrap();
}

fn report(tpm: &Tpm) -> (HclReport, RuntimeClaims) {
    let report = HclReport::parse(&tpm.nv_read(REPORT).unwrap()).unwrap();
    let claims = RuntimeClaims::parse(report.claims()).unwrap();
    (report, claims)
}

#[test]
fn what_the_guest_writes_is_in_a_later_report_that_the_hardware_binds() {
    if !is_installed() {
        return;
    }
    let paravisor = start(Provider::SevGuest, ParavisorState { refresh_ms: 300, ..ParavisorState::default() });
    let tpm = Tpm::open(&paravisor.tpm()).unwrap();
    assert_eq!(report(&tpm).1.user_data.unwrap().0, [0; 64]);
    write(&tpm, &[7; 64]);
    // The last report is young still.
    assert_eq!(report(&tpm).1.user_data.unwrap().0, [0; 64]);
    sleep(Duration::from_millis(400));
    let (report, claims) = report(&tpm);
    assert_eq!(claims.user_data.unwrap().0, [7; 64]);
    assert_eq!(report.hardware(), HclHardware::Snp);
    let hardware = SnpReport::parse(report.hardware_report()).unwrap();
    assert_eq!(hardware.fields().report_data, report.expected_report_data());
    // The key of the claims is the one that quotes.
    let ak = tpm.persistent(PersistentHandle(0x8100_0003)).unwrap();
    let TpmKey::Rsa { modulus, .. } = &ak.public().key else { unreachable!("expected an RSA key") };
    assert_eq!(modulus, claims.attestation_key.modulus());
    let quoted = tpm.quote_pcrs(&ak, &[7; 48], &Pcrs::all(HashAlgorithm::Sha256)).unwrap();
    assert_eq!(quoted.values.len(), 24);
}

#[test]
fn a_key_that_could_not_be_made_is_all_zeros() {
    if !is_installed() {
        return;
    }
    let paravisor = start(Provider::SevGuest, ParavisorState { ak: AkClaim::Zero, ..ParavisorState::default() });
    let tpm = Tpm::open(&paravisor.tpm()).unwrap();
    let report = HclReport::parse(&tpm.nv_read(REPORT).unwrap()).unwrap();
    assert!(RuntimeClaims::parse(report.claims()).is_err());
}

#[test]
fn the_metadata_service_makes_quotes_of_its_own_reports_only() {
    if !is_installed() {
        return;
    }
    let paravisor = start(Provider::TdxGuest, ParavisorState::default());
    let tpm = Tpm::open(&paravisor.tpm()).unwrap();
    let (report, _) = report(&tpm);
    assert_eq!(report.hardware(), HclHardware::Tdx);
    let mut td_report = report.hardware_report().to_vec();
    let parsed = TdReport::parse(&td_report).unwrap();
    let answer = post(&paravisor, &td_report);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let quote = answer.split('"').nth(3).unwrap().replace('-', "+").replace('_', "/");
    let padded = format!("{quote}{}", "=".repeat((4 - quote.len() % 4) % 4));
    let quote = TdxQuote::parse(&openssl::base64::decode_block(&padded).unwrap()).unwrap();
    assert_eq!((quote.body.info, quote.body.report_data), (parsed.info, report.expected_report_data()));

    *td_report.last_mut().unwrap() = 1;
    assert!(post(&paravisor, &td_report).starts_with("HTTP/1.1 400"));
}

fn post(paravisor: &Paravisor, td_report: &[u8]) -> String {
    let text = openssl::base64::encode_block(td_report).replace('+', "-").replace('/', "_");
    let body = format!("{{\"report\":\"{}\"}}", text.trim_end_matches('='));
    let mut stream = TcpStream::connect(paravisor.metadata().trim_start_matches("http://")).unwrap();
    let head = format!("POST /acc/tdquote HTTP/1.1\r\nMetadata: true\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head, body].concat().into_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
