//! Whose question it is, and how much of the address an answer depended on (RFC 7871).
//!
//! IPv4 inside IPv6 (mapped, translated, NAT64, 6to4, Teredo) is the IPv4 client, as gdnsd has it: one network, one answer,
//! whatever the path.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher24;

use super::query::Subnet;
use super::ranges::ByAddress;

/// A client: an address, as many bits of it as are known, and the form in which it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The address, IPv4 wherever it is one; bits that are not known are zero (of a Teredo client, one).
    pub address: IpAddr,
    /// Bits that are known: 32 and 128 for a source address, else the subnet's.
    pub known: u8,
    /// Which of [`INSIDE`] an IPv4 client came in; [`PLAIN`] for all others.
    form: u8,
}

/// An address that is what it says.
const PLAIN: u8 = u8::MAX;

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

/// A range of IPv6 whose addresses are IPv4 clients.
struct Inside {
    /// Its first address.
    first: u128,
    /// Bits that all of it has in common.
    length: u8,
    /// Bits in front of the IPv4 address.
    at: u8,
    /// Whether the bits of the IPv4 address are flipped.
    flipped: bool,
}

const INSIDE: [Inside; 5] = [
    // ::ffff:0:0/96, IPv4-mapped (RFC 4291 2.5.5.2).
    Inside { first: 0xffff << 32, length: 96, at: 96, flipped: false },
    // ::ffff:0:0:0/96, IPv4-translated (RFC 2765 2.1).
    Inside { first: 0xffff << 48, length: 96, at: 96, flipped: false },
    // 64:ff9b::/96, NAT64's well-known prefix (RFC 6052 2.1).
    Inside { first: 0x0064_ff9b << 96, length: 96, at: 96, flipped: false },
    // 2001::/32, Teredo: the client's address is at the end, each bit flipped (RFC 4380 4).
    Inside { first: 0x2001_0000 << 96, length: 32, at: 96, flipped: true },
    // 2002::/16, 6to4 (RFC 3056 2).
    Inside { first: 0x2002 << 112, length: 16, at: 16, flipped: false },
];

impl Inside {
    fn holds(&self, address: u128) -> bool {
        (address ^ self.first) >> (128 - self.length) == 0
    }

    fn last(&self) -> u128 {
        self.first | (u128::MAX >> self.length)
    }
}

impl Client {
    /// The source of a query, all bits known.
    pub fn source(address: IpAddr) -> Client {
        match address {
            IpAddr::V4(_) => Client { address, known: 32, form: PLAIN },
            IpAddr::V6(inner) => Client::of_v6(inner, 128),
        }
    }

    /// The client subnet of a query; `None` when it says nothing (RFC 7871 7.1.2).
    pub fn subnet(subnet: &Subnet<'_>) -> Option<Client> {
        Some(Client::network(subnet.network()?, subnet.source))
    }

    /// So many bits of that address; those behind them are zero.
    pub fn network(address: IpAddr, known: u8) -> Client {
        match address {
            IpAddr::V4(_) => Client { address, known, form: PLAIN },
            IpAddr::V6(inner) => Client::of_v6(inner, known),
        }
    }

    fn of_v6(address: Ipv6Addr, known: u8) -> Client {
        let bits = u128::from(address);
        // All five begin with zero or 0x20 in their first octet: nearly every address is none of them.
        if matches!(bits >> 120, 0 | 0x20) {
            for (form, inside) in (0..).zip(&INSIDE) {
                if inside.holds(bits) {
                    let inner = (bits >> (96 - inside.at)) as u32;
                    let inner = Ipv4Addr::from(if inside.flipped { !inner } else { inner });
                    let known = known.saturating_sub(inside.at).min(32);
                    return Client { address: IpAddr::V4(inner), known, form };
                }
            }
        }
        Client { address: IpAddr::V6(address), known, form: PLAIN }
    }

    /// What a table says of the client, and the SCOPE PREFIX-LENGTH of that: the leading bits, of the address as it was asked
    /// for, all of whose clients are told the same. The table has to be one of [`as_seen`].
    pub fn find<V: Copy + PartialEq>(&self, table: &ByAddress<V>) -> (V, u8) {
        let (value, bits) = table.find(self.address);
        match INSIDE.get(usize::from(self.form)) {
            None => (value, bits),
            // All of IPv4 is told the same, and so is this range. What is around it may be, too.
            Some(inside) if bits == 0 => (value, table.v6.find(inside.first).1),
            Some(inside) => (value, inside.at + bits),
        }
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

    /// SCOPE PREFIX-LENGTH of an answer that followed [`Client::hash`] by `key`, of which so many bits went in.
    pub fn scope_of_hash(&self, key: HashKey, bits: u8) -> u8 {
        let HashKey::Client { ipv4_prefix, .. } = key else { return 0 };
        match (self.address, INSIDE.get(usize::from(self.form))) {
            (IpAddr::V4(_), None) => bits,
            // All of IPv4 is one network, and IPv6 beside it others.
            (IpAddr::V4(_), Some(inside)) if ipv4_prefix == 0 => inside.length,
            (IpAddr::V4(_), Some(inside)) => inside.at + bits,
            (IpAddr::V6(address), _) => bits.max(apart(u128::from(address))),
        }
    }
}

/// Leading bits that keep an IPv6 address apart from all that is IPv4 inside IPv6.
fn apart(address: u128) -> u8 {
    INSIDE.iter().map(|inside| (address ^ inside.first).leading_zeros() as u8 + 1).max().unwrap_or(0)
}

/// The table with IPv6 as clients are told it: where IPv4 lies inside, what IPv4 is told stands. A range in which IPv4 clients
/// are told different things has borders around it, so that no scope beside it reaches into it.
pub fn as_seen<V: Copy + PartialEq>(mut table: ByAddress<V>) -> ByAddress<V> {
    let (value, bits) = table.v4.find(0);
    let of_all = (bits == 0).then_some(value);
    for inside in &INSIDE {
        table.v6.set_apart(inside.first, inside.last(), of_all);
    }
    table
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
            assert_eq!(
                client.scope_of_hash(HashKey::CLIENT, client.hash(HashKey::CLIENT, b"").1),
                shift + 24,
                "{text}"
            );
            let half = Client::network(text.parse().unwrap(), shift + 16);
            let (hash, bits) = half.hash(HashKey::CLIENT, b"");
            let network = Client::network(IpAddr::from([192, 0, 0, 0]), 16);
            assert_eq!((half.known, hash, bits), (16, network.hash(HashKey::CLIENT, b"").0, 16), "{text}");
        }
        for text in ["2001:db8::1", "::1", "2001:1::1", "64:ff9b:1::192.0.2.7"] {
            let client = Client::source(text.parse().unwrap());
            assert_eq!((client.address, client.known), (text.parse().unwrap(), 128), "{text}");
        }
        // Nothing of it is known: still one.
        let short = Client::network("2002::".parse().unwrap(), 16);
        assert_eq!((short.address, short.known), (IpAddr::from([0, 0, 0, 0]), 0));
    }

    #[test]
    fn a_hash_of_ipv6_reaches_no_ipv4_inside() {
        let scope = |text: &str, ipv4_prefix, ipv6_prefix| {
            let client = Client::source(text.parse().unwrap());
            let key = HashKey::Client { ipv4_prefix, ipv6_prefix };
            client.scope_of_hash(key, client.hash(key, b"").1)
        };
        assert_eq!(scope("2001:db8::1", 24, 56), 56);
        // 2001::/32 is as near as 2001:800::/21.
        assert_eq!([scope("2001:db8::1", 24, 16), scope("2a00::1", 24, 0), scope("::1", 24, 32)], [21, 5, 81]);
        assert_eq!([scope("2002:a00::1", 0, 56), scope("10.0.0.1", 0, 56)], [16, 0]);
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
