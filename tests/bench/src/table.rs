//! Tables for people, with limits that decide the exit status.

use std::fmt::Write as _;

use crate::clock::Compared;

/// What a row must stay under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Nothing: the row informs.
    None,
    /// Ratio to the other work.
    Ratio(f64),
    /// Microseconds.
    Micros(f64),
}

/// One row: what was measured, beside what.
#[derive(Debug, Clone)]
pub struct Row {
    /// Our work.
    pub name: &'static str,
    /// What it is compared with; empty: nothing.
    pub beside: &'static str,
    /// Costs; without a comparison `other` and `ratio` are 0.
    pub costs: Compared,
    /// The limit.
    pub limit: Limit,
}

impl Row {
    /// Whether the row is within its limit.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self.limit {
            Limit::None => true,
            Limit::Ratio(limit) => self.costs.ratio <= limit,
            Limit::Micros(limit) => self.costs.ours <= limit,
        }
    }
}

/// The rows as a Markdown table.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| work | µs | beside | µs | ratio | limit | |\n|---|--:|---|--:|--:|--:|---|\n");
    for row in rows {
        let Compared { ours, other, ratio } = row.costs;
        let (other, ratio) = if row.beside.is_empty() {
            (String::new(), String::new())
        } else {
            (format!("{other:.2}"), format!("{ratio:.3}"))
        };
        let (limit, verdict) = match row.limit {
            Limit::None => (String::new(), ""),
            Limit::Ratio(limit) => (format!("{limit:.2} ×"), if row.holds() { "ok" } else { "OVER" }),
            Limit::Micros(limit) => (format!("{limit} µs"), if row.holds() { "ok" } else { "OVER" }),
        };
        // Writing to a string cannot fail.
        let _written =
            writeln!(text, "| {} | {ours:.2} | {} | {other} | {ratio} | {limit} | {verdict} |", row.name, row.beside);
    }
    text
}
