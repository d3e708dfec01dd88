//! The bit fields of a report: guest policy, platform information, key information, VMPL.

use std::fmt;

/// POLICY that the guest owner fixed at launch (AMD 56860, guest policy). Bit 17 is one and bits 63:26 are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuestPolicy(u64);

impl GuestPolicy {
    const MUST_BE_ONE: u64 = 1 << 17;
    const RESERVED: u64 = !((1 << 26) - 1);

    /// From the bits; `None` when a reserved bit has the wrong value, since an unknown bit may be a permission.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits & Self::MUST_BE_ONE != 0 && bits & Self::RESERVED == 0 { Some(Self(bits)) } else { None }
    }

    /// All bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Least ABI version that the guest accepts: (major, minor).
    #[must_use]
    pub const fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// SMT: the guest accepts a host with simultaneous multithreading.
    #[must_use]
    pub const fn smt_allowed(self) -> bool {
        self.bit(16)
    }

    /// MIGRATE_MA: a migration agent may be associated.
    #[must_use]
    pub const fn migration_agent_allowed(self) -> bool {
        self.bit(18)
    }

    /// DEBUG: the host may read and write the guest's memory.
    #[must_use]
    pub const fn debug_allowed(self) -> bool {
        self.bit(19)
    }

    /// SINGLE_SOCKET: the guest runs on one socket only.
    #[must_use]
    pub const fn single_socket_required(self) -> bool {
        self.bit(20)
    }

    /// CXL_ALLOW: CXL devices may be populated.
    #[must_use]
    pub const fn cxl_allowed(self) -> bool {
        self.bit(21)
    }

    /// MEM_AES_256_XTS: memory encryption must be AES-256-XTS.
    #[must_use]
    pub const fn aes_256_xts_required(self) -> bool {
        self.bit(22)
    }

    /// RAPL_DIS: running average power limit must be off.
    #[must_use]
    pub const fn rapl_disabled_required(self) -> bool {
        self.bit(23)
    }

    /// CIPHERTEXT_HIDING_DRAM: DRAM ciphertext must be hidden from the host.
    #[must_use]
    pub const fn ciphertext_hiding_required(self) -> bool {
        self.bit(24)
    }

    /// PAGE_SWAP_DISABLE: the host may not swap guest pages.
    #[must_use]
    pub const fn page_swap_disabled(self) -> bool {
        self.bit(25)
    }

    const fn bit(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }
}

impl fmt::Debug for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestPolicy({:#x})", self.0)
    }
}

/// PLATFORM_INFO. Genuine processors set bits that no document names, so unknown bits are kept and shown, not refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// SMT_EN: simultaneous multithreading is on.
    #[must_use]
    pub const fn smt_enabled(self) -> bool {
        self.bit(0)
    }

    /// TSME_EN: transparent memory encryption is on.
    #[must_use]
    pub const fn tsme_enabled(self) -> bool {
        self.bit(1)
    }

    /// ECC_EN: the memory has error correction.
    #[must_use]
    pub const fn ecc_enabled(self) -> bool {
        self.bit(2)
    }

    /// RAPL_DIS: running average power limit is off.
    #[must_use]
    pub const fn rapl_disabled(self) -> bool {
        self.bit(3)
    }

    /// CIPHERTEXT_HIDING_DRAM_EN: DRAM ciphertext is hidden from the host.
    #[must_use]
    pub const fn ciphertext_hiding_enabled(self) -> bool {
        self.bit(4)
    }

    /// ALIAS_CHECK_COMPLETE: no aliased memory was found since the last reset (AMD-SB-3015).
    #[must_use]
    pub const fn alias_check_complete(self) -> bool {
        self.bit(5)
    }

    /// TIO_EN: trusted I/O is on.
    #[must_use]
    pub const fn tio_enabled(self) -> bool {
        self.bit(7)
    }

    const fn bit(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }
}

impl fmt::Debug for PlatformInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlatformInfo({:#x})", self.0)
    }
}

/// Which key signed the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningKey {
    /// Versioned chip endorsement key: one chip at one TCB.
    Vcek,
    /// Versioned loaded endorsement key: a cloud provider's fleet at one TCB.
    Vlek,
    /// None: the report is not signed.
    Unsigned,
}

/// Key information of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyInfo {
    /// AUTHOR_KEY_EN: AUTHOR_KEY_DIGEST is that of the key which signed the ID key.
    pub author_key_enabled: bool,
    /// MASK_CHIP_KEY: the firmware was told not to sign with the chip's key.
    pub mask_chip_key: bool,
    /// SIGNING_KEY.
    pub signing_key: SigningKey,
}

/// Virtual machine privilege level of whoever asked for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vmpl {
    /// Code in the guest at level 0 (most privileged) to 3.
    Guest(u8),
    /// The hypervisor (0xFFFFFFFF): it chose REPORT_DATA, so the report says nothing about who asks.
    Host,
}

impl fmt::Display for Vmpl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(level) => write!(f, "{level}"),
            Self::Host => f.write_str("host"),
        }
    }
}
