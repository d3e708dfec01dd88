//! `credentials postgres`: a database role in the forms that libpq reads.

use std::path::{Path, absolute};

use keys::secret::SecretBytes;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Guest, lease};
use crate::{
    cli::{PostgresArgs, PostgresForm},
    exchange::Wanted,
    failure::Failure,
    lease::Want,
    output::Output,
};

/// What the broker answers.
#[derive(Deserialize)]
struct Role {
    host: String,
    port: u16,
    database: String,
    username: String,
    password: Zeroizing<String>,
    #[serde(default)]
    sslmode: Option<String>,
    #[serde(default)]
    ca: Option<String>,
}

/// Fetches a role and writes it.
pub(super) fn write(args: &PostgresArgs, guest: &Guest) -> Result<(), Failure> {
    let output = Output::secret(args.out.as_deref(), true)?;
    match &args.lease_file {
        None => {
            let answer = guest.grant(&args.broker, Wanted::of("postgres", &args.name))?;
            write_role(args, &output, &answer)
        }
        Some(file) => {
            let want = Want::Postgres { name: args.name.clone() };
            lease::fetch(want, file, &args.broker, guest, |given| write_role(args, &output, lease::value(&given)?))
        }
    }
}

fn write_role(args: &PostgresArgs, output: &Output, answer: &SecretBytes) -> Result<(), Failure> {
    if args.form == PostgresForm::Json {
        return Ok(output.write(answer.expose())?);
    }
    let role: Role = serde_json::from_slice(answer.expose()).map_err(|_unreadable| EXPECTED)?;
    if !role.is_plain() {
        return Err(EXPECTED);
    }
    // First what the other file names.
    let ca = match (&args.ca_out, &role.ca) {
        (Some(path), Some(ca)) => {
            Output::public(path).write(ca.as_bytes())?;
            let path = absolute(path).map_err(|_unusable| unusable(path))?;
            Some(path.to_str().filter(|path| is_plain(path)).ok_or_else(|| unusable(&path))?.to_owned())
        }
        (Some(_) | None, _) => None,
    };
    let text = match args.form {
        PostgresForm::Service => role.service(&args.name, ca.as_deref()),
        PostgresForm::Pgpass => role.pgpass(),
        PostgresForm::Uri | PostgresForm::Json => role.uri(ca.as_deref()),
    };
    Ok(output.write(text.expose())?)
}

const EXPECTED: Failure = Failure::Answer { expected: "a database role" };

fn unusable(path: &Path) -> Failure {
    Failure::Argument { expected: "a plain path", path: path.to_owned() }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

impl Role {
    /// Whether every member is one line: none of the forms has a way to say anything else.
    fn is_plain(&self) -> bool {
        let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
        [&self.host, &self.database, &self.username].into_iter().chain([&*self.password]).all(|text| is_plain(text))
            && self.sslmode.as_deref().is_none_or(|mode| modes.contains(&mode))
    }

    /// `pg_service.conf` (libpq §34.17): all in one file, used as `service=NAME`.
    fn service(&self, name: &str, ca: Option<&str>) -> SecretBytes {
        let mut text = Builder::new();
        text.push(&["[", name, "]\nhost=", &self.host, "\nport=", &self.port.to_string(), "\ndbname=", &self.database]);
        text.push(&["\nuser=", &self.username, "\npassword=", &self.password, "\n"]);
        if let Some(mode) = &self.sslmode {
            text.push(&["sslmode=", mode, "\n"]);
        }
        if let Some(ca) = ca {
            text.push(&["sslrootcert=", ca, "\n"]);
        }
        text.done()
    }

    /// A line of a password file (libpq §34.16): colons and backslashes are escaped.
    fn pgpass(&self) -> SecretBytes {
        let escaped = |text: &str| Zeroizing::new(text.replace('\\', "\\\\").replace(':', "\\:"));
        let mut text = Builder::new();
        text.push(&[&escaped(&self.host), ":", &self.port.to_string(), ":", &escaped(&self.database), ":"]);
        text.push(&[&escaped(&self.username), ":", &escaped(&self.password), "\n"]);
        text.done()
    }

    /// A connection URI (libpq §34.1.1.2).
    fn uri(&self, ca: Option<&str>) -> SecretBytes {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { percent(&self.host).to_string() };
        let mut text = Builder::new();
        text.push(&["postgresql://", &percent(&self.username), ":", &percent(&self.password), "@"]);
        text.push(&[&host, ":", &self.port.to_string(), "/", &percent(&self.database)]);
        let options = [("sslmode", self.sslmode.as_deref()), ("sslrootcert", ca)];
        let options = options.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for ((name, value), mark) in options.zip(["?", "&"]) {
            text.push(&[mark, name, "=", &percent(value)]);
        }
        text.push(&["\n"]);
        text.done()
    }
}

/// A text of a size that it never outgrows, so that no copy of a secret is left behind.
struct Builder(Vec<u8>);

impl Builder {
    fn new() -> Self {
        Self(Vec::with_capacity(8192))
    }

    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    fn done(self) -> SecretBytes {
        SecretBytes::new(self.0)
    }
}

/// `text` with everything but unreserved characters escaped (RFC 3986 §2.3).
fn percent(text: &str) -> Zeroizing<String> {
    let mut escaped = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push_str(&hex::encode_upper([byte]));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Role {
        Role {
            host: "db.example".to_owned(),
            port: 5432,
            database: "a:b/c".to_owned(),
            username: "countersign_1".to_owned(),
            password: Zeroizing::new("p:\\@w".to_owned()),
            sslmode: Some("verify-full".to_owned()),
            ca: None,
        }
    }

    fn text(bytes: &SecretBytes) -> &str {
        std::str::from_utf8(bytes.expose()).unwrap_or_default()
    }

    #[test]
    fn every_form_says_the_same() {
        assert_eq!(text(&role().pgpass()), "db.example:5432:a\\:b/c:countersign_1:p\\:\\\\@w\n");
        assert_eq!(
            text(&role().uri(Some("/run/ca pem"))),
            "postgresql://countersign_1:p%3A%5C%40w@db.example:5432/a%3Ab%2Fc?sslmode=verify-full&sslrootcert=%2Frun%2Fca%20pem\n"
        );
        assert_eq!(
            text(&role().service("orders", Some("/run/ca.pem"))),
            "[orders]\nhost=db.example\nport=5432\ndbname=a:b/c\nuser=countersign_1\npassword=p:\\@w\nsslmode=verify-full\n\
             sslrootcert=/run/ca.pem\n"
        );
    }

    #[test]
    fn what_would_begin_another_line_is_refused() {
        assert!(role().is_plain());
        assert!(!Role { host: "db\npassword=x".to_owned(), ..role() }.is_plain());
        assert!(!Role { sslmode: Some("verify-full\n".to_owned()), ..role() }.is_plain());
        assert!(!Role { username: String::new(), ..role() }.is_plain());
    }
}
