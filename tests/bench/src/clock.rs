//! Processor time of this thread, and the cost of two pieces of work measured side by side.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Processor time that this thread has used. Other processes on the machine do not count.
#[must_use]
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// One piece of work.
pub type Work<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Median cost of one run of `work`, in microseconds, over `rounds` rounds of `batch` runs.
///
/// # Errors
/// The first error of `work`.
pub fn cost(rounds: usize, batch: u32, work: Work<'_>) -> Result<f64> {
    let costs: Result<Vec<f64>> = (0..rounds).map(|_| round(batch, work)).collect();
    median(costs?)
}

/// Costs of two pieces of work.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// Median cost of ours, microseconds.
    pub ours: f64,
    /// Median cost of the other, microseconds.
    pub other: f64,
    /// Median of the ratios of each round.
    pub ratio: f64,
}

/// Runs `ours` and `other` by turns, so that both see the same machine.
///
/// # Errors
/// The first error of either.
pub fn compare(rounds: usize, batch: u32, ours: Work<'_>, other: Work<'_>) -> Result<Compared> {
    // What is not in a cache yet is not what is measured.
    round(batch, ours)?;
    round(batch, other)?;
    let (mut first, mut second, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (ours, other) = (round(batch, ours)?, round(batch, other)?);
        first.push(ours);
        second.push(other);
        ratios.push(ours / other);
    }
    Ok(Compared { ours: median(first)?, other: median(second)?, ratio: median(ratios)? })
}

/// Microseconds of one run in a batch.
fn round(batch: u32, work: Work<'_>) -> Result<f64> {
    let begun = thread_time();
    for _ in 0..batch {
        work()?;
    }
    Ok(thread_time().saturating_sub(begun).as_secs_f64() * 1e6 / f64::from(batch))
}

/// The value in the middle.
///
/// # Errors
/// When there is none.
pub fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("expected at least one value")
}
