//! `countersign exceptions`: the register of legacy static secrets.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use verifier::Timestamp;

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};
use crate::{exceptions::pin_of, http::tls::certificates, store::is_name};

/// Arguments of `countersign exceptions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register a legacy secret that still has to be, for one system and a limited time
    Add(Box<Add>),
    /// List them: what ends first stands first
    List {
        /// Those that ended, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show one and what happened to it
    Show {
        /// Name or id
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Give one more time for a new reason: the old one ends, a new one begins
    Extend {
        /// Name
        name: String,
        /// Why it is needed still; not the reason that it had
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        until: Until,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// End one now: its secret is not handed over any more
    End {
        /// Name or id
        name: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Name, by which the client asks for it
    name: String,
    /// Who answers for it
    #[arg(long, value_name = "WHO")]
    owner: String,
    /// Why it has to be
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The one system that needs it
    #[arg(long, value_name = "NAME")]
    system: String,
    /// Name of the secret, stored with `countersign secrets put NAME --bridge`
    #[arg(long, value_name = "NAME")]
    secret: String,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    client: Client,
    #[command(flatten)]
    rotation: Rotation,
    /// Network that the client may come from, such as 192.0.2.0/24; may be repeated. Default: from anywhere
    #[arg(long = "source", value_name = "CIDR")]
    sources: Vec<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// When it ends.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Until {
    /// When it ends, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
    expires: Option<Timestamp>,
    /// In how many days it ends, 90 at most
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=90))]
    days: Option<u32>,
}

/// Who may have the secret over the bridge. Without, it is registered and handed to nobody.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Client {
    /// The client's certificate (PEM): its key is pinned
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<PathBuf>,
    /// The client: sha256/BASE64 of its public key, or dns:NAME or uri:NAME under the bridge's CA
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// The client brings its key with a token of `countersign join-tokens create`
    #[arg(long)]
    join_token: bool,
}

/// When the secret is changed.
#[derive(Debug, clap::Args)]
struct Rotation {
    /// How old a version may grow, such as 12h or 30d: then it is changed, or somebody is told to
    #[arg(long, value_name = "AGE", value_parser = seconds)]
    rotate_every: Option<u32>,
    /// What changes it: the name of an entry of exceptions.rotation in the broker's configuration. Without, somebody by hand
    #[arg(long, value_name = "NAME", requires = "rotate_every")]
    rotate_by: Option<String>,
}

/// A number of seconds, minutes, hours or days.
fn seconds(text: &str) -> Result<u32, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let parsed = units.into_iter().find_map(|(unit, length)| Some((text.strip_suffix(unit)?, length)));
    let count = parsed.and_then(|(count, length)| count.parse::<u32>().ok()?.checked_mul(length));
    count.ok_or_else(|| "expected a number and s, m, h or d, such as 12h".to_owned())
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Add(add) => {
            let body = json!({
                "name": add.name,
                "owner": add.owner,
                "reason": add.reason,
                "system": add.system,
                "secret": add.secret,
                "expires_at": add.until.time()?,
                "client": add.client.text()?,
                "sources": add.sources,
                "rotation": add.rotation.plan(),
                "bootstrap": add.client.join_token.then_some("join-token"),
            });
            let added = post(&add.admin, "/v1/admin/exceptions", &body)?;
            tell(&added, add.admin.format, "registered");
        }
        Verb::List { all, admin } => {
            let listed: Vec<Value> = admin.client()?.get(&format!("/v1/admin/exceptions?all={all}"))?;
            match admin.format {
                Format::Json => output::print_json(&listed),
                Format::Text => output::print(&table(&listed)),
            }
        }
        Verb::Show { name, admin } => {
            let shown: Value = admin.client()?.get(&path(name, "")?)?;
            match admin.format {
                Format::Json => output::print_json(&shown),
                Format::Text => output::print(&describe(&shown)),
            }
        }
        Verb::Extend { name, reason, until, admin } => {
            let body = json!({"reason": reason, "expires_at": until.time()?});
            tell(&post(admin, &path(name, "/extend")?, &body)?, admin.format, "extended");
        }
        Verb::End { name, reason, admin } => {
            let ended = post(admin, &path(name, "/end")?, &json!({"reason": reason}))?;
            tell(&ended, admin.format, "ended");
        }
    }
    Ok(())
}

fn path(name: &str, verb: &str) -> Result<String> {
    anyhow::ensure!(is_name(name), "expected the name or id of an exception, found {name:?}");
    // One segment of a path.
    Ok(format!("/v1/admin/exceptions/{}{verb}", name.replace('/', "%2F")))
}

fn post(admin: &AdminArgs, path: &str, body: &Value) -> Result<Value> {
    admin.client()?.send(Method::POST, path, "application/json", Bytes::from(body.to_string()))
}

impl Until {
    fn time(&self) -> Result<Timestamp> {
        let days = |days: u32| OffsetDateTime::now_utc().checked_add(Duration::days(i64::from(days)));
        let after = self.days.and_then(days).map(|time| Timestamp::from_unix(time.unix_timestamp()));
        // The server counts from the moment that it is asked: a second less is never too long.
        let after = after.map(|time| time.plus_seconds(-1));
        self.expires.or(after).context("expected --expires or --days")
    }
}

impl Rotation {
    fn plan(&self) -> Option<Value> {
        self.rotate_every.map(|seconds| json!({"seconds": seconds, "driver": self.rotate_by}))
    }
}

impl Client {
    fn text(&self) -> Result<Option<String>> {
        let Some(path) = &self.client_certificate else { return Ok(self.client.clone()) };
        let chain = certificates(path)?;
        let pin = chain.first().and_then(|leaf| pin_of(leaf));
        pin.map(Some).with_context(|| format!("expected a certificate in {}", path.display()))
    }
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => output::plain(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    }
}

fn tell(exception: &Value, format: Format, done: &str) {
    match format {
        Format::Json => output::print_json(exception),
        Format::Text => {
            let (name, until) = (text(exception, "name"), text(exception, "expires_at"));
            match done {
                "ended" => output::print(&format!("ended {name} after {} uses", text(exception, "uses"))),
                _ => output::print(&format!("{done} {name} until {until}")),
            }
        }
    }
}

fn table(exceptions: &[Value]) -> String {
    let mut table = Table::new(&["NAME", "SYSTEM", "OWNER", "SECRET", "CLIENT", "ENDS", "USES", "LAST USE", "STATE"]);
    for exception in exceptions {
        let cells = ["name", "system", "owner", "secret", "client", "expires_at", "uses", "last_use_at"];
        let state = exception.get("end_cause").and_then(Value::as_str).unwrap_or("live").to_owned();
        table.row(cells.map(|name| text(exception, name)).into_iter().chain([state]));
    }
    table.render()
}

fn describe(exception: &Value) -> String {
    let mut lines = Vec::new();
    for (title, name) in [
        ("name", "name"),
        ("id", "id"),
        ("system", "system"),
        ("owner", "owner"),
        ("reason", "reason"),
        ("secret", "secret"),
        ("client", "client"),
        ("registered", "created_at"),
        ("by", "author"),
        ("ends", "expires_at"),
        ("uses", "uses"),
        ("last use", "last_use_at"),
        ("ended", "ended_at"),
        ("extends", "extends"),
    ] {
        let value = text(exception, name);
        if value != "-" {
            lines.push(format!("{title:<11} {value}"));
        }
    }
    if let Some(plan) = exception.get("rotation") {
        let by = plan.get("driver").and_then(Value::as_str).unwrap_or("hand");
        lines.push(format!("{:<11} every {} s by {}", "changed", text(plan, "seconds"), output::plain(by)));
    }
    let sources: Vec<&str> =
        exception.get("sources").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if !sources.is_empty() {
        lines.push(format!("{:<11} {}", "from", sources.join(" ")));
    }
    lines.push(String::new());
    let mut table = Table::new(&["TIME", "ACT", "BY", "DETAIL"]);
    for act in exception.get("history").and_then(Value::as_array).into_iter().flatten() {
        table.row(["at", "act", "by", "detail"].map(|name| text(act, name)));
    }
    lines.push(table.render());
    lines.join("\n")
}
