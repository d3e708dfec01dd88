//! `[exchange]`: which tokens there are to exchange for, and whose tokens count on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use keys::sign::SignatureAlgorithm;
use serde::Deserialize;

use crate::{fetch::Url, identity::Template, store::is_name};

/// What a rule names when the subject is the attested guest itself.
pub(crate) const ATTESTATION: &str = "attestation";
/// A JWT-SVID of this broker.
pub(crate) const JWT_SVID: &str = "jwt-svid";
/// A token that an exchange issued before.
pub(crate) const ACCESS_TOKEN: &str = "access-token";

/// The token exchange (RFC 8693).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exchange {
    /// Whether the API listener takes client certificates that no CA vouches for, so that tokens can be bound to them.
    pub(crate) mtls: bool,
    /// Whether a DPoP proof needs a nonce of this broker.
    pub(crate) dpop_nonce: NonceUse,
    /// Seconds that a proof is good for, before and after it was made.
    pub(crate) proof_seconds: u32,
    /// Exchanges per second and guest that are sustained, in bursts of up to twice as many.
    pub(crate) requests_per_second: u32,
    /// Issuers of foreign subject tokens.
    pub(crate) issuer: Vec<ForeignIssuer>,
    /// What there is to exchange for.
    pub(crate) grant: Vec<ExchangeEntry>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            mtls: false,
            dpop_nonce: NonceUse::Required,
            proof_seconds: 60,
            requests_per_second: 20,
            issuer: Vec::new(),
            grant: Vec::new(),
        }
    }
}

/// Whether a DPoP proof needs a nonce of this broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NonceUse {
    /// A proof that was made ahead, or by a clock that the host sets, is of no use.
    Required,
    /// One that is there must be good.
    Accepted,
}

/// What kind of tokens an issuer issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IssuerKind {
    /// Kubernetes service account tokens that are bound to a pod.
    Kubernetes,
    /// Any other, such as those of CI runners.
    Oidc,
}

/// An issuer of foreign subject tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForeignIssuer {
    /// What rules name; the part before the colon in `sub` of what is issued.
    pub(crate) name: String,
    /// What kind.
    pub(crate) kind: IssuerKind,
    /// The exact `iss`.
    pub(crate) issuer: String,
    /// The `aud` that a subject token must have: this broker's name there.
    pub(crate) audience: String,
    /// The keys, from a file that is read again when it is `refresh_seconds` old.
    pub(crate) jwks_file: Option<PathBuf>,
    /// The keys, fetched.
    pub(crate) jwks_url: Option<String>,
    /// The CA of that address; default: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Where the cluster is asked about each of its tokens; absent: a token counts until it expires.
    pub(crate) token_review: Option<TokenReview>,
    /// Signature algorithms that count.
    #[serde(default = "algorithms")]
    pub(crate) algorithms: Vec<SignatureAlgorithm>,
    /// Seconds after which keys are fetched again.
    #[serde(default = "refresh")]
    pub(crate) refresh_seconds: u32,
    /// Seconds that keys count at most while they cannot be fetched again.
    #[serde(default = "stale")]
    pub(crate) stale_seconds: u32,
}

/// Where a cluster is asked about its tokens, and as whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenReview {
    /// The API server's address.
    pub(crate) url: String,
    /// The CA of its certificate, PEM.
    pub(crate) ca: PathBuf,
    /// The broker's own bearer token there, which may do nothing but make token reviews; read anew for each question.
    pub(crate) token_file: PathBuf,
}

fn algorithms() -> Vec<SignatureAlgorithm> {
    SignatureAlgorithm::ALL.to_vec()
}

const fn refresh() -> u32 {
    300
}

const fn stale() -> u32 {
    3600
}

/// One audience that tokens are issued for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExchangeEntry {
    /// Name, for policies, leases and revocations.
    pub(crate) name: String,
    /// `aud`, which is also how requests name it.
    pub(crate) audience: String,
    /// Scopes that may be asked for.
    #[serde(default)]
    pub(crate) scopes: BTreeSet<String>,
    /// Workloads that may act.
    pub(crate) workloads: Vec<String>,
    /// How it is signed.
    #[serde(default = "es256")]
    pub(crate) algorithm: SignatureAlgorithm,
    /// Longest life in seconds.
    #[serde(default = "ttl")]
    pub(crate) ttl_seconds: u32,
    /// How old the attestation may be, in seconds; default: as long as its result holds.
    pub(crate) attestation_seconds: Option<u32>,
    /// Whether a request must say what for.
    #[serde(default)]
    pub(crate) purpose_required: bool,
    /// How much one guest may exchange for.
    pub(crate) budget: Option<Budget>,
    /// Whose tokens count. One of them must fit.
    pub(crate) subject: Vec<SubjectRule>,
}

const fn es256() -> SignatureAlgorithm {
    SignatureAlgorithm::Es256
}

const fn ttl() -> u32 {
    300
}

/// How much one guest may exchange for in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// The time.
    #[serde(default = "hour")]
    pub(crate) seconds: u32,
    /// Tokens of every entry together.
    pub(crate) tokens: u32,
    /// Different entries.
    pub(crate) targets: u32,
}

const fn hour() -> u32 {
    3600
}

/// A subject token that counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubjectRule {
    /// Who issued it: the name of an issuer, or `attestation`, `jwt-svid` or `access-token` of this broker.
    pub(crate) from: String,
    /// Claims (JSON pointers) with the texts that they may have.
    #[serde(default)]
    pub(crate) conditions: BTreeMap<String, Vec<String>>,
    /// Claims (JSON pointers) that must say what the evidence shows.
    #[serde(default)]
    pub(crate) bind: BTreeMap<String, Template>,
}

impl SubjectRule {
    /// The claims that it looks at.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = &String> {
        self.conditions.keys().chain(self.bind.keys())
    }
}

impl Exchange {
    /// The foreign issuer with this `iss`.
    pub(crate) fn issuer_of(&self, iss: &str) -> Option<&ForeignIssuer> {
        self.issuer.iter().find(|issuer| issuer.issuer == iss)
    }

    /// Every path, to be made absolute.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.issuer.iter_mut().flat_map(|issuer| {
            let review = issuer.token_review.iter_mut();
            let review = review.flat_map(|review| [&mut review.ca, &mut review.token_file]);
            issuer.jwks_file.iter_mut().chain(&mut issuer.ca).chain(review)
        })
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self, own_issuer: &str, has_trust_domain: bool) -> Option<String> {
        let in_range = |name: &str, value: u32, least: u32, most: u32| {
            (!(least..=most).contains(&value))
                .then(|| format!("expected {name} between {least} and {most}, found {value}"))
        };
        in_range("proof_seconds", self.proof_seconds, 5, 300)
            .or_else(|| in_range("requests_per_second", self.requests_per_second, 1, 100_000))
            .or_else(|| self.issuer.iter().find_map(|issuer| issuer.fault(own_issuer)))
            .or_else(|| self.doubled())
            .or_else(|| self.grant.iter().find_map(|entry| entry.fault(&self.issuer, has_trust_domain)))
    }

    fn doubled(&self) -> Option<String> {
        let twice = |texts: Vec<&String>| texts.iter().collect::<BTreeSet<_>>().len() != texts.len();
        let issuers = twice(self.issuer.iter().map(|issuer| &issuer.name).collect())
            || twice(self.issuer.iter().map(|issuer| &issuer.issuer).collect());
        let grants = twice(self.grant.iter().map(|entry| &entry.name).collect())
            || twice(self.grant.iter().map(|entry| &entry.audience).collect());
        (issuers || grants).then(|| "expected names, issuers and audiences that no other entry has".to_owned())
    }
}

impl ForeignIssuer {
    fn fault(&self, own_issuer: &str) -> Option<String> {
        let name = &self.name;
        // A slash or colon in it would make two subjects out of one text.
        if !is_name(name) || name.contains('/') || [ATTESTATION, JWT_SVID, ACCESS_TOKEN].contains(&name.as_str()) {
            return Some(format!("{name:?}: expected a plain name other than those of this broker's own tokens"));
        }
        if self.issuer.is_empty() || self.issuer == own_issuer || self.audience.is_empty() {
            return Some(format!("{name}: expected another issuer and an audience"));
        }
        match (&self.jwks_file, self.jwks_url.as_deref().map(Url::parse)) {
            (Some(_), None) | (None, Some(Ok(_))) => {}
            _ => return Some(format!("{name}: expected jwks_file, or jwks_url with https")),
        }
        match (&self.token_review, self.kind) {
            (None, _) => {}
            (Some(review), IssuerKind::Kubernetes) => {
                if Url::parse(&review.url).is_err() || review.url.contains('?') {
                    return Some(format!("{name}: expected token_review.url with https"));
                }
            }
            (Some(_), IssuerKind::Oidc) => {
                return Some(format!("{name}: expected token_review for issuers of kind kubernetes only"));
            }
        }
        if self.algorithms.is_empty() {
            return Some(format!("{name}: expected an algorithm"));
        }
        let times = (10..=86_400).contains(&self.refresh_seconds)
            && (self.refresh_seconds..=7 * 86_400).contains(&self.stale_seconds);
        (!times).then(|| format!("{name}: expected refresh_seconds from 10 to 86400, and stale_seconds not below it"))
    }
}

impl ExchangeEntry {
    fn fault(&self, issuers: &[ForeignIssuer], has_trust_domain: bool) -> Option<String> {
        let name = &self.name;
        if !is_name(name) || self.workloads.is_empty() || !self.workloads.iter().all(|workload| is_name(workload)) {
            return Some(format!("{name:?}: expected a plain name and the names of workloads"));
        }
        if self.audience.is_empty() || self.audience.len() > 512 {
            return Some(format!("{name}: expected an audience of 1 to 512 bytes"));
        }
        // RFC 6749 §3.3
        let scope = |scope: &String| {
            let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            !scope.is_empty() && scope.len() <= 128 && scope.bytes().all(plain)
        };
        if !self.scopes.iter().all(scope) {
            return Some(format!("{name}: expected scopes of 1 to 128 printable characters"));
        }
        if !(1..=3600).contains(&self.ttl_seconds) {
            return Some(format!("{name}: expected ttl_seconds between 1 and 3600, found {}", self.ttl_seconds));
        }
        if self.algorithm == SignatureAlgorithm::Es384 {
            return Some(format!("{name}: expected the algorithm ES256 or RS256"));
        }
        if self
            .budget
            .is_some_and(|budget| !(1..=3600).contains(&budget.seconds) || budget.tokens == 0 || budget.targets == 0)
        {
            return Some(format!("{name}: expected a budget over 1 to 3600 seconds, of a token and a target at least"));
        }
        if self.subject.is_empty() {
            return Some(format!("{name}: expected a subject whose token counts"));
        }
        self.subject.iter().find_map(|rule| self.rule_fault(rule, issuers, has_trust_domain))
    }

    fn rule_fault(&self, rule: &SubjectRule, issuers: &[ForeignIssuer], has_trust_domain: bool) -> Option<String> {
        let SubjectRule { from, conditions, bind } = rule;
        let foreign = issuers.iter().any(|issuer| issuer.name == *from);
        if !foreign && ![ATTESTATION, JWT_SVID, ACCESS_TOKEN].contains(&from.as_str()) {
            return Some(format!("{}: expected the name of an issuer, found {from:?}", self.name));
        }
        // Everybody's CI has tokens of the same issuer.
        if foreign && conditions.is_empty() && bind.is_empty() {
            return Some(format!("{}: expected conditions or bind for tokens of {from}", self.name));
        }
        if !rule.pointers().all(|pointer| pointer.starts_with('/') && pointer.len() <= 256) {
            return Some(format!("{}: expected JSON pointers, such as /sub", self.name));
        }
        if conditions.values().any(Vec::is_empty) {
            return Some(format!("{}: expected a text for each condition", self.name));
        }
        let spiffe = bind.values().any(Template::needs_trust_domain);
        (spiffe && !has_trust_domain)
            .then(|| format!("{}: expected identity.trust_domain for {{spiffe_id}}", self.name))
    }
}
