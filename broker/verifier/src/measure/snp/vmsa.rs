//! The page with the first state of a virtual processor (AMD APM volume 2, table B-4), as each host fills it.

use std::str::FromStr;

use super::super::firmware::PAGE;

/// Where the first processor starts on a PC: the reset vector.
pub(super) const RESET_VECTOR: u32 = 0xFFFF_FFF0;
/// RDX of hosts that do not put the processor's signature there.
const RDX_WITHOUT_SIGNATURE: u32 = 0x600;
/// Reset value of the page attribute table (AMD APM volume 2, section 7.8.2).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
const PAT_GCE: u64 = 0x0007_0106;
/// Reset values of the SSE and x87 control registers.
const MXCSR_RESET: u32 = 0x1F80;
const FCW_RESET: u16 = 0x037F;
/// What a segment at reset may reach.
const LIMIT_16: u32 = 0xFFFF;
const LIMIT_32: u32 = 0xFFFF_FFFF;

/// The virtual machine monitor: who fills the first state of the processors, and adds the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vmm {
    /// QEMU with KVM.
    Qemu,
    /// Amazon EC2.
    Ec2,
    /// Google Compute Engine.
    Gce,
}

impl Vmm {
    /// `qemu`, `ec2` or `gce`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Ec2 => "ec2",
            Self::Gce => "gce",
        }
    }

    /// RDX at the start: the signature where the host puts it there.
    pub(super) const fn rdx(self, signature: Option<u32>) -> Option<u32> {
        match (self, signature) {
            (_, Some(signature)) => Some(signature),
            (Self::Qemu, None) => None,
            (Self::Ec2 | Self::Gce, None) => Some(RDX_WITHOUT_SIGNATURE),
        }
    }
}

impl FromStr for Vmm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Qemu, Self::Ec2, Self::Gce].into_iter().find(|vmm| vmm.name() == text).ok_or("expected qemu, ec2 or gce")
    }
}

/// What differs between processors and hosts.
struct State {
    code: Segment,
    data: Segment,
    stack: Segment,
    fs: Segment,
    task: Segment,
    cr0: u64,
    rip: u64,
    rdx: u32,
    pat: u64,
    mxcsr: u32,
    fcw: u16,
    guest_features: u64,
}

#[derive(Clone, Copy)]
struct Segment {
    selector: u16,
    attributes: u16,
    limit: u32,
    base: u64,
}

impl Segment {
    const fn real_mode(attributes: u16) -> Self {
        Self { selector: 0, attributes, limit: LIMIT_16, base: 0 }
    }

    const fn flat(selector: u16, attributes: u16) -> Self {
        Self { selector, attributes, limit: LIMIT_32, base: 0 }
    }
}

/// The page of a processor that starts in real mode at `eip`.
pub(super) fn page(vmm: Vmm, eip: u32, rdx: u32, guest_features: u64) -> Box<[u8; PAGE]> {
    let first = eip == RESET_VECTOR;
    // Attributes as each host sets them: with or without the accessed bit, a busy task state segment of 16 or 32 bits.
    let (code, stack, task) = match vmm {
        Vmm::Qemu | Vmm::Gce => (0x9b, 0x93, 0x8b),
        Vmm::Ec2 => (if first { 0x9a } else { 0x9b }, 0x92, 0x83),
    };
    let (mxcsr, fcw) = match vmm {
        Vmm::Qemu => (MXCSR_RESET, FCW_RESET),
        Vmm::Ec2 | Vmm::Gce => (0, 0),
    };
    let base = u64::from(eip & 0xFFFF_0000);
    State {
        code: Segment { selector: 0xF000, attributes: code, limit: LIMIT_16, base },
        data: Segment::real_mode(0x93),
        stack: Segment::real_mode(stack),
        fs: Segment::real_mode(0x93),
        task: Segment::real_mode(task),
        cr0: 0x10,
        rip: u64::from(eip & 0xFFFF),
        rdx,
        pat: match vmm {
            Vmm::Gce => PAT_GCE,
            Vmm::Qemu | Vmm::Ec2 => PAT_RESET,
        },
        mxcsr,
        fcw,
        guest_features,
    }
    .page()
}

/// The page of a processor that starts in an SVSM, in flat protected mode; only QEMU does that.
pub(super) fn svsm_page(entry: u32, rdx: u32) -> Box<[u8; PAGE]> {
    let data = Segment::flat(16, 0xc93);
    State {
        code: Segment::flat(8, 0xc9b),
        data,
        stack: data,
        fs: data,
        task: Segment::real_mode(0x8b),
        cr0: 0x11,
        rip: u64::from(entry),
        rdx,
        pat: PAT_RESET,
        mxcsr: MXCSR_RESET,
        fcw: 0,
        // SNPActive alone: what runs below the SVSM is its business.
        guest_features: 1,
    }
    .page()
}

impl State {
    fn page(&self) -> Box<[u8; PAGE]> {
        let mut page = Page(Box::new([0; PAGE]));
        let descriptor_table = Segment::real_mode(0);
        page.segment(0x000, self.data);
        page.segment(0x010, self.code);
        page.segment(0x020, self.stack);
        page.segment(0x030, self.data);
        page.segment(0x040, self.fs);
        page.segment(0x050, Segment::real_mode(0x93));
        page.segment(0x060, descriptor_table);
        page.segment(0x070, Segment::real_mode(0x82));
        page.segment(0x080, descriptor_table);
        page.segment(0x090, self.task);
        // EFER.SVME and CR4.MCE: KVM sets them.
        page.put(0x0D0, &0x1000_u64.to_le_bytes());
        page.put(0x148, &0x40_u64.to_le_bytes());
        page.put(0x158, &self.cr0.to_le_bytes());
        page.put(0x160, &0x400_u64.to_le_bytes());
        page.put(0x168, &0xFFFF_0FF0_u64.to_le_bytes());
        page.put(0x170, &2_u64.to_le_bytes());
        page.put(0x178, &self.rip.to_le_bytes());
        page.put(0x268, &self.pat.to_le_bytes());
        page.put(0x310, &u64::from(self.rdx).to_le_bytes());
        page.put(0x3B0, &self.guest_features.to_le_bytes());
        page.put(0x3E8, &1_u64.to_le_bytes());
        page.put(0x408, &self.mxcsr.to_le_bytes());
        page.put(0x410, &self.fcw.to_le_bytes());
        page.0
    }
}

struct Page(Box<[u8; PAGE]>);

impl Page {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }

    fn segment(&mut self, offset: usize, segment: Segment) {
        self.put(offset, &segment.selector.to_le_bytes());
        self.put(offset.saturating_add(2), &segment.attributes.to_le_bytes());
        self.put(offset.saturating_add(4), &segment.limit.to_le_bytes());
        self.put(offset.saturating_add(8), &segment.base.to_le_bytes());
    }
}
