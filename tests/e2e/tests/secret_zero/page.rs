//! The page as a test reads it: commands, and what they print.

/// One command of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The heading that it stands under.
    pub(crate) heading: String,
    /// Where its line is, from 1.
    pub(crate) line: usize,
    /// What is typed.
    pub(crate) command: String,
    /// What it prints; `…` stands for what differs from run to run, alone on a line for any number of lines.
    pub(crate) prints: Vec<String>,
}

/// Every command of the blocks that are marked `console`.
pub(crate) fn commands(page: &str) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    let (mut heading, mut inside, mut more) = (String::new(), false, false);
    for (number, line) in page.lines().enumerate() {
        if let Some(text) = line.strip_prefix("## ").filter(|_| !inside) {
            heading = text.to_owned();
        } else if line.starts_with("```") {
            inside = !inside && line == "```console";
            more = false;
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            let (heading, command) = (heading.clone(), command.to_owned());
            more = command.ends_with('\\');
            commands.push(Shown { heading, line: number + 1, command, prints: Vec::new() });
        } else if let Some(last) = commands.last_mut().filter(|_| inside) {
            if more {
                more = line.ends_with('\\');
                last.command.push('\n');
                last.command.push_str(line);
            } else {
                last.prints.push(line.to_owned());
            }
        }
    }
    commands
}

/// Whether a command printed what is shown.
pub(crate) fn agrees(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=printed.len()).any(|skipped| agrees(rest, printed.get(skipped..).unwrap_or_default()))
        }
        Some((first, rest)) => {
            let Some((line, after)) = printed.split_first() else { return false };
            line_agrees(&words(first), &words(line)) && agrees(rest, after)
        }
    }
}

/// Columns are as wide as what stands in them.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn line_agrees(shown: &str, printed: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else { return shown == printed };
    let Some(rest) = printed.strip_prefix(before) else { return false };
    let ends = rest.char_indices().map(|(position, _)| position).chain([rest.len()]);
    ends.map(|position| rest.get(position..).unwrap_or_default()).any(|rest| line_agrees(after, rest))
}

#[test]
fn a_page_is_read_and_compared_line_by_line() {
    let page =
        "## One\n```console\n$ a \\\n  b\nx … z\n$ c\n```\n```toml\n$ no\n```\n## Two\n```console\n$ d\n…\nend\n```\n";
    let read = commands(page);
    let commands: Vec<_> = read.iter().map(|one| (one.heading.as_str(), one.line, one.command.as_str())).collect();
    assert_eq!(commands, [("One", 3, "a \\\n  b"), ("One", 6, "c"), ("Two", 13, "d")]);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (shown, printed, agree) in [
        ("x … z", "x  y   z", true),
        ("x … z", "x y", false),
        ("", "", true),
        ("", "x", false),
        ("…\nend", "a\nb\nend", true),
        ("…\nend", "a\nend\nb", false),
        ("a\n…", "a", true),
        ("a", "b", false),
    ] {
        assert_eq!(agrees(&lines(shown), &lines(printed)), agree, "{shown:?} {printed:?}");
    }
}
