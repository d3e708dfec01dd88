//! What the fuzz targets share: a limit on memory.
//!
//! Any input may cost at most [`MEMORY_LIMIT`] bytes at a time. The allocator counts what is live, and
//! [`within_memory`] aborts the run when a target's work goes over the limit.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Most live bytes that one input may cost: 16 MB.
pub const MEMORY_LIMIT: usize = 16_000_000;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator with a count of live bytes and their peak.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed).wrapping_add(layout.size());
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and panics when it had more than [`MEMORY_LIMIT`] bytes alive at a time.
pub fn within_memory<T>(work: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    let cost = PEAK.load(Relaxed).saturating_sub(before);
    assert!(cost <= MEMORY_LIMIT, "expected at most {MEMORY_LIMIT} bytes of memory, used {cost}");
    result
}
