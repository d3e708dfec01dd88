//! `ValidateJWTSVID`: whether a JWT-SVID of a known trust domain holds for an audience.

use std::time::{SystemTime, UNIX_EPOCH};

use keys::{
    sign::SignatureAlgorithm,
    token::{Audience, Expected, TOKEN_LIMIT, verify},
};
use prost_types::{ListValue, NullValue, Struct, Value, value::Kind};
use serde_json::{Map, Value as Json};
use tonic::Status;

use super::{proto::ValidateJwtsvidResponse, world::Trust};
use crate::result;

/// How far clocks may differ, seconds.
const LEEWAY: u32 = 5;
/// Deepest nesting of claims.
const DEPTH: usize = 16;

/// The identity and claims of `token`, when it holds for `audience`.
pub(crate) fn svid(trust: &Trust, token: &str, audience: &str) -> Result<ValidateJwtsvidResponse, Status> {
    if audience.is_empty() || token.is_empty() || token.len() > TOKEN_LIMIT {
        return Err(Status::invalid_argument("expected an audience and a token"));
    }
    let refused = |what: &str| Status::invalid_argument(format!("the token does not hold: {what}"));
    // Only to find the keys; it is believed after the signature.
    let subject = result::subject(token).ok_or_else(|| refused("expected a JWT with a subject"))?;
    let domain = trust_domain(&subject).ok_or_else(|| refused("expected a SPIFFE ID as its subject"))?;
    if trust.own.is_none() {
        return Err(Status::unavailable("the trust bundle is not known yet"));
    }
    let bundle = trust.bundles.get(&domain).ok_or_else(|| refused("expected a known trust domain"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let expected = Expected {
        algorithms: &SignatureAlgorithm::ALL,
        // The key says whose the token is (JWT-SVID §3); the issuer is not looked at.
        issuer: &result::issuer(token).ok_or_else(|| refused("expected a JWT with an issuer"))?,
        audience: Audience::Exactly(audience),
        now,
        leeway: LEEWAY,
    };
    let claims: Map<String, Json> =
        verify(token, &bundle.keys, &expected).map_err(|error| refused(&error.to_string()))?;
    let fields = claims.into_iter().map(|(name, claim)| (name, value(claim, DEPTH))).collect();
    Ok(ValidateJwtsvidResponse { spiffe_id: subject, claims: Some(Struct { fields }) })
}

/// The SPIFFE ID of the trust domain of a SPIFFE ID with a path.
fn trust_domain(id: &str) -> Option<String> {
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    (!domain.is_empty() && !path.is_empty()).then(|| format!("spiffe://{domain}"))
}

/// JSON as a protocol buffer; what is nested too deep is left out.
fn value(json: Json, depth: usize) -> Value {
    let below = depth.saturating_sub(1);
    let kind = match json {
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => number.as_f64().map_or(Kind::NullValue(NullValue::NullValue.into()), Kind::NumberValue),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) if depth > 0 => {
            Kind::ListValue(ListValue { values: values.into_iter().map(|json| value(json, below)).collect() })
        }
        Json::Object(members) if depth > 0 => Kind::StructValue(Struct {
            fields: members.into_iter().map(|(name, json)| (name, value(json, below))).collect(),
        }),
        Json::Null | Json::Array(_) | Json::Object(_) => Kind::NullValue(NullValue::NullValue.into()),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use keys::{
        random::SystemRandom,
        sign::{Jwks, SignatureAlgorithm, Signer, SigningKey, TokenType, sign_jwt},
    };
    use serde_json::json;
    use tonic::Code;

    use super::*;
    use crate::bundle::Bundle;

    fn signed(claims: serde_json::Value) -> (Trust, String) {
        let key = SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap();
        let keys = Jwks::new([key.verifying_key().clone()]);
        let token = sign_jwt(&key, TokenType::Jwt, &claims).unwrap();
        let bundle = Bundle { authorities: Vec::new(), jwks: Default::default(), keys };
        let own = "spiffe://example.org".to_owned();
        (Trust { own: Some(own.clone()), bundles: [(own, bundle)].into() }, token)
    }

    #[test]
    fn a_token_of_the_trust_domain_holds_for_its_audience_alone() {
        let claims = json!({"iss": "i", "sub": "spiffe://example.org/a", "aud": ["db", "mq"], "exp": 4_000_000_000_i64,
            "more": {"list": [1, true, null, "x"]}});
        let (trust, token) = signed(claims);
        let answer = svid(&trust, &token, "db").unwrap();
        assert_eq!(answer.spiffe_id, "spiffe://example.org/a");
        let claims = answer.claims.unwrap().fields;
        let Some(Kind::StructValue(more)) = &claims["more"].kind else { panic!("an object") };
        let Some(Kind::ListValue(list)) = &more.fields["list"].kind else { panic!("a list") };
        assert_eq!(list.values.len(), 4);
        assert_eq!(claims["exp"].kind, Some(Kind::NumberValue(4e9)));
        for (token, audience) in [(token.as_str(), "other"), ("a.b.c", "db"), ("", "db"), (token.as_str(), "")] {
            assert_eq!(svid(&trust, token, audience).unwrap_err().code(), Code::InvalidArgument, "{token} {audience}");
        }
        let (other, _) = signed(json!({}));
        assert!(svid(&other, &token, "db").is_err(), "another key");
    }

    #[test]
    fn other_subjects_are_refused() {
        for subject in
            ["spiffe://elsewhere.org/a", "spiffe://example.org", "spiffe://example.org/", "alice", "spiffe:///a"]
        {
            let (trust, token) = signed(json!({"iss": "i", "sub": subject, "aud": "db", "exp": 4_000_000_000_i64}));
            assert!(svid(&trust, &token, "db").is_err(), "{subject}");
        }
    }
}
