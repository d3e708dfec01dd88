//! What certificates say in the terms of SPIFFE: identities, CA rights and constraints on names.

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, GeneralSubtree, ParsedExtension},
    parse_x509_certificate,
};

use super::TrustDomain;

/// A certificate, and nothing after it.
fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    parse_x509_certificate(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

/// Every URI among the alternative names; `None` when the certificate or the extension cannot be read.
pub(crate) fn uris(der: &[u8]) -> Option<Vec<String>> {
    let certificate = parse(der)?;
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    Some(names.iter().filter_map(uri).map(str::to_owned).collect())
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(uri) = name { Some(uri) } else { None }
}

/// The SPIFFE ID of an X.509-SVID: the only URI of a certificate that is no CA (X509-SVID §2 and §5.2).
pub(crate) fn svid_id(der: &[u8]) -> Option<String> {
    if is_authority(der) {
        return None;
    }
    let mut uris = uris(der)?;
    let id = uris.pop()?;
    (uris.is_empty() && id.starts_with("spiffe://")).then_some(id)
}

/// The trust domain that a CA names as its own: `spiffe://NAME` without a path.
pub(crate) fn trust_domain_of(der: &[u8]) -> Option<TrustDomain> {
    uris(der)?.iter().find_map(|uri| uri.strip_prefix("spiffe://").and_then(|name| name.parse().ok()))
}

/// Whether it is a CA that may sign certificates.
pub(crate) fn is_authority(der: &[u8]) -> bool {
    let Some(certificate) = parse(der) else { return false };
    let constraints = certificate.basic_constraints().ok().flatten();
    let usage = certificate.key_usage().ok();
    let may_sign = usage.is_some_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    constraints.is_some_and(|constraints| constraints.value.ca) && may_sign
}

/// Whether the constraints of a CA allow server and client certificates with SPIFFE IDs of `trust_domain`: RFC 5280
/// §4.2.1.10 for the host of a URI, §4.2.1.12 for the usages. What cannot be read allows nothing.
pub(crate) fn allows(der: &[u8], trust_domain: &TrustDomain) -> Result<(), &'static str> {
    let certificate = parse(der).ok_or("a certificate")?;
    let usages = certificate.extended_key_usage().map_err(|_twice| "readable extended key usages")?;
    if !usages.is_none_or(|usages| usages.value.any || (usages.value.server_auth && usages.value.client_auth)) {
        return Err("no extended key usages, or those of servers and clients");
    }
    for extension in certificate.extensions() {
        let parsed = extension.parsed_extension();
        if let ParsedExtension::ParseError { .. } = parsed {
            return Err("extensions that can be read");
        }
        let ParsedExtension::NameConstraints(constraints) = parsed else { continue };
        let (permitted, excluded) = (hosts(&constraints.permitted_subtrees), hosts(&constraints.excluded_subtrees));
        if !permitted.is_empty() && !permitted.iter().any(|constraint| within(trust_domain, constraint)) {
            return Err("name constraints that permit URIs of the trust domain");
        }
        if excluded.iter().any(|constraint| within(trust_domain, constraint)) {
            return Err("name constraints that do not exclude URIs of the trust domain");
        }
    }
    let ids = uris(der).ok_or("alternative names that can be read")?;
    match ids.iter().all(|id| id.strip_prefix("spiffe://") == Some(trust_domain.as_str())) {
        true => Ok(()),
        false => Err("no URI, or the trust domain's own SPIFFE ID"),
    }
}

/// The hosts of constraints on URIs.
fn hosts<'a>(subtrees: &Option<Vec<GeneralSubtree<'a>>>) -> Vec<&'a str> {
    subtrees.iter().flatten().filter_map(|subtree| uri(&subtree.base)).collect()
}

/// Whether the host of a URI is inside of a constraint: `.example.org` means any host below it, `example.org` that host.
fn within(trust_domain: &TrustDomain, constraint: &str) -> bool {
    let (name, constraint) = (trust_domain.as_str(), constraint.to_ascii_lowercase());
    match constraint.strip_prefix('.') {
        Some(parent) => name.strip_suffix(parent).is_some_and(|host| host.len() > 1 && host.ends_with('.')),
        None => name == constraint,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_uri_constraint_is_a_host_or_what_is_below_one() {
        let domain: TrustDomain = "prod.example.org".parse().unwrap();
        for (constraint, inside) in [
            ("prod.example.org", true),
            (".example.org", true),
            (".EXAMPLE.org", true),
            ("example.org", false),
            (".prod.example.org", false),
            (".ample.org", false),
            ("", false),
        ] {
            assert_eq!(within(&domain, constraint), inside, "{constraint}");
        }
    }
}
