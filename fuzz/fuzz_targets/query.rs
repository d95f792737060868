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
        let parsed = Message::from_vec(reply).expect("a reply parses");
        if transport != Transport::Udp {
            assert!(!parsed.metadata.truncation, "TC over TCP");
        }
        if let Some(question) = parsed.queries.first() {
            let length = question.name().len() + 4;
            assert_eq!(reply[12..12 + length], message[12..12 + length], "the question is kept, and its case");
        }
        assert!(parsed.answers.len() + parsed.authorities.len() + parsed.additionals.len() <= 4200);
    }
});
