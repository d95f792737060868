//! Response rate limiting, as BIND and Knot have it: a server that answers forged sources is a weapon against them. Each
//! client network has a balance for each kind of answer; when it is spent, most replies are withheld, and every `slip`-th
//! is cut to TC, so that a real client comes back by TCP, which cannot be forged.
//!
//! Pure: the second is passed in, the table belongs to one worker and never grows.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::quality::RandomState;
use ipnet::IpNet;

use super::Reply;
use super::name::labels;
use super::query::HEADER;

/// Accounts of one worker, 16 octets each: 1 MiB.
const ACCOUNTS: usize = 1 << 16;
/// Places where an account may stand; the longest unused of them gives way.
const WAYS: usize = 4;
/// Seconds of debt that are remembered: a flood that ends is forgiven after as long (BIND's `window`).
const WINDOW: i32 = 15;

/// `[dns.rate_limit]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Equal answers to one network in one second, on one worker.
    pub responses_per_second: u32,
    /// Every that many withheld replies one is sent cut to TC; 0: none, 1: all.
    pub slip: u32,
    /// Prefix length of an IPv4 client's network.
    pub ipv4_prefix: u8,
    /// Prefix length of an IPv6 client's network.
    pub ipv6_prefix: u8,
    /// Counts what would be withheld, and sends it.
    pub log_only: bool,
    /// Networks that are never limited.
    pub exempt: Networks,
}

impl RateLimit {
    /// Whether a reply is sent whatever was sent before: to an exempt client, or to one that has proved its address.
    #[inline]
    pub fn spares(&self, client: IpAddr, reply: &Reply) -> bool {
        reply.cookie_valid || self.exempt.contains(client)
    }
}

/// Networks, in the form in which a few are looked through fastest: network and mask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// None at all.
    pub const NONE: Networks = Networks { v4: Vec::new(), v6: Vec::new() };

    /// How many.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one of them holds the address.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.iter().any(|&(network, mask)| u32::from(address) & mask == network),
            IpAddr::V6(address) => self.v6.iter().any(|&(network, mask)| u128::from(address) & mask == network),
        }
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(all: I) -> Networks {
        let mut networks = Networks::NONE;
        for one in all {
            match one {
                IpNet::V4(one) => networks.v4.push((one.network().into(), one.netmask().into())),
                IpNet::V6(one) => networks.v6.push((one.network().into(), one.netmask().into())),
            }
        }
        networks
    }
}

/// What becomes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It would be withheld, but only that is counted.
    WouldDrop,
    /// It is sent without records, with TC.
    Slip,
    /// It is not sent.
    Drop,
}

/// The balances of one worker.
pub struct RateLimiter {
    accounts: Box<[Account]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Default)]
struct Account {
    tag: u32,
    second: u32,
    balance: i32,
    withheld: u32,
}

impl Default for RateLimiter {
    fn default() -> RateLimiter {
        RateLimiter { accounts: vec![Account::default(); ACCOUNTS].into(), hasher: RandomState::default() }
    }
}

impl RateLimiter {
    /// Decides about one reply over UDP that is not [spared](RateLimit::spares). `now` is in seconds.
    pub fn judge(&mut self, limit: &RateLimit, client: IpAddr, reply: &Reply, now: u32) -> Verdict {
        let hash = self.hasher.hash_one((network(client, limit), reply.rcode, reply.account));
        let rate = i32::try_from(limit.responses_per_second).unwrap_or(i32::MAX / WINDOW).min(i32::MAX / WINDOW);
        let account = self.account(hash, rate, now);
        // Earn for the seconds that passed, one second's worth at most; a clock that was set back earns nothing.
        let passed = i32::try_from(now.saturating_sub(account.second)).unwrap_or(WINDOW).min(WINDOW + 1);
        account.balance = account.balance.saturating_add(passed.saturating_mul(rate)).min(rate);
        account.second = now;
        account.balance = (account.balance - 1).max(-WINDOW * rate);
        if account.balance >= 0 {
            account.withheld = 0;
            return Verdict::Send;
        }
        if limit.log_only {
            return Verdict::WouldDrop;
        }
        account.withheld = account.withheld.wrapping_add(1);
        if limit.slip > 0 && account.withheld.is_multiple_of(limit.slip) { Verdict::Slip } else { Verdict::Drop }
    }

    fn account(&mut self, hash: u64, rate: i32, now: u32) -> &mut Account {
        let first = (hash as usize % (ACCOUNTS / WAYS)) * WAYS;
        // 0 marks a free place.
        let tag = (hash >> 32) as u32 | 1;
        let ways = &mut self.accounts[first..first + WAYS];
        let place = ways.iter().position(|account| account.tag == tag).unwrap_or_else(|| {
            let oldest = (0..WAYS).max_by_key(|&way| match ways[way].tag {
                0 => u32::MAX,
                _ => now.saturating_sub(ways[way].second),
            });
            let place = oldest.unwrap_or(0);
            ways[place] = Account { tag, second: now, balance: rate, withheld: 0 };
            place
        });
        &mut ways[place]
    }
}

/// The client's network as a number.
fn network(client: IpAddr, limit: &RateLimit) -> u128 {
    match client {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(limit.ipv4_prefix.min(32))).unwrap_or(0);
            u128::from(u32::from(address) & kept)
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(limit.ipv6_prefix.min(128))).unwrap_or(0);
            // Above all IPv4 networks, so that the two never share an account.
            (u128::from(address) & kept) | 1 << 40
        }
    }
}

/// Cuts a reply to header, question and OPT with TC, in place; returns its length.
pub fn slip(out: &mut [u8], reply: &Reply) -> usize {
    let Some(name) = out.get(HEADER..reply.length) else { return reply.length };
    let question_end = match out[5] {
        // An error may come without the question.
        0 => HEADER,
        _ => HEADER + labels(name).map(|label| 1 + label.len()).sum::<usize>() + 5,
    };
    let options = usize::from(reply.options_length);
    let options_start = reply.length.saturating_sub(options);
    if question_end > options_start {
        return reply.length;
    }
    out.copy_within(options_start..reply.length, question_end);
    out[2] |= 0x02;
    out[6..12].copy_from_slice(&[0, 0, 0, 0, 0, u8::from(options > 0)]);
    question_end + options
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit {
        responses_per_second: 10,
        slip: 2,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        log_only: false,
        exempt: Networks::NONE,
    };

    fn reply(account: u64) -> Reply {
        Reply { length: 50, account, ..Reply::SILENCE }
    }

    fn counts(limiter: &mut RateLimiter, limit: &RateLimit, client: &str, replies: u32, now: u32) -> (u32, u32, u32) {
        let mut counts = (0, 0, 0);
        for _ in 0..replies {
            let client = client.parse().unwrap();
            match limiter.judge(limit, client, &reply(1), now) {
                _ if limit.spares(client, &reply(1)) => counts.0 += 1,
                Verdict::Send | Verdict::WouldDrop => counts.0 += 1,
                Verdict::Slip => counts.1 += 1,
                Verdict::Drop => counts.2 += 1,
            }
        }
        counts
    }

    #[test]
    fn a_network_gets_its_rate_and_then_every_second_reply_cut() {
        let mut limiter = RateLimiter::default();
        assert_eq!(counts(&mut limiter, &LIMIT, "192.0.2.1", 30, 100), (10, 10, 10));
        // The same /24 shares the balance, another does not.
        assert_eq!(counts(&mut limiter, &LIMIT, "192.0.2.99", 2, 100).0, 0);
        assert_eq!(counts(&mut limiter, &LIMIT, "192.0.3.1", 10, 100).0, 10);
        assert_eq!(counts(&mut limiter, &LIMIT, "2001:db8::1", 10, 100).0, 10);
        assert_eq!(counts(&mut limiter, &LIMIT, "2001:db8:0:ff::1", 1, 100).0, 0);
    }

    #[test]
    fn a_flood_is_remembered_for_its_window_and_then_forgiven() {
        let mut limiter = RateLimiter::default();
        counts(&mut limiter, &LIMIT, "192.0.2.1", 10_000, 100);
        assert_eq!(counts(&mut limiter, &LIMIT, "192.0.2.1", 1, 105).0, 0);
        assert_eq!(counts(&mut limiter, &LIMIT, "192.0.2.1", 10, 130).0, 10);
    }

    #[test]
    fn exempt_networks_and_valid_cookies_are_spared_and_other_answers_have_their_own_balance() {
        let mut limiter = RateLimiter::default();
        let exempt = RateLimit {
            exempt: ["192.0.2.0/24", "2001:db8::/32"].map(|one| one.parse().unwrap()).into_iter().collect(),
            ..LIMIT
        };
        for (client, spared) in [("192.0.2.1", 1000), ("192.0.3.1", 10), ("2001:db8:ff::1", 1000), ("2001:db9::1", 10)]
        {
            assert_eq!(counts(&mut limiter, &exempt, client, 1000, 1).0, spared, "{client}");
        }
        counts(&mut limiter, &LIMIT, "198.51.100.1", 1000, 1);
        let client = "198.51.100.1".parse().unwrap();
        let with_cookie = Reply { cookie_valid: true, ..reply(1) };
        assert!(LIMIT.spares(client, &with_cookie) && !LIMIT.spares(client, &reply(1)));
        assert_eq!(limiter.judge(&LIMIT, client, &reply(2), 1), Verdict::Send);
        let log_only = RateLimit { log_only: true, ..LIMIT };
        assert_eq!(limiter.judge(&log_only, client, &reply(1), 1), Verdict::WouldDrop);
    }

    #[test]
    fn a_million_networks_do_not_grow_the_table() {
        let mut limiter = RateLimiter::default();
        for number in 0..1_000_000u32 {
            limiter.judge(&LIMIT, IpAddr::from(number.wrapping_mul(256).to_be_bytes()), &reply(1), number / 1000);
        }
        assert_eq!(limiter.accounts.len(), ACCOUNTS);
    }
}
