//! Which URLs are the same resource for a proof.

/// Whether two absolute URLs are the same but for query and fragment, after the normalisation that RFC 9449 §4.3 asks for
/// (RFC 3986 §6.2.2 and §6.2.3): case of scheme and host, default ports, an empty path. What is no such URL is never the same.
#[must_use]
pub fn same_resource(one: &str, other: &str) -> bool {
    normal(one).zip(normal(other)).is_some_and(|(one, other)| one == other)
}

/// Scheme, host with port, path.
fn normal(url: &str) -> Option<(String, String, String)> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    let path = if path.is_empty() { "/" } else { path };
    Some((scheme, authority.to_owned(), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::same_resource;

    #[test]
    fn the_same_resource_has_several_texts_and_no_others() {
        let url = "https://broker.example/v1/token";
        for same in [url, "HTTPS://Broker.Example:443/v1/token", "https://broker.example/v1/token?x=1#y"] {
            assert!(same_resource(same, url), "{same}");
        }
        assert!(same_resource("https://b", "https://b/"));
        for other in [
            "",
            "/v1/token",
            "http://broker.example/v1/token",
            "https://broker.example:8443/v1/token",
            "https://broker.example/v1/token/",
            "https://broker.example/V1/token",
            "https://user@broker.example/v1/token",
            "https://broker.example.evil/v1/token",
            "ftp://broker.example/v1/token",
            "https://broker.example/v1/token ",
        ] {
            assert!(!same_resource(other, url), "{other}");
        }
        for none in ["https://", "https://user@broker.example/v1/token", "https://broker.example/a b"] {
            assert!(!same_resource(none, none), "what is no URL is the same as nothing: {none}");
        }
    }
}
