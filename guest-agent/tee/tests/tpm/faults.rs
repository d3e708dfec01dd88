//! A TPM or a path to it that misbehaves.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    sync::{Arc, Mutex},
    thread,
};

use evidence_formats::digest::{Digest, HashAlgorithm};
use tee::tpm::{AkKind, Malformed, Pcrs, Tpm, TpmAddress, TpmError, Transport};
use zeroize::Zeroizing;

use crate::bare;

/// Bends what the TPM answers to one command, `times` times.
#[derive(Debug)]
struct Bent {
    inner: Box<dyn Transport>,
    command: u32,
    bend: fn(&mut Vec<u8>),
    times: Arc<Mutex<u32>>,
}

impl Transport for Bent {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let mut response = self.inner.transact(command)?.to_vec();
        let mut times = self.times.lock().unwrap();
        if command[6..10] == self.command.to_be_bytes() && *times > 0 {
            *times = times.saturating_sub(1);
            (self.bend)(&mut response);
        }
        Ok(Zeroizing::new(response))
    }
}

/// The transport of a real TPM, as a program outside of the package can have it.
#[derive(Debug)]
struct Raw(std::os::unix::net::UnixStream);

impl Transport for Raw {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.0.write_all(command).unwrap();
        let mut response = vec![0; 4096];
        let count = self.0.read(&mut response).unwrap();
        response.truncate(count);
        Ok(Zeroizing::new(response))
    }
}

const PCR_READ: u32 = 0x17E;
const QUOTE: u32 = 0x158;
const CREATE_PRIMARY: u32 = 0x131;

fn bent(machine: &softtee::swtpm::SwTpm, command: u32, times: u32, bend: fn(&mut Vec<u8>)) -> (Tpm, Arc<Mutex<u32>>) {
    let socket = machine.address().path().unwrap().to_owned();
    let inner = Box::new(Raw(std::os::unix::net::UnixStream::connect(socket).unwrap()));
    let times = Arc::new(Mutex::new(times));
    (Tpm::over(Box::new(Bent { inner, command, bend, times: Arc::clone(&times) })), times)
}

fn put_off(response: &mut Vec<u8>) {
    *response = [&[0x80, 1, 0, 0, 0, 10][..], &0x922_u32.to_be_bytes()].concat();
}

#[test]
fn a_command_that_is_put_off_is_sent_again() {
    let Some((machine, tpm)) = bare() else { return };
    drop(tpm);
    let (tpm, left) = bent(&machine, QUOTE, 2, put_off);
    let ak = tpm.create_ak(AkKind::EccP256).unwrap();
    tpm.quote_pcrs(&ak, &[1; 48], &Pcrs::all(HashAlgorithm::Sha256)).unwrap();
    assert_eq!(*left.lock().unwrap(), 0);
}

#[test]
fn values_that_are_not_quoted_are_read_and_quoted_again_and_given_up_at_last() {
    let Some((machine, tpm)) = bare() else { return };
    drop(tpm);
    // The last byte is one of a digest: as if the PCR had been extended after the quote.
    let moved: fn(&mut Vec<u8>) = |response| *response.last_mut().unwrap() ^= 1;
    let pcrs = Pcrs::new(HashAlgorithm::Sha256, [0, 11]);
    let (tpm, left) = bent(&machine, PCR_READ, 3, moved);
    let ak = tpm.create_ak(AkKind::EccP256).unwrap();
    let quoted = tpm.quote_pcrs(&ak, &[1; 48], &pcrs).unwrap();
    assert_eq!((*left.lock().unwrap(), quoted.values[&11]), (0, Digest::zero(HashAlgorithm::Sha256)));
    drop((ak, tpm));
    let (tpm, _left) = bent(&machine, PCR_READ, 100, moved);
    let ak = tpm.create_ak(AkKind::EccP256).unwrap();
    assert_eq!(tpm.quote_pcrs(&ak, &[1; 48], &pcrs), Err(TpmError::PcrsMoved { attempts: 5 }));
}

#[test]
fn a_key_under_another_name_is_refused_and_freed() {
    let Some((machine, tpm)) = bare() else { return };
    drop(tpm);
    // The name stands before the session: nonce size 2, attributes 1, HMAC size 2.
    let renamed: fn(&mut Vec<u8>) = |response| {
        let at = response.len().saturating_sub(6);
        response[at] ^= 1;
    };
    let (tpm, _left) = bent(&machine, CREATE_PRIMARY, 10, renamed);
    for _ in 0..10 {
        // Ten would not fit if they were not freed.
        assert_eq!(tpm.create_ak(AkKind::EccP256).map(drop), Err(TpmError::Name));
    }
    tpm.create_ak(AkKind::EccP256).unwrap();
}

#[test]
fn a_response_that_is_cut_is_refused_by_name() {
    let Some((machine, tpm)) = bare() else { return };
    drop(tpm);
    fn cut(response: &mut Vec<u8>) {
        response.pop();
    }
    let (tpm, _left) = bent(&machine, PCR_READ, 1, cut);
    let refused = tpm.pcr_read(&Pcrs::new(HashAlgorithm::Sha256, [0]));
    let source = Malformed::Field { field: "responseSize", value: 62 };
    assert_eq!(refused, Err(TpmError::Malformed { command: "TPM2_PCR_Read", source }));
}

/// A server that answers one command with these bytes and closes.
fn answering(answer: &'static [u8]) -> (tempfile::TempDir, Tpm) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tpm");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _command = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(answer).unwrap();
    });
    (directory, Tpm::open(&TpmAddress::Unix(path)).unwrap())
}

#[test]
fn sizes_that_no_response_has_are_refused_before_they_are_read() {
    for (answer, size) in [
        (&[0x80, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], 0xFFFF_FFFF),
        (&[0x80, 1, 0, 0, 0x10, 1, 0, 0, 0, 0], 4097),
        (&[0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0], 9),
    ] {
        let (_directory, tpm) = answering(answer);
        assert_eq!(tpm.startup(), Err(TpmError::ResponseSize { size }));
    }
}

#[test]
fn a_connection_that_broke_is_not_used_again() {
    let (_directory, tpm) = answering(&[0x80, 1, 0]);
    assert!(matches!(tpm.startup(), Err(TpmError::Transport { .. })));
    assert_eq!(tpm.startup(), Err(TpmError::Broken));
    let nowhere = TpmAddress::Unix("/nonexistent/tpm".into());
    assert!(matches!(Tpm::open(&nowhere), Err(TpmError::Open { .. })));
}
