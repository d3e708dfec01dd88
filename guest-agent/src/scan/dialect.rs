//! Regular expressions of gitleaks are Go's (RE2 syntax); what the `regex` crate reads differently is rewritten here.
//!
//! The differences that occur: Go takes a brace that begins no repetition, and a bracket inside a class, as themselves.

/// The same expression in the syntax of the `regex` crate.
pub(super) fn from_go(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    let mut class = Class::Outside;
    while let Some(character) = rest.next() {
        match (character, class) {
            ('\\', _) => {
                out.push('\\');
                out.extend(rest.next());
                class = class.after_member();
            }
            ('[', Class::Outside) => {
                out.push('[');
                class = Class::First;
                if rest.as_str().starts_with('^') {
                    out.extend(rest.next());
                }
            }
            ('[', Class::First | Class::Inside) => {
                // A named class such as [:alpha:] stays; its end is found by its own brackets.
                if let Some(name) = named_class(rest.as_str()) {
                    out.push('[');
                    out.push_str(name);
                    rest = rest.as_str().get(name.len()..).unwrap_or_default().chars();
                } else {
                    out.push_str("\\[");
                }
                class = Class::Inside;
            }
            (']', Class::First) => {
                out.push_str("\\]");
                class = Class::Inside;
            }
            (']', Class::Inside) => {
                out.push(']');
                class = Class::Outside;
            }
            // Set operators of the crate: in Go they are characters twice.
            ('&' | '~' | '-', Class::First | Class::Inside) if rest.as_str().starts_with(character) => {
                out.push('\\');
                out.push(character);
                class = Class::Inside;
            }
            ('{', Class::Outside) if !is_repetition(rest.as_str()) => out.push_str("\\{"),
            (other, _) => {
                out.push(other);
                class = class.after_member();
            }
        }
    }
    out
}

/// Where in an expression a character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Outside,
    /// Right after the opening bracket, where a closing one is a member.
    First,
    Inside,
}

impl Class {
    const fn after_member(self) -> Self {
        match self {
            Self::Outside => Self::Outside,
            Self::First | Self::Inside => Self::Inside,
        }
    }
}

/// `:name:]` at the beginning of `text`.
fn named_class(text: &str) -> Option<&str> {
    let end = text.strip_prefix(':')?.find(":]")?;
    text.get(..end.checked_add(3)?)
}

/// Whether `text`, after a brace, goes on as `3}`, `3,}` or `3,7}`.
fn is_repetition(text: &str) -> bool {
    let Some((inner, _)) = text.split_once('}') else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::from_go;

    #[test]
    fn what_go_takes_literally_is_taken_literally() {
        for (go, ours, text) in [
            (r"a{2,3}", r"a{2,3}", "aa"),
            (r"\$?{{x}}", r"\$?\{\{x}}", "${{x}}"),
            (r"{\d+}", r"\{\d+}", "{7}"),
            (r"[^]]+", r"[^\]]+", "a"),
            (r"[[a]", r"[\[a]", "["),
            (r"[[:alpha:]]", r"[[:alpha:]]", "a"),
            (r"[a&&b]", r"[a\&&b]", "&"),
            (r"\{a\[", r"\{a\[", "{a["),
        ] {
            assert_eq!(from_go(go), ours, "{go}");
            assert!(regex::bytes::Regex::new(&from_go(go)).unwrap().is_match(text.as_bytes()), "{go}");
        }
    }
}
