//! Revocation lists (OpenSSH `PROTOCOL.krl`), for `RevokedKeys` of sshd and `RevokedHostKeys` of ssh.

use std::num::NonZeroU64;

use super::{
    SshPublicKey,
    wire::{put_string, put_u32, put_u64},
};

/// `"SSHKRL\n\0"`
const MAGIC: u64 = 0x5353_484b_524c_0a00;
const FORMAT_VERSION: u32 = 1;
/// `KRL_SECTION_CERTIFICATES`
const CERTIFICATES: u8 = 1;
/// `KRL_SECTION_CERT_SERIAL_LIST`
const SERIAL_LIST: u8 = 0x20;

/// The list of the certificates with these numbers, of each of these CAs. `version` grows whenever the list changes;
/// `now` is in seconds of the Unix epoch.
#[must_use]
pub fn revocation_list(version: u64, now: u64, authorities: &[SshPublicKey], serials: &[NonZeroU64]) -> Vec<u8> {
    let mut list = Vec::new();
    put_u64(&mut list, MAGIC);
    put_u32(&mut list, FORMAT_VERSION);
    put_u64(&mut list, version);
    put_u64(&mut list, now);
    put_u64(&mut list, 0);
    put_string(&mut list, b"");
    put_string(&mut list, b"countersign");
    if serials.is_empty() {
        return list;
    }
    for authority in authorities {
        let mut numbers = Vec::new();
        for serial in serials {
            put_u64(&mut numbers, serial.get());
        }
        let mut section = Vec::new();
        put_string(&mut section, &authority.blob());
        put_string(&mut section, b"");
        section.push(SERIAL_LIST);
        put_string(&mut section, &numbers);
        list.push(CERTIFICATES);
        put_string(&mut list, &section);
    }
    list
}
