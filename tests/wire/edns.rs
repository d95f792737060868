//! EDNS and its options (RFC 6891, 5001, 7828, 7830, 7871, 7873).

use rollcall::engine::Transport;

use super::world::*;

#[test]
fn an_opt_comes_back_exactly_when_one_was_sent() {
    for name in ["www", "missing", "ent", "host.sub", "turn", "servfail", "refused", "x.example.net.", "to-servfail"] {
        for (qtype, rcode) in [(A, None), (252, Some(5)), (128, Some(1)), (253, Some(4))] {
            let plain = udp(&query(name, qtype));
            assert!(plain.opt.is_none(), "{name}");
            let reply = udp(&query_edns(name, qtype, 1232));
            let opt = reply.opt();
            assert_eq!((opt.version, opt.size, opt.flags), (0, 1232, 0), "{name}");
            assert_eq!(reply.rcode, plain.rcode);
            if let Some(rcode) = rcode {
                assert_eq!(reply.rcode, rcode);
            }
        }
    }
}

#[test]
fn a_version_above_zero_is_badvers() {
    for version in 1..=255u32 {
        let reply = udp(&with_opt(query("www", A), 1232, version << 16, &[(10, &[1; 3])]));
        assert_eq!((reply.rcode, reply.opt().version), (16, 0));
        assert!(reply.is_empty() && reply.has_question && !reply.authoritative);
    }
}

#[test]
fn do_is_echoed_and_no_other_flag() {
    for bit in 0..16 {
        let reply = udp(&with_opt(query("www", A), 1232, 1 << bit, &[]));
        assert_eq!(reply.rcode, 0);
        assert_eq!(reply.opt().flags, if bit == 15 { 0x8000 } else { 0 }, "bit {bit}");
    }
    // The upper octet is the query's extended RCODE: it means nothing.
    assert_eq!(udp(&with_opt(query("www", A), 1232, 0xff00_0000, &[])).rcode, 0);
}

#[test]
fn no_dnssec_records_are_invented() {
    let reply = udp(&with_opt(query("missing", A), 1232, 0x8000, &[]));
    assert_eq!(reply.authorities.iter().map(|record| record.rtype).collect::<Vec<_>>(), [SOA]);
}

#[test]
fn a_second_opt_or_one_with_an_owner_is_a_format_error() {
    let twice = with_opt(query_edns("www", A, 1232), 1232, 0, &[]);
    assert_eq!(udp(&twice).rcode, 1);
    let mut owned = query("www", A);
    add_record(&mut owned, &wire("www"), OPT, 1232, 0, &[]);
    assert_eq!(udp(&owned).rcode, 1);
    // A pointer to a root label is no root either.
    let mut pointed = query("www", A);
    let root = (12 + wire("www").len() - 1) as u8;
    add_record(&mut pointed, &[0xc0, root], OPT, 1232, 0, &[]);
    assert_eq!(udp(&pointed).rcode, 1);
}

#[test]
fn options_that_are_cut_are_format_errors() {
    for rdata in [&[0u8][..], &[0, 3], &[0, 3, 0], &[0, 3, 0, 1], &[0xff, 0xff, 0xff, 0xff], &[0, 12, 0, 2, 0]] {
        let mut packet = query("www", A);
        add_record(&mut packet, &[0], OPT, 1232, 0, rdata);
        let reply = udp(&packet);
        assert_eq!(reply.rcode, 1, "{rdata:?}");
        assert_eq!(reply.opt().options.len(), 0);
    }
}

#[test]
fn unknown_options_are_passed_over_and_never_echoed() {
    for code in 0..=65_535u16 {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = ask(transport, &with_opt(query("www", A), 1232, 0, &[(code, &[7; 8])])).expect("an answer");
            let (rcode, options): (u16, &[u16]) = match code {
                3 => (0, &[3]),
                // Eight sevens are a client cookie, but no client subnet.
                8 => (1, &[]),
                10 => (0, &[10]),
                // Keepalive is for streams (RFC 7828 3.2.1).
                11 if transport == Transport::Tcp => (0, &[11]),
                _ => (0, &[]),
            };
            let seen: Vec<u16> = reply.opt().options.iter().map(|(code, _)| *code).collect();
            assert_eq!((reply.rcode, &seen[..]), (rcode, options), "option {code} over {transport:?}");
        }
    }
}

#[test]
fn nsid_only_when_asked() {
    assert_eq!(udp(&with_opt(query("www", A), 1232, 0, &[(3, b"")])).opt().option(3), Some(&b"wire"[..]));
    assert_eq!(udp(&query_edns("www", A, 1232)).opt().option(3), None);
}

#[test]
fn a_cookie_is_answered_with_one_that_holds() {
    let client = [1, 2, 3, 4, 5, 6, 7, 8];
    let first = udp(&with_opt(query("www", A), 1232, 0, &[(10, &client)]));
    let cookie = first.opt().option(10).expect("a cookie").to_vec();
    assert_eq!((cookie.len(), &cookie[..8], cookie[8]), (24, &client[..], 1));
    let again = udp(&with_opt(query("www", A), 1232, 0, &[(10, &cookie)]));
    assert_eq!(again.opt().option(10), Some(&cookie[..]));
    // A wrong one is answered, with a right one.
    let mut wrong = cookie.clone();
    wrong[20] ^= 1;
    let reply = udp(&with_opt(query("www", A), 1232, 0, &[(10, &wrong)]));
    assert_eq!((reply.rcode, reply.opt().option(10)), (0, Some(&cookie[..])));
    assert!(!reply.answers.is_empty());
}

#[test]
fn a_cookie_of_any_other_length_is_a_format_error() {
    for length in 0..60usize {
        let data = vec![9; length];
        let reply = udp(&with_opt(query("www", A), 1232, 0, &[(10, &data)]));
        let expected = u16::from(length != 8 && !(16..=40).contains(&length));
        assert_eq!(reply.rcode, expected, "a cookie of {length} octets");
    }
}

#[test]
fn of_several_cookies_or_client_subnets_the_first_counts() {
    // RFC 7873 5.2: the one closest to the header is considered, all others are ignored.
    let (first, second) = ([1u8; 8], [2u8; 8]);
    for other in [&second[..], &[2; 9], &[], &[2; 41]] {
        let reply = udp(&with_opt(query("www", A), 1232, 0, &[(10, &first), (3, b""), (10, other)]));
        assert_eq!((reply.rcode, reply.opt().option(10).map(|cookie| &cookie[..8])), (0, Some(&first[..])));
    }
    assert_eq!(udp(&with_opt(query("www", A), 1232, 0, &[(10, &[2; 9]), (10, &first)])).rcode, 1);
    let subnet = [0u8, 1, 24, 0, 192, 0, 2];
    for other in [&[0u8, 1, 24, 0, 198, 51, 100][..], &[0, 1, 33], &[]] {
        let reply = udp(&with_opt(query("www", A), 1232, 0, &[(8, &subnet), (8, other)]));
        assert_eq!((reply.rcode, reply.opt().option(8)), (0, Some(&subnet[..])));
    }
}

#[test]
fn a_cookie_may_be_asked_for_without_a_question() {
    // RFC 7873 5.4.
    let bare = |options: &[(u16, &[u8])]| with_opt(vec![0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1232, 0, options);
    for transport in [Transport::Udp, Transport::Tcp] {
        let first = ask(transport, &bare(&[(10, &[1; 8])])).expect("an answer");
        let cookie = first.opt().option(10).expect("a cookie").to_vec();
        assert!(first.rcode == 0 && !first.has_question && first.is_empty() && !first.authoritative);
        assert_eq!(cookie.len(), 24);
        // Shown again it is confirmed; a wrong one is replaced.
        let again = ask(transport, &bare(&[(10, &cookie)])).expect("an answer");
        assert_eq!((again.rcode, again.opt().option(10)), (0, Some(&cookie[..])));
        let mut wrong = cookie.clone();
        wrong[23] ^= 1;
        let reply = ask(transport, &bare(&[(10, &wrong)])).expect("an answer");
        assert_eq!((reply.rcode, reply.opt().option(10)), (23, Some(&cookie[..])), "BADCOOKIE");
        // Without a cookie it is a query without a question.
        assert_eq!(ask(transport, &bare(&[])).expect("an answer").rcode, 1);
        assert_eq!(ask(transport, &bare(&[(10, &[1; 9])])).expect("an answer").rcode, 1);
        assert_eq!(ask(transport, &bare(&[(3, b"")])).expect("an answer").rcode, 1);
        // A later EDNS may mean something else by it.
        let mut later = bare(&[(10, &[1; 8])]);
        later[18] = 1;
        assert_eq!(ask(transport, &later).expect("an answer").rcode, 16);
    }
    let mut off = snapshot().clone();
    std::sync::Arc::make_mut(&mut off.options).cookies = Default::default();
    let mut out = [0; 512];
    let reply = rollcall::engine::respond(&off, &asker(Transport::Udp), &bare(&[(10, &[1; 8])]), &mut out);
    assert_eq!(reply.rcode, 1, "cookies are off");
}

#[test]
fn a_client_subnet_is_echoed_with_scope_zero() {
    let subnets: [&[u8]; 8] = [
        &[0, 1, 24, 0, 192, 0, 2],
        &[0, 1, 0, 0],
        &[0, 1, 32, 0, 192, 0, 2, 1],
        &[0, 1, 1, 0, 128],
        &[0, 1, 17, 0, 192, 0, 128],
        &[0, 2, 48, 0, 0x20, 1, 13, 0xb8, 0, 0],
        &[0, 2, 0, 0],
        &[0, 0, 0, 0],
    ];
    for subnet in subnets {
        for name in ["www", "turn", "weighted", "missing", "x.example.net."] {
            let reply = udp(&with_opt(query(name, A), 1232, 0, &[(8, subnet)]));
            assert_eq!(reply.opt().option(8), Some(subnet), "{name}: as asked, SCOPE 0");
        }
    }
    assert_eq!(udp(&query_edns("turn", A, 1232)).opt().option(8), None);
}

#[test]
fn a_malformed_client_subnet_is_a_format_error() {
    let subnets: [&[u8]; 12] = [
        &[],
        &[0, 1, 24],
        &[0, 1, 24, 0, 192, 0],
        &[0, 1, 24, 0, 192, 0, 2, 1],
        &[0, 1, 33, 0, 192, 0, 2, 1, 0],
        &[0, 2, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // SCOPE must be zero in a query.
        &[0, 1, 24, 24, 192, 0, 2],
        // Bits behind the prefix.
        &[0, 1, 23, 0, 192, 0, 3],
        &[0, 1, 1, 0, 0xff],
        &[0, 3, 8, 0, 1],
        &[0, 0, 8, 0, 1],
        &[1, 1, 8, 0, 1],
    ];
    for subnet in subnets {
        assert_eq!(udp(&with_opt(query("www", A), 1232, 0, &[(8, subnet)])).rcode, 1, "{subnet:?}");
    }
}

#[test]
fn keepalive_goes_over_streams_alone() {
    let packet = with_opt(query("www", A), 1232, 0, &[(11, b"")]);
    for (transport, expected) in [
        (Transport::Udp, false),
        (Transport::Tcp, true),
        (Transport::Tls, true),
        (Transport::Https, false),
        (Transport::Quic, false),
    ] {
        let reply = ask(transport, &packet).expect("an answer");
        assert_eq!(reply.opt().option(11).map(<[u8]>::len), expected.then_some(2), "{transport:?}");
        let unasked = ask(transport, &query_edns("www", A, 1232)).expect("an answer");
        assert_eq!(unasked.opt().option(11), None);
    }
}

#[test]
fn padding_is_not_answered_in_clear() {
    let reply = udp(&with_opt(query("www", A), 1232, 0, &[(12, &[0; 300])]));
    assert!(reply.opt().options.is_empty());
    assert_eq!(reply.octets.len(), udp(&query_edns("www", A, 1232)).octets.len());
}

#[test]
fn an_exceptional_answer_says_why_only_with_edns_and_when_it_fits() {
    let reply = udp(&query_edns("open", A, 1232));
    let error = reply.opt().option(15).expect("an extended error");
    assert_eq!(&error[..2], &[0, 0]);
    assert!(std::str::from_utf8(&error[2..]).is_ok_and(|text| text.contains("fail open")));
    assert_eq!(udp(&query_edns("turn", A, 1232)).opt().option(15), None);
    let refused = udp(&query_edns("www.example.net.", A, 1232));
    assert_eq!(refused.opt().option(15).map(|error| &error[..2]), Some(&[0, 20][..]));
}
