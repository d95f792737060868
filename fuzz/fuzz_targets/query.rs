//! Any octets as a query, over UDP and TCP, against a zone that has every lookup case.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use rollcall::engine::snapshot::Snapshot;
use rollcall::engine::{Asker, Transport, respond};

mod zone;
use zone::UDP_LIMIT;

const OPT: u16 = 41;
const TSIG: u16 = 250;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(zone::snapshot);

fuzz_target!(|message: &[u8]| {
    for transport in [Transport::Udp, Transport::Tcp] {
        let limit = if transport == Transport::Udp { UDP_LIMIT } else { 65_535 };
        let asker = Asker { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), transport, worker: 0 };
        let mut out = vec![0xaa; limit];
        let reply = respond(&SNAPSHOT, &asker, message, &mut out);
        if reply.length == 0 {
            continue;
        }
        assert!(reply.length >= 12 && reply.length <= limit, "{} octets", reply.length);
        let reply = &out[..reply.length];
        assert_eq!(reply[..2], message[..2], "the id is kept");
        assert!(message[2] & 0x80 == 0, "a response was answered");
        assert!(reply[2] & 0x80 != 0, "QR");
        assert_eq!(reply[3] & 0xf0, 0, "RA, Z, AD, CD");
        let records = walk(reply);
        // hickory-proto knows neither a TSIG without a MAC nor a client subnet of family 0, which are echoed all the same.
        let Ok(parsed) = Message::from_vec(reply) else {
            let odd = |record: &(u16, &[u8])| record.0 == TSIG || record.0 == OPT && has_family_zero(record.1);
            assert!(records.iter().any(odd), "a reply parses");
            continue;
        };
        if transport != Transport::Udp {
            assert!(!parsed.metadata.truncation, "TC over TCP");
        }
        if let Some(question) = parsed.queries.first() {
            let length = question.name().len() + 4;
            assert_eq!(reply[12..12 + length], message[12..12 + length], "the question is kept, and its case");
        }
        assert!(records.len() <= 4200);
    }
});

/// The records' types and data: counts are true, pointers lead back, nothing stands behind the last record.
fn walk(reply: &[u8]) -> Vec<(u16, &[u8])> {
    let count = |at: usize| usize::from(u16::from_be_bytes([reply[at], reply[at + 1]]));
    let mut at = 12;
    for _ in 0..count(4) {
        at = name_end(reply, at) + 4;
    }
    let mut records = Vec::new();
    for _ in 0..count(6) + count(8) + count(10) {
        at = name_end(reply, at);
        let length = count(at + 8);
        records.push((count(at) as u16, &reply[at + 10..at + 10 + length]));
        at += 10 + length;
    }
    assert_eq!(at, reply.len(), "octets behind the last record");
    records
}

fn name_end(reply: &[u8], mut at: usize) -> usize {
    loop {
        match usize::from(reply[at]) {
            0 => return at + 1,
            length @ 1..=63 => at += 1 + length,
            high => {
                let target = (high & 0x3f) << 8 | usize::from(reply[at + 1]);
                assert!(high >= 0xc0 && (12..at).contains(&target), "a pointer that does not lead back");
                return at + 2;
            }
        }
    }
}

fn has_family_zero(mut options: &[u8]) -> bool {
    while let Some((head, rest)) = options.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])).min(rest.len());
        if head[..2] == [0, 8] && rest.starts_with(&[0, 0]) {
            return true;
        }
        options = &rest[length..];
    }
    false
}
