//! What is not served: transfers, NOTIFY, UPDATE, signed queries (RFC 5936, 1995, 1996, 2136, 8945).

use rollcall::engine::Transport;

use super::world::*;

#[test]
fn transfers_are_refused_over_every_transport() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        for qtype in [251, 252] {
            for name in ["@", "www", "missing", "example.net."] {
                let reply = ask(transport, &query(name, qtype)).expect("an answer");
                assert_eq!(reply.rcode, 5);
                assert!(reply.is_empty() && reply.has_question && !reply.authoritative);
            }
        }
    }
    // IXFR carries the SOA that the asker has.
    let mut packet = query("@", 251);
    packet[9] = 1;
    packet.extend_from_slice(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00");
    packet.extend_from_slice(&[0; 20]);
    assert_eq!(udp(&packet).rcode, 5);
}

#[test]
fn notify_and_update_are_refused_and_change_nothing() {
    let serial = |reply: &Reply| reply.answers[0].rdata.clone();
    let before = serial(&udp(&query("@", SOA)));
    for opcode in [4u8, 5] {
        let mut packet = query("@", SOA);
        packet[2] = opcode << 3;
        // An answer, a prerequisite or an update: none is read.
        packet[7] = 1;
        packet.extend_from_slice(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00");
        packet.extend_from_slice(&[0; 20]);
        let reply = udp(&packet);
        assert_eq!(reply.rcode, 5);
        assert!(reply.is_empty() && reply.has_question);
    }
    assert_eq!(serial(&udp(&query("@", SOA))), before);
}

#[test]
fn notify_and_update_are_told_of_edns_versions_and_unknown_keys() {
    for opcode in [4u8, 5] {
        let mut packet = query_edns("@", SOA, 1232);
        packet[2] = opcode << 3;
        let reply = udp(&packet);
        assert!(reply.rcode == 5 && reply.opt.is_some());
        let mut packet = with_opt(query("@", SOA), 1232, 1 << 16, &[]);
        packet[2] = opcode << 3;
        assert_eq!(udp(&packet).rcode, 16, "BADVERS");
        let mut packet = query("@", SOA);
        packet[2] = opcode << 3;
        add_record(&mut packet, &wire("key."), TSIG, 255, 0, &tsig(&wire("hmac-sha256."), &[5; 32], &[]));
        let reply = udp(&packet);
        assert_eq!((reply.rcode, reply.additionals.last().map(|record| record.rtype)), (9, Some(TSIG)));
        // One that is followed by something is no TSIG.
        packet.push(0);
        assert_eq!(udp(&packet).rcode, 5);
    }
}

fn tsig(algorithm: &[u8], mac: &[u8], other: &[u8]) -> Vec<u8> {
    let mut data = algorithm.to_vec();
    data.extend_from_slice(&[0, 0, 0x65, 0x53, 0xf1, 0, 1, 44]);
    data.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    data.extend_from_slice(mac);
    data.extend_from_slice(&[0xbe, 0xef, 0, 0]);
    data.extend_from_slice(&(other.len() as u16).to_be_bytes());
    data.extend_from_slice(other);
    data
}

#[test]
fn an_unknown_key_is_said_to_be_unknown_without_a_signature() {
    for base in [query("www", A), query_edns("www", A, 1232), query("missing", A), query("@", 252)] {
        let mut packet = base.clone();
        add_record(&mut packet, &wire("key.example."), TSIG, 255, 0, &tsig(&wire("hmac-sha256."), &[5; 32], &[]));
        let reply = udp(&packet);
        assert_eq!(reply.rcode, 9, "NOTAUTH");
        assert!(reply.answers.is_empty() && reply.authorities.is_empty());
        let last = reply.additionals.last().expect("a TSIG");
        assert_eq!((last.rtype, last.class, last.ttl), (TSIG, 255, 0));
        assert_eq!(last.owner, wire("key.example."));
        let numbers = &last.rdata[wire("hmac-sha256.").len()..];
        assert_eq!(numbers[8..10], [0, 0], "no MAC");
        assert_eq!(numbers[10..12], packet[..2], "the query's id");
        assert_eq!(numbers[12..14], [0, 17], "BADKEY");
        assert_eq!(reply.opt.is_some(), base.len() != query("www", A).len() && base[11] == 1);
    }
}

#[test]
fn a_tsig_that_is_none_or_not_last_is_a_format_error() {
    let good = tsig(&wire("hmac-sha256."), &[], &[]);
    for cut in 0..good.len() {
        let mut packet = query("www", A);
        add_record(&mut packet, &wire("key."), TSIG, 255, 0, &good[..cut]);
        assert_eq!(udp(&packet).rcode, 1, "cut at {cut}");
    }
    let mut packet = query("www", A);
    add_record(&mut packet, &wire("key."), TSIG, 255, 0, &good);
    assert_eq!(udp(&with_opt(packet.clone(), 1232, 0, &[])).rcode, 1, "not last");
    add_record(&mut packet, &wire("key."), TSIG, 255, 0, &good);
    assert_eq!(udp(&packet).rcode, 1, "two");
    // Lengths inside that reach beyond it.
    let mut packet = query("www", A);
    let mut long = good.clone();
    let at = wire("hmac-sha256.").len() + 8;
    long[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    add_record(&mut packet, &wire("key."), TSIG, 255, 0, &long);
    assert_eq!(udp(&packet).rcode, 1);
}

#[test]
fn a_tsig_or_opt_in_another_section_is_a_format_error() {
    // RFC 8945 5.1: "or a TSIG record is present in any other position"; RFC 6891 6.1.1: the additional section.
    for (rtype, class, rdata) in [(TSIG, 255, tsig(&wire("hmac-sha256."), &[5; 32], &[])), (OPT, 1232, Vec::new())] {
        for section in [6, 8] {
            let mut packet = query("www", A);
            add_record(&mut packet, if rtype == OPT { &[0] } else { b"\x03key\0" }, rtype, class, 0, &rdata);
            packet.swap(section + 1, 11);
            for transport in [Transport::Udp, Transport::Tcp] {
                let reply = ask(transport, &packet).expect("an answer");
                assert!(reply.rcode == 1 && reply.has_question && reply.is_empty(), "{rtype} in {section}: {reply:?}");
            }
            // What is refused whatever it holds stays refused so.
            packet[2] = 4 << 3;
            assert_eq!(udp(&packet).rcode, 5);
        }
    }
}

/// A name of `octets` octets in wire form.
fn name_of(octets: usize) -> Vec<u8> {
    let mut name = Vec::new();
    while name.len() + 1 < octets {
        let label = (octets - 2 - name.len()).min(63);
        name.push(label as u8);
        name.extend(std::iter::repeat_n(b'k', label));
    }
    name.push(0);
    name
}

#[test]
fn a_tsig_that_leaves_no_room_is_truncation_and_noerror() {
    // RFC 8945 5.3: question and TSIG alone, TC, RCODE 0; the client then comes by TCP.
    let mut seen = [0; 3];
    for base in [query("www", A), with_opt(query("www", A), 512, 0, &[(3, b"")])] {
        // A label cannot be empty, so no name has 64 n + 2 octets.
        for octets in (150..=254).filter(|octets| octets % 64 != 2) {
            let algorithm = name_of(octets);
            let mut packet = base.clone();
            add_record(&mut packet, &algorithm, TSIG, 255, 0, &tsig(&algorithm, &[], &[]));
            let alone = query("www", A).len() + 2 * octets + 26;
            let with_opt = if base[11] == 1 { alone + 11 + 4 + b"wire".len() } else { alone };
            let reply = udp(&packet);
            assert!(reply.octets.len() <= 512 && reply.answers.is_empty() && reply.authorities.is_empty());
            let signed = reply.additionals.last().is_some_and(|record| record.rtype == TSIG);
            let expected = (with_opt <= 512, alone <= 512);
            let (kind, held) = match expected {
                (true, _) => (0, signed && !reply.truncated && reply.rcode == 9),
                (false, true) => (1, signed && reply.truncated && reply.rcode == 0 && reply.opt.is_none()),
                (false, false) => (2, !signed && reply.truncated && reply.rcode == 0),
            };
            assert!(held, "{octets} octets: {expected:?} {reply:?}");
            seen[kind] += 1;
            let stream = ask(Transport::Tcp, &packet).expect("an answer");
            assert!(!stream.truncated && stream.rcode == 9 && stream.opt.is_some() == (base[11] == 1));
        }
    }
    assert!(seen.iter().all(|&times| times > 3), "{seen:?}");
}

#[test]
fn a_tsig_is_answered_whatever_the_message_is() {
    let key = |mut packet: Vec<u8>| {
        add_record(&mut packet, &wire("key."), TSIG, 255, 0, &tsig(&wire("hmac-sha256."), &[5; 32], &[]));
        packet
    };
    for opcode in 0..16u8 {
        for base in [query("@", SOA), query_edns("@", SOA, 1232), vec![0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let mut packet = key(base);
            packet[2] = opcode << 3;
            let reply = udp(&packet);
            assert_eq!((reply.rcode, reply.additionals.last().map(|record| record.rtype)), (9, Some(TSIG)), "{opcode}");
            // Of an unknown opcode nothing is echoed that may be no question.
            let question = packet[5] == 1 && matches!(opcode, 0 | 4 | 5);
            assert_eq!((reply.has_question, reply.opt.is_some()), (question, packet[11] == 2), "{opcode}");
        }
    }
    // A record that says TSIG in another class than ANY is none (RFC 8945 4.2).
    let mut packet = query("www", A);
    add_record(&mut packet, &wire("key."), TSIG, 1, 0, &tsig(&wire("hmac-sha256."), &[5; 32], &[]));
    assert_eq!(udp(&packet).rcode, 1);
}

#[test]
fn an_unknown_opcode_brings_its_opt_back() {
    for opcode in [1, 2, 3, 6, 7, 15u8] {
        let mut packet = query_edns("www", A, 1232);
        packet[2] = opcode << 3;
        let reply = udp(&packet);
        assert!(reply.rcode == 4 && reply.opt.is_some() && reply.is_empty() && !reply.has_question);
        let mut packet = with_opt(query("www", A), 1232, 1 << 16, &[]);
        packet[2] = opcode << 3;
        assert_eq!(udp(&packet).rcode, 16, "BADVERS comes first (RFC 6891 6.1.3)");
    }
}

#[test]
fn any_is_answered_with_the_least() {
    for name in ["www", "turn", "@", "a.wild", "x.apps"] {
        let reply = udp(&query(name, 255));
        assert_eq!(reply.answers.len(), 1);
        assert_eq!((reply.answers[0].rtype, &reply.answers[0].rdata[..]), (13, &b"\x07RFC8482\x00"[..]));
    }
    assert_eq!(udp(&query("missing", 255)).rcode, 3);
    assert_eq!(udp(&query("ent", 255)).authorities[0].rtype, SOA);
}
