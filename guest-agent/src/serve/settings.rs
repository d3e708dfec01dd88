//! `[serve]` of the settings file: who may have what, and where it goes.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use thiserror::Error;

use super::selector::{SelectorSection, Selectors};
use crate::lease::Want;

/// Where workloads look for the API when nothing else is said.
const SOCKET: &str = "/run/countersign/workload.sock";
/// Most entries and sinks.
const ENTRIES: usize = 256;
/// Longest name, audience and hint, in bytes.
const TEXT: usize = 512;

/// `[serve]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServeSection {
    socket: Option<PathBuf>,
    connections: Option<u32>,
    connections_per_user: Option<u32>,
    #[serde(default)]
    ready: Ready,
    entry: Vec<EntrySection>,
    files: Vec<FilesSection>,
}

/// When the service counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ready {
    /// As soon as workloads can connect.
    #[default]
    Listening,
    /// When the first credentials are here.
    Attested,
}

/// `[[serve.entry]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntrySection {
    svid: String,
    #[serde(default)]
    audiences: BTreeSet<String>,
    #[serde(default)]
    hint: String,
    #[serde(rename = "match")]
    selectors: SelectorSection,
}

/// `[[serve.files]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesSection {
    svid: String,
    directory: PathBuf,
    #[serde(default)]
    owner: Option<u32>,
    #[serde(default)]
    group: Option<u32>,
    #[serde(default)]
    persistent: bool,
    #[serde(default)]
    jwt: Vec<JwtFile>,
    #[serde(default)]
    reload: Option<Reload>,
}

/// A file with a JWT-SVID.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JwtFile {
    /// For whom.
    pub(crate) audience: String,
    /// Its name in the directory.
    pub(crate) file: String,
}

/// What is done after the files changed; one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Reload {
    /// Program and arguments; no shell is between.
    Command(Vec<String>),
    /// The process whose number is in this file gets SIGHUP.
    PidFile(PathBuf),
    /// The main process of this unit gets SIGHUP.
    Unit(String),
}

/// An identity, and who may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Name of the broker's entry.
    pub(crate) svid: String,
    /// Audiences that JWT-SVIDs are kept for.
    pub(crate) audiences: BTreeSet<String>,
    /// For the workload, where it has several identities.
    pub(crate) hint: String,
    /// Who may have it.
    pub(crate) selectors: Selectors,
}

/// An identity as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sink {
    /// Name of the broker's entry.
    pub(crate) svid: String,
    /// Where the files go.
    pub(crate) directory: PathBuf,
    /// Who owns them; default: the agent's user.
    pub(crate) owner: Option<u32>,
    /// Their group; when it is named, it may read them.
    pub(crate) group: Option<u32>,
    /// Whether they may lie on a disk.
    pub(crate) persistent: bool,
    /// JWT-SVIDs beside the certificate.
    pub(crate) jwt: Vec<JwtFile>,
    /// Who is told.
    pub(crate) reload: Option<Reload>,
}

/// Everything that `serve` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServeSettings {
    pub(crate) socket: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) ready: Ready,
    pub(crate) entries: Arc<[Entry]>,
    pub(crate) sinks: Arc<[Sink]>,
}

/// How many workloads are served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) per_user: usize,
}

/// Why `[serve]` is no good.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("expected in {place}: {expected}")]
pub struct ServeSettingsError {
    place: String,
    expected: String,
}

impl ServeSettings {
    /// Checks what the file says.
    pub(crate) fn new(section: ServeSection) -> Result<Self, ServeSettingsError> {
        let wrong = |place: &str, expected: &str| ServeSettingsError { place: place.into(), expected: expected.into() };
        if section.entry.len().max(section.files.len()) > ENTRIES {
            return Err(wrong("serve", "at most 256 entries and 256 files"));
        }
        if section.entry.is_empty() && section.files.is_empty() {
            return Err(wrong("serve", "at least one [[serve.entry]] or [[serve.files]]"));
        }
        let (connections, per_user) =
            (section.connections.unwrap_or(1024), section.connections_per_user.unwrap_or(256));
        if !(1..=65_536).contains(&connections) || !(1..=connections).contains(&per_user) {
            return Err(wrong("serve", "connections from 1 to 65536, and connections_per_user no more than that"));
        }
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let entries = section.entry.into_iter().map(Entry::new).collect::<Result<_, _>>()?;
        let sinks: Arc<[Sink]> = section.files.into_iter().map(Sink::new).collect::<Result<_, _>>()?;
        let directories: BTreeSet<&PathBuf> = sinks.iter().map(|sink| &sink.directory).collect();
        if directories.len() != sinks.len() {
            return Err(wrong("serve.files", "a directory of its own for each"));
        }
        Ok(Self {
            socket: section.socket.unwrap_or_else(|| SOCKET.into()),
            limits: Limits { connections: count(connections), per_user: count(per_user) },
            ready: section.ready,
            entries,
            sinks,
        })
    }

    /// What has to be held for all of it.
    pub(crate) fn wants(&self) -> BTreeSet<Want> {
        let certificate = |name: &String| Want::X509Svid { name: name.clone() };
        let token = |name: &String, audience: &String| Want::JwtSvid { name: name.clone(), audience: audience.clone() };
        let mut wants = BTreeSet::new();
        for entry in self.entries.iter() {
            wants.insert(certificate(&entry.svid));
            wants.extend(entry.audiences.iter().map(|audience| token(&entry.svid, audience)));
        }
        for sink in self.sinks.iter() {
            wants.insert(certificate(&sink.svid));
            wants.extend(sink.jwt.iter().map(|jwt| token(&sink.svid, &jwt.audience)));
        }
        wants
    }
}

fn name(place: &str, text: &str) -> Result<(), ServeSettingsError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err(ServeSettingsError { place: place.into(), expected: "svid as the name of one of the broker's entries".into() })
}

impl Entry {
    fn new(section: EntrySection) -> Result<Self, ServeSettingsError> {
        name("serve.entry", &section.svid)?;
        let place = || format!("serve.entry {}", section.svid);
        let long = |text: &String| text.is_empty() || text.len() > TEXT;
        if section.audiences.iter().any(long) || section.hint.len() > TEXT {
            let expected = format!("audiences and hint of at most {TEXT} bytes");
            return Err(ServeSettingsError { place: place(), expected });
        }
        let selectors = Selectors::new(section.selectors)
            .map_err(|expected| ServeSettingsError { place: place(), expected: expected.into() })?;
        Ok(Self { svid: section.svid, audiences: section.audiences, hint: section.hint, selectors })
    }
}

impl Sink {
    fn new(section: FilesSection) -> Result<Self, ServeSettingsError> {
        name("serve.files", &section.svid)?;
        let wrong = |expected: &str| ServeSettingsError {
            place: format!("serve.files {}", section.svid),
            expected: expected.into(),
        };
        if !section.directory.is_absolute() || section.directory.components().any(|part| part == Component::ParentDir) {
            return Err(wrong("directory as an absolute path"));
        }
        let names: BTreeSet<&String> = section.jwt.iter().map(|jwt| &jwt.file).collect();
        if names.len() != section.jwt.len() || !section.jwt.iter().all(|jwt| is_file_name(&jwt.file)) {
            return Err(wrong("file as a plain name that no other file has"));
        }
        if section.jwt.iter().any(|jwt| jwt.audience.is_empty() || jwt.audience.len() > TEXT) {
            return Err(wrong("audience of at most 512 bytes"));
        }
        match &section.reload {
            Some(Reload::Command(argv)) if !argv.first().is_some_and(|program| Path::new(program).is_absolute()) => {
                return Err(wrong("reload.command beginning with the absolute path of a program"));
            }
            Some(Reload::PidFile(path)) if !path.is_absolute() => {
                return Err(wrong("reload.pid_file as an absolute path"));
            }
            Some(Reload::Unit(unit)) if !unit.ends_with(".service") || unit.starts_with('-') => {
                return Err(wrong("reload.unit as the name of a .service"));
            }
            _ => {}
        }
        let FilesSection { svid, directory, owner, group, persistent, jwt, reload } = section;
        Ok(Self { svid, directory, owner, group, persistent, jwt, reload })
    }
}

/// A name that is none of ours and leads nowhere else.
fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && !["svid.pem", "key.pem", "bundle.pem"].contains(&name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn settings(toml: &str) -> Result<ServeSettings, ServeSettingsError> {
        ServeSettings::new(toml::from_str(toml).unwrap())
    }

    #[test]
    fn every_want_is_asked_for_once() {
        let settings = settings(
            "[[entry]]\nsvid = 'web'\naudiences = ['db', 'mq']\nmatch = { uid = 1 }\n[[entry]]\nsvid = 'web'\nmatch.uid = 2\n\
             [[files]]\nsvid = 'web'\ndirectory = '/run/web'\njwt = [{ audience = 'db', file = 'db.jwt' }]\n\
             reload.unit = 'nginx.service'",
        );
        let settings = settings.unwrap();
        let wants: Vec<String> = settings.wants().iter().map(ToString::to_string).collect();
        assert_eq!(wants, ["jwt-svid web for db", "jwt-svid web for mq", "x509-svid web"]);
        assert_eq!(settings.sinks.first().unwrap().reload, Some(Reload::Unit("nginx.service".into())));
    }

    #[test]
    fn settings_that_would_surprise_are_refused() {
        let file = "[[files]]\nsvid = 'web'\n";
        for wrong in [
            "",
            "connections = 0\n[[entry]]\nsvid = 'web'\nmatch.uid = 1",
            "connections_per_user = 5000\n[[entry]]\nsvid = 'web'\nmatch.uid = 1",
            "[[entry]]\nsvid = 'web'\nmatch = {}",
            "[[entry]]\nsvid = ''\nmatch.uid = 1",
            "[[entry]]\nsvid = 'a/b'\nmatch.uid = 1",
            "[[entry]]\nsvid = 'web'\naudiences = ['']\nmatch.uid = 1",
            &format!("{file}directory = 'run'"),
            &format!("{file}directory = '/run/../etc'"),
            &format!("{file}directory = '/run/w'\njwt = [{{ audience = 'a', file = '../x' }}]"),
            &format!("{file}directory = '/run/w'\njwt = [{{ audience = 'a', file = 'key.pem' }}]"),
            &format!("{file}directory = '/run/w'\njwt = [{{ audience = 'a', file = '..data' }}]"),
            &format!("{file}directory = '/run/w'\njwt = [{{ audience = '', file = 'x' }}]"),
            &format!("{file}directory = '/run/w'\nreload.command = ['systemctl']"),
            &format!("{file}directory = '/run/w'\nreload.command = []"),
            &format!("{file}directory = '/run/w'\nreload.unit = 'nginx'"),
            &format!("{file}directory = '/run/w'\n{file}directory = '/run/w'"),
        ] {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
        for unknown in
            ["[[entry]]\nsvid = 'web'", "ready = 'soon'", "[[files]]\nsvid = 'w'\ndirectory = '/r'\nmode = 1"]
        {
            assert!(toml::from_str::<ServeSection>(unknown).is_err(), "{unknown}");
        }
    }
}
