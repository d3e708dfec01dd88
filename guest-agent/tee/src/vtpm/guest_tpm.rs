//! The TPM of a guest: its attestation key, its part of the evidence, its part of an enrolment.

use std::collections::BTreeMap;

use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    bytes::ReportData,
    digest::{Digest, HashAlgorithm},
    tpm::TpmDocument,
};
use zeroize::Zeroizing;

use super::{TpmSettings, logs};
use crate::{
    error::{AttestError, Warning},
    tpm::{
        AkKind, ClockLimits, EkKind, Hierarchy, ImportedSecret, KeptObject, Key, NvIndex, Pcrs, PersistentHandle,
        PublicTemplate, Tpm, TpmAddress, TpmError,
    },
};

/// Google Cloud: certificate and template of the RSA and of the ECC attestation key.
const GCP: [(NvIndex, NvIndex); 2] =
    [(NvIndex(0x01C1_0002), NvIndex(0x01C1_0003)), (NvIndex(0x01C1_0000), NvIndex(0x01C1_0001))];
/// Azure: certificate of the attestation key, and where the key is.
const AZURE: (NvIndex, PersistentHandle) = (NvIndex(0x01C1_01D0), PersistentHandle(0x8100_0003));
/// Certificates that issued the endorsement key's, one after the other (TCG EK Credential Profile, section 2.2.1.5.2).
const EK_CHAIN: NvIndex = NvIndex(0x01C0_0100);
/// Most certificates that are taken from there.
const MAX_CHAIN: usize = 3;
/// Size of a TPM2B_ENCRYPTED_SECRET for an RSA 2048 key.
const RSA_SECRET_BYTES: usize = 258;

/// Where the attestation key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AkSource {
    /// Our own primary key.
    Own(AkKind),
    /// A primary key of the endorsement hierarchy by the cloud's template.
    Template(PublicTemplate),
    /// A key that the cloud keeps in the TPM.
    Persistent(PersistentHandle),
}

impl AkSource {
    /// The attestation key that a cloud certified, and its certificate in DER, padding of the NV index included.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM cannot be read.
    pub fn certified(tpm: &Tpm) -> Result<Option<(Self, Vec<u8>)>, TpmError> {
        for (certificate, template) in GCP {
            if let (Some(certificate), Some(template)) =
                (tpm.nv_read_if_there(certificate)?, tpm.nv_read_if_there(template)?)
            {
                return Ok(Some((Self::Template(PublicTemplate::new(template)), certificate)));
            }
        }
        let (index, handle) = AZURE;
        Ok(tpm.nv_read_if_there(index)?.map(|certificate| (Self::Persistent(handle), certificate)))
    }

    fn key(&self, tpm: &Tpm) -> Result<Key, TpmError> {
        match self {
            Self::Own(kind) => tpm.create_ak(*kind),
            Self::Template(template) => tpm.create_primary(Hierarchy::Endorsement, template),
            Self::Persistent(handle) => tpm.persistent(*handle),
        }
    }
}

/// What an enrolment asks the broker about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentKeys {
    /// Certificate of the endorsement key and those that issued it, in DER without padding; empty where the machine has none.
    pub ek_certificates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the endorsement key.
    pub ek_public: Vec<u8>,
    /// TPMT_PUBLIC of the attestation key.
    pub ak_public: Vec<u8>,
    ek: EkKind,
}

/// The TPM of a guest. The connection and the attestation key in it are kept between calls, and made again after an error.
#[derive(Debug)]
pub struct GuestTpm {
    address: TpmAddress,
    settings: TpmSettings,
    source: AkSource,
    certificates: Vec<Vec<u8>>,
    connected: Option<Connected>,
}

#[derive(Debug)]
struct Connected {
    // First: flushed while the connection is there.
    ak: Key,
    tpm: Tpm,
}

impl GuestTpm {
    /// The TPM at `address` with the attestation key of `source` and the certificates that vouch for it. Nothing is sent.
    #[must_use]
    pub const fn new(address: TpmAddress, settings: TpmSettings, source: AkSource, certificates: Vec<Vec<u8>>) -> Self {
        Self { address, settings, source, certificates, connected: None }
    }

    /// Puts quote, PCR values and logs into `bundle`. The quote carries what `report_data` begins with where 16 zero bytes
    /// end it (a binding digest), else all of it.
    ///
    /// # Errors
    /// [`AttestError`] when the TPM gives no quote.
    pub fn add_to(
        &mut self,
        bundle: &mut Bundle,
        report_data: &ReportData,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), AttestError> {
        let pcrs = self.settings.pcrs.clone();
        let certificates = self.certificates.clone();
        let document = self.with_ak(|tpm, ak| {
            let quoted = tpm.quote_pcrs(ak, extra_data(report_data), &pcrs)?;
            let document = TpmDocument {
                ak_public: ak.public().as_bytes(),
                ak_certificates: &certificates,
                message: &quoted.quote.message,
                signature: &quoted.quote.signature,
                pcrs: &quoted.values,
            };
            document.to_json().map_err(|source| TpmError::Structure { structure: "document", source })
        })?;
        bundle.insert(ItemName::Tpm, BundleItem { media_type: MediaType::TpmQuote, bytes: document })?;
        // After the quote: what the kernel measured since is behind what the quote covers, not missing from it.
        for log in [
            logs::read(&self.settings.event_log, ItemName::EventlogTcg2, MediaType::Tcg2Log),
            logs::read(&self.settings.ima_log, ItemName::EventlogIma, MediaType::ImaLog),
        ] {
            match log {
                Ok(None) => {}
                Ok(Some((name, item))) => bundle.insert(name, item)?,
                Err(left_out) => warnings.push(left_out),
            }
        }
        Ok(())
    }

    /// The keys of this TPM for an enrolment, with the certificate that the manufacturer left of the endorsement key.
    ///
    /// # Errors
    /// [`AttestError`] when the TPM does not make them.
    pub fn enrolment_keys(&mut self) -> Result<EnrolmentKeys, AttestError> {
        self.with_ak(|tpm, ak| {
            let (ek, ek_certificates) = endorsement_certificates(tpm)?;
            Ok(EnrolmentKeys {
                ek_certificates,
                ek_public: tpm.create_ek(ek)?.public().as_bytes().to_vec(),
                ak_public: ak.public().as_bytes().to_vec(),
                ek,
            })
        })
    }

    /// Opens the credential that the broker made for these keys: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
    ///
    /// # Errors
    /// [`AttestError`] when it was made for other keys.
    pub fn activate(
        &mut self,
        keys: &EnrolmentKeys,
        blob: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, AttestError> {
        self.with_ak(|tpm, ak| tpm.activate_credential(ak, &tpm.create_ek(keys.ek)?, blob, secret))
    }

    /// Opens what the broker wrapped for the endorsement key of this TPM, while `pcrs` are what the broker expects.
    ///
    /// # Errors
    /// [`AttestError`] when a PCR differs, or it was wrapped for another TPM.
    pub fn unseal(&mut self, secret: &ImportedSecret, pcrs: &Pcrs) -> Result<Zeroizing<Vec<u8>>, AttestError> {
        // The places of the TPM are for the endorsement key and the object.
        self.connected = None;
        let tpm = Tpm::open(&self.address)?;
        // The seed is as long as the key that opens it makes it.
        let kind = if secret.symseed.len() == RSA_SECRET_BYTES { EkKind::Rsa2048 } else { EkKind::EccP256 };
        let ek = tpm.create_ek(kind)?;
        Ok(tpm.unseal_imported(&ek, secret, pcrs)?)
    }

    /// Keeps a secret for reboots without a broker: for `milliseconds` of the TPM's own time and `resets` more starts, while the
    /// PCRs have these values. Says up to where clock and counters may go.
    ///
    /// # Errors
    /// [`AttestError`] when the TPM does not keep it.
    pub fn keep(
        &mut self,
        data: &[u8],
        bank: HashAlgorithm,
        values: &BTreeMap<u8, Digest>,
        (milliseconds, resets): (u64, u32),
    ) -> Result<(KeptObject, ClockLimits), AttestError> {
        self.connected = None;
        let tpm = Tpm::open(&self.address)?;
        let now = tpm.clock()?;
        let limits = ClockLimits {
            clock: now.clock.saturating_add(milliseconds),
            resets: now.resets.saturating_add(resets),
            // A suspension starts the PCRs anew as a reset does, and is not counted as one.
            restarts: now.restarts,
        };
        Ok((tpm.keep(data, bank, values, limits)?, limits))
    }

    /// Opens what [`GuestTpm::keep`] keeps.
    ///
    /// # Errors
    /// [`AttestError`] when the TPM does not open it.
    pub fn open_kept(
        &mut self,
        object: &KeptObject,
        pcrs: &Pcrs,
        limits: ClockLimits,
    ) -> Result<Zeroizing<Vec<u8>>, AttestError> {
        self.connected = None;
        Ok(Tpm::open(&self.address)?.open_kept(object, pcrs, limits)?)
    }

    fn with_ak<T>(&mut self, run: impl FnOnce(&Tpm, &Key) -> Result<T, TpmError>) -> Result<T, AttestError> {
        let connected = match self.connected.take() {
            Some(connected) => connected,
            None => {
                let tpm = Tpm::open(&self.address)?;
                Connected { ak: self.source.key(&tpm)?, tpm }
            }
        };
        let done = run(&connected.tpm, &connected.ak)?;
        // Not after an error: whatever it was, the next call starts anew.
        self.connected = Some(connected);
        Ok(done)
    }
}

/// The endorsement key that has a certificate, RSA before ECC, with its chain; without any it is the RSA one, which every
/// TPM has.
fn endorsement_certificates(tpm: &Tpm) -> Result<(EkKind, Vec<Vec<u8>>), TpmError> {
    for kind in EkKind::ALL {
        if let Some(padded) = tpm.nv_read_if_there(kind.certificate_index())? {
            let chain = tpm.nv_read_if_there(EK_CHAIN)?.unwrap_or_default();
            let certificates = certificates(&padded).take(1).chain(certificates(&chain).take(MAX_CHAIN));
            return Ok((kind, certificates.map(<[u8]>::to_vec).collect()));
        }
    }
    Ok((EkKind::Rsa2048, Vec::new()))
}

/// The certificates at the start of an NV index, each a DER SEQUENCE of two length bytes: what follows is padding.
fn certificates(mut content: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [0x30, 0x82, high, low] = content.first_chunk()? else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low])).saturating_add(4);
        let (certificate, rest) = content.split_at_checked(length)?;
        content = rest;
        Some(certificate)
    })
}

/// A binding digest is 48 bytes and stands before 16 zero bytes in a hardware report; in a quote it stands alone.
fn extra_data(report_data: &ReportData) -> &[u8] {
    match report_data.as_bytes().split_last_chunk::<16>() {
        Some((digest, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])) => digest,
        _other => report_data.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn a_binding_digest_stands_alone_in_a_quote() {
        let mut data = [7; 64];
        assert_eq!(extra_data(&ReportData(data)).len(), 64);
        data[48..].fill(0);
        assert_eq!(extra_data(&ReportData(data)), [7; 48]);
        data[63] = 1;
        assert_eq!(extra_data(&ReportData(data)), data);
    }

    #[test]
    fn certificates_end_where_they_say() {
        let certificate = [&[0x30, 0x82, 0x01, 0x00][..], &[5; 256]].concat();
        let padded = [certificate.as_slice(), &certificate, &[0; 100]].concat();
        assert_eq!(certificates(&padded).collect::<Vec<_>>(), [&certificate, &certificate]);
        assert_eq!(certificates(&certificate).collect::<Vec<_>>(), [&certificate]);
        for none in [&[1, 2][..], &[], &[0xFF; 8], &certificate[..259]] {
            assert_eq!(certificates(none).count(), 0);
        }
    }
}
