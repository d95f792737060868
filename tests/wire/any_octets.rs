//! Any octets at all: nothing panics, and what is answered is a message (RFC 8906 is about the rest).

use proptest::prelude::*;
use rollcall::engine::Transport;

use super::world::*;

const NAMES: [&str; 24] = [
    "@",
    "www",
    "alias",
    "to-pool",
    "to-servfail",
    "dangling",
    "away",
    "loop",
    "old",
    "www.old",
    "x.long",
    "a.wild",
    "ent",
    "a.ent",
    "sub",
    "host.sub",
    "turn",
    "weighted",
    "random",
    "open",
    "nodata",
    "size40",
    "host.cut30",
    "example.net.",
];

/// Asks over all transports and reads what comes.
fn holds(packet: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Https] {
        let reply = ask(transport, packet);
        let silent = packet.len() < 12 || packet[2] & 0x80 != 0;
        assert_eq!(reply.is_none(), silent, "silence is for responses and fragments alone");
        let Some(reply) = reply else { continue };
        assert!(transport != Transport::Udp || reply.octets.len() <= LIMIT);
        assert!(transport == Transport::Udp || !reply.truncated);
        if reply.truncated {
            assert!(reply.answers.is_empty(), "an answer is whole or not there");
        }
    }
}

/// A whole question, with EDNS or not, and with options.
fn questions() -> impl Strategy<Value = Vec<u8>> {
    let option = (
        prop_oneof![Just(3u16), Just(8), Just(10), Just(11), Just(15), any::<u16>()],
        prop::collection::vec(any::<u8>(), 0..42),
    );
    let qtype = prop_oneof![Just(A), Just(AAAA), Just(TXT), Just(NS), Just(SOA), Just(43u16), Just(255), any::<u16>()];
    let edns = prop::option::of((any::<u16>(), any::<u32>(), prop::collection::vec(option, 0..4)));
    (0..NAMES.len(), qtype, edns).prop_map(|(name, qtype, edns)| {
        let plain = query(NAMES[name], qtype);
        let Some((size, bits, options)) = edns else { return plain };
        let options: Vec<(u16, &[u8])> = options.iter().map(|(code, data)| (*code, &data[..])).collect();
        with_opt(plain, size, bits & 0x0001_8000, &options)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_answered_or_passed_over(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        holds(&packet);
    }

    #[test]
    fn any_octets_behind_a_header_of_a_query(
        body in prop::collection::vec(any::<u8>(), 0..300),
        counts in prop::array::uniform4(0u16..3),
    ) {
        let mut packet = vec![1, 2, 0, 0];
        packet.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        packet.extend_from_slice(&body);
        holds(&packet);
    }

    #[test]
    fn a_question_with_some_octets_changed(
        packet in questions(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        more in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut packet = packet;
        for (at, octet) in changes {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        packet.extend_from_slice(&more);
        holds(&packet);
    }
}
