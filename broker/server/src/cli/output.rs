//! What commands print: a table or text for people, one JSON object for programs.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use serde::Serialize;

/// How a command prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object on stdout
    Json,
}

/// Exit status 1: the command was understood and the answer is no, or it failed.
pub(crate) const REFUSED: u8 = 1;
/// Exit status 2: wrong usage, or a file that cannot be read.
pub(crate) const USAGE: u8 = 2;

/// Writes one block of text and a line feed to stdout. A closed pipe is not an error of ours.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _closed_pipe = writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush());
}

/// Writes `value` as indented JSON to stdout.
pub(crate) fn print_json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&text),
        Err(error) => complain(&error.to_string()),
    }
}

/// Writes one line to stderr.
pub(crate) fn complain(text: &str) {
    let _closed_pipe = writeln!(io::stderr().lock(), "countersign: {text}");
}

/// An error's message with those of its sources.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Text of somebody else's, without characters that would steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Prints an error with all its causes and makes it the exit status `status`.
pub(crate) fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    complain(&format!("{error:#}"));
    ExitCode::from(status)
}

/// Exit status 0, or the error with all its causes and exit status `status`.
pub(crate) fn finish(outcome: anyhow::Result<()>, status: u8) -> ExitCode {
    outcome.map_or_else(|error| fail(&error, status), |()| ExitCode::SUCCESS)
}

/// A left-aligned table with a header line.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|name| (*name).to_owned()).collect()] }
    }

    /// Adds one line.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text; two spaces between columns, nothing after the last one.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _infallible = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn table_aligns_columns_and_leaves_no_trailing_space() {
        let mut table = Table::new(&["NAME", "VERSIONS"]);
        table.row(["disk-key".to_owned(), "3".to_owned()]);
        assert_eq!(table.render(), "NAME      VERSIONS\ndisk-key  3\n");
    }
}
