//! Records that name services rather than addresses: SRV (RFC 2782), SVCB and HTTPS (RFC 9460), and the CNAME of a backend
//! that lives elsewhere. Prepared when publishing; a query copies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::rrtype;
use super::share::Firsts;

/// SvcParamKeys that are made here (RFC 9460 14.3.2).
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;
/// Most addresses of one family in a hint: what fits beside the rest into one UDP reply.
const MOST_HINTS: usize = 16;

/// Records of different lengths, given whole or turned one step each draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Services {
    rtype: u16,
    /// Wire records with owner pointer `0xC00C`, twice in a row, so that every turn is one piece.
    records: Box<[u8]>,
    /// Where each record of both rounds begins, and the end.
    starts: Box<[u32]>,
    take: usize,
    /// Which record has each draw, where they have shares; else they take turns.
    firsts: Option<Firsts>,
}

/// One SRV record's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service<'n> {
    /// Lower is asked first: the tier.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// The service's port.
    pub port: u16,
    /// Uncompressed wire name.
    pub target: &'n [u8],
}

impl Services {
    /// SRV records, at most `answers` in a reply. At least one must be given.
    pub fn srv(services: &[Service<'_>], answers: u16, ttl: u32) -> Services {
        let rdata = |service: &Service<'_>| {
            let mut rdata = Vec::with_capacity(6 + service.target.len());
            for number in [service.priority, service.weight, service.port] {
                rdata.extend_from_slice(&number.to_be_bytes());
            }
            // RFC 2782: the target is never compressed.
            rdata.extend_from_slice(service.target);
            rdata
        };
        Services::new(rrtype::SRV, services.iter().map(rdata), answers, ttl)
    }

    /// SVCB or HTTPS in ServiceMode (RFC 9460 2.4.3), one record an answer: `params` (wire form, keys ascending) with hints of
    /// addresses. Each of `hints` is a turn; with `weights`, as many, each has its share of the answers. The target is the
    /// owner itself.
    pub fn svcb(rtype: u16, params: &[u8], hints: &[Vec<IpAddr>], weights: &[u16], ttl: u32) -> Services {
        let rdata = |hints: &Vec<IpAddr>| {
            // Priority 1, and the root for the owner (RFC 9460 2.5.2).
            let mut rdata = vec![0, 1, 0];
            rdata.extend_from_slice(&with_hints(params, hints));
            rdata
        };
        let mut made = Services::new(rtype, hints.iter().map(rdata), 1, ttl);
        if weights.len() == hints.len() && weights.len() > 1 && weights.iter().all(|&weight| weight > 0) {
            made.firsts = Some(Firsts::new(weights));
        }
        made
    }

    /// The CNAME of one backend.
    pub fn cname(target: &[u8], ttl: u32) -> Services {
        Services::new(rrtype::CNAME, std::iter::once(target.to_vec()), 1, ttl)
    }

    fn new(rtype: u16, rdata: impl Iterator<Item = Vec<u8>>, answers: u16, ttl: u32) -> Services {
        let mut records = Vec::new();
        let mut starts = vec![0];
        for rdata in rdata {
            records.extend_from_slice(&[0xc0, 0x0c]);
            records.extend_from_slice(&rtype.to_be_bytes());
            records.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
            records.extend_from_slice(&ttl.to_be_bytes());
            records.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            records.extend_from_slice(&rdata);
            starts.push(records.len() as u32);
        }
        let (count, round) = (starts.len() - 1, records.len() as u32);
        records.extend_from_within(..);
        let second: Vec<u32> = starts[1..].iter().map(|start| start + round).collect();
        starts.extend(second);
        let take = usize::from(answers.max(1)).min(count);
        Services { rtype, records: records.into(), starts: starts.into(), take, firsts: None }
    }

    /// SRV, SVCB, HTTPS or CNAME.
    pub fn rtype(&self) -> u16 {
        self.rtype
    }

    /// Records in each answer.
    pub fn answers(&self) -> usize {
        self.take
    }

    /// The records of that draw; their owner is a pointer to the question's name.
    pub fn at(&self, draw: u32) -> &[u8] {
        let count = (self.starts.len() - 1) / 2;
        let first = match &self.firsts {
            Some(firsts) => firsts.at(draw),
            None if self.take < count => draw as usize % count,
            None => 0,
        };
        &self.records[self.starts[first] as usize..self.starts[first + self.take] as usize]
    }

    /// The TTL of the records.
    pub fn ttl(&self) -> u32 {
        self.records.get(6..10).and_then(|ttl| ttl.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    /// Whether both answer the same data; TTLs may differ.
    pub fn same_but_ttl(&self, other: &Services) -> bool {
        let rdata = |services: &Services| -> Vec<Vec<u8>> {
            let pairs = services.starts.windows(2);
            pairs.map(|pair| services.records[pair[0] as usize + 10..pair[1] as usize].to_vec()).collect()
        };
        (self.rtype, self.take, &self.firsts) == (other.rtype, other.take, &other.firsts) && rdata(self) == rdata(other)
    }
}

/// Puts `ipv4hint` and `ipv6hint` among the parameters, which stay in ascending order of their keys (RFC 9460 2.2). Those
/// given already are left as they are.
fn with_hints(params: &[u8], hints: &[IpAddr]) -> Vec<u8> {
    let v4: Vec<Ipv4Addr> =
        hints.iter().filter_map(|hint| if let IpAddr::V4(v4) = hint { Some(*v4) } else { None }).collect();
    let v6: Vec<Ipv6Addr> =
        hints.iter().filter_map(|hint| if let IpAddr::V6(v6) = hint { Some(*v6) } else { None }).collect();
    let octets = |key: u16| -> Vec<u8> {
        match key {
            IPV4_HINT => v4.iter().take(MOST_HINTS).flat_map(|address| address.octets()).collect(),
            _ => v6.iter().take(MOST_HINTS).flat_map(|address| address.octets()).collect(),
        }
    };
    let mut out = Vec::with_capacity(params.len() + 8 + hints.len() * 16);
    let put = |out: &mut Vec<u8>, key: u16, value: &[u8]| {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    };
    let mut to_make = vec![IPV4_HINT, IPV6_HINT];
    to_make.retain(|&key| !octets(key).is_empty());
    let mut rest = params;
    while let Some((head, behind)) = rest.split_first_chunk::<4>() {
        let key = u16::from_be_bytes([head[0], head[1]]);
        let Some((value, behind)) = behind.split_at_checked(usize::from(u16::from_be_bytes([head[2], head[3]]))) else {
            break;
        };
        while to_make.first().is_some_and(|&made| made <= key) {
            let made = to_make.remove(0);
            if made != key {
                put(&mut out, made, &octets(made));
            }
        }
        put(&mut out, key, value);
        rest = behind;
    }
    to_make.into_iter().for_each(|made| put(&mut out, made, &octets(made)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::zone::records;

    #[test]
    fn srv_records_are_turned_when_not_all_are_given() {
        let service = |port| Service { priority: 0, weight: 5, port, target: b"\x01a\x07example\x00" };
        let all = [service(1), service(2), service(3)];
        let ports = |services: &Services, draw| -> Vec<u8> {
            records(services.at(draw)).map(|record| record.rdata[5]).collect()
        };
        let two = Services::srv(&all, 2, 30);
        assert_eq!((ports(&two, 0), ports(&two, 1), ports(&two, 2)), (vec![1, 2], vec![2, 3], vec![3, 1]));
        let every = Services::srv(&all, 8, 30);
        assert_eq!((ports(&every, 0), ports(&every, 1), every.answers()), (vec![1, 2, 3], vec![1, 2, 3], 3));
        assert_eq!(every.ttl(), 30);
        assert!(every.same_but_ttl(&Services::srv(&all, 8, 60)) && !every.same_but_ttl(&two));
        assert_eq!(&records(every.at(0)).next().unwrap().rdata[..6], [0, 0, 0, 5, 0, 1]);
    }

    #[test]
    fn hints_stand_in_the_order_of_keys() {
        // alpn=h2, port=8443, ech-like key 5, and one beyond.
        let params = b"\x00\x01\x00\x03\x02h2\x00\x03\x00\x02\x20\xfb\x00\x05\x00\x01\x00\x00\x07\x00\x00";
        let hints = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let made = with_hints(params, &hints);
        let mut keys = Vec::new();
        let mut rest = &made[..];
        while let Some((head, behind)) = rest.split_first_chunk::<4>() {
            keys.push((head[1], head[3]));
            rest = &behind[usize::from(head[3])..];
        }
        assert_eq!(keys, [(1, 3), (3, 2), (4, 8), (5, 1), (6, 16), (7, 0)]);
        assert_eq!(with_hints(b"", &[]), b"");
        let given = b"\x00\x04\x00\x04\xc0\x00\x02\x09";
        assert_eq!(with_hints(given, &hints[..1]), given);
    }

    #[test]
    fn svcb_is_in_service_mode_and_keeps_shares() {
        let hints = [vec![IpAddr::from([192, 0, 2, 1])], vec![IpAddr::from([192, 0, 2, 2])]];
        let shared = Services::svcb(65, b"", &hints, &[3, 1], 30);
        let last = |draw| *shared.at(draw).last().unwrap();
        assert_eq!((0..8).filter(|&draw| last(draw) == 1).count(), 6);
        let https = Services::svcb(65, b"", &[Vec::new()], &[], 30);
        assert_eq!(records(https.at(7)).next().unwrap().rdata, b"\x00\x01\x00");
        let cname = Services::cname(b"\x02lb\x06vendor\x03net\x00", 10);
        assert_eq!((cname.rtype(), cname.answers()), (rrtype::CNAME, 1));
    }
}
