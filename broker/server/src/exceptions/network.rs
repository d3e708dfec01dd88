//! Networks that a legacy client may come from, in CIDR notation (RFC 4632, RFC 4291 §2.3).

use std::{fmt, net::IpAddr, str::FromStr};

use serde::Serialize;
use thiserror::Error;

/// An address and how many of its leading bits count. The other bits are zero: one spelling for one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a network such as 192.0.2.0/24 or 2001:db8::/32, without bits after the prefix")]
pub(crate) struct NotANetwork;

impl Network {
    /// Whether `peer` is in it. An IPv4 address that comes as an IPv6 one (`::ffff:…`) counts as what it is.
    pub(crate) fn contains(&self, peer: IpAddr) -> bool {
        let (own, peer) = (bits(self.address), bits(peer.to_canonical()));
        own.1 == peer.1 && masked(own.0, self.prefix, own.1) == masked(peer.0, self.prefix, own.1)
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The leading `prefix` of `width` bits.
fn masked(bits: u128, prefix: u8, width: u8) -> u128 {
    let rest = u32::from(width.saturating_sub(prefix));
    // A shift by all 128 bits leaves nothing.
    bits.checked_shr(rest).and_then(|kept| kept.checked_shl(rest)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').ok_or(NotANetwork)?;
        let address: IpAddr = address.parse().map_err(|_not_an_address| NotANetwork)?;
        let plain = prefix.bytes().all(|byte| byte.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
        let prefix: u8 = prefix.parse().map_err(|_not_a_number| NotANetwork)?;
        let (value, width) = bits(address);
        if !plain || prefix > width || masked(value, prefix, width) != value || address != address.to_canonical() {
            return Err(NotANetwork);
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Network;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "2001:db9::", true),
            ("::/0", "192.0.2.1", false),
        ];
        for (network, peer, inside) in cases {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(peer.parse().unwrap()), inside, "{network} {peer}");
        }
    }

    #[test]
    fn a_network_has_one_spelling() {
        for text in ["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "::/0", "10.0.0.1/32"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["", "192.0.2.0", "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/+8", "10.0.0.0/08", "::1/0", "x/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!("::ffff:192.0.2.0/120".parse::<Network>().is_err());
    }
}
