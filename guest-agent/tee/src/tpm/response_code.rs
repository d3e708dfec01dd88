//! TPM_RC (TPM 2.0 part 2, section 6.6).

use std::fmt;

/// What a TPM answers; displays as the specification's name with the raw value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResponseCode(pub u32);

/// Bit 7: a format-one code, which names the handle, parameter or session that is wrong.
const FORMAT_ONE: u32 = 0x080;
/// Bit 6 of a format-one code: a parameter is wrong.
const PARAMETER: u32 = 0x040;
/// Bit 11 of a format-one code: a session is wrong, else a handle.
const SESSION: u32 = 0x800;

impl ResponseCode {
    /// TPM_RC_SUCCESS.
    pub const SUCCESS: Self = Self(0);
    /// TPM_RC_POLICY_FAIL: the policy of an object is not met.
    pub const POLICY_FAIL: Self = Self(0x09D);
    /// TPM_RC_VALUE.
    pub const VALUE: Self = Self(0x084);
    /// TPM_RC_HANDLE.
    pub const HANDLE: Self = Self(0x08B);
    /// TPM_RC_INTEGRITY: a blob was not made for this parent.
    pub const INTEGRITY: Self = Self(0x09F);
    /// TPM_RC_INITIALIZE: TPM2_Startup was done already, or is missing.
    pub const INITIALIZE: Self = Self(0x100);
    /// TPM_RC_NV_DEFINED: the NV index is there already.
    pub const NV_DEFINED: Self = Self(0x14C);
    /// TPM_RC_NV_UNINITIALIZED: nothing was written to the NV index yet.
    pub const NV_UNINITIALIZED: Self = Self(0x14A);
    /// TPM_RC_YIELDED.
    const YIELDED: Self = Self(0x908);
    /// TPM_RC_TESTING.
    const TESTING: Self = Self(0x90A);
    /// TPM_RC_RETRY.
    const RETRY: Self = Self(0x922);

    /// The code without the number of the handle, parameter or session.
    #[must_use]
    pub const fn kind(self) -> Self {
        if self.0 & FORMAT_ONE == 0 { self } else { Self(self.0 & 0x0BF) }
    }

    /// Whether this is `other`, whatever handle, parameter or session it speaks of.
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        self.kind().0 == other.kind().0
    }

    /// Whether the same command may succeed in a moment.
    pub(super) const fn may_mend(self) -> bool {
        matches!(self, Self::YIELDED | Self::TESTING | Self::RETRY)
    }

    /// The specification's name; `None` for one of the vendor's or a later version's.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let code = self.kind().0;
        NAMES.iter().find(|(value, _)| *value == code).map(|(_, name)| *name)
    }

    /// `parameter 1`, `session 2`, `handle 1`, where a format-one code says so.
    fn about(self) -> Option<(&'static str, u32)> {
        if self.0 & FORMAT_ONE == 0 {
            return None;
        }
        let number = (self.0 >> 8) & 0xF;
        let (what, number) = match (self.0 & PARAMETER, self.0 & SESSION) {
            (0, 0) => ("handle", number & 7),
            (0, _) => ("session", number & 7),
            _ => ("parameter", number),
        };
        (number != 0).then_some((what, number))
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:03x}", self.name().unwrap_or("a code of the vendor"), self.0)?;
        if let Some((what, number)) = self.about() {
            write!(f, ", {what} {number}")?;
        }
        f.write_str(")")
    }
}

const NAMES: [(u32, &str); 71] = [
    (0x000, "TPM_RC_SUCCESS"),
    (0x01E, "TPM_RC_BAD_TAG"),
    (0x081, "TPM_RC_ASYMMETRIC"),
    (0x082, "TPM_RC_ATTRIBUTES"),
    (0x083, "TPM_RC_HASH"),
    (0x084, "TPM_RC_VALUE"),
    (0x085, "TPM_RC_HIERARCHY"),
    (0x087, "TPM_RC_KEY_SIZE"),
    (0x088, "TPM_RC_MGF"),
    (0x089, "TPM_RC_MODE"),
    (0x08A, "TPM_RC_TYPE"),
    (0x08B, "TPM_RC_HANDLE"),
    (0x08C, "TPM_RC_KDF"),
    (0x08D, "TPM_RC_RANGE"),
    (0x08E, "TPM_RC_AUTH_FAIL"),
    (0x08F, "TPM_RC_NONCE"),
    (0x090, "TPM_RC_PP"),
    (0x092, "TPM_RC_SCHEME"),
    (0x095, "TPM_RC_SIZE"),
    (0x096, "TPM_RC_SYMMETRIC"),
    (0x097, "TPM_RC_TAG"),
    (0x098, "TPM_RC_SELECTOR"),
    (0x09A, "TPM_RC_INSUFFICIENT"),
    (0x09B, "TPM_RC_SIGNATURE"),
    (0x09C, "TPM_RC_KEY"),
    (0x09D, "TPM_RC_POLICY_FAIL"),
    (0x09F, "TPM_RC_INTEGRITY"),
    (0x0A0, "TPM_RC_TICKET"),
    (0x0A1, "TPM_RC_RESERVED_BITS"),
    (0x0A2, "TPM_RC_BAD_AUTH"),
    (0x0A3, "TPM_RC_EXPIRED"),
    (0x0A4, "TPM_RC_POLICY_CC"),
    (0x0A5, "TPM_RC_BINDING"),
    (0x0A6, "TPM_RC_CURVE"),
    (0x0A7, "TPM_RC_ECC_POINT"),
    (0x100, "TPM_RC_INITIALIZE"),
    (0x101, "TPM_RC_FAILURE"),
    (0x103, "TPM_RC_SEQUENCE"),
    (0x120, "TPM_RC_DISABLED"),
    (0x121, "TPM_RC_EXCLUSIVE"),
    (0x124, "TPM_RC_AUTH_TYPE"),
    (0x125, "TPM_RC_AUTH_MISSING"),
    (0x126, "TPM_RC_POLICY"),
    (0x127, "TPM_RC_PCR"),
    (0x128, "TPM_RC_PCR_CHANGED"),
    (0x12F, "TPM_RC_AUTH_UNAVAILABLE"),
    (0x130, "TPM_RC_REBOOT"),
    (0x142, "TPM_RC_COMMAND_SIZE"),
    (0x143, "TPM_RC_COMMAND_CODE"),
    (0x144, "TPM_RC_AUTHSIZE"),
    (0x145, "TPM_RC_AUTH_CONTEXT"),
    (0x146, "TPM_RC_NV_RANGE"),
    (0x147, "TPM_RC_NV_SIZE"),
    (0x148, "TPM_RC_NV_LOCKED"),
    (0x149, "TPM_RC_NV_AUTHORIZATION"),
    (0x14A, "TPM_RC_NV_UNINITIALIZED"),
    (0x14B, "TPM_RC_NV_SPACE"),
    (0x14C, "TPM_RC_NV_DEFINED"),
    (0x152, "TPM_RC_PARENT"),
    (0x902, "TPM_RC_OBJECT_MEMORY"),
    (0x903, "TPM_RC_SESSION_MEMORY"),
    (0x904, "TPM_RC_MEMORY"),
    (0x905, "TPM_RC_SESSION_HANDLES"),
    (0x907, "TPM_RC_LOCALITY"),
    (0x908, "TPM_RC_YIELDED"),
    (0x909, "TPM_RC_CANCELED"),
    (0x90A, "TPM_RC_TESTING"),
    (0x920, "TPM_RC_NV_RATE"),
    (0x921, "TPM_RC_LOCKOUT"),
    (0x922, "TPM_RC_RETRY"),
    (0x923, "TPM_RC_NV_UNAVAILABLE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_by_name_and_place() {
        let told = |code| ResponseCode(code).to_string();
        assert_eq!(told(0x99D), "TPM_RC_POLICY_FAIL (0x99d, session 1)");
        assert_eq!(told(0x1DF), "TPM_RC_INTEGRITY (0x1df, parameter 1)");
        assert_eq!(told(0x18B), "TPM_RC_HANDLE (0x18b, handle 1)");
        assert_eq!(told(0x902), "TPM_RC_OBJECT_MEMORY (0x902)");
        assert_eq!(told(0x57F), "a code of the vendor (0x57f)");
        assert!(ResponseCode(0x99D).is(ResponseCode::POLICY_FAIL));
        assert!(!ResponseCode(0x99E).is(ResponseCode::POLICY_FAIL));
    }
}
