//! DNS cookies (RFC 7873) with interoperable server cookies (RFC 9018): version, reserved, time, SipHash-2-4.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

/// A server cookie older than this is not valid (RFC 9018 4.3), seconds.
const OLDEST: i32 = 3600;
/// Or further in the future than this.
const NEWEST: i32 = 300;
/// A valid one older than this is replaced.
const RENEW: i32 = 1800;

/// Cookie secrets: the first makes cookies, all are accepted. Shared by the servers of one address (RFC 9018 5).
#[derive(Clone, Default)]
pub struct Secrets(pub Box<[[u8; 16]]>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// The COOKIE option's data for a reply: the client's part and a server part, and whether the one that came was valid.
    /// `None` when cookies are off or the client's part is missing.
    pub fn reply(&self, cookie: &[u8], client: IpAddr, now: u32) -> Option<([u8; 24], bool)> {
        let first = self.0.first()?;
        let client_part = cookie.first_chunk::<8>()?;
        let mut reply = [0u8; 24];
        reply[..8].copy_from_slice(client_part);
        let mut valid = false;
        let mut current = false;
        if let Some(server_part) = cookie.get(8..).and_then(|part| <&[u8; 16]>::try_from(part).ok()) {
            let time = u32::from_be_bytes([server_part[4], server_part[5], server_part[6], server_part[7]]);
            let age = now.wrapping_sub(time) as i32;
            if server_part[0] == 1 && (-NEWEST..=OLDEST).contains(&age) {
                let maker = self.0.iter().position(|secret| {
                    hash(secret, client_part, &server_part[..8], client).ct_eq(&server_part[8..]).into()
                });
                valid = maker.is_some();
                current = maker == Some(0);
            }
            if current && age < RENEW {
                reply[8..].copy_from_slice(server_part);
                return Some((reply, true));
            }
        }
        reply[8] = 1;
        reply[12..16].copy_from_slice(&now.to_be_bytes());
        let head = [1, 0, 0, 0, reply[12], reply[13], reply[14], reply[15]];
        reply[16..].copy_from_slice(&hash(first, client_part, &head, client));
        Some((reply, valid))
    }
}

/// Hash over client cookie, version, reserved, time and address (RFC 9018 4.4).
fn hash(secret: &[u8; 16], client_part: &[u8], head: &[u8], client: IpAddr) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(client_part);
    hasher.write(head);
    match client {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9018 appendix A.1 and A.2: learning a cookie, and the same client with another address.
    #[test]
    fn rfc_9018_examples() {
        let secrets = Secrets(Box::new([hex("e5e973e5a6b2a43f48e7dc849e37bfcf")]));
        let client = IpAddr::from([198, 51, 100, 100]);
        let (reply, valid) = secrets.reply(&hex::<8>("2464c4abcf10c957"), client, 1559731985).unwrap();
        assert_eq!(reply, hex::<24>("2464c4abcf10c957010000005cf79f111f8130c3eee29480"));
        assert!(!valid);
        let (again, valid) = secrets.reply(&reply, client, 1559731985 + 60).unwrap();
        assert!(valid && again == reply);
        let (_, valid) = secrets.reply(&reply, IpAddr::from([203, 0, 113, 203]), 1559731985).unwrap();
        assert!(!valid);
        let (_, valid) = secrets.reply(&reply, client, 1559731985 + 3601).unwrap();
        assert!(!valid);
    }

    /// RFC 9018 appendix A.4: IPv6, and a secret that was rolled.
    #[test]
    fn a_rolled_secret_is_still_accepted() {
        let client: IpAddr = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let old = hex("dd3bdf9344b678b185a6f5cb60fca715");
        let new = hex("445536bcd2513298075a5d379663c962");
        let (_, valid) = Secrets(Box::new([old]))
            .reply(&hex::<24>("22681ab97d52c298010000005cf7c57926556bd0934c72f8"), client, 1559741961)
            .unwrap();
        assert!(valid);
        let (reply, valid) = Secrets(Box::new([new, old]))
            .reply(&hex::<24>("22681ab97d52c298010000005cf7c57926556bd0934c72f8"), client, 1559741961)
            .unwrap();
        assert!(valid);
        assert_eq!(reply, hex::<24>("22681ab97d52c298010000005cf7c609a6bb79d16625507a"));
    }

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }
}
