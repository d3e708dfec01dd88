//! The bundle of our trust domain: asked for as often as it says, and whenever a certificate was issued.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::Method;
use keys::sign::Jwks;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    keeper::Keeping,
    world::{Bundle, Standing, Trust, World},
};
use crate::{
    backoff::{Backoff, jittered, random_byte},
    connection::TransportError,
    console,
};

/// Where the broker publishes it (SPIFFE Trust Domain and Bundle §4).
const BUNDLE: &str = "/.well-known/spiffe-bundle";
/// Longest time for asking.
const ASKING: Duration = Duration::from_secs(30);
/// Pauses between two questions: when the bundle says none, at least, and at most.
const REFRESH: u64 = 300;
const LEAST: u64 = 5;
const MOST: u64 = 3600;

/// The document.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    keys: Vec<Value>,
    spiffe_refresh_hint: Option<u64>,
}

/// Follows the bundle until it is stopped.
pub(crate) async fn follow(shared: Arc<Keeping>, stop: CancellationToken) {
    let mut pause = Duration::from_secs(REFRESH);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.issued.notified() => {}
            () = sleep(pause) => {}
        }
        let hint = match fetch(&shared).await {
            Ok(document) => {
                let hint = document.spiffe_refresh_hint;
                learn(&shared, document);
                hint
            }
            Err(error) => {
                console::say(&format!("the trust bundle is not to be had: {}", console::chain(&error)));
                Some(30)
            }
        };
        pause = jittered(Duration::from_secs(hint.unwrap_or(REFRESH).clamp(LEAST, MOST)), random_byte());
    }
}

async fn fetch(shared: &Keeping) -> Result<Document, TransportError> {
    let time = Backoff::new(ASKING);
    let mut connection = shared.exchange.connect(&time).await?;
    connection.call(Method::GET, None, BUNDLE, time.left()).await
}

/// Puts the bundle into the world, under the name that our own certificates say.
fn learn(shared: &Keeping, document: Document) {
    let Some(bundle) = document.bundle() else {
        console::say("expected a SPIFFE bundle with authorities");
        return;
    };
    shared.world.send_if_modified(|world| {
        let own = world.certificates.values().find_map(|standing| match standing {
            Standing::Held(certificate) => certificate.svid.trust_domain().map(|name| format!("spiffe://{name}")),
            Standing::Absent | Standing::Refused => None,
        });
        let Some(own) = own.or_else(|| world.trust.own.clone()) else { return false };
        let foreign = world.certificates.values().filter_map(|standing| match standing {
            Standing::Held(certificate) => Some(certificate),
            Standing::Absent | Standing::Refused => None,
        });
        let mut bundles: std::collections::BTreeMap<_, _> = foreign
            .flat_map(|certificate| &certificate.svid.federated)
            .map(|(name, authorities)| (name.clone(), Bundle::of_authorities(authorities.clone())))
            .collect();
        bundles.insert(own.clone(), bundle.clone());
        let trust = Trust { own: Some(own), bundles };
        if *world.trust == trust {
            return false;
        }
        *world = Arc::new(World { trust: Arc::new(trust), ..World::clone(world) });
        true
    });
}

impl Document {
    /// Authorities and keys. Whatever is of another use is left out, as the standard asks.
    fn bundle(self) -> Option<Bundle> {
        let of = |key: &Value, usage: &str| key.get("use").and_then(Value::as_str) == Some(usage);
        let mut authorities = Vec::new();
        for key in self.keys.iter().filter(|key| of(key, "x509-svid")) {
            // Exactly one certificate each (§4.2.1).
            let [Value::String(certificate)] = key.get("x5c")?.as_array()?.as_slice() else { return None };
            authorities.push(BASE64_STANDARD.decode(certificate).ok()?);
        }
        let tokens: Vec<_> = self.keys.into_iter().filter(|key| of(key, "jwt-svid")).collect();
        let jwks = json!({"keys": tokens}).to_string();
        let keys = Jwks::parse(jwks.as_bytes()).ok()?;
        (!authorities.is_empty()).then_some(Bundle { authorities, jwks: jwks.into(), keys })
    }
}

impl Bundle {
    fn of_authorities(authorities: Vec<Vec<u8>>) -> Self {
        Self { authorities, jwks: r#"{"keys":[]}"#.into(), keys: Jwks::default() }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn bundle(text: &str) -> Option<Bundle> {
        serde_json::from_str::<Document>(text).unwrap().bundle()
    }

    #[test]
    fn keys_are_sorted_by_their_use() {
        let text = r#"{"keys":[{"use":"x509-svid","kty":"EC","x5c":["AQI="]},{"use":"jwt-svid","kty":"EC","kid":"k"},
            {"use":"wit-svid","kty":"EC"}],"spiffe_sequence":1}"#;
        let found = bundle(text).unwrap();
        assert_eq!(found.authorities, [vec![1, 2]]);
        let jwks: Value = serde_json::from_slice(&found.jwks).unwrap();
        assert_eq!(jwks, json!({"keys": [{"use": "jwt-svid", "kty": "EC", "kid": "k"}]}));
        for none in [
            r#"{"keys":[]}"#,
            "{}",
            r#"{"keys":[{"use":"x509-svid"}]}"#,
            r#"{"keys":[{"use":"x509-svid","x5c":["AQI=","AQI="]}]}"#,
            r#"{"keys":[{"use":"x509-svid","x5c":["!"]}]}"#,
        ] {
            assert!(bundle(none).is_none(), "{none}");
        }
    }
}
