//! Header, counts, shapes (RFC 1035 4.1, RFC 8906, RFC 9619).

use rollcall::engine::Transport;

use super::world::*;

#[test]
fn a_response_is_never_answered() {
    for second in 0..=255u8 {
        let mut packet = query_edns("www", A, 1232);
        packet[2] |= 0x80;
        packet[3] = second;
        assert!(ask(Transport::Udp, &packet).is_none());
        assert!(ask(Transport::Tcp, &packet).is_none());
        // Broken ones neither.
        packet.truncate(13);
        assert!(ask(Transport::Udp, &packet).is_none());
    }
}

#[test]
fn id_opcode_and_rd_come_back_and_the_rest_is_zero() {
    for first in 0..0x80u8 {
        for second in [0, 0x0f, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut packet = query("www", A);
            packet[2] = first;
            packet[3] = second;
            // Reply::read checks the bits.
            let reply = udp(&packet);
            let expected = match first >> 3 & 15 {
                0 => 0,
                4 | 5 => 5,
                _ => 4,
            };
            assert_eq!(reply.rcode, expected, "{first:#x}");
            assert_eq!(reply.authoritative, expected == 0);
            assert!(!reply.truncated);
        }
    }
}

#[test]
fn a_query_has_one_question() {
    for count in [0u16, 2, 3, 255, 65_535] {
        let mut packet = query("www", A);
        packet[4..6].copy_from_slice(&count.to_be_bytes());
        let second = packet[12..].to_vec();
        packet.extend_from_slice(&second);
        assert_eq!(udp(&packet).rcode, 1, "{count} questions");
        packet.truncate(12);
        assert_eq!(udp(&packet).rcode, 1, "{count} questions and no octet of them");
    }
}

#[test]
fn counts_that_lie_are_format_errors() {
    for at in [6, 8, 10] {
        for count in [1u16, 2, 65_535] {
            let mut packet = query("www", A);
            packet[at..at + 2].copy_from_slice(&count.to_be_bytes());
            let reply = udp(&packet);
            assert_eq!(reply.rcode, 1);
            assert!(reply.has_question && reply.is_empty());
        }
    }
    // Octets that no count speaks of.
    let mut packet = query("www", A);
    packet.push(0);
    assert_eq!(udp(&packet).rcode, 1);
    // Records that are no business of a query are passed over.
    let mut packet = query("www", A);
    packet[7] = 1;
    packet.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04");
    assert_eq!(udp(&packet).rcode, 0);
}

#[test]
fn a_packet_cut_at_any_octet_is_answered_or_passed_over() {
    let options: [(u16, &[u8]); 4] = [(3, b""), (8, &[0, 1, 24, 0, 192, 0, 2]), (10, &[1; 8]), (12, &[0; 20])];
    let mut whole = with_opt(query("www.wild", TXT), 1232, 0x8000, &options);
    add_record(&mut whole, &wire("key."), TSIG, 255, 0, &tsig_data());
    for length in 0..whole.len() {
        for transport in [Transport::Udp, Transport::Tcp] {
            match ask(transport, &whole[..length]) {
                None => assert!(length < 12),
                Some(reply) => assert_eq!(reply.rcode, 1, "cut at {length}"),
            }
        }
    }
    assert_eq!(udp(&whole).rcode, 9);
}

/// hmac-sha256, a time, no MAC.
fn tsig_data() -> Vec<u8> {
    [&wire("hmac-sha256.")[..], &[0, 0, 0x65, 0x53, 0xf1, 0, 1, 44, 0, 0, 0xbe, 0xef, 0, 0, 0, 0]].concat()
}

#[test]
fn a_name_that_is_none_is_a_format_error() {
    for label in [0x40u8, 0x80, 0xbf, 0xc0, 0xff] {
        let mut packet = query("www", A);
        packet[12] = label;
        assert_eq!(udp(&packet).rcode, 1, "label type {label:#x}");
    }
    // A name of 256 octets.
    let mut packet = query(".", A)[..12].to_vec();
    for _ in 0..4 {
        packet.push(63);
        packet.extend_from_slice(&[b'a'; 63]);
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    assert_eq!(udp(&packet).rcode, 1);
    // One of 255 is a name like others.
    let mut packet = query(".", A)[..12].to_vec();
    for length in [63usize, 63, 63, 61] {
        packet.push(length as u8);
        packet.extend(std::iter::repeat_n(b'a', length));
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    assert_eq!(udp(&packet).rcode, 5);
}

#[test]
fn every_type_is_answered() {
    for qtype in 0..=65_535u16 {
        let reply = udp(&query("www", qtype));
        match qtype {
            A | AAAA | TXT | SRV | 65_280 | 255 => {
                assert!(reply.rcode == 0 && !reply.answers.is_empty() && reply.authoritative, "type {qtype}");
            }
            251 | 252 => assert_eq!(reply.rcode, 5, "type {qtype}"),
            253 | 254 => assert_eq!(reply.rcode, 4, "type {qtype}"),
            OPT | 128 | 249 | TSIG => assert_eq!(reply.rcode, 1, "type {qtype}"),
            _ => {
                assert!(reply.rcode == 0 && reply.authoritative, "type {qtype}");
                assert_eq!((reply.answers.len(), reply.authorities.len()), (0, 1), "type {qtype}");
                assert_eq!(reply.authorities[0].rtype, SOA);
            }
        }
        for name in ["turn", "dangling", "x.old", "missing", "host.sub", "sub", "away", "a.wild", "x.apps", "@"] {
            let packet = query(name, qtype);
            for transport in [Transport::Udp, Transport::Tcp] {
                let mut out = [0; 4096];
                let room = if transport == Transport::Udp { LIMIT } else { out.len() };
                let length = ask_raw(transport, &packet, &mut out[..room]).length;
                // All are answered; reading each of them with three parsers would take minutes.
                assert!(length >= packet.len(), "{name}, type {qtype}");
                if qtype % 64 == 0 || qtype < 300 {
                    Reply::read(&out[..length], &packet);
                }
            }
        }
    }
}

#[test]
fn only_class_in_is_served() {
    for class in 0..=65_535u16 {
        let mut packet = query("www", A);
        let at = packet.len() - 2;
        packet[at..].copy_from_slice(&class.to_be_bytes());
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = ask(transport, &packet).expect("an answer");
            assert_eq!(reply.rcode, if class == 1 { 0 } else { 5 }, "class {class}");
            assert_eq!(reply.answers.is_empty(), class != 1);
        }
    }
}

#[test]
fn every_opcode_is_answered_in_every_shape() {
    for opcode in 0..16u8 {
        for length in 12..query("www", A).len() {
            let mut packet = query("www", A);
            packet.truncate(length);
            packet[2] = opcode << 3;
            let expected = match opcode {
                0 => 1,
                4 | 5 => 5,
                _ => 4,
            };
            for transport in [Transport::Udp, Transport::Tcp] {
                let reply = ask(transport, &packet).expect("an answer");
                assert_eq!(reply.rcode, expected, "opcode {opcode} cut at {length} over {transport:?}");
            }
        }
    }
}
