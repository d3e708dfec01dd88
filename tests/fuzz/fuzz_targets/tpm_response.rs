//! What a TPM, or whoever sits before it, answers to the agent. The first byte says which command was asked.
#![no_main]

use std::fmt;

use evidence_formats::digest::HashAlgorithm;
use fuzz::within_memory;
use tee::tpm::{
    AkKind, EkKind, ImportedSecret, NvIndex, Pcrs, PersistentHandle, Response, ResponseCode, Shape, Tpm, TpmError,
    Transport,
};
use zeroize::Zeroizing;

/// Responses one after the other, each of the size that its header says; then the connection breaks.
struct Hostile(Vec<u8>);

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hostile")
    }
}

impl Transport for Hostile {
    fn transact(&mut self, _command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let number = |at: std::ops::Range<usize>| self.0.get(at).and_then(|bytes| bytes.try_into().ok());
        let size = number(2..6).map_or(0, u32::from_be_bytes);
        let size = usize::try_from(size).unwrap_or(0).clamp(10, 4096);
        // A TPM that puts commands off makes the client wait, which is not what is looked for.
        let waits = matches!(number(6..10).map(u32::from_be_bytes), Some(0x908 | 0x90A | 0x922));
        if self.0.len() < size || waits {
            return Err(TpmError::ResponseSize { size: self.0.len() });
        }
        let rest = self.0.split_off(size);
        Ok(Zeroizing::new(std::mem::replace(&mut self.0, rest)))
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, responses)) = bytes.split_first() else { return };
    within_memory(|| {
        for handle in [false, true] {
            for sessions in 0..3 {
                if let Ok(response) = Response::parse(responses, Shape { handle, sessions }) {
                    assert!(response.code == ResponseCode::SUCCESS || response.parameters.is_empty());
                    let _ = response.code.to_string();
                }
            }
        }
        let tpm = Tpm::over(Box::new(Hostile(responses.to_vec())));
        let pcrs = Pcrs::all(HashAlgorithm::Sha256);
        match which % 8 {
            0 => drop(tpm.pcr_read(&pcrs)),
            1 => drop(tpm.pcr_banks()),
            2 => drop(tpm.nv_read_if_there(NvIndex(0x01C0_0002))),
            3 => drop(tpm.create_ak(AkKind::EccP256)),
            4 => drop(tpm.persistent(PersistentHandle(0x8100_0003))),
            5 => drop(tpm.seal_to_pcrs(b"secret", &pcrs)),
            6 => {
                if let Ok(ak) = tpm.create_ak(AkKind::Rsa2048) {
                    let _ = tpm.quote_pcrs(&ak, &[7; 48], &pcrs);
                }
            }
            _ => {
                if let Ok(ek) = tpm.create_ek(EkKind::Rsa2048) {
                    let whole = || vec![0, 1, 0];
                    let wrapped = ImportedSecret { public: whole(), duplicate: whole(), symseed: whole() };
                    let _ = tpm.unseal_imported(&ek, &wrapped, &pcrs);
                }
            }
        }
    });
});
