//! What to look at first: what opens the most doors when it leaks.

use serde::Serialize;

/// How soon somebody should look at a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Risk {
    /// Private keys, and keys of clouds, of source and pipelines, of vaults and databases: they lead to other secrets.
    High,
    /// Everything else.
    Medium,
    /// In documentation, examples and tests.
    Low,
}

/// Beginnings of the names of rules about what leads further.
const FAR: [&str; 26] = [
    "private-key",
    "location-ssh",
    "location-luks",
    "location-aws",
    "location-gcloud",
    "location-azure",
    "location-kube",
    "location-vault",
    "location-kerberos",
    "location-pgpass",
    "age-secret-key",
    "alibaba-",
    "aws-",
    "azure-",
    "database-connection",
    "digitalocean-",
    "doppler-",
    "gcp-",
    "github-",
    "gitlab-",
    "hashicorp-",
    "kubernetes-",
    "openshift-",
    "pulumi-",
    "vault-",
    "cloudflare-",
];

/// Parts of paths where secrets are mostly made up.
const MADE_UP: [&str; 7] =
    ["usr/share/doc/", "usr/share/man/", "/examples/", "/example/", "/testdata/", "/fixtures/", "/tests/"];

impl Risk {
    /// By the rule, and the path in the tree.
    pub(crate) fn of(rule: &str, path: &str) -> Self {
        if MADE_UP.iter().any(|part| path.contains(part)) {
            Self::Low
        } else if FAR.iter().any(|beginning| rule.starts_with(beginning)) {
            Self::High
        } else {
            Self::Medium
        }
    }

    /// As printed.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Risk;

    #[test]
    fn what_leads_further_comes_first() {
        assert_eq!(Risk::of("gitlab-pat", "builds/ci.yml"), Risk::High);
        assert_eq!(Risk::of("generic-api-key", "srv/app.conf"), Risk::Medium);
        assert_eq!(Risk::of("private-key", "usr/share/doc/openssl/demo.pem"), Risk::Low);
        assert!(Risk::High < Risk::Medium && Risk::Medium < Risk::Low);
    }
}
