//! What the benchmarks share: evidence to work on, a clock that the rest of the machine cannot disturb, tables.
//!
//! `scripts/bench` runs them. The numbers that count are ratios of two costs taken side by side in one process, so that
//! they mean the same on every machine.

pub mod clock;
pub mod fixture;
pub mod table;
