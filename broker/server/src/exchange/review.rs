//! Asking a cluster about a service account token (TokenReview, `authentication.k8s.io/v1`): whether pod, account and node
//! that the token is bound to are still there. The token's own signature was verified before: a cluster is asked about its own
//! tokens only.

use std::{collections::BTreeMap, io::Read, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use hyper::{body::Bytes, header::HeaderValue};
use rustls::{ClientConfig, crypto::aws_lc_rs};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::{sync::Semaphore, task::spawn_blocking};
use zeroize::Zeroizing;

use crate::{
    config::TokenReview,
    fetch::{self, Bounds, Url},
};

/// Where clusters are asked.
pub(crate) const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// What kind of object goes and comes.
const KIND: (&str, &str) = ("authentication.k8s.io/v1", "TokenReview");
/// Questions to all clusters at once; more wait, as long as an answer may take.
const AT_ONCE: usize = 16;
/// Largest file with a credential, in bytes.
const CREDENTIAL: u64 = 16 * 1024;
/// What an answer may cost. It repeats the question.
const BOUNDS: Bounds = Bounds { deadline: Duration::from_secs(5), bytes: 256 * 1024, accept: "application/json" };

/// A token that its cluster does not vouch for.
#[derive(Debug, Error)]
pub(crate) enum ReviewError {
    /// The cluster says no, or something else than the token.
    #[error("expected the cluster to confirm {what}")]
    Refused {
        /// What it does not confirm.
        what: &'static str,
    },
    /// There is no answer that could be believed.
    #[error("the cluster does not answer")]
    Unanswered(#[source] anyhow::Error),
}

/// Asks clusters, not too many at once.
#[derive(Debug)]
pub(crate) struct Reviews(Semaphore);

impl Default for Reviews {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Reviews {
    /// Whether the cluster confirms `token`, whose verified claims are `claims`, for `audience`.
    pub(crate) async fn confirm(
        &self,
        cluster: &TokenReview,
        (token, claims): (&str, &Value),
        audience: &str,
    ) -> Result<(), ReviewError> {
        let asked = async {
            let _turn = self.0.acquire().await?;
            ask(cluster, token, audience).await
        };
        let answer = tokio::time::timeout(BOUNDS.deadline, asked).await.context("no answer in time");
        judge(&answer.and_then(|answer| answer).map_err(ReviewError::Unanswered)?, claims, audience)
    }
}

async fn ask(cluster: &TokenReview, token: &str, audience: &str) -> Result<Bytes> {
    let url = Url::parse(&format!("{}{PATH}", cluster.url.trim_end_matches('/')))?;
    let (api_version, kind) = KIND;
    let spec = json!({"token": token, "audiences": [audience]});
    let question = json!({"apiVersion": api_version, "kind": kind, "spec": spec});
    let (ca, credential) = (cluster.ca.clone(), cluster.token_file.clone());
    // Both are read anew: a projected credential changes every hour.
    let (roots, credential) = spawn_blocking(move || {
        Ok::<_, anyhow::Error>((endorsements::tls_roots(Some(&ca))?, read_credential(&credential)?))
    })
    .await??;
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(fetch::post(&url, tls, BOUNDS, (credential, Bytes::from(question.to_string()))).await?)
}

/// The broker's own credential at the cluster, as a header that nothing prints.
fn read_credential(path: &Path) -> Result<HeaderValue> {
    let read = || -> std::io::Result<Zeroizing<Vec<u8>>> {
        let mut text = Zeroizing::new(Vec::new());
        std::fs::File::open(path)?.take(CREDENTIAL.saturating_add(1)).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().with_context(|| path.display().to_string())?;
    let text = text.trim_ascii();
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    ensure!(plain && u64::try_from(text.len())? <= CREDENTIAL, "{}: expected a bearer token", path.display());
    let mut header = Zeroizing::new(b"Bearer ".to_vec());
    header.extend_from_slice(text);
    let mut value = HeaderValue::from_bytes(&header)?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    api_version: String,
    kind: String,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

/// Whether the answer confirms everything that the token says about who it is for. What is missing confirms nothing.
fn judge(answer: &[u8], claims: &Value, audience: &str) -> Result<(), ReviewError> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| ReviewError::Unanswered(error.into()))?;
    if (answer.api_version.as_str(), answer.kind.as_str()) != KIND {
        return Err(ReviewError::Unanswered(anyhow::anyhow!("expected a TokenReview of {}", KIND.0)));
    }
    let Status { authenticated, user, audiences, error } = answer.status;
    let claim = |pointer: &str| claims.pointer(pointer).and_then(Value::as_str);
    let extra = |name: &str| match user.extra.get(&format!("authentication.kubernetes.io/{name}")).map(Vec::as_slice) {
        Some([one]) => Some(one.as_str()),
        _ => None,
    };
    let node = ["name", "uid"].iter().all(|part| {
        claim(&format!("/kubernetes.io/node/{part}")).is_none_or(|said| extra(&format!("node-{part}")) == Some(said))
    });
    let confirmed = [
        (authenticated && error.is_empty(), "the token"),
        // A cluster that does not know of audiences leaves them out.
        (audiences.iter().any(|confirmed| confirmed == audience), "the audience"),
        (claim("/sub") == Some(&user.username), "the service account"),
        (claim("/kubernetes.io/serviceaccount/uid") == Some(&user.uid), "the service account's uid"),
        (claim("/kubernetes.io/pod/name").is_some_and(|said| extra("pod-name") == Some(said)), "the pod"),
        (claim("/kubernetes.io/pod/uid").is_some_and(|said| extra("pod-uid") == Some(said)), "the pod's uid"),
        (node, "the node"),
    ];
    match confirmed.into_iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(ReviewError::Refused { what }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn claims() -> Value {
        json!({
            "sub": "system:serviceaccount:shop:web",
            "kubernetes.io": {
                "namespace": "shop", "serviceaccount": {"name": "web", "uid": "u1"},
                "pod": {"name": "web-1", "uid": "p1"}, "node": {"name": "node-b", "uid": "n1"},
            },
        })
    }

    fn answer() -> Value {
        let extra = |name: &str| format!("authentication.kubernetes.io/{name}");
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "status": {
                "authenticated": true,
                "audiences": ["countersign"],
                "user": {
                    "username": "system:serviceaccount:shop:web", "uid": "u1", "groups": ["system:authenticated"],
                    "extra": {
                        extra("pod-name"): ["web-1"], extra("pod-uid"): ["p1"],
                        extra("node-name"): ["node-b"], extra("node-uid"): ["n1"],
                    },
                },
            },
        })
    }

    fn said(answer: &Value, claims: &Value) -> &'static str {
        match judge(answer.to_string().as_bytes(), claims, "countersign") {
            Ok(()) => "confirmed",
            Err(ReviewError::Refused { what }) => what,
            Err(ReviewError::Unanswered(_)) => "unanswered",
        }
    }

    #[test]
    fn an_answer_confirms_all_that_the_token_says_or_nothing() {
        assert_eq!(said(&answer(), &claims()), "confirmed");
        let extra = "/status/user/extra/authentication.kubernetes.io~1";
        let cases = [
            ("/status/authenticated".to_owned(), "the token"),
            ("/status/audiences".to_owned(), "the audience"),
            ("/status/user/username".to_owned(), "the service account"),
            ("/status/user/uid".to_owned(), "the service account's uid"),
            (format!("{extra}pod-name"), "the pod"),
            (format!("{extra}pod-uid"), "the pod's uid"),
            (format!("{extra}node-name"), "the node"),
            (format!("{extra}node-uid"), "the node"),
            ("/apiVersion".to_owned(), "unanswered"),
            ("/kind".to_owned(), "unanswered"),
        ];
        for (pointer, what) in &cases {
            let other = |value: &Value| match value {
                Value::Bool(_) => json!(false),
                Value::Array(_) => json!(["other"]),
                Value::Null | Value::Number(_) | Value::String(_) | Value::Object(_) => json!("other"),
            };
            let mut changed = answer();
            let place = changed.pointer_mut(pointer).unwrap();
            *place = other(place);
            assert_eq!(said(&changed, &claims()), *what, "{pointer} changed");
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let mut missing = answer();
            missing.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&name.replace("~1", "/")).unwrap();
            assert_eq!(said(&missing, &claims()), *what, "{pointer} missing");
        }
        let mut doubled = answer();
        doubled["status"]["user"]["extra"]["authentication.kubernetes.io/pod-uid"] = json!(["p1", "p2"]);
        assert_eq!(said(&doubled, &claims()), "the pod's uid");
        let mut failed = answer();
        failed["status"]["error"] = json!("the authenticator failed");
        assert_eq!(said(&failed, &claims()), "the token");
        assert_eq!(said(&json!([]), &claims()), "unanswered");
    }

    #[test]
    fn what_the_token_does_not_say_is_not_confirmed() {
        for pointer in
            ["/sub", "/kubernetes.io/serviceaccount/uid", "/kubernetes.io/pod/name", "/kubernetes.io/pod/uid"]
        {
            let mut without = claims();
            *without.pointer_mut(pointer).unwrap() = Value::Null;
            assert_ne!(said(&answer(), &without), "confirmed", "{pointer}");
        }
        // Tokens of older clusters name no node.
        let mut without = claims();
        without["kubernetes.io"].as_object_mut().unwrap().remove("node");
        assert_eq!(said(&answer(), &without), "confirmed");
    }
}
