//! Whose question it is, and how much of the address an answer depended on (RFC 7871).
//!
//! IPv4 inside IPv6 (mapped, translated, NAT64, 6to4, Teredo) is the IPv4 client, as gdnsd has it: one network, one answer,
//! whatever the path.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher24;

use super::query::Subnet;

/// A client: an address, as many bits of it as are known, and how its prefixes are told to who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The address, IPv4 wherever it is one; bits that are not known are zero.
    pub address: IpAddr,
    /// Bits that are known: 32 and 128 for a source address, else the subnet's.
    pub known: u8,
    /// Bits in front of an IPv4 address inside an IPv6 subnet.
    shift: u8,
}

/// What a client's place in a hash is made of: the question's name, or so much of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// The network of the client.
    Client {
        /// Bits of an IPv4 address, 0 to 32.
        ipv4_prefix: u8,
        /// Bits of an IPv6 address, 0 to 128.
        ipv6_prefix: u8,
    },
    /// The question's name, in lower case.
    Name,
}

impl HashKey {
    /// The network of the client that is hashed unless a pool or route says otherwise.
    pub const CLIENT: HashKey = HashKey::Client { ipv4_prefix: 24, ipv6_prefix: 56 };
}

/// IPv4 inside IPv6: the prefix, its length, where the IPv4 address begins, and whether its bits are flipped.
const INSIDE: [(u128, u8, u8, bool); 5] = [
    // ::ffff:0:0/96, IPv4-mapped (RFC 4291 2.5.5.2).
    (0xffff << 32, 96, 96, false),
    // ::ffff:0:0:0/96, IPv4-translated (RFC 2765 2.1).
    (0xffff << 48, 96, 96, false),
    // 64:ff9b::/96, NAT64's well-known prefix (RFC 6052 2.1).
    (0x0064_ff9b << 96, 96, 96, false),
    // 2002::/16, 6to4 (RFC 3056 2).
    (0x2002 << 112, 16, 16, false),
    // 2001::/32, Teredo: the client's address is at the end, each bit flipped (RFC 4380 4).
    (0x2001_0000 << 96, 32, 96, true),
];

impl Client {
    /// The source of a query, all bits known.
    pub fn source(address: IpAddr) -> Client {
        match address {
            IpAddr::V4(_) => Client { address, known: 32, shift: 0 },
            IpAddr::V6(inner) => Client::of_v6(inner, 128),
        }
    }

    /// The client subnet of a query; `None` when it says nothing (RFC 7871 7.1.2).
    pub fn subnet(subnet: &Subnet<'_>) -> Option<Client> {
        Some(Client::network(subnet.network()?, subnet.source))
    }

    /// So many bits of that address.
    pub fn network(address: IpAddr, known: u8) -> Client {
        match address {
            IpAddr::V4(_) => Client { address, known, shift: 0 },
            IpAddr::V6(inner) => Client::of_v6(inner, known),
        }
    }

    fn of_v6(address: Ipv6Addr, known: u8) -> Client {
        let bits = u128::from(address);
        // All five begin with zero or 0x20 in their first octet: nearly every address is none of them.
        if matches!(bits >> 120, 0 | 0x20) {
            for (prefix, length, at, flipped) in INSIDE {
                if (bits ^ prefix) >> (128 - length) == 0 && known > at {
                    let known = (known - at).min(32);
                    let inner = (bits >> (96 - at)) as u32;
                    let inner = if flipped { !inner } else { inner };
                    let inner = Ipv4Addr::from(inner & mask_v4(known));
                    return Client { address: IpAddr::V4(inner), known, shift: at };
                }
            }
        }
        Client { address: IpAddr::V6(address), known, shift: 0 }
    }

    /// SCOPE PREFIX-LENGTH for an answer that depended on so many bits of [`Client::address`].
    pub fn scope(&self, bits: u8) -> u8 {
        // Nothing depended on it: not on the form of the address either.
        if bits == 0 { 0 } else { self.shift + bits }
    }

    /// The hash of the client's network or of the question's name (wire form), and the bits of the address that went in.
    pub fn hash(&self, key: HashKey, name: &[u8]) -> (u64, u8) {
        let HashKey::Client { ipv4_prefix, ipv6_prefix } = key else { return (stable_hash(name), 0) };
        match self.address {
            IpAddr::V4(address) => {
                let bits = ipv4_prefix.min(self.known);
                (stable_hash(&(u32::from(address) & mask_v4(bits)).to_be_bytes()), bits)
            }
            IpAddr::V6(address) => {
                let bits = ipv6_prefix.min(self.known);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                (stable_hash(&(u128::from(address) & mask).to_be_bytes()), bits)
            }
        }
    }
}

fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0)
}

/// SipHash-2-4 under a key that is fixed for ever: every server, and every version, sees the same hash.
pub fn stable_hash(octets: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(b"rollcall hash v1");
    hasher.write(octets);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_inside_ipv6_is_ipv4() {
        let forms = [
            ("::ffff:192.0.2.7", 96),
            ("::ffff:0:192.0.2.7", 96),
            ("64:ff9b::192.0.2.7", 96),
            ("2002:c000:207::1", 16),
            ("2001:0:4136:e378:8000:63bf:3fff:fdf8", 96),
        ];
        for (text, shift) in forms {
            let client = Client::source(text.parse().unwrap());
            assert_eq!((client.address, client.known), (IpAddr::from([192, 0, 2, 7]), 32), "{text}");
            assert_eq!((client.scope(24), client.scope(0)), (shift + 24, 0), "{text}");
            let half = Client::network(text.parse().unwrap(), shift + 16);
            assert_eq!((half.address, half.known), (IpAddr::from([192, 0, 0, 0]), 16), "{text}");
        }
        for text in ["2001:db8::1", "::1", "2001:1::1", "64:ff9b:1::192.0.2.7"] {
            let client = Client::source(text.parse().unwrap());
            assert_eq!((client.address, client.known), (text.parse().unwrap(), 128), "{text}");
        }
        // Not enough of it is known to be one.
        let short = Client::network("::ffff:192.0.2.7".parse().unwrap(), 96);
        assert!(short.address.is_ipv6());
    }

    #[test]
    fn hashes_are_the_same_for_ever() {
        let client = |text: &str| Client::source(text.parse().unwrap());
        let hash = |text: &str| client(text).hash(HashKey::CLIENT, b"");
        assert_eq!(hash("192.0.2.7"), hash("192.0.2.200"));
        assert_ne!(hash("192.0.2.7").0, hash("192.0.3.7").0);
        assert_eq!(hash("192.0.2.7"), hash("::ffff:192.0.2.1"));
        assert_eq!((hash("192.0.2.7").1, hash("2001:db8::1").1), (24, 56));
        let coarse = Client::network(IpAddr::from([192, 0, 0, 0]), 16);
        assert_eq!(coarse.hash(HashKey::CLIENT, b"").1, 16);
        assert_eq!(client("192.0.2.7").hash(HashKey::Name, b"\x03www\x00").1, 0);
        let pinned = [hash("192.0.2.7").0, hash("2001:db8::1").0, stable_hash(b"\x03www\x00"), stable_hash(b"")];
        let known = [13021209756688282239, 2793533181901419277, 1140247101485561979, 2771126005890097826];
        assert_eq!(pinned, known);
    }
}
