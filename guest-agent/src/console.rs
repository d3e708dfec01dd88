//! Lines on standard error for the person at the console.

use std::io::{Write, stderr};

/// Longest line: what comes from elsewhere is cut, so that it cannot push the rest off the console.
const LINE_LIMIT: usize = 1000;

/// Writes a line. Control characters of whatever the line quotes are shown escaped, not sent to the terminal.
pub(crate) fn say(line: &str) {
    // There is nowhere left to report that standard error is gone.
    let _nobody_listens = writeln!(stderr().lock(), "countersign-agent: {}", printable(line));
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
