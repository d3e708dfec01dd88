//! `[[tenant]]`: others that this broker serves, each by itself.

use evidence_formats::code::{Code, Coded};
use serde::Deserialize;
use thiserror::Error;
use verifier::baseline::Baseline;

use super::{
    Appraisal, BreakGlass, Config, DatabaseServer, Enrolment, Exceptions, Exchange, Identity, ReferenceTrust, Ssh,
};
use crate::store::TenantId;

/// A tenant: its own issuer, trust domain, rules and credentials. What is not said here has its default, never what the
/// first tenant has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name, and where its routes are: `/t/NAME`.
    name: String,
    /// `iss` of what it signs; default: the broker's issuer with `/t/NAME`.
    issuer: Option<String>,
    /// `aud` of its attestation results; default: its issuer.
    audience: Option<String>,
    /// Rules that hold before any policy.
    #[serde(default)]
    baseline: Baseline,
    /// What an appraisal may say without being refused.
    #[serde(default)]
    appraisal: Appraisal,
    /// Identities that affirmed guests may ask for.
    #[serde(default)]
    identity: Identity,
    /// Database servers that roles are made in.
    #[serde(default)]
    postgres: Vec<DatabaseServer>,
    /// SSH certificates that affirmed guests may ask for.
    #[serde(default)]
    ssh: Ssh,
    /// The token exchange.
    #[serde(default)]
    exchange: Exchange,
    /// How attestation keys of TPMs get into the register.
    #[serde(default)]
    enrolment: Enrolment,
    /// How long legacy secrets may live, and who is warned when.
    #[serde(default)]
    exceptions: Exceptions,
    /// Whether its legacy secrets may go over the broker's bridge.
    #[serde(default)]
    bridge: bool,
    /// Who may approve a release that the policies refuse; absent: there is none.
    break_glass: Option<BreakGlass>,
    /// Who may sign reference values, and what is taken without.
    #[serde(default)]
    reference_values: ReferenceTrust,
}

/// The tenants of a configuration do not go together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TenantFault {
    /// A name is none.
    #[error("expected a name of 1 to 32 lower-case letters, digits and -, other than default; found {found:?}")]
    Name {
        /// What the file says.
        found: String,
    },
    /// Two have the same name.
    #[error("expected a name that no other tenant has, found {name} twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Two have the same trust domain.
    #[error("expected a trust domain for each tenant, found {trust_domain} for {first} and {second}")]
    TrustDomain {
        /// The trust domain.
        trust_domain: String,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Two have the same issuer.
    #[error("expected an issuer for each tenant, found {issuer} for {first} and {second}")]
    Issuer {
        /// The issuer.
        issuer: String,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// The bridge is not configured.
    #[error("{name}: bridge: expected the table [bridge], which says where it listens")]
    Bridge {
        /// The tenant.
        name: String,
    },
}

impl Coded for TenantFault {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Name { .. } => "parse.config.tenant_name",
            Self::Twice { .. } => "parse.config.tenant_twice",
            Self::TrustDomain { .. } => "parse.config.tenant_trust_domain",
            Self::Issuer { .. } => "parse.config.tenant_issuer",
            Self::Bridge { .. } => "parse.config.tenant_bridge",
        })
    }
}

impl Config {
    /// The configuration of a tenant. Every setting is named: one that is added is either common, and says so here, or the
    /// tenant's own.
    pub(super) fn of(&self, tenant: Tenant) -> Self {
        // A name that is none is refused before this is used; see `fault`.
        let name = TenantId::parse(&tenant.name).unwrap_or_else(TenantId::default_tenant);
        let issuer = tenant.issuer.unwrap_or_else(|| format!("{}{}", self.issuer.trim_end_matches('/'), name.path()));
        Self {
            listen: self.listen,
            data_dir: self.data_dir.clone(),
            root_key: self.root_key.clone(),
            audience: tenant.audience.unwrap_or_else(|| issuer.clone()),
            issuer,
            tls: self.tls.clone(),
            metrics: None,
            limits: self.limits.clone(),
            verification: self.verification.clone(),
            baseline: tenant.baseline,
            appraisal: tenant.appraisal,
            identity: tenant.identity,
            postgres: tenant.postgres,
            ssh: tenant.ssh,
            exchange: tenant.exchange,
            enrolment: tenant.enrolment,
            exceptions: tenant.exceptions,
            bridge: self.bridge.clone().filter(|_| tenant.bridge),
            audit: self.audit.clone(),
            break_glass: tenant.break_glass,
            reference_values: tenant.reference_values,
            endorsements: self.endorsements.clone(),
            mirror: None,
            tenant: Vec::new(),
            name,
            others: Vec::new(),
        }
    }
}

/// What is wrong with the tenants as the file has them, if anything.
pub(super) fn named(config: &Config) -> Option<TenantFault> {
    let wrong = |tenant: &&Tenant| TenantId::parse(&tenant.name).is_none_or(|name| name == TenantId::default_tenant());
    if let Some(tenant) = config.tenant.iter().find(wrong) {
        return Some(TenantFault::Name { found: tenant.name.clone() });
    }
    let unbridged = config.tenant.iter().find(|tenant| tenant.bridge && config.bridge.is_none());
    unbridged.map(|tenant| TenantFault::Bridge { name: tenant.name.clone() })
}

/// What is wrong with the tenants beside each other, if anything: a name, a trust domain and an issuer are one tenant's.
pub(super) fn fault(config: &Config) -> Option<TenantFault> {
    let all: Vec<&Config> = config.all().collect();
    for (place, second) in all.iter().enumerate() {
        for first in all.iter().take(place) {
            if let Some(fault) = clash(first, second) {
                return Some(fault);
            }
        }
    }
    None
}

fn clash(first: &Config, second: &Config) -> Option<TenantFault> {
    let names = || (first.name.as_str().to_owned(), second.name.as_str().to_owned());
    if first.name == second.name {
        return Some(TenantFault::Twice { name: second.name.as_str().to_owned() });
    }
    if let (Some(one), Some(other)) = (&first.identity.trust_domain, &second.identity.trust_domain)
        && one == other
    {
        let (first, second) = names();
        return Some(TenantFault::TrustDomain { trust_domain: one.as_str().to_owned(), first, second });
    }
    if first.issuer.trim_end_matches('/') == second.issuer.trim_end_matches('/') {
        let (one, other) = names();
        return Some(TenantFault::Issuer { issuer: second.issuer.clone(), first: one, second: other });
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ConfigError;

    const COMMON: &str = r#"
listen = "127.0.0.1:0"
data_dir = "data"
root_key = "root.key"
issuer = "https://broker.example/"
audience = "https://broker.example"
[tls]
certificate = "a"
key = "b"
admin_ca = "c"
[verification]
[baseline.snp]
allow_debug = true
[identity]
trust_domain = "one.example"
[[identity.token]]
name = "cloud"
audience = "sts"
workloads = ["web"]
"#;

    fn parse(more: &str) -> Result<Config, ConfigError> {
        Config::parse(&format!("{COMMON}{more}"), Path::new("/etc/countersign/countersign.toml"))
    }

    fn refused(more: &str) -> (String, String) {
        match parse(more) {
            Err(ConfigError::Tenants { fault, .. }) => (fault.code().to_string(), fault.to_string()),
            other => (String::new(), format!("{:?}", other.map(|_| ()))),
        }
    }

    #[test]
    fn a_tenant_has_its_own_settings_and_nothing_of_the_first_ones() {
        let config = parse(
            "[[tenant]]\nname = \"acme\"\n[tenant.identity]\ntrust_domain = \"two.example\"\n\
             [tenant.identity.authority.upstream]\ncertificate = \"u.pem\"\nkey = \"u.key\"\nroots = \"r.pem\"\n\
             [[tenant]]\nname = \"plain\"\nissuer = \"https://plain.example\"\n",
        );
        let config = config.unwrap();
        let [acme, plain] = &config.others().collect::<Vec<_>>()[..] else { unreachable!("two tenants") };
        assert_eq!((acme.issuer.as_str(), acme.audience.as_str()), ("https://broker.example/t/acme", &*acme.issuer));
        assert_eq!(
            (plain.issuer.as_str(), plain.audience.as_str()),
            ("https://plain.example", "https://plain.example")
        );
        assert!(config.baseline.snp.allow_debug && !acme.baseline.snp.allow_debug);
        assert!(acme.identity.token.is_empty() && plain.identity.trust_domain.is_none());
        let upstream = acme.identity.authority.upstream.as_ref().unwrap();
        assert_eq!(upstream.key, Path::new("/etc/countersign/u.key"));
    }

    #[test]
    fn names_trust_domains_and_issuers_are_one_tenants() {
        for name in ["default", "", "Acme", "a/b", "-a", "a b"] {
            assert_eq!(refused(&format!("[[tenant]]\nname = \"{name}\"\n")).0, "parse.config.tenant_name", "{name}");
        }
        let acme = "[[tenant]]\nname = \"acme\"\n";
        assert_eq!(refused(&format!("{acme}{acme}")).0, "parse.config.tenant_twice");
        let (code, text) = refused(&format!("{acme}[tenant.identity]\ntrust_domain = \"one.example\"\n"));
        assert_eq!(code, "parse.config.tenant_trust_domain", "{text}");
        assert!(text.contains("one.example for default and acme"), "{text}");
        let issuer = format!("{acme}issuer = \"https://broker.example\"\n");
        assert_eq!(refused(&issuer).0, "parse.config.tenant_issuer");
        assert_eq!(refused(&format!("{acme}bridge = true\n")).0, "parse.config.tenant_bridge");
    }

    #[test]
    fn what_is_wrong_with_one_tenant_names_it() {
        let wrong = parse("[[tenant]]\nname = \"acme\"\n[tenant.identity.bundle]\nrefresh_hint_seconds = 0\n");
        assert!(wrong.unwrap_err().to_string().starts_with("tenant acme: "));
        assert!(
            parse("[[tenant]]\nname = \"acme\"\n[tenant.tls]\nkey = \"a\"\n").is_err(),
            "common settings are no tenant's"
        );
    }
}
