//! How often one peer may ask: a token bucket per address, in a table of bounded size.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Peers that are remembered. When there are more, those whose bucket is full again are forgotten first, then all.
const PEERS: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    refilled: Instant,
}

/// Limits requests by whoever asks: by peer address, where nothing else says.
#[derive(Debug)]
pub(crate) struct RateLimit<K = Network> {
    per_second: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

/// Addresses that are one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl<K: Eq + Hash> RateLimit<K> {
    /// Allows `per_second` sustained, and bursts of twice that.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Whether a request of `peer` at `now` is within the limit; counts it when it is.
    pub(crate) fn admit(&self, peer: impl Into<K>, now: Instant) -> bool {
        let full = self.per_second * 2.0;
        // A poisoned lock only means that another thread panicked between two counts.
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= PEERS {
            let refill = Duration::from_secs(2);
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.refilled) < refill);
            if buckets.len() >= PEERS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(peer.into()).or_insert(Bucket { tokens: full, refilled: now });
        let earned = now.saturating_duration_since(bucket.refilled).as_secs_f64() * self.per_second;
        *bucket = Bucket { tokens: (bucket.tokens + earned).min(full), refilled: now };
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// One IPv6 host owns a whole /64.
impl From<IpAddr> for Network {
    fn from(peer: IpAddr) -> Self {
        Self(match peer.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        net::IpAddr,
        time::{Duration, Instant},
    };

    use super::RateLimit;

    #[test]
    fn a_burst_is_cut_and_time_refills() {
        let limit: RateLimit = RateLimit::new(5);
        let now = Instant::now();
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let admitted = (0..100).filter(|_| limit.admit(peer, now)).count();
        assert_eq!(admitted, 10);
        assert!(!limit.admit(peer, now));
        assert!(limit.admit("192.0.2.2".parse::<IpAddr>().unwrap(), now));
        assert!(limit.admit(peer, now + Duration::from_millis(250)));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let limit: RateLimit = RateLimit::new(1);
        let now = Instant::now();
        let admit = |text: &str| limit.admit(text.parse::<IpAddr>().unwrap(), now);
        assert!(admit("2001:db8::1") && admit("2001:db8::2"));
        assert!(!admit("2001:db8::3"));
        assert!(admit("2001:db8:0:1::3"));
    }
}
