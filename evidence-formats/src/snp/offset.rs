//! Where the fields of an attestation report stand, in bytes from its start (AMD 56860, ATTESTATION_REPORT).
//!
//! The one definition that the parser, the software TEE and the tests share.

/// Length of a report.
pub const LENGTH: usize = 0x4a0;
/// Length of the part that is signed.
pub const SIGNED_LENGTH: usize = 0x2a0;

/// VERSION, 4 bytes.
pub const VERSION: usize = 0x000;
/// GUEST_SVN, 4 bytes.
pub const GUEST_SVN: usize = 0x004;
/// POLICY, 8 bytes.
pub const POLICY: usize = 0x008;
/// FAMILY_ID, 16 bytes.
pub const FAMILY_ID: usize = 0x010;
/// IMAGE_ID, 16 bytes.
pub const IMAGE_ID: usize = 0x020;
/// VMPL, 4 bytes.
pub const VMPL: usize = 0x030;
/// SIGNATURE_ALGO, 4 bytes.
pub const SIGNATURE_ALGO: usize = 0x034;
/// CURRENT_TCB, 8 bytes.
pub const CURRENT_TCB: usize = 0x038;
/// PLATFORM_INFO, 8 bytes.
pub const PLATFORM_INFO: usize = 0x040;
/// Key information (AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY), 4 bytes.
pub const KEY_INFO: usize = 0x048;
/// Reserved, 4 bytes.
pub const RESERVED_04C: usize = 0x04c;
/// REPORT_DATA, 64 bytes.
pub const REPORT_DATA: usize = 0x050;
/// MEASUREMENT, 48 bytes.
pub const MEASUREMENT: usize = 0x090;
/// HOST_DATA, 32 bytes.
pub const HOST_DATA: usize = 0x0c0;
/// ID_KEY_DIGEST, 48 bytes.
pub const ID_KEY_DIGEST: usize = 0x0e0;
/// AUTHOR_KEY_DIGEST, 48 bytes.
pub const AUTHOR_KEY_DIGEST: usize = 0x110;
/// REPORT_ID, 32 bytes.
pub const REPORT_ID: usize = 0x140;
/// REPORT_ID_MA, 32 bytes.
pub const REPORT_ID_MA: usize = 0x160;
/// REPORTED_TCB, 8 bytes.
pub const REPORTED_TCB: usize = 0x180;
/// CPUID_FAM_ID, 1 byte, version 3 and later.
pub const CPUID_FAM_ID: usize = 0x188;
/// CPUID_MOD_ID, 1 byte, version 3 and later.
pub const CPUID_MOD_ID: usize = 0x189;
/// CPUID_STEP, 1 byte, version 3 and later.
pub const CPUID_STEP: usize = 0x18a;
/// Reserved, 21 bytes.
pub const RESERVED_18B: usize = 0x18b;
/// CHIP_ID, 64 bytes.
pub const CHIP_ID: usize = 0x1a0;
/// COMMITTED_TCB, 8 bytes.
pub const COMMITTED_TCB: usize = 0x1e0;
/// CURRENT_BUILD, CURRENT_MINOR, CURRENT_MAJOR, 1 byte each.
pub const CURRENT_VERSION: usize = 0x1e8;
/// Reserved, 1 byte.
pub const RESERVED_1EB: usize = 0x1eb;
/// COMMITTED_BUILD, COMMITTED_MINOR, COMMITTED_MAJOR, 1 byte each.
pub const COMMITTED_VERSION: usize = 0x1ec;
/// Reserved, 1 byte.
pub const RESERVED_1EF: usize = 0x1ef;
/// LAUNCH_TCB, 8 bytes.
pub const LAUNCH_TCB: usize = 0x1f0;
/// LAUNCH_MIT_VECTOR, 8 bytes, version 5 and later; reserved before.
pub const LAUNCH_MIT_VECTOR: usize = 0x1f8;
/// CURRENT_MIT_VECTOR, 8 bytes, version 5 and later; reserved before.
pub const CURRENT_MIT_VECTOR: usize = 0x200;
/// Reserved to the end of the signed part.
pub const RESERVED_208: usize = 0x208;
/// SIGNATURE.R, 72 bytes little-endian.
pub const SIGNATURE_R: usize = 0x2a0;
/// SIGNATURE.S, 72 bytes little-endian.
pub const SIGNATURE_S: usize = 0x2e8;
/// Reserved after the signature, 368 bytes; not signed.
pub const SIGNATURE_RESERVED: usize = 0x330;
