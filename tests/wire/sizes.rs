//! What fits, what is cut, and how it is said (RFC 2181 9, RFC 6891 6.2, RFC 9471, RFC 9715).

use rollcall::engine::Transport;

use super::world::*;

/// The limit that a client with this EDNS size has.
fn limit(size: usize) -> usize {
    size.clamp(512, LIMIT)
}

#[test]
fn every_payload_size_is_kept_to() {
    for size in 0..=65_535u16 {
        // One is larger than 512, another than any UDP reply here, the third small.
        for name in ["size20", "size59", "www"] {
            let packet = query_edns(name, TXT, size);
            let mut out = [0; 4096];
            let reply = ask_raw(Transport::Udp, &packet, &mut out);
            assert!(reply.length <= limit(size.into()), "{name} at {size}: {} octets", reply.length);
            let truncated = out[2] & 2 != 0;
            let fits = match name {
                "www" => true,
                "size20" => whole("size20") <= limit(size.into()),
                _ => false,
            };
            assert_eq!(truncated, !fits, "{name} at {size}");
        }
    }
}

/// Octets of the whole reply with a plain OPT.
fn whole(name: &str) -> usize {
    ask(Transport::Tcp, &query_edns(name, TXT, 0)).expect("an answer").octets.len()
}

#[test]
fn the_last_octet_decides_between_whole_and_truncated() {
    let mut seen = [0, 0];
    for size in 0..SIZES {
        let name = format!("size{size}");
        let length = whole(&name);
        if (513..=LIMIT).contains(&length) {
            let fits = udp(&query_edns(&name, TXT, length as u16));
            assert!(!fits.truncated && fits.answers.len() == 2 && fits.octets.len() == length);
            let cut = udp(&query_edns(&name, TXT, length as u16 - 1));
            assert!(cut.truncated && cut.is_empty() && cut.has_question && cut.opt.is_some());
            seen[0] += 1;
        } else if length > LIMIT {
            let cut = udp(&query_edns(&name, TXT, 65_535));
            assert!(cut.truncated && cut.is_empty() && cut.has_question && cut.opt.is_some());
            seen[1] += 1;
        }
        // Without EDNS: 512, and no OPT.
        let plain = udp(&query(&name, TXT));
        assert!(plain.opt.is_none() && plain.octets.len() <= 512);
        assert_eq!(plain.truncated, length - 11 > 512);
        assert_eq!(plain.is_empty(), plain.truncated);
        // Over TCP always whole.
        let stream = ask(Transport::Tcp, &query(&name, TXT)).expect("an answer");
        assert!(!stream.truncated && stream.answers.len() == 2);
    }
    assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
}

#[test]
fn options_are_counted_before_records() {
    let options: [(u16, &[u8]); 3] = [(3, b""), (8, &[0, 1, 24, 0, 192, 0, 2]), (10, &[1; 8])];
    for size in 0..SIZES {
        let name = format!("size{size}");
        let length = ask(Transport::Tcp, &with_opt(query(&name, TXT), 0, 0, &options)).expect("an answer").octets.len();
        if !(513..=LIMIT).contains(&length) {
            continue;
        }
        let fits = udp(&with_opt(query(&name, TXT), length as u16, 0, &options));
        assert!(!fits.truncated && fits.opt().options.len() == 3);
        let cut = udp(&with_opt(query(&name, TXT), length as u16 - 1, 0, &options));
        assert!(cut.truncated && cut.is_empty() && cut.opt().options.len() == 3);
    }
}

#[test]
fn a_balanced_set_is_whole_or_truncated() {
    for (name, qtype) in [("many", A), ("many6", AAAA)] {
        for size in [512, 800, 1232, 4096] {
            let cut = udp(&query_edns(name, qtype, size));
            assert!(cut.truncated && cut.is_empty() && cut.opt.is_some());
        }
        let stream = ask(Transport::Tcp, &query_edns(name, qtype, 512)).expect("an answer");
        assert!(!stream.truncated && stream.answers.len() == 200);
    }
}

#[test]
fn in_domain_glue_is_whole_or_the_reply_is_truncated() {
    let mut seen = [0, 0];
    for cut in 1..=CUTS {
        let name = format!("host.cut{cut}");
        let full = ask(Transport::Tcp, &query(&name, A)).expect("an answer");
        assert_eq!(full.authorities.len(), cut + 1);
        // All of its own, and the neighbour's two.
        assert_eq!(full.additionals.len(), cut + 2);
        assert!(!full.authoritative && full.answers.is_empty());
        for size in [512u16, 700, 1232] {
            let reply = udp(&query_edns(&name, A, size));
            assert!(reply.octets.len() <= usize::from(size));
            let servers = reply.authorities.len();
            assert!(servers == 0 || servers == cut + 1, "a partial RRset");
            let own = reply
                .additionals
                .iter()
                .filter(|record| record.owner.starts_with(b"\x02s") || record.owner.starts_with(b"\x03s"))
                .count();
            assert_eq!(reply.truncated, own < cut, "{name} at {size}: {own} of {cut} glue");
            seen[usize::from(reply.truncated)] += 1;
        }
    }
    assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
}

#[test]
fn a_referral_that_does_not_fit_has_no_aa_either() {
    let mut cut = 0;
    for servers in 1..=CUTS {
        for packet in [query(&format!("x.cut{servers}"), A), query_edns(&format!("x.cut{servers}"), A, 512)] {
            let reply = udp(&packet);
            assert!(!reply.authoritative, "cut{servers}");
            assert_eq!(reply.opt.is_some(), packet[11] == 1);
            if reply.authorities.is_empty() {
                assert!(reply.truncated && reply.is_empty() && reply.rcode == 0, "cut{servers}");
                cut += 1;
            }
        }
    }
    assert!(cut > 5, "{cut}");
}

#[test]
fn an_extended_error_never_costs_an_answer() {
    // The name is long, so that the error's text does not fit in every size.
    for size in 512..1232u16 {
        let reply = udp(&query_edns("open", A, size));
        assert!(!reply.truncated && reply.answers.len() == 2);
    }
}

#[test]
fn a_small_out_buffer_is_never_overrun() {
    let packets =
        [query_edns("www", TXT, 1232), query("size59", TXT), query("missing", A), query("host.sub", A), vec![0; 12]];
    for packet in packets {
        for room in 0..600 {
            let mut out = vec![0; room];
            let reply = ask_raw(Transport::Tcp, &packet, &mut out);
            assert!(reply.length <= room);
            if reply.length > 0 {
                Reply::read(&out[..reply.length], &packet);
            }
        }
    }
}
