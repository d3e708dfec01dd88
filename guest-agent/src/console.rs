//! Lines on standard error for the person at the console.

use std::{
    fs::{File, OpenOptions},
    io::{IsTerminal, Write, stderr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::OnceLock,
};

use rustix::fs::OFlags;

/// Longest line: what comes from elsewhere is cut, so that it cannot push the rest off the console.
const LINE_LIMIT: usize = 1000;

/// The machine's console, when standard error goes elsewhere (the journal) and somebody waits for the boot.
static CONSOLE: OnceLock<File> = OnceLock::new();

/// From now on lines go to the console at `path` as well, unless standard error is a terminal already.
pub(crate) fn also(path: &Path) {
    if stderr().is_terminal() {
        return;
    }
    // It must become nobody's controlling terminal, and a stuck one must not stop the boot.
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    if let Ok(console) = OpenOptions::new().append(true).custom_flags(flags).open(path) {
        // A second console is one too many.
        let _first_one_stays = CONSOLE.set(console);
    }
}

/// Writes a line that is of no use to the person who waits for the boot: to standard error alone.
pub(crate) fn note(line: &str) {
    // There is nowhere left to report that standard error is gone.
    let _nobody_listens = writeln!(stderr().lock(), "countersign-agent: {}", printable(line));
}

/// Writes a line. Control characters of whatever the line quotes are shown escaped, not sent to the terminal.
pub(crate) fn say(line: &str) {
    note(line);
    if let Some(mut console) = CONSOLE.get() {
        let _nobody_listens = console.write_all(format!("countersign-agent: {}\r\n", printable(line)).as_bytes());
    }
}

fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for character in line.chars().take(LINE_LIMIT) {
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    text
}

/// An error with everything that caused it, on one line.
#[must_use]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\r"), "a\\u{1b}[2Jb\\nc\\r");
        assert_eq!(printable(&"x".repeat(5000)).len(), LINE_LIMIT);
    }
}
