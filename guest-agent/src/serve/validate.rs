//! `ValidateJWTSVID`: whether a JWT-SVID of a known trust domain holds for an audience.

use std::time::{SystemTime, UNIX_EPOCH};

use keys::{
    relying::{self, Presented},
    status::StatusPlace,
    token::{Audience, TOKEN_LIMIT},
};
use prost_types::{ListValue, NullValue, Struct, Value, value::Kind};
use serde_json::Value as Json;
use tonic::Status;

use super::{proto::ValidateJwtsvidResponse, world::Trust};
use crate::result;

/// How far clocks may differ, seconds.
const LEEWAY: u32 = 5;
/// Deepest nesting of claims.
const DEPTH: usize = 16;

/// Where the lease of a token that verified stands.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Who issued the token.
    pub(crate) issuer: String,
    /// The place in one of the issuer's lists.
    pub(crate) place: StatusPlace,
}

/// A token that verified.
pub(crate) struct Validated {
    pub(crate) answer: ValidateJwtsvidResponse,
    /// Where its lease stands, for a token of our own trust domain. Others keep their lists to themselves.
    pub(crate) lease: Option<Lease>,
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// The identity and claims of `token`, when it is one for `audience`.
pub(crate) fn svid(trust: &Trust, token: &str, audience: &str) -> Result<Validated, Status> {
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
    let terms = relying::Trust {
        jwks: &bundle.keys,
        issuer: domain.strip_prefix("spiffe://").unwrap_or_default(),
        audience: Audience::Exactly(audience),
        now: now(),
        leeway: LEEWAY,
    };
    let svid = relying::jwt_svid(token, &terms, Presented::Bearer).map_err(|error| refused(&error.to_string()))?;
    let issuer = svid.claims.get("iss").and_then(Json::as_str).map(str::to_owned);
    let lease = svid.status.zip(issuer).filter(|_| trust.own.as_ref() == Some(&domain));
    let lease = lease.map(|(place, issuer)| Lease { issuer, place });
    let Kind::StructValue(claims) = kind(svid.claims, DEPTH) else { return Err(refused("expected claims")) };
    Ok(Validated { answer: ValidateJwtsvidResponse { spiffe_id: svid.spiffe_id, claims: Some(claims) }, lease })
}

/// The SPIFFE ID of the trust domain of a SPIFFE ID with a path.
fn trust_domain(id: &str) -> Option<String> {
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    (!domain.is_empty() && !path.is_empty()).then(|| format!("spiffe://{domain}"))
}

/// JSON as a protocol buffer; what is nested too deep is left out.
fn kind(json: Json, depth: usize) -> Kind {
    let below = depth.saturating_sub(1);
    let value = |json| Value { kind: Some(kind(json, below)) };
    match json {
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => number.as_f64().map_or(Kind::NullValue(NullValue::NullValue.into()), Kind::NumberValue),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) if depth > 0 => {
            Kind::ListValue(ListValue { values: values.into_iter().map(value).collect() })
        }
        Json::Object(members) if depth > 0 => {
            Kind::StructValue(Struct { fields: members.into_iter().map(|(name, json)| (name, value(json))).collect() })
        }
        Json::Null | Json::Array(_) | Json::Object(_) => Kind::NullValue(NullValue::NullValue.into()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

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
        let claims = json!({"sub": "spiffe://example.org/a", "aud": ["db", "mq"], "exp": 4_000_000_000_i64,
            "more": {"list": [1, true, null, "x"]}});
        let (trust, token) = signed(claims);
        let answer = svid(&trust, &token, "db").unwrap().answer;
        assert_eq!(answer.spiffe_id, "spiffe://example.org/a");
        let claims = answer.claims.unwrap().fields;
        let Some(Kind::StructValue(more)) = &claims["more"].kind else { panic!("an object") };
        let Some(Kind::ListValue(list)) = &more.fields["list"].kind else { panic!("a list") };
        assert_eq!(list.values.len(), 4);
        assert_eq!(claims["exp"].kind, Some(Kind::NumberValue(4e9)));
        for (token, audience) in [(token.as_str(), "other"), ("a.b.c", "db"), ("", "db"), (token.as_str(), "")] {
            assert_eq!(
                svid(&trust, token, audience).err().unwrap().code(),
                Code::InvalidArgument,
                "{token} {audience}"
            );
        }
        let (other, _) = signed(json!({}));
        assert!(svid(&other, &token, "db").is_err(), "another key");
    }

    #[test]
    fn the_lease_of_a_token_of_our_own_is_to_be_looked_at() {
        let place = json!({"status_list": {"idx": 7, "uri": "https://b/v1/status/0"}});
        let claims = json!({"iss": "https://b", "sub": "spiffe://example.org/a", "aud": "db", "exp": 4_000_000_000_i64,
            "status": place});
        let (trust, token) = signed(claims);
        let lease = svid(&trust, &token, "db").unwrap().lease.unwrap();
        assert_eq!((lease.issuer.as_str(), lease.place.idx), ("https://b", 7));
        let foreign = Trust { own: Some("spiffe://elsewhere.org".into()), bundles: trust.bundles };
        assert!(svid(&foreign, &token, "db").unwrap().lease.is_none());
    }

    #[test]
    fn other_subjects_are_refused() {
        for subject in
            ["spiffe://elsewhere.org/a", "spiffe://example.org", "spiffe://example.org/", "alice", "spiffe:///a"]
        {
            let (trust, token) = signed(json!({"sub": subject, "aud": "db", "exp": 4_000_000_000_i64}));
            assert!(svid(&trust, &token, "db").is_err(), "{subject}");
        }
    }
}
