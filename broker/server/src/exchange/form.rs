//! The request of a token exchange (RFC 8693 §2.1), as it is in a form.

use std::collections::BTreeSet;

use super::error::ExchangeError;

/// `grant_type` of a token exchange.
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Any JWT: its own label says what it is.
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// What an exchange issues.
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What an OpenID provider issues.
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// An attestation result.
pub(crate) const EAR: &str = "urn:countersign:token-type:ear+jwt";

/// Most bytes of a body.
pub(crate) const BODY_LIMIT: usize = 192 * 1024;
/// Most parameters.
const PARAMETERS: usize = 32;
/// Longest purpose and task, in bytes.
const TEXT: usize = 256;
/// Most scopes of a request.
const SCOPES: usize = 64;

/// What is asked for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExchangeRequest {
    /// On whose behalf.
    pub(crate) subject: TypedToken,
    /// Who acts; absent when the subject itself does.
    pub(crate) actor: Option<TypedToken>,
    /// `audience` and `resource`, every one.
    pub(crate) targets: Vec<String>,
    /// What is to be allowed; absent: all that may be.
    pub(crate) scope: Option<BTreeSet<String>>,
    /// The type of token to answer with.
    pub(crate) issued_type: &'static str,
    /// Seconds that are enough; an extension.
    pub(crate) expires_in: Option<u32>,
    /// What for; an extension.
    pub(crate) purpose: Option<String>,
    /// Which task; an extension.
    pub(crate) task: Option<String>,
}

impl std::fmt::Debug for ExchangeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeRequest").field("targets", &self.targets).finish_non_exhaustive()
    }
}

/// A token with its type. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TypedToken {
    /// The token.
    pub(crate) token: String,
    /// What the caller says that it is.
    pub(crate) kind: TokenKind,
}

/// The types of tokens that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// The token's own label says what it is.
    Jwt,
    /// An attestation result.
    Ear,
    /// A token of an earlier exchange.
    AccessToken,
    /// A foreign token.
    IdToken,
}

impl TokenKind {
    fn parse(uri: &str) -> Option<Self> {
        Some(match uri {
            JWT => Self::Jwt,
            EAR => Self::Ear,
            ACCESS_TOKEN => Self::AccessToken,
            ID_TOKEN => Self::IdToken,
            _ => return None,
        })
    }
}

fn invalid(what: &'static str) -> ExchangeError {
    ExchangeError::Request { expected: what }
}

impl ExchangeRequest {
    /// Parses a body. Parameters that nobody knows are ignored (RFC 6749 §3.2), known ones come once.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ExchangeError> {
        if body.len() > BODY_LIMIT {
            return Err(invalid("a shorter body"));
        }
        let mut form = Form::parse(body)?;
        match form.take("grant_type")?.as_deref() {
            Some(GRANT_TYPE) => {}
            Some(_) => return Err(ExchangeError::GrantType),
            None => return Err(invalid("grant_type")),
        }
        let subject = form.token("subject_token", "subject_token_type")?.ok_or(invalid("subject_token"))?;
        let actor = form.token("actor_token", "actor_token_type")?;
        let issued_type = match form.take("requested_token_type")?.as_deref() {
            None | Some(ACCESS_TOKEN) => ACCESS_TOKEN,
            Some(JWT) => JWT,
            Some(_) => return Err(invalid("requested_token_type access_token or jwt")),
        };
        let expires_in =
            form.take("expires_in")?.map(|text| text.parse().map_err(|_not_a_number| invalid("expires_in in seconds")));
        Ok(Self {
            subject,
            actor,
            issued_type,
            expires_in: expires_in.transpose()?,
            purpose: form.text("purpose")?,
            task: form.text("task")?,
            scope: form.scope()?,
            targets: form.targets(),
        })
    }
}

/// The parameters, decoded, in their order.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Result<Self, ExchangeError> {
        let text = std::str::from_utf8(body).map_err(|_not_utf8| invalid("a form in UTF-8"))?;
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        if pairs.clone().count() > PARAMETERS {
            return Err(invalid("fewer parameters"));
        }
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        decoded.collect::<Option<_>>().map(Self).ok_or(invalid("application/x-www-form-urlencoded"))
    }

    /// The value of a parameter that comes once at most. An empty value is as none (RFC 6749 §3.2).
    fn take(&mut self, name: &'static str) -> Result<Option<String>, ExchangeError> {
        let mut found = None;
        for (_, value) in self.0.extract_if(.., |(key, _)| key == name) {
            if found.replace(value).is_some() {
                return Err(ExchangeError::Doubled { name });
            }
        }
        Ok(found.filter(|value| !value.is_empty()))
    }

    fn token(&mut self, name: &'static str, kind: &'static str) -> Result<Option<TypedToken>, ExchangeError> {
        match (self.take(name)?, self.take(kind)?) {
            (None, None) => Ok(None),
            (Some(token), Some(uri)) => {
                let kind = TokenKind::parse(&uri).ok_or(invalid("a known token type"))?;
                Ok(Some(TypedToken { token, kind }))
            }
            // RFC 8693 §2.1: neither without the other.
            (None, Some(_)) | (Some(_), None) => Err(invalid("each token with its type")),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, ExchangeError> {
        let text = self.take(name)?;
        let plain = |text: &String| text.len() <= TEXT && !text.chars().any(char::is_control);
        if text.as_ref().is_none_or(plain) { Ok(text) } else { Err(invalid("a short purpose and task of one line")) }
    }

    fn scope(&mut self) -> Result<Option<BTreeSet<String>>, ExchangeError> {
        let Some(text) = self.take("scope")? else { return Ok(None) };
        let scopes: BTreeSet<String> = text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        if scopes.len() <= SCOPES { Ok(Some(scopes)) } else { Err(invalid("fewer scopes")) }
    }

    fn targets(self) -> Vec<String> {
        let named = |(name, value): (String, String)| {
            (matches!(name.as_str(), "audience" | "resource") && !value.is_empty()).then_some(value)
        };
        self.0.into_iter().filter_map(named).collect()
    }
}

/// Percent-decoding, strict: every escape has two hex digits, and what comes out is UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || u8::try_from(char::from(bytes.next()?).to_digit(16)?).ok();
                (digit()? << 4) | digit()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const GOOD: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=a.b.c\
        &subject_token_type=urn:ietf:params:oauth:token-type:jwt&audience=https%3A%2F%2Fo.example&scope=a+b%20a";

    fn code(body: &str) -> String {
        use evidence_formats::code::Coded;
        let error = ExchangeRequest::parse(body.as_bytes()).unwrap_err();
        format!("{} {}", error.oauth(), error.code())
    }

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let request = ExchangeRequest::parse(format!("{GOOD}&unknown=1&resource=x&expires_in=60").as_bytes()).unwrap();
        assert_eq!(request.targets, ["https://o.example", "x"]);
        assert_eq!(request.scope.unwrap().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((request.expires_in, request.issued_type), (Some(60), ACCESS_TOKEN));
    }

    #[test]
    fn each_wrong_form_has_its_error() {
        let with = |more: &str| format!("{GOOD}&{more}");
        for body in [
            "",
            "grant_type",
            &GOOD.replace("subject_token=a.b.c", "subject_token="),
            &GOOD.replace("token-type:jwt", "token-type:saml2"),
            &with("actor_token=a.b.c"),
            &with("actor_token_type=urn:ietf:params:oauth:token-type:jwt"),
            &with("requested_token_type=urn:ietf:params:oauth:token-type:refresh_token"),
            &with("expires_in=-1"),
            &with("purpose=a%0Ab"),
            &with("x=%zz"),
            &with("x=%f"),
            &with("x=%ff"),
            &with(&"x=1&".repeat(40)),
            &with(&format!("purpose={}", "x".repeat(257))),
        ] {
            assert_eq!(code(body), "invalid_request request.exchange.malformed", "{body}");
        }
        assert_eq!(code(&with("scope=c")), "invalid_request request.exchange.doubled");
        assert_eq!(
            code(&GOOD.replace("token-exchange", "password")),
            "unsupported_grant_type request.exchange.grant_type"
        );
    }
}
