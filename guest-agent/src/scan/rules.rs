//! Rules in the format of gitleaks: what a static secret looks like, and what looks like one and is none.

use std::{fs, path::Path};

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use thiserror::Error;

use super::dialect::from_go;

/// The rules that come with the agent; see `rules/README.md`.
const BUILT_IN: &str = include_str!("../../rules/gitleaks.toml");
/// Places that are credentials by their nature.
const LOCATIONS: &str = include_str!("../../rules/locations.toml");

/// Largest rules file, in bytes, most rules, and memory of one compiled expression.
const LARGEST: u64 = 4 << 20;
const MOST: usize = 4096;
const COMPILED: usize = 16 << 20;

/// A rules file is no good.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RulesError {
    /// It cannot be read.
    #[error("expected to read it, at most {LARGEST} bytes")]
    Read(#[source] std::io::Error),
    /// It is not of the format.
    #[error("expected rules in the format of gitleaks (TOML)")]
    Format(#[source] Box<toml::de::Error>),
    /// An expression does not compile.
    #[error("expected an expression that compiles in the rule {rule}")]
    Expression {
        /// Which rule.
        rule: String,
        /// Why not.
        source: Box<regex::Error>,
    },
    /// A rule looks for nothing, or there are too many.
    #[error("expected at most {MOST} rules, each with a regex or a path: {rule}")]
    Shape {
        /// Which rule.
        rule: String,
    },
    /// The keywords cannot be searched for.
    #[error("expected fewer keywords")]
    Keywords,
}

/// A file of rules, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    #[serde(default, rename = "title")]
    _title: Option<String>,
    #[serde(default, rename = "minVersion")]
    _min_version: Option<String>,
    #[serde(default)]
    allowlist: Option<AllowEntry>,
    #[serde(default)]
    allowlists: Vec<AllowEntry>,
    rules: Vec<RuleEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleEntry {
    id: String,
    #[serde(default, rename = "description")]
    _description: Option<String>,
    #[serde(default, rename = "tags")]
    _tags: Vec<String>,
    regex: Option<String>,
    path: Option<String>,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    entropy: f64,
    #[serde(default)]
    secret_group: usize,
    #[serde(default)]
    allowlist: Option<AllowEntry>,
    #[serde(default)]
    allowlists: Vec<AllowEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
struct AllowEntry {
    #[serde(rename = "description")]
    _description: Option<String>,
    condition: Condition,
    regex_target: Target,
    regexes: Vec<String>,
    paths: Vec<String>,
    stopwords: Vec<String>,
}

/// Whether one part of an allow list is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Condition {
    #[default]
    #[serde(rename = "OR", alias = "or", alias = "||")]
    Or,
    #[serde(rename = "AND", alias = "and", alias = "&&")]
    And,
}

/// What the expressions of an allow list look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    #[default]
    Secret,
    Match,
    Line,
}

/// Compiled rules.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    allowed: Vec<Allow>,
    keywords: AhoCorasick,
    /// The rule of each keyword.
    owners: Vec<usize>,
}

/// One compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its name.
    pub(crate) id: String,
    regex: Option<Regex>,
    path: Option<Regex>,
    has_keywords: bool,
    entropy: f64,
    secret_group: usize,
    allowed: Vec<Allow>,
}

#[derive(Debug)]
struct Allow {
    condition: Condition,
    target: Target,
    regexes: Vec<Regex>,
    paths: Vec<Regex>,
    stopwords: Option<AhoCorasick>,
}

/// Where in a text a secret stands, and by which rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit<'r> {
    /// The rule.
    pub(crate) rule: &'r Rule,
    /// First byte of the secret.
    pub(crate) start: usize,
    /// Byte after its last one.
    pub(crate) end: usize,
}

impl Rules {
    /// The rules that come with the agent.
    ///
    /// # Errors
    /// Never in fact: a test compiles them.
    pub(crate) fn built_in() -> Result<Self, RulesError> {
        Self::compile(&[BUILT_IN, LOCATIONS])
    }

    /// The rules of a file, and the well-known places.
    ///
    /// # Errors
    /// When the file cannot be read or holds no such rules.
    pub(crate) fn read(path: &Path) -> Result<Self, RulesError> {
        let size = fs::metadata(path).map_err(RulesError::Read)?.len();
        if size > LARGEST {
            return Err(RulesError::Read(std::io::ErrorKind::FileTooLarge.into()));
        }
        let text = fs::read_to_string(path).map_err(RulesError::Read)?;
        Self::compile(&[&text, LOCATIONS])
    }

    fn compile(texts: &[&str]) -> Result<Self, RulesError> {
        let (mut rules, mut allowed, mut keywords, mut owners) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            let file: File = toml::from_str(text).map_err(|error| RulesError::Format(Box::new(error)))?;
            for entry in file.allowlist.iter().chain(&file.allowlists) {
                allowed.push(Allow::compile("allowlist", entry)?);
            }
            for entry in file.rules {
                keywords.extend(entry.keywords.iter().cloned());
                owners.resize(keywords.len(), rules.len());
                rules.push(Rule::compile(&entry)?);
            }
        }
        if rules.len() > MOST {
            return Err(RulesError::Shape { rule: format!("{} rules", rules.len()) });
        }
        let built = AhoCorasick::builder().ascii_case_insensitive(true).build(&keywords);
        let keywords = built.map_err(|_too_many| RulesError::Keywords)?;
        Ok(Self { rules, allowed, keywords, owners })
    }

    /// How many rules there are.
    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether nothing at this path is looked at.
    pub(crate) fn skips(&self, path: &str) -> bool {
        self.allowed.iter().any(|allow| allow.paths.iter().any(|regex| regex.is_match(path.as_bytes())))
    }

    /// The rules that a path alone breaks.
    pub(crate) fn by_path<'r>(&'r self, path: &'r str) -> impl Iterator<Item = &'r Rule> {
        let alone = |rule: &&Rule| {
            rule.regex.is_none() && rule.path.as_ref().is_some_and(|regex| regex.is_match(path.as_bytes()))
        };
        self.rules.iter().filter(alone)
    }

    /// Every secret in `text`, which lies at `path`.
    pub(crate) fn hits<'r>(&'r self, path: &str, text: &[u8]) -> Vec<Hit<'r>> {
        let mut candidates: Vec<bool> = self.rules.iter().map(|rule| !rule.has_keywords).collect();
        for found in self.keywords.find_overlapping_iter(text) {
            let owner = self.owners.get(found.pattern().as_usize());
            if let Some(candidate) = owner.and_then(|owner| candidates.get_mut(*owner)) {
                *candidate = true;
            }
        }
        let mut hits = Vec::new();
        for (rule, _) in self.rules.iter().zip(candidates).filter(|(_, candidate)| *candidate) {
            rule.find(path, text, &self.allowed, &mut hits);
        }
        hits
    }
}

impl Rule {
    fn compile(entry: &RuleEntry) -> Result<Self, RulesError> {
        if entry.regex.is_none() && entry.path.is_none() {
            return Err(RulesError::Shape { rule: entry.id.clone() });
        }
        let compiled = |text: &Option<String>| text.as_ref().map(|text| expression(&entry.id, text)).transpose();
        let lists = entry.allowlist.iter().chain(&entry.allowlists);
        Ok(Self {
            id: entry.id.clone(),
            regex: compiled(&entry.regex)?,
            path: compiled(&entry.path)?,
            has_keywords: !entry.keywords.is_empty(),
            entropy: entry.entropy,
            secret_group: entry.secret_group,
            allowed: lists.map(|list| Allow::compile(&entry.id, list)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it guesses from a name beside a value, rather than knowing the form of the secret.
    pub(crate) fn is_generic(&self) -> bool {
        self.id.starts_with("generic")
    }

    fn find<'r>(&'r self, path: &str, text: &[u8], allowed: &[Allow], hits: &mut Vec<Hit<'r>>) {
        let Some(regex) = &self.regex else { return };
        if self.path.as_ref().is_some_and(|wanted| !wanted.is_match(path.as_bytes())) {
            return;
        }
        for captures in regex.captures_iter(text) {
            let Some(whole) = captures.get(0) else { continue };
            let group = match self.secret_group {
                0 => captures.iter().skip(1).flatten().find(|group| !group.is_empty()),
                number => captures.get(number),
            };
            let secret = group.unwrap_or(whole);
            if self.entropy > 0.0 && entropy(secret.as_bytes()) <= self.entropy {
                continue;
            }
            let seen =
                Seen { path, secret: secret.as_bytes(), whole: whole.as_bytes(), line: line_around(text, &whole) };
            if !self.allowed.iter().chain(allowed).any(|allow| allow.covers(&seen)) {
                hits.push(Hit { rule: self, start: secret.start(), end: secret.end() });
            }
        }
    }
}

/// What an allow list looks at.
struct Seen<'a> {
    path: &'a str,
    secret: &'a [u8],
    whole: &'a [u8],
    line: &'a [u8],
}

impl Allow {
    fn compile(rule: &str, entry: &AllowEntry) -> Result<Self, RulesError> {
        let all = |texts: &[String]| texts.iter().map(|text| expression(rule, text)).collect::<Result<Vec<_>, _>>();
        let stopwords = match entry.stopwords.is_empty() {
            true => None,
            false => {
                let built = AhoCorasick::builder().ascii_case_insensitive(true).build(&entry.stopwords);
                Some(built.map_err(|_too_many| RulesError::Keywords)?)
            }
        };
        Ok(Self {
            condition: entry.condition,
            target: entry.regex_target,
            regexes: all(&entry.regexes)?,
            paths: all(&entry.paths)?,
            stopwords,
        })
    }

    /// Whether what was found is no secret.
    fn covers(&self, seen: &Seen<'_>) -> bool {
        let target = match self.target {
            Target::Secret => seen.secret,
            Target::Match => seen.whole,
            Target::Line => seen.line,
        };
        let any = |regexes: &[Regex], text: &[u8]| {
            (!regexes.is_empty()).then(|| regexes.iter().any(|regex| regex.is_match(text)))
        };
        let parts = [
            any(&self.regexes, target),
            any(&self.paths, seen.path.as_bytes()),
            self.stopwords.as_ref().map(|words| words.is_match(seen.secret)),
        ];
        let mut parts = parts.into_iter().flatten().peekable();
        match self.condition {
            Condition::Or => parts.any(|part| part),
            Condition::And => parts.peek().is_some() && parts.all(|part| part),
        }
    }
}

fn expression(rule: &str, text: &str) -> Result<Regex, RulesError> {
    // Go's classes are ASCII, and what is searched are bytes.
    let built = RegexBuilder::new(&from_go(text)).unicode(false).size_limit(COMPILED).build();
    built.map_err(|error| RulesError::Expression { rule: rule.to_owned(), source: Box::new(error) })
}

/// The whole lines that a match stands in.
fn line_around<'t>(text: &'t [u8], found: &regex::bytes::Match<'_>) -> &'t [u8] {
    let (before, after) = (text.get(..found.start()).unwrap_or_default(), text.get(found.end()..).unwrap_or_default());
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed.saturating_add(1));
    let end = after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
    text.get(start..found.end().saturating_add(end)).unwrap_or_default()
}

/// Shannon entropy in bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    let total = f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    let share = |count: &u32| f64::from(*count) / total;
    counts.iter().filter(|count| **count > 0).map(share).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    fn found<'r>(rules: &'r Rules, path: &str, text: &str) -> Vec<&'r str> {
        rules.hits(path, text.as_bytes()).into_iter().map(|hit| hit.rule.id.as_str()).collect()
    }

    #[test]
    fn the_built_in_rules_are_the_published_ones_and_all_compile() {
        let published = "bc79f6f949001d37bc89d15f384792fcedade3848a46f180ee1396c215d6ecca";
        assert_eq!(hex::encode(digest(&SHA256, BUILT_IN.as_bytes())), published);
        assert!(Rules::built_in().unwrap().len() > 230);
    }

    #[test]
    fn known_forms_are_found_and_placeholders_are_not() {
        let rules = Rules::built_in().unwrap();
        // Put together here, so that no tool takes this file for a leak.
        let token = ["ghp", "_", "x7Qm2Lp9Vt4Rk8Wz1Ns6Yb3Hd5Jf0Gc2Ea9U"].concat();
        assert_eq!(found(&rules, "app.env", &format!("GITHUB={token}\n")), ["github-pat"]);
        let aws = ["AKIA", "Q7ZP4LMN6RTV2XYW"].concat();
        assert_eq!(found(&rules, "x", &format!("id {aws} ")), ["aws-access-token"]);
        assert_eq!(found(&rules, "x", "id AKIAIOSFODNN7EXAMPLE "), Vec::<&str>::new());
        let generic = format!("password = \"{}\"", ["pQ9z", "R4tY7u", "W2x5V8b1"].concat());
        assert_eq!(found(&rules, "x", &generic), ["generic-api-key"]);
        assert_eq!(found(&rules, "x", "password = \"${DATABASE_PASSWORD}\""), Vec::<&str>::new());
        assert_eq!(found(&rules, "x", "password = \"aaaaaaaaaaaaaaaa\""), Vec::<&str>::new());
    }

    #[test]
    fn places_are_found_by_their_path() {
        let rules = Rules::built_in().unwrap();
        let at = |path| rules.by_path(path).map(|rule| rule.id.clone()).collect::<Vec<_>>();
        assert_eq!(at("root/.ssh/id_ed25519"), ["location-ssh-private-key"]);
        assert_eq!(at("etc/ssh/ssh_host_rsa_key"), ["location-ssh-host-key"]);
        assert!(at("etc/ssh/ssh_host_rsa_key.pub").is_empty() && at("root/.ssh/known_hosts").is_empty());
    }

    #[test]
    fn a_file_that_this_version_does_not_read_is_refused() {
        let compile = |text: &str| Rules::compile(&[text]).unwrap_err();
        assert!(matches!(compile("[[rules]]\nid = 'a'"), RulesError::Shape { .. }));
        assert!(matches!(compile("[[rules]]\nid = 'a'\nregex = '('"), RulesError::Expression { .. }));
        assert!(matches!(compile("[[rules]]\nid = 'a'\nregex = 'a'\nskipReport = true"), RulesError::Format(_)));
        assert!(matches!(compile("[extend]\nuseDefault = true\n"), RulesError::Format(_)));
    }

    #[test]
    fn entropy_is_in_bits_per_byte() {
        assert!(entropy(b"aaaa") < 0.001);
        assert!((entropy(b"abcd") - 2.0).abs() < 0.001);
        assert!(entropy(b"").abs() < 0.001);
    }
}
