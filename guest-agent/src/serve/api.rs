//! The SPIFFE Workload API (SPIFFE Workload API §4 to §6).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use prost::bytes::Bytes;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::{
    keeper::Keeping,
    peer::{Digests, Peer},
    proto::{
        JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
        ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
        spiffe_workload_api_server::SpiffeWorkloadApi,
    },
    settings::Entry,
    status::Statuses,
    updates::{Read, Updates},
    validate::{self, Validated},
    world::{Certificate, Standing, World},
};
use crate::bundle::Bundle;

/// What every request must say (§4.1), so that nobody is led here by a URL.
const HEADER: &str = "workload.spiffe.io";

/// Answers for every connection.
#[derive(Clone)]
pub(crate) struct Api {
    worlds: watch::Receiver<Arc<World>>,
    digests: Arc<Digests>,
    statuses: Arc<Statuses>,
}

/// Who asks, and what of the world is theirs.
struct Caller {
    world: Arc<World>,
    /// Places of the entries that match.
    places: Vec<usize>,
}

impl Api {
    /// Over what is kept.
    pub(crate) fn new(shared: &Arc<Keeping>) -> Self {
        let statuses = Arc::new(Statuses::new(Arc::clone(shared)));
        Self { worlds: shared.world.subscribe(), digests: Arc::default(), statuses }
    }

    /// Matches the caller against the entries. Whoever matches none is refused.
    async fn caller<M>(&self, request: &Request<M>) -> Result<Caller, Status> {
        if request.metadata().get(HEADER).is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("expected the metadata workload.spiffe.io: true"));
        }
        let peer = request.extensions().get::<Arc<Peer>>();
        let peer = peer.ok_or_else(|| Status::internal("expected a local peer"))?;
        let world = Arc::clone(&self.worlds.borrow());
        let selectors = world.entries.iter().map(|entry| &entry.selectors);
        let places = peer.matching(selectors, &self.digests).await;
        if places.is_empty() {
            return Err(Status::permission_denied("no identity is for this process"));
        }
        Ok(Caller { world, places })
    }

    /// A stream of what `read` finds for the caller.
    fn updates<M>(&self, caller: &Caller, read: Read<M>) -> Response<Updates<M>> {
        Response::new(Updates::new(self.worlds.clone(), Arc::clone(&caller.world.entries), read))
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Api {
    type FetchX509SVIDStream = Updates<X509svidResponse>;
    type FetchX509BundlesStream = Updates<X509BundlesResponse>;
    type FetchJWTBundlesStream = Updates<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let caller = self.caller(&request).await?;
        let places = caller.places.clone();
        Ok(self.updates(&caller, Box::new(move |world| certificates(world, &places))))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let caller = self.caller(&request).await?;
        let places = caller.places.clone();
        let read = move |world: &World| {
            let bundles = bundles(world, &places, |bundle| Some(bundle.der()))?;
            Ok(X509BundlesResponse { crl: Vec::new(), bundles })
        };
        Ok(self.updates(&caller, Box::new(read)))
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(tokens(&caller, request.get_ref())?))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let caller = self.caller(&request).await?;
        let places = caller.places.clone();
        let read = move |world: &World| {
            let bundles =
                bundles(world, &places, |bundle| (!bundle.keys.keys().is_empty()).then(|| bundle.jwks.clone()))?;
            Ok(JwtBundlesResponse { bundles })
        };
        Ok(self.updates(&caller, Box::new(read)))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let caller = self.caller(&request).await?;
        let asked = request.get_ref();
        let Validated { answer, lease } = validate::svid(&caller.world.trust, &asked.svid, &asked.audience)?;
        if let Some(lease) = lease {
            self.statuses.require(&lease.issuer, &lease.place, validate::now()).await?;
        }
        Ok(Response::new(answer))
    }
}

/// The entries of a caller, each identity once.
fn entries<'a>(world: &'a World, places: &[usize]) -> Vec<&'a Entry> {
    let mut seen = BTreeSet::new();
    let entries = places.iter().filter_map(|place| world.entries.get(*place));
    entries.filter(|entry| seen.insert(&entry.svid)).collect()
}

/// What is held of several things, or why there is nothing: a refusal, unless something may still come.
fn some_of<'a, T: 'a, M>(
    standings: impl Iterator<Item = Option<&'a Standing<T>>>,
    is_over: impl Fn(&T) -> bool,
    message: impl Fn(&'a Arc<T>, usize) -> M,
) -> Result<Vec<M>, Status> {
    let (mut found, mut absent) = (Vec::new(), false);
    for (place, standing) in standings.enumerate() {
        match standing {
            // What is over is not handed out, even before anybody took it away.
            Some(Standing::Held(held)) if !is_over(held) => found.push(message(held, place)),
            Some(Standing::Refused) => {}
            Some(Standing::Held(_) | Standing::Absent) | None => absent = true,
        }
    }
    match (found.is_empty(), absent) {
        (false, _) => Ok(found),
        (true, true) => Err(Status::unavailable("the broker has not been reached")),
        (true, false) => Err(Status::permission_denied("the broker does not give an identity to this guest")),
    }
}

fn certificates(world: &World, places: &[usize]) -> Result<X509svidResponse, Status> {
    let entries = entries(world, places);
    let standings = entries.iter().map(|entry| world.certificates.get(&entry.svid));
    let hint = |place: usize| entries.get(place).map(|entry| entry.hint.clone()).unwrap_or_default();
    let message = |held: &Arc<Certificate>, place| X509svid {
        spiffe_id: held.svid.spiffe_id.clone(),
        x509_svid: held.chain.clone(),
        x509_svid_key: held.key.clone(),
        bundle: own_bundle(world, held),
        hint: hint(place),
    };
    let svids = some_of(standings, |held: &Certificate| held.life.is_over(), message)?;
    let own = world.trust.own.as_ref();
    let foreign = world.trust.bundles.iter().filter(|(name, _)| Some(*name) != own);
    let federated_bundles = foreign.map(|(name, bundle)| (name.clone(), bundle.der())).collect();
    Ok(X509svidResponse { svids, crl: Vec::new(), federated_bundles })
}

/// The newest bundle, or the one that came with the certificate while no newer one is known.
fn own_bundle(world: &World, certificate: &Certificate) -> Bytes {
    let known = world.trust.own.as_ref().and_then(|own| world.trust.bundles.get(own));
    known.map_or_else(|| certificate.svid.bundle.concat().into(), Bundle::der)
}

/// Bundles for a caller that may have at least one identity.
fn bundles(
    world: &World,
    places: &[usize],
    of: impl Fn(&Bundle) -> Option<Bytes>,
) -> Result<HashMap<String, Bytes>, Status> {
    certificates(world, places)?;
    let bundles = world.trust.bundles.iter();
    let bundles: HashMap<_, _> = bundles.filter_map(|(name, bundle)| Some((name.clone(), of(bundle)?))).collect();
    if bundles.is_empty() {
        return Err(Status::unavailable("the trust bundle is not known yet"));
    }
    Ok(bundles)
}

fn tokens(caller: &Caller, asked: &JwtsvidRequest) -> Result<JwtsvidResponse, Status> {
    let [audience] = asked.audience.as_slice() else {
        return Err(Status::invalid_argument("expected exactly one audience"));
    };
    let world = &*caller.world;
    let entries = entries(world, &caller.places);
    let allowed: Vec<_> = entries.into_iter().filter(|entry| entry.audiences.contains(audience)).collect();
    let standings = allowed.iter().map(|entry| world.tokens.get(&(entry.svid.clone(), audience.clone())));
    let svids = some_of(
        standings,
        |held: &super::world::Token| held.life.is_over(),
        |held, place| Jwtsvid {
            spiffe_id: held.spiffe_id.clone(),
            svid: String::from_utf8_lossy(held.jwt.expose()).into_owned(),
            hint: allowed.get(place).map(|entry| entry.hint.clone()).unwrap_or_default(),
        },
    );
    let mut svids = svids?;
    if !asked.spiffe_id.is_empty() {
        svids.retain(|svid| svid.spiffe_id == asked.spiffe_id);
        if svids.is_empty() {
            return Err(Status::permission_denied("this identity is not for this process"));
        }
    }
    Ok(JwtsvidResponse { svids })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use tonic::Code;

    use super::*;
    use crate::{
        lease::{Given, Want},
        life::{Life, Moment},
        serve::selector::Selectors,
    };

    /// A caller that matches the entry `web`, for the audience `db`; tokens for another audience and entry are held as well.
    fn caller(ends: &str) -> Caller {
        let entry = Entry {
            svid: "web".to_owned(),
            audiences: ["db".to_owned()].into(),
            hint: String::new(),
            selectors: Selectors::default(),
        };
        let mut world = World { entries: vec![entry].into(), ..World::default() };
        for (name, audience) in [("web", "db"), ("web", "mq"), ("other", "db")] {
            let claims = serde_json::json!({"sub": format!("spiffe://example.org/{name}")}).to_string();
            let jwt = format!("e30.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims));
            let want = Want::JwtSvid { name: name.to_owned(), audience: audience.to_owned() };
            let life = Life::new(Moment::now(), 0, ends).unwrap();
            world.give(want, Given::Value(jwt.into_bytes().into()), life);
        }
        Caller { world: Arc::new(world), places: vec![0] }
    }

    fn ask(caller: &Caller, audiences: &[&str], spiffe_id: &str) -> Result<Vec<String>, Code> {
        let audience = audiences.iter().map(|&audience| audience.to_owned()).collect();
        let answer = tokens(caller, &JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() });
        let ids = |answer: JwtsvidResponse| answer.svids.into_iter().map(|svid| svid.spiffe_id).collect();
        answer.map(ids).map_err(|status| status.code())
    }

    #[test]
    fn a_caller_gets_tokens_of_its_entry_and_its_audiences() {
        let caller = caller("1970-01-01T00:15:00Z");
        let web = "spiffe://example.org/web";
        assert_eq!(ask(&caller, &["db"], ""), Ok(vec![web.to_owned()]));
        assert_eq!(ask(&caller, &["db"], web), Ok(vec![web.to_owned()]));
        assert_eq!(ask(&caller, &["db"], "spiffe://example.org/other"), Err(Code::PermissionDenied));
        assert_eq!(ask(&caller, &["mq"], ""), Err(Code::PermissionDenied), "not an audience of the entry");
        for audiences in [&[][..], &["db", "mq"]] {
            assert_eq!(ask(&caller, audiences, ""), Err(Code::InvalidArgument));
        }
    }

    #[test]
    fn what_is_over_is_not_handed_out() {
        assert_eq!(ask(&caller("1970-01-01T00:00:00Z"), &["db"], ""), Err(Code::Unavailable));
    }
}
