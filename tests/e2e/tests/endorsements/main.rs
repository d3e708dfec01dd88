//! Vendor documents: fetched once for all who wait, kept, carried and mirrored; and never believed for where they came from.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod carried;
mod crowd;
mod fetched;
mod guests;
mod outage;

const SECRET: &[u8] = b"\x00disk key\xff\n";
