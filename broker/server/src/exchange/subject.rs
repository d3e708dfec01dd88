//! On whose behalf: the subject token, verified by the keys of whoever issued it.

use std::collections::BTreeSet;

use evidence_formats::code::{Code, Coded};
use keys::{
    relying::{Confirmation, Presented, RelyingError, Trust, access_token, jwt_svid},
    sign::TokenType,
    token::{self, Audience, TokenError, dangerous_label},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;
use verifier::Timestamp;

use super::{
    actor::{Attested, open_lease},
    error::ExchangeError,
    form::{TokenKind, TypedToken},
    issuers::Freshness,
    narrow::foreign_actors,
    review::ReviewError,
};
use crate::{
    broker::Broker,
    config::{ACCESS_TOKEN, ATTESTATION, ForeignIssuer, IssuerKind, JWT_SVID},
    store::{HeldLease, KeyPurpose, StoreError},
};

/// Seconds that a foreign issuer's clock may differ.
const LEEWAY: u32 = 30;
/// Longest `sub`, in bytes.
const SUBJECT: usize = 512;

/// A verified subject token.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What rules call its issuer.
    pub(crate) from: String,
    /// Who issued it.
    pub(crate) issuer: String,
    /// `sub` there; `None` for the attested guest itself.
    pub(crate) name: Option<String>,
    /// `sub` of what is issued; `None` for the attested guest itself.
    pub(crate) issued_name: Option<String>,
    /// What it allows; `None`: it has no scopes.
    pub(crate) scope: Option<BTreeSet<String>>,
    /// Whom it is for, where that bounds whom the issued token may be for.
    pub(crate) audience: Option<Vec<String>>,
    /// When it ends.
    pub(crate) ends_at: Timestamp,
    /// Who acted before.
    pub(crate) act: Option<Value>,
    /// Every claim.
    pub(crate) claims: Value,
    /// Its lease, when it is of this broker.
    pub(crate) lease: Option<HeldLease>,
}

/// The subject token cannot be judged, or is refused.
#[derive(Debug, Error)]
pub(crate) enum SubjectError {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] ExchangeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its cluster does not answer: asking again later may help.
    #[error("{issuer} does not answer about its token")]
    Unanswered {
        /// Which issuer.
        issuer: String,
        /// Why.
        source: ReviewError,
    },
    /// Its issuer's keys are not here: asking again later may help.
    #[error("the keys of {issuer} are not here now")]
    NoKeys {
        /// Whose.
        issuer: String,
    },
}

impl Coded for SubjectError {
    fn code(&self) -> Code {
        match self {
            Self::Refused(error) => error.code(),
            Self::Store(_) => Code::new("internal.error"),
            Self::NoKeys { .. } | Self::Unanswered { .. } => Code::new("request.overloaded"),
        }
    }
}

impl From<RelyingError> for SubjectError {
    fn from(error: RelyingError) -> Self {
        Self::Refused(ExchangeError::Subject(error))
    }
}

impl From<TokenError> for SubjectError {
    fn from(error: TokenError) -> Self {
        RelyingError::from(error).into()
    }
}

fn claims_error(reason: &str) -> SubjectError {
    TokenError::Claims { reason: reason.to_owned() }.into()
}

/// Verifies the subject token for a guest that proved itself.
pub(crate) async fn authenticate(
    broker: &Broker,
    attested: &Attested,
    shown: &TypedToken,
    now: Timestamp,
) -> Result<Subject, SubjectError> {
    let label = dangerous_label(&shown.token)?;
    let (ours, typ) = (label.issuer.as_deref() == Some(&*broker.issuer), label.typ.unwrap_or_default());
    let wrong = SubjectError::Refused(ExchangeError::Request { expected: "a subject token of the type that is given" });
    match (shown.kind, ours) {
        (TokenKind::Jwt | TokenKind::Ear, true) if typ == TokenType::EatJwt.as_str() => itself(broker, attested, shown),
        (TokenKind::Jwt | TokenKind::AccessToken, true) if typ == TokenType::AccessToken.as_str() => {
            earlier(broker, attested, shown, now).await
        }
        (TokenKind::Jwt, true) => svid(broker, shown, now).await,
        (TokenKind::Jwt | TokenKind::IdToken, false) => {
            let issuer = label.issuer.and_then(|iss| broker.exchange.issuer_of(&iss));
            foreign(broker, attested, issuer.ok_or(ExchangeError::Issuer)?, shown, now).await
        }
        (TokenKind::Ear | TokenKind::AccessToken | TokenKind::IdToken, true | false) => Err(wrong),
    }
}

/// The attested guest itself. When an actor token came as well, it must be of the same attestation.
fn itself(broker: &Broker, attested: &Attested, shown: &TypedToken) -> Result<Subject, SubjectError> {
    #[derive(Deserialize)]
    struct Claims {
        jti: String,
    }
    let jwks = broker.keyring.load().verification(&[KeyPurpose::AttestationResult]);
    let result = attested.result();
    let expected = token::Expected {
        algorithms: &keys::sign::SignatureAlgorithm::ALL,
        issuer: &broker.issuer,
        audience: Audience::Exactly(&broker.audience),
        // The actor token was judged by the time already, and it is to be the same.
        now: result.issued_at,
        leeway: 0,
    };
    let Claims { jti } = token::verify_typed(&shown.token, TokenType::EatJwt, &jwks, &expected)?;
    if jti != result.token_id {
        return Err(ExchangeError::Superseded.into());
    }
    Ok(Subject {
        from: ATTESTATION.to_owned(),
        issuer: broker.issuer.clone(),
        name: None,
        issued_name: None,
        scope: None,
        audience: None,
        ends_at: attested.ends_at(),
        act: None,
        claims: result.claims.clone(),
        lease: None,
    })
}

/// A token of an earlier exchange, whose key the guest proved.
async fn earlier(
    broker: &Broker,
    attested: &Attested,
    shown: &TypedToken,
    now: Timestamp,
) -> Result<Subject, SubjectError> {
    let jwks = broker.keyring.load().verification(&[KeyPurpose::TokenEs256, KeyPurpose::TokenRs256]);
    let audience = Audience::Unchecked { reason: "it bounds the audience of what is issued" };
    let trust = Trust { jwks: &jwks, issuer: &broker.issuer, audience, now: now.as_unix(), leeway: 0 };
    let unchecked = Presented::Unchecked { reason: "the proof of the request is judged beside it" };
    let read = access_token(&shown.token, &trust, unchecked)?;
    require_key(attested, &read.claims, Bound::Always)?;
    let lease = open_lease(broker, read.status.as_ref(), now).await??;
    Ok(Subject {
        from: ACCESS_TOKEN.to_owned(),
        issuer: read.issuer,
        issued_name: Some(read.subject.clone()),
        name: Some(read.subject),
        scope: Some(read.scope.into_iter().collect()),
        audience: Some(read.audience),
        ends_at: Timestamp::from_unix(read.expires_at).min(lease.lease.expires_at),
        act: read.claims.get("act").cloned(),
        claims: read.claims,
        lease: Some(lease),
    })
}

/// A JWT-SVID of this broker that is for this broker.
async fn svid(broker: &Broker, shown: &TypedToken, now: Timestamp) -> Result<Subject, SubjectError> {
    let domain = broker.identity.trust_domain.as_ref().ok_or(ExchangeError::Issuer)?.to_string();
    let jwks = broker.keyring.load().verification(&[KeyPurpose::JwtSvid]);
    let audience = Audience::Exactly(&broker.audience);
    let trust = Trust { jwks: &jwks, issuer: &domain, audience, now: now.as_unix(), leeway: 0 };
    let read = jwt_svid(&shown.token, &trust, Presented::Bearer)?;
    let lease = open_lease(broker, read.status.as_ref(), now).await??;
    Ok(Subject {
        from: JWT_SVID.to_owned(),
        issuer: broker.issuer.clone(),
        issued_name: Some(read.spiffe_id.clone()),
        name: Some(read.spiffe_id),
        scope: None,
        audience: None,
        ends_at: Timestamp::from_unix(read.expires_at).min(lease.lease.expires_at),
        act: None,
        claims: read.claims,
        lease: Some(lease),
    })
}

#[derive(Deserialize)]
struct ForeignClaims {
    sub: String,
    exp: i64,
    scope: Option<String>,
    act: Option<Value>,
}

/// A token of another issuer.
async fn foreign(
    broker: &Broker,
    attested: &Attested,
    issuer: &ForeignIssuer,
    shown: &TypedToken,
    now: Timestamp,
) -> Result<Subject, SubjectError> {
    let expected = token::Expected {
        algorithms: &issuer.algorithms,
        issuer: &issuer.issuer,
        audience: Audience::Exactly(&issuer.audience),
        now: now.as_unix(),
        leeway: LEEWAY,
    };
    let no_keys = || SubjectError::NoKeys { issuer: issuer.name.clone() };
    let keys = broker.issuers.keys(issuer, Freshness::Cached).await.ok_or_else(no_keys)?;
    let claims: Value = match token::verify(&shown.token, &keys, &expected) {
        Err(TokenError::UnknownKey { .. }) => {
            let keys = broker.issuers.keys(issuer, Freshness::Newer).await.ok_or_else(no_keys)?;
            token::verify(&shown.token, &keys, &expected)?
        }
        other => other?,
    };
    let parsed = ForeignClaims::deserialize(&claims).map_err(|error| claims_error(&error.to_string()))?;
    if parsed.sub.is_empty() || parsed.sub.len() > SUBJECT {
        return Err(claims_error("expected a sub of 1 to 512 bytes"));
    }
    match issuer.kind {
        IssuerKind::Kubernetes => {
            require_pod(&claims, &parsed.sub)?;
            review(broker, issuer, (&shown.token, &claims)).await?;
        }
        IssuerKind::Oidc => {}
    }
    require_key(attested, &claims, Bound::WhenItSays)?;
    let act = parsed.act.as_ref().map(|act| foreign_actors(act, &issuer.issuer)).transpose()?;
    Ok(Subject {
        from: issuer.name.clone(),
        issuer: issuer.issuer.clone(),
        // Two issuers may call different things the same.
        issued_name: Some(format!("{}:{}", issuer.name, parsed.sub)),
        name: Some(parsed.sub),
        scope: parsed
            .scope
            .map(|scope| scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()),
        audience: None,
        ends_at: Timestamp::from_unix(parsed.exp),
        act,
        claims,
        lease: None,
    })
}

/// Asks the cluster, where that is configured: a token may be good and its pod gone.
async fn review(broker: &Broker, issuer: &ForeignIssuer, token: (&str, &Value)) -> Result<(), SubjectError> {
    let Some(cluster) = &issuer.token_review else { return Ok(()) };
    match broker.reviews.confirm(cluster, token, &issuer.audience).await {
        Ok(()) => Ok(()),
        Err(ReviewError::Refused { what }) => Err(ExchangeError::Review { what }.into()),
        Err(source @ ReviewError::Unanswered(_)) => {
            Err(SubjectError::Unanswered { issuer: issuer.name.clone(), source })
        }
    }
}

/// Which tokens must be bound to the proven key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Always,
    WhenItSays,
}

/// A token that is bound to a key is good for whoever proved that key alone.
fn require_key(attested: &Attested, claims: &Value, bound: Bound) -> Result<(), SubjectError> {
    match claims.get("cnf") {
        None if bound == Bound::WhenItSays => Ok(()),
        None => Err(RelyingError::ProofRequired.into()),
        Some(cnf) => {
            let cnf = Confirmation::deserialize(cnf).map_err(|_other_form| RelyingError::Confirmation)?;
            if attested.proven().proves(&cnf) { Ok(()) } else { Err(RelyingError::ProofRequired.into()) }
        }
    }
}

/// A service account token that is bound to a pod, and says the same twice: only these end with the pod.
fn require_pod(claims: &Value, sub: &str) -> Result<(), SubjectError> {
    let text = |pointer: &str| claims.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let namespace = text("/kubernetes.io/namespace");
    let account = text("/kubernetes.io/serviceaccount/name");
    let named =
        namespace.zip(account).map(|(namespace, account)| format!("system:serviceaccount:{namespace}:{account}"));
    if named.as_deref() != Some(sub) || text("/kubernetes.io/pod/uid").is_none() {
        return Err(claims_error("expected a service account token that is bound to a pod"));
    }
    Ok(())
}

/// The claims that rules look at, as policies and records see them.
pub(crate) fn looked_at<'a>(claims: &Value, pointers: impl Iterator<Item = &'a String>) -> Map<String, Value> {
    let small = |value: &&Value| value.to_string().len() <= 1024;
    pointers.filter_map(|pointer| Some((pointer.clone(), claims.pointer(pointer).filter(small)?.clone()))).collect()
}
