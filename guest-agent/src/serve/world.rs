//! What is held at one moment, and who may have it: swapped whole, so that nobody sees half of a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use keys::secret::SecretBytes;
use prost::bytes::Bytes;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::settings::Entry;
use crate::{
    bundle::Bundle,
    lease::{Given, Want},
    life::Life,
    svid::X509Svid,
};

/// Everything that the API and the files are made from.
#[derive(Clone, Default)]
pub(crate) struct World {
    /// Who may have what.
    pub(crate) entries: Arc<[Entry]>,
    /// X.509-SVIDs by the name of their entry.
    pub(crate) certificates: BTreeMap<String, Standing<Certificate>>,
    /// The bundles of trust domains that go with those entries, as they came last: with the certificate, or since.
    pub(crate) trusted: BTreeMap<String, Arc<BTreeMap<String, Bundle>>>,
    /// JWT-SVIDs by the name of their entry and the audience.
    pub(crate) tokens: BTreeMap<(String, String), Standing<Token>>,
    /// What verifies SVIDs.
    pub(crate) trust: Arc<Trust>,
    /// Whether the agent ends.
    pub(crate) stopping: bool,
}

/// Whether something is held.
pub(crate) enum Standing<T> {
    /// Not yet, or no more: the broker gave no answer.
    Absent,
    /// The broker does not give it.
    Refused,
    /// It is.
    Held(Arc<T>),
}

/// An X.509-SVID in the forms that the API has.
pub(crate) struct Certificate {
    /// As it came.
    pub(crate) svid: X509Svid,
    /// The chain, DER one after the other.
    pub(crate) chain: Bytes,
    /// PKCS#8, DER; wiped when the last message with it is gone.
    pub(crate) key: Bytes,
    /// How long it holds.
    pub(crate) life: Life,
}

/// A JWT-SVID.
pub(crate) struct Token {
    /// Compact JWS.
    pub(crate) jwt: SecretBytes,
    /// The identity that it shows.
    pub(crate) spiffe_id: String,
    /// How long it holds.
    pub(crate) life: Life,
}

/// The bundles of trust domains, by their SPIFFE ID.
#[derive(Default, PartialEq)]
pub(crate) struct Trust {
    /// Our own trust domain, once it is known.
    pub(crate) own: Option<String>,
    /// What is known of each.
    pub(crate) bundles: BTreeMap<String, Bundle>,
}

/// The one place where the world changes.
pub(crate) type Change = watch::Sender<Arc<World>>;

impl World {
    /// Makes a copy, changes it, and puts it in the place of the old one.
    pub(crate) fn change(sender: &Change, change: impl FnOnce(&mut Self)) {
        sender.send_modify(|world| {
            let mut next = Self::clone(world);
            change(&mut next);
            *world = Arc::new(next);
        });
    }

    /// Puts what was given in its place.
    pub(crate) fn give(&mut self, want: Want, given: Given, life: Life) {
        match (want, given) {
            (Want::X509Svid { name }, Given::X509(svid)) => {
                self.trusted.insert(name.clone(), Arc::new(svid.trusted.clone()));
                let certificate = Certificate {
                    chain: svid.chain.concat().into(),
                    key: Bytes::from_owner(Zeroizing::new(svid.key.expose().to_vec())),
                    svid: *svid,
                    life,
                };
                self.certificates.insert(name, Standing::Held(Arc::new(certificate)));
            }
            (Want::JwtSvid { name, audience }, Given::Value(jwt)) => {
                let subject = subject(&jwt);
                let token = subject.map(|spiffe_id| Standing::Held(Arc::new(Token { jwt, spiffe_id, life })));
                self.tokens.insert((name, audience), token.unwrap_or(Standing::Absent));
            }
            // Nothing else is asked for.
            (
                Want::X509Svid { .. }
                | Want::JwtSvid { .. }
                | Want::Secret { .. }
                | Want::Token { .. }
                | Want::Postgres { .. }
                | Want::SshCert { .. },
                _,
            ) => {}
        }
    }

    /// Takes something away.
    pub(crate) fn take(&mut self, want: &Want, refused: bool) {
        match want {
            Want::X509Svid { name } => {
                let standing = if refused { Standing::Refused } else { Standing::Absent };
                self.certificates.insert(name.clone(), standing);
            }
            Want::JwtSvid { name, audience } => {
                let standing = if refused { Standing::Refused } else { Standing::Absent };
                self.tokens.insert((name.clone(), audience.clone()), standing);
            }
            Want::Secret { .. } | Want::Token { .. } | Want::Postgres { .. } | Want::SshCert { .. } => {}
        }
    }

    /// Takes away whatever is over.
    pub(crate) fn expire(&mut self) {
        for standing in self.certificates.values_mut() {
            standing.expire(|held| held.life);
        }
        for standing in self.tokens.values_mut() {
            standing.expire(|held| held.life);
        }
    }

    /// Leaves nothing but what is wanted.
    pub(crate) fn keep_only(&mut self, wants: &BTreeSet<Want>) {
        self.certificates.retain(|name, _| wants.contains(&Want::X509Svid { name: name.clone() }));
        self.trusted.retain(|name, _| wants.contains(&Want::X509Svid { name: name.clone() }));
        self.tokens.retain(|(name, audience), _| {
            wants.contains(&Want::JwtSvid { name: name.clone(), audience: audience.clone() })
        });
    }
}

impl<T> Clone for Standing<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Refused => Self::Refused,
            Self::Held(held) => Self::Held(Arc::clone(held)),
        }
    }
}

impl<T> Standing<T> {
    fn expire(&mut self, life: impl Fn(&T) -> Life) {
        if let Self::Held(held) = self
            && life(held).is_over()
        {
            *self = Self::Absent;
        }
    }
}

/// `sub` of a token that came sealed from the broker.
fn subject(jwt: &SecretBytes) -> Option<String> {
    crate::result::subject(std::str::from_utf8(jwt.expose()).ok()?)
}
