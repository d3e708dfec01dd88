//! The cloud's metadata service: certificates of the processor, and quotes of TD reports.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use evidence_formats::tdx::{TdQuoteBody, TdReport};
use openssl::base64::decode_block;
use serde_json::{Value, json};

use super::MetadataFault;
use super::claims::base64url;
use crate::intel::td_report;
use crate::pem;
use crate::tsm::{GuestState, StateSource};

/// A request is small.
const MAX_REQUEST: u64 = 16 * 1024;

#[derive(Debug, Clone)]
pub(super) struct MetadataService {
    source: StateSource,
}

impl MetadataService {
    pub(super) const fn new(source: StateSource) -> Self {
        Self { source }
    }

    /// Serves on a free port of the loopback interface, as long as the process lives; its address.
    pub(super) fn serve(self) -> Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = format!("http://{}", listener.local_addr()?);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let service = self.clone();
                // A client that goes away is no matter.
                thread::spawn(move || service.attend(connection).ok());
            }
        });
        Ok(address)
    }

    fn attend(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = Request::read(&stream)?;
        let state = self.source.load()?;
        let body = match state.paravisor.metadata {
            MetadataFault::HangsUp => return Ok(()),
            MetadataFault::Unavailable => return respond(&mut stream, "503 Service Unavailable", b"{}"),
            MetadataFault::Garbage => b"<html>".to_vec(),
            MetadataFault::Endless => vec![b' '; 4 << 20],
            MetadataFault::None | MetadataFault::OtherTd => match request.answer(&state) {
                Ok(body) => body.to_string().into_bytes(),
                Err(reason) => {
                    let body = json!({"error": reason.to_string()}).to_string();
                    return respond(&mut stream, "400 Bad Request", body.as_bytes());
                }
            },
        };
        respond(&mut stream, "200 OK", &body)
    }
}

fn respond(stream: &mut TcpStream, status: &str, body: &[u8]) -> Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    Ok(())
}

#[derive(Debug)]
struct Request {
    line: String,
    has_metadata_header: bool,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Result<Self> {
        let mut reader = BufReader::new(stream.take(MAX_REQUEST));
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let (mut has_metadata_header, mut length) = (false, 0);
        loop {
            let mut header = String::new();
            ensure!(reader.read_line(&mut header)? > 0, "expected the end of the headers");
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            has_metadata_header |= header == "metadata: true";
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse()?;
            }
        }
        ensure!(length <= usize::try_from(MAX_REQUEST)?, "expected a small body");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Self { line: line.trim().to_owned(), has_metadata_header, body })
    }

    fn answer(&self, state: &GuestState) -> Result<Value> {
        ensure!(self.has_metadata_header, "expected the header Metadata: true");
        match self.line.as_str() {
            "GET /metadata/THIM/amd/certification HTTP/1.1" => Ok(certification(state)),
            "POST /acc/tdquote HTTP/1.1" => quote(state, &self.body),
            other => anyhow::bail!("expected a known path, found {other}"),
        }
    }
}

/// Certificates of the processor, in PEM.
fn certification(state: &GuestState) -> Value {
    let processor = state.snp.processor();
    let chain = [processor.pki.ask.der(), processor.pki.ark.der()].map(|der| pem::certificate(&der)).concat();
    json!({
        "vcekCert": pem::certificate(&processor.vek().der()),
        "tcbm": hex::encode(processor.tcb.to_version().0),
        "certificateChain": chain,
        "cacheControl": "86400",
    })
}

/// The quote of a report that this platform made.
fn quote(state: &GuestState, body: &[u8]) -> Result<Value> {
    let body: Value = serde_json::from_slice(body)?;
    let report = body.get("report").and_then(Value::as_str).context("expected a report")?;
    let mut padded = report.replace('-', "+").replace('_', "/");
    while !padded.len().is_multiple_of(4) {
        padded.push('=');
    }
    let report = decode_block(&padded)?;
    let parsed = TdReport::parse(&report)?;
    let mut td = TdQuoteBody {
        tee_tcb_svn: parsed.tee_tcb_svn,
        mr_seam: parsed.mr_seam,
        mr_signer_seam: parsed.mr_signer_seam,
        seam_attributes: parsed.seam_attributes,
        info: parsed.info,
        report_data: parsed.report_data,
        td15: None,
    };
    ensure!(td_report(&td) == report, "expected a report with the MAC of this platform");
    if state.paravisor.metadata == MetadataFault::OtherTd {
        td.info.mr_owner.0 = [0x0d; 48];
    }
    let platform = state.tdx.platform();
    Ok(json!({"quote": base64url(&state.tdx.quote(&platform, &td).to_bytes(&platform))}))
}
