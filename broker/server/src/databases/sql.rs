//! Statements with placeholders, filled with quoted values only.

use std::fmt::Write;

use serde::{Deserialize, Deserializer, de::Error};
use verifier::Timestamp;

/// Longest statement, in bytes.
const LONGEST: usize = 4096;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// The role's name, as an identifier.
    Role,
    /// The role's password (its SCRAM verifier), as a literal.
    Password,
    /// The end of the lease, as a literal.
    ValidUntil,
}

impl Placeholder {
    const ALL: [Self; 3] = [Self::Role, Self::Password, Self::ValidUntil];

    /// As written between braces.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Password => "password",
            Self::ValidUntil => "valid_until",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

/// A statement of the operator with `{role}`, `{password}` and `{valid_until}`; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlTemplate(Vec<Part>);

/// What placeholders are filled with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'a> {
    /// The role's name.
    pub(crate) role: &'a str,
    /// The SCRAM verifier of its password; empty where no statement may have it.
    pub(crate) password: &'a str,
    /// The end of the lease.
    pub(crate) valid_until: Timestamp,
}

impl SqlTemplate {
    /// Whether the statement has this placeholder.
    pub(crate) fn needs(&self, placeholder: Placeholder) -> bool {
        self.0.contains(&Part::Value(placeholder))
    }

    /// The statement.
    pub(crate) fn fill(&self, filling: &Filling<'_>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(Placeholder::Role) => identifier(filling.role),
            Part::Value(Placeholder::Password) => literal(filling.password),
            Part::Value(Placeholder::ValidUntil) => literal(&filling.valid_until.to_string()),
        };
        self.0.iter().map(part).collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.len() > LONGEST {
            return Err(format!("expected a statement of 1 to {LONGEST} bytes"));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = after.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = after.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inner = after.strip_prefix('{').and_then(|after| after.split_once('}'));
                let (name, after) = inner.ok_or("expected {{ and }} for braces")?;
                let known = Placeholder::ALL.into_iter().find(|placeholder| placeholder.name() == name);
                let known = known.ok_or_else(|| {
                    format!("expected {{role}}, {{password}} or {{valid_until}} ({{{{ for a brace), found {{{name}}}")
                })?;
                parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Value(known)]);
                rest = after;
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }
}

impl<'de> Deserialize<'de> for SqlTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Statements one after the other: one simple query, and so one transaction.
pub(crate) fn script(statements: &[SqlTemplate], filling: &Filling<'_>) -> String {
    let mut script = String::new();
    for statement in statements {
        // Writing to a string does not fail.
        let _written = writeln!(script, "{};", statement.fill(filling).trim_end().trim_end_matches(';'));
    }
    script
}

/// `text` as a quoted identifier (PostgreSQL §4.1.1).
pub(crate) fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('\0', "").replace('"', "\"\""))
}

/// `text` as a quoted literal (PostgreSQL §4.1.2.1). A backslash makes it one with escapes, whatever the server's settings.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\0', "").replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const FILLING: Filling<'static> =
        Filling { role: "a\"b", password: "it's\\", valid_until: Timestamp::from_unix(1_800_000_000) };

    #[test]
    fn values_are_quoted_whatever_they_are() {
        let fill = |text: &str| SqlTemplate::parse(text).unwrap().fill(&FILLING);
        assert_eq!(
            fill("CREATE ROLE {role} PASSWORD {password} VALID UNTIL {valid_until}"),
            "CREATE ROLE \"a\"\"b\" PASSWORD E'it''s\\\\' VALID UNTIL '2027-01-15T08:00:00Z'"
        );
        assert_eq!(fill("SELECT '{{1,2}}'::int[]"), "SELECT '{1,2}'::int[]");
        assert_eq!(
            script(&[SqlTemplate::parse("DROP OWNED BY {role} ; ").unwrap()], &FILLING),
            "DROP OWNED BY \"a\"\"b\" ;\n"
        );
        for wrong in ["", "  ", "{name}", "{role", "role}", "{}", &"x".repeat(4097)] {
            assert!(SqlTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
