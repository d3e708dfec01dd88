//! PCR 7: Secure Boot state, keys, and what they allowed.

use std::collections::BTreeMap;

use evidence_formats::{
    digest::HashAlgorithm,
    eventlog::{
        Event, EventType,
        uefi::{self, GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE, SHIM_LOCK, SignatureKind, UefiVariable},
    },
};
use serde::Serialize;

use super::{BootLogError, ProvenLog};

const SECURE_BOOT_PCR: u8 = 7;

/// Secure Boot as PCR 7 proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecureBootClaims {
    /// The `SecureBoot` variable is 1.
    pub switched_on: bool,
    /// The variable is 1, PK, KEK and db have entries, something was authorised after the separator, and the firmware
    /// reports neither debug mode nor missing DMA protection.
    pub enabled: bool,
    /// Platform key.
    pub pk: SignatureDatabase,
    /// Key exchange keys.
    pub kek: SignatureDatabase,
    /// What may run.
    pub db: SignatureDatabase,
    /// What may not run.
    pub dbx: SignatureDatabase,
    /// SHA-256 of each proven authority that allowed an image.
    pub authorities: Vec<String>,
    /// Authorities whose data is not what was measured: old shims leave bytes out. Only their digests count.
    pub unproven_authorities: Vec<String>,
    /// Shim's SBAT level, for example `sbat,1,2023012900`, first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sbat_level: Option<String>,
    /// The firmware was in debug mode.
    pub debug_mode: bool,
    /// The firmware booted without DMA protection.
    pub dma_protection_disabled: bool,
}

/// A signature database: certificates by fingerprint, images by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct SignatureDatabase {
    /// SHA-256 of each certificate's DER.
    pub certificates: Vec<String>,
    /// SHA-256 image hashes.
    pub hashes: Vec<String>,
    /// Entries of other types.
    pub others: usize,
}

impl SignatureDatabase {
    fn read(data: &[u8]) -> Option<Self> {
        let mut database = Self::default();
        for signature in uefi::parse_signature_lists(data)? {
            match signature.kind {
                SignatureKind::X509 => {
                    database.certificates.push(HashAlgorithm::Sha256.digest(&[signature.data]).to_string());
                }
                SignatureKind::Sha256 => database.hashes.push(hex::encode(signature.data)),
                SignatureKind::Other(_) => database.others = database.others.saturating_add(1),
            }
        }
        Some(database)
    }

    fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.hashes.is_empty() && self.others == 0
    }
}

/// Everything that PCR 7 holds, in order.
#[derive(Default)]
struct Reading<'a> {
    after_separator: bool,
    variables: BTreeMap<([u8; 16], String), &'a [u8]>,
    authorised_after_separator: bool,
    authorities: Vec<String>,
    unproven_authorities: Vec<String>,
    sbat_level: Option<String>,
    debug_mode: bool,
    dma_protection_disabled: bool,
}

pub(super) fn read(log: &ProvenLog<'_>) -> Result<SecureBootClaims, BootLogError> {
    let mut reading = Reading::default();
    for event in log.of_pcr(SECURE_BOOT_PCR) {
        reading.take(event, log.bank)?;
    }
    let database = |vendor, name: &str| match reading.variables.get(&(vendor, name.to_owned())) {
        Some(data) => SignatureDatabase::read(data).unwrap_or_default(),
        None => SignatureDatabase::default(),
    };
    let (pk, kek) = (database(GLOBAL_VARIABLE, "PK"), database(GLOBAL_VARIABLE, "KEK"));
    let (db, dbx) = (database(IMAGE_SECURITY_DATABASE, "db"), database(IMAGE_SECURITY_DATABASE, "dbx"));
    // A missing or empty variable is firmware without Secure Boot.
    let switched_on = reading.variables.get(&(GLOBAL_VARIABLE, "SecureBoot".to_owned())) == Some(&[1].as_slice());
    Ok(SecureBootClaims {
        switched_on,
        enabled: switched_on
            && !pk.is_empty()
            && !kek.is_empty()
            && !db.is_empty()
            && reading.authorised_after_separator
            && !reading.debug_mode
            && !reading.dma_protection_disabled,
        pk,
        kek,
        db,
        dbx,
        authorities: reading.authorities,
        unproven_authorities: reading.unproven_authorities,
        sbat_level: reading.sbat_level,
        debug_mode: reading.debug_mode,
        dma_protection_disabled: reading.dma_protection_disabled,
    })
}

impl<'a> Reading<'a> {
    fn take(&mut self, event: &Event<'a>, bank: HashAlgorithm) -> Result<(), BootLogError> {
        let proven = event.data_is_measured(bank);
        let unproven = BootLogError::EventData { event: event.number, pcr: SECURE_BOOT_PCR };
        match event.kind {
            EventType::SEPARATOR => self.after_separator = true,
            EventType::EFI_VARIABLE_DRIVER_CONFIG if !proven => return Err(unproven),
            EventType::EFI_VARIABLE_DRIVER_CONFIG => {
                let UefiVariable { vendor, name, data } = uefi::parse_variable(event.data).ok_or(unproven)?;
                let repeated = self.variables.insert((vendor, name), data).is_some();
                if repeated || self.after_separator {
                    return Err(BootLogError::SecureBootVariable { event: event.number });
                }
            }
            EventType::EFI_VARIABLE_AUTHORITY => self.authorise(event, proven, bank),
            EventType::EFI_ACTION if !proven => return Err(unproven),
            EventType::EFI_ACTION => {
                self.debug_mode |= event.text() == Some("UEFI Debug Mode");
                self.dma_protection_disabled |= event.text() == Some("DMA Protection Disabled");
            }
            kind => return Err(BootLogError::EventType { event: event.number, pcr: SECURE_BOOT_PCR, kind }),
        }
        Ok(())
    }

    fn authorise(&mut self, event: &Event<'a>, proven: bool, bank: HashAlgorithm) {
        self.authorised_after_separator |= self.after_separator;
        if !proven {
            self.unproven_authorities.extend(event.digest(bank).map(|digest| digest.to_string()));
            return;
        }
        match uefi::parse_variable(event.data) {
            Some(variable) if variable.vendor == SHIM_LOCK && variable.name == "SbatLevel" => {
                let text = String::from_utf8_lossy(variable.data);
                self.sbat_level = text.lines().next().map(ToOwned::to_owned);
            }
            // EFI_SIGNATURE_DATA: owner GUID, then the certificate or hash.
            Some(variable) => {
                let signature = variable.data.get(16..).unwrap_or_default();
                self.authorities.push(HashAlgorithm::Sha256.digest(&[signature]).to_string());
            }
            None => self.unproven_authorities.extend(event.digest(bank).map(|digest| digest.to_string())),
        }
    }
}
